"""What the tests of all trackers share."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hpsearch.outcomes import TrialOutcome
from hpsearch.storage import attempts
from hpsearch.storage.artifacts.study_artifacts import StudyArtifacts
from hpsearch.storage.attempts import Attempt
from hpsearch.storage.database import Database
from hpsearch.storage.studies import Study
from tests.support.small_study import finish_trial
from tests.support.tracked_study import plain_contents

MADE_BY = {"seed": 7, "data": "d", "precision": "float32", "backend": "jax", "versions": {"keras": "3.15"}}


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Plots, answer and report that cost no seconds."""
    with plain_contents(monkeypatch):
        yield


@pytest.fixture
def finished(database: Database, started: Callable[..., Study], begin: Callable[..., Attempt], tmp_path: Path) -> Study:
    """A finished study: trial 0 completed after two epochs and kept its model, trial 1 failed after one."""
    study = started(study={"name": "small", "description": "Which rate?"}, budget={"trials": 2, "epochs": 3})
    attempt = begin(study, 0.5, 0.7)
    database.transact(lambda c: attempts.describe(c, attempt, 1234, MADE_BY))
    model = tmp_path / "weights"
    model.write_bytes(b"a model")
    StudyArtifacts(database, None).finish(attempt, {}, model)
    finish_trial(database, begin(study, 0.4), TrialOutcome.ERROR, detail="it broke")
    return study
