"""What the quickstart answers."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from hpsearch.cli import quickstart
from hpsearch.errors import RefusedError
from hpsearch.outcomes import TrialOutcome
from hpsearch.sampling import suggest
from hpsearch.sampling.readonly_storage import ReadOnlyStorage
from hpsearch.spec import loader
from hpsearch.storage import attempts, study_creation
from hpsearch.storage.database import Database
from hpsearch.storage.studies import Study
from hpsearch.storage.workers import WorkerIdentity
from tests.support import simulation
from tests.support.small_study import claim, metrics

Started = Callable[..., Study]
Enrol = Callable[[str], WorkerIdentity]


def train(database: Database, study: Study, worker: WorkerIdentity, trials: int) -> None:
    """End that many trials, the larger their learning rate the better."""
    history = ReadOnlyStorage(study.study_id, study.spec.direction)
    for _ in range(trials):
        attempt = claim(database, study, worker)
        assert attempt is not None
        database.transact(history.refresh)
        params, writes = suggest.suggest(study.spec, history, attempt.trial_id, attempt.trial_number)
        database.transact(lambda c: attempts.store_parameters(c, attempt, writes))
        value = params["learning_rate"]
        database.transact(lambda c: simulation.record(c, attempt, metrics(1, value), history))
        database.transact(lambda c: attempts.finish(c, attempt, TrialOutcome.COMPLETED, {}))


def test_answer_names_the_best_trial_and_what_mattered(database: Database, started: Started, holder: Enrol) -> None:
    """With every trial ended, the best one is named, and the hyperparameter that made it comes first."""
    space = {"learning_rate": {"low": 0.1, "high": 0.9}, "batch_norm": [True, False]}
    study = started(budget={"trials": 40, "epochs": 3}, space=space, sampler={"name": "random"})
    train(database, study, holder("w"), 40)
    answer = quickstart.read_answer(database, study)
    assert answer is not None
    assert answer.sentences.best[-1].startswith("Trial ")
    assert " is best: val_accuracy 8" in answer.sentences.best[-1]
    assert answer.importance.shares[0].name == "learning_rate"
    assert answer.importance.shares[0].share > 0.9


def test_search_cut_short_has_no_answer_yet(database: Database, started: Started, holder: Enrol) -> None:
    """An unfinished search gets no answer."""
    study = started(budget={"trials": 4, "epochs": 3})
    train(database, study, holder("w"), 1)
    assert quickstart.read_answer(database, study) is None


def test_a_database_with_an_earlier_versions_quickstart(database: Database) -> None:
    """The search of that name stays, and this version's gets a name of its own, under which it goes on."""
    spec = loader.load(loader.QUICKSTART, quickstart.DIGITS, name="quickstart-digits")
    earlier = replace(spec, fixed={**spec.fixed, "filters": 16})
    study_creation.start(database, earlier)
    first = quickstart._start_study(database, spec)
    assert first.name == "quickstart-digits-2"
    assert quickstart._start_study(database, spec).study_id == first.study_id
    for number in range(3, quickstart.MOST_NAMES + 1):
        another = replace(spec, fixed={**spec.fixed, "filters": 16 + number})
        assert quickstart._start_study(database, another).name == f"quickstart-digits-{number}"
    with pytest.raises(RefusedError, match="another search"):
        quickstart._start_study(database, replace(spec, fixed={**spec.fixed, "filters": 99}))
