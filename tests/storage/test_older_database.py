"""A database made by the commit before the packages opens, after an upgrade, and goes on.

`data/database_a470102.sql.gz` is a pg_dump of one that the code of that commit made: the search `old`, trained by a
real worker and by hand, with a trial of each kind and an attempt of each end, and `tested` with its evaluation.
"""

import gzip
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import psycopg2
import pytest
from sqlalchemy import text

from hpsearch.errors import DatabaseError
from hpsearch.outcomes import AttemptEnd, StudyStatus, TrialOutcome, TrialState
from hpsearch.sampling import suggest
from hpsearch.sampling.readonly_storage import ReadOnlyStorage
from hpsearch.storage import results, studies, workers
from hpsearch.storage.artifacts.study_artifacts import StudyArtifacts
from hpsearch.storage.database import Database
from hpsearch.storage.results import Trial
from hpsearch.storage.workers import WorkerIdentity
from tests.support import simulation
from tests.support.small_study import claim, metrics

DUMP = Path(__file__).parent / "data/database_a470102.sql.gz"

ORPHAN = 8
"""The number of the running trial: a worker told to leave stored its checkpoint, and the next worker died."""

OLDER_ENDS = {None, *AttemptEnd} - {AttemptEnd.AT_CHANCE}
"""How attempts ended in the older code, which took a trial at chance for diverged."""


@pytest.fixture
def older_storage(empty_storage: str) -> str:
    """Return the URL of a database as the older code left it."""
    with closing(psycopg2.connect(empty_storage)) as connection, connection.cursor() as cursor:
        cursor.execute(gzip.decompress(DUMP.read_bytes()).decode())
        connection.commit()
    return empty_storage


@pytest.fixture
def upgraded(older_storage: str) -> Iterator[Database]:
    """Yield the same database after `hpsearch db upgrade`."""
    run("db", "upgrade", storage=older_storage)
    database = Database(older_storage)
    yield database
    database.close()


def run(*arguments: str, storage: str) -> str:
    """Run a command of hpsearch on the database, and return what it prints."""
    command = [sys.executable, "-m", "hpsearch.cli.main", *arguments, "--storage", storage]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=250).stdout


def read_trials(database: Database, name: str = "old") -> list[Trial]:
    return database.transact(lambda connection: results.read(connection, name))[1]


def expire(database: Database) -> None:
    """Close the dead worker's attempt as an adopter would: a lease counts from the start of the tests' own server."""
    statement = "update hpsearch.attempts set ended_at = clock_timestamp(), why = 'lost' where ended_at is null"
    database.transact(lambda connection: connection.execute(text(statement)))


def test_older_database_is_refused_until_it_is_upgraded(older_storage: str) -> None:
    """Its tables are of an older version, and the line says what to do."""
    with closing(Database(older_storage)) as older, pytest.raises(DatabaseError, match="run hpsearch db upgrade"):
        older.prepare()


def test_upgraded_database_shows_what_it_held(upgraded: Database) -> None:
    """Trials keep their states, outcomes and parameters, and attempts the ways they ended."""
    summary, trials = upgraded.transact(lambda connection: results.read(connection, "old"))
    assert summary.status is StudyStatus.RUNNING
    complete, pruned, failed = TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAILED
    states = [complete, complete, pruned, pruned, pruned, failed, failed, complete]
    assert [trial.state for trial in trials] == [*states, TrialState.RUNNING, TrialState.WAITING]
    assert [trial.outcome for trial in trials] == [
        TrialOutcome.COMPLETED,
        TrialOutcome.COMPLETED,
        TrialOutcome.PRUNED,
        TrialOutcome.DIVERGED,
        TrialOutcome.OUT_OF_MEMORY,
        TrialOutcome.STALLED,
        TrialOutcome.ERROR,
        TrialOutcome.COMPLETED,
        None,
        None,
    ]
    assert summary.best is not None
    assert summary.best["number"] == 7
    assert {attempt.why for trial in trials for attempt in trial.history} == OLDER_ENDS
    assert all(set(trial.params) == {"learning_rate", "optimizer", "dropout"} for trial in trials)
    assert {attempt.job for trial in trials for attempt in trial.history} == {None}
    assert len(trials[7].epochs) == 6
    assert trials[9].retry_of == 6


def test_end_that_only_older_code_stored_is_upgraded(older_storage: str) -> None:
    """A trainer that hung while its study was stopped and resumed left `stopped`, which is `released` now."""
    with closing(psycopg2.connect(older_storage)) as connection, connection.cursor() as cursor:
        cursor.execute("update hpsearch.attempts set why = 'stopped' where why = 'released'")
        assert cursor.rowcount
        connection.commit()
    run("db", "upgrade", storage=older_storage)
    with closing(Database(older_storage)) as database:
        ends = {attempt.why for trial in read_trials(database) for attempt in trial.history}
    assert ends == OLDER_ENDS


def test_commands_read_an_upgraded_database(upgraded: Database, tmp_path: Path) -> None:
    """Status, results, the evaluation and the report come from it."""
    storage = upgraded.url.set(drivername="postgresql").render_as_string(hide_password=False)
    status: dict[str, Any] = json.loads(run("status", "--json", storage=storage))
    assert [study["name"] for study in status["studies"]][:2] == ["old", "tested"]
    evaluation = json.loads(run("evaluate", "tested", "--json", storage=storage))
    assert [len(configuration["models"]) for configuration in evaluation["result"]["configurations"]] == [2]
    run("report", "tested", "--out", str(tmp_path / "report"), storage=storage)
    (page,) = (tmp_path / "report").glob("*.md")
    assert "## The test images" in page.read_text()


@pytest.mark.usefixtures("server_long_up")
def test_orphaned_trial_goes_on(upgraded: Database, tmp_path: Path) -> None:
    """The trial of the dead worker is claimed with its number, parameters, epochs and checkpoint, and completes."""
    before = read_trials(upgraded)[ORPHAN]
    study = upgraded.transact(lambda connection: studies.find(connection, "old"))
    worker = WorkerIdentity("w", "host", "CPU")
    upgraded.transact(lambda connection: workers.register(connection, worker, 1))
    attempt = claim(upgraded, study, worker)
    assert attempt is not None
    assert (attempt.trial_number, attempt.number, len(attempt.epochs)) == (ORPHAN, 3, 1)

    history = ReadOnlyStorage(study.study_id, study.spec.direction)
    upgraded.transact(history.refresh)
    params, writes = suggest.suggest(study.spec, history, attempt.trial_id, attempt.trial_number)
    assert params == before.params
    assert not writes.parameters

    artifacts = StudyArtifacts(upgraded, study.artifacts)
    assert artifacts.fetch(attempt, tmp_path / "checkpoint.npz")
    with np.load(tmp_path / "checkpoint.npz") as checkpoint:
        assert [epoch["epoch"] for epoch in json.loads(str(checkpoint["epochs"]))] == [1]

    for epoch in range(2, study.spec.budget.epochs + 1):
        upgraded.transact(lambda c: simulation.record(c, attempt, metrics(epoch, 0.9), history))
    artifacts.finish(attempt, {}, None)
    after = read_trials(upgraded)[ORPHAN]
    assert (after.state, after.params, after.value) == (TrialState.COMPLETE, before.params, 0.9)
    assert after.epochs[:1] == before.epochs
    assert [attempt.why for attempt in after.history] == [AttemptEnd.PREEMPTED, AttemptEnd.LOST, AttemptEnd.COMPLETED]


@pytest.mark.tensorflow
def test_worker_trains_the_orphaned_trial_on_from_its_checkpoint(upgraded: Database) -> None:
    """A worker resumes the older code's checkpoint: it trains the epochs after it, and none again."""
    before = read_trials(upgraded)[ORPHAN]
    expire(upgraded)
    storage = upgraded.url.set(drivername="postgresql").render_as_string(hide_password=False)
    run("worker", "--cpu", "--study", "old", "--trials", "1", storage=storage)
    after = read_trials(upgraded)[ORPHAN]
    assert after.state in {TrialState.COMPLETE, TrialState.PRUNED}
    assert after.params == before.params
    assert after.epochs[:1] == before.epochs
    assert len(after.epochs) == after.history[-1].epochs + 1
    assert after.confusion is not None
