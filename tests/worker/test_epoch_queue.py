"""The statements that a worker sends to the database at each epoch."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
from sqlalchemy import event

from hpsearch.errors import UnreachableError
from hpsearch.metrics import Direction
from hpsearch.outcomes import AttemptEnd, TrialOutcome
from hpsearch.sampling.readonly_storage import ReadOnlyStorage
from hpsearch.storage import attempts
from hpsearch.storage.artifacts.study_artifacts import StudyArtifacts
from hpsearch.storage.attempts import Attempt
from hpsearch.storage.database import Database
from hpsearch.storage.studies import Study
from hpsearch.storage.workers import WorkerIdentity
from hpsearch.training.protocol import EpochReport
from hpsearch.worker.epoch_queue import EpochQueue
from tests.support import simulation
from tests.support.small_study import claim, end_session, metrics

Started = Callable[..., Study]
Enrol = Callable[[str], WorkerIdentity]

MATRIX = ((5, 1), (2, 4))


@contextmanager
def round_trips(database: Database) -> Iterator[list[str]]:
    """The statements in the block; those in a transaction stand between its BEGIN and its COMMIT."""
    sent: list[str] = []

    def execute(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        if not connection.connection.driver_connection.autocommit and connection.info.get("began") is None:
            connection.info["began"] = True
            sent.append("BEGIN")
        sent.append(" ".join(statement.split()))

    def commit(connection: Any) -> None:
        if connection.info.pop("began", None):
            sent.append("COMMIT")

    event.listen(database.engine, "before_cursor_execute", execute)
    event.listen(database.engine, "commit", commit)
    yield sent
    event.remove(database.engine, "before_cursor_execute", execute)
    event.remove(database.engine, "commit", commit)


@contextmanager
def broken_at(database: Database, what: str) -> Iterator[None]:
    """The server ends the connection of each statement in the block that says `what`, just before it is sent."""

    def end(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        if what in statement:
            end_session(database, connection.connection.driver_connection)

    event.listen(database.engine, "before_cursor_execute", end)
    yield
    event.remove(database.engine, "before_cursor_execute", end)


def make_queue(database: Database, attempt: Attempt) -> EpochQueue:
    return EpochQueue(
        database,
        attempt,
        ReadOnlyStorage(attempt.study.study_id, Direction.MAXIMIZE),
        StudyArtifacts(database, None),
        print,
        lambda: None,
    )


def test_epoch_is_one_round_trip(database: Database, started: Started, holder: Enrol) -> None:
    """Without a pruner an epoch is a single statement, which is a transaction by itself, matrix and all."""
    attempt = claim(database, started(), holder("w"))
    assert attempt is not None
    queue = make_queue(database, attempt)
    queue.add(EpochReport(metrics(1), None, MATRIX))
    with round_trips(database) as sent:
        assert queue.store() is None
    assert len(sent) == 1, sent


def test_pruner_costs_an_epoch_one_round_trip_more(database: Database, started: Started, holder: Enrol) -> None:
    """Where the pruner compares an epoch and lets the trial go on, what is new is read in one statement before."""
    pruner = {"name": "median", "n_startup_trials": 1}
    study, worker = started(pruner=pruner), holder("w")
    good, other = claim(database, study, worker), claim(database, study, worker)
    assert good is not None
    assert other is not None
    for epoch, value in ((1, 0.5), (2, 0.6), (3, 0.7)):
        epoch_metrics = metrics(epoch, value)
        storage = ReadOnlyStorage(study.study_id, Direction.MAXIMIZE)
        database.transact(partial(simulation.record, attempt=good, metrics=epoch_metrics, storage=storage))
    database.transact(lambda c: attempts.finish(c, good, TrialOutcome.COMPLETED, {}))
    queue = make_queue(database, other)
    queue.add(EpochReport(metrics(1, 0.9), None, MATRIX))
    queue.add(EpochReport(metrics(2, 0.1), None, None))
    with round_trips(database) as sent:
        assert queue.store() is None
    assert len(sent) == 4, sent


def test_pruner_compares_at_its_rungs_alone(database: Database, started: Started, holder: Enrol) -> None:
    """Between two rungs an epoch is a single statement; at a rung, what is new is read before."""
    study = started(pruner={"name": "asha", "min_resource": 2}, budget={"trials": 4, "epochs": 9})
    attempt = claim(database, study, holder("w"))
    assert attempt is not None
    queue, statements = make_queue(database, attempt), []
    for epoch in (1, 2, 3):
        queue.add(EpochReport(metrics(epoch), None, None))
        with round_trips(database) as sent:
            assert queue.store() is None
        statements.append(len(sent))
    assert statements == [1, 2, 1]


def make_queue_after_missed_rung(database: Database, study: Study, worker: WorkerIdentity) -> EpochQueue:
    """Return the queue of a bad trial in its second attempt: epoch 2, a rung, was only restored; epoch 3 is queued."""
    storage = ReadOnlyStorage(study.study_id, Direction.MAXIMIZE)
    good, bad = claim(database, study, worker), claim(database, study, worker)
    assert good is not None
    assert bad is not None
    for epoch_metrics in (metrics(1, 0.9), metrics(2, 0.9)):
        database.transact(partial(simulation.record, attempt=good, metrics=epoch_metrics, storage=storage))
    database.transact(lambda c: attempts.release(c, bad, AttemptEnd.PREEMPTED))
    again = claim(database, study, worker)
    assert again is not None
    assert (again.trial_id, again.number) == (bad.trial_id, 2)
    database.transact(lambda c: attempts.restore_epochs(c, again, (metrics(1, 0.1), metrics(2, 0.1))))
    queue = make_queue(database, again)
    queue.add(EpochReport(metrics(3, 0.1), None, None))
    return queue


def test_rung_missed_in_an_outage_is_compared_at_the_next_epoch(
    database: Database, started: Started, holder: Enrol
) -> None:
    """A trial whose rung was only restored from its checkpoint is compared at the next epoch, and pruned there."""
    study = started(pruner={"name": "asha", "min_resource": 2}, budget={"trials": 4, "epochs": 9})
    assert make_queue_after_missed_rung(database, study, holder("w")).store() is not None


def test_missed_rung_is_compared_again_where_its_epoch_cannot_be_stored(
    database: Database, started: Started, holder: Enrol
) -> None:
    """Where the connection breaks after the comparison, it is made anew once the epoch can be stored, and prunes."""
    study = started(pruner={"name": "asha", "min_resource": 2}, budget={"trials": 4, "epochs": 9})
    queue = make_queue_after_missed_rung(database, study, holder("w"))
    with broken_at(database, "insert into hpsearch.epochs"), pytest.raises(UnreachableError):
        queue.store()
    assert queue.store() is not None


def test_pruned_epoch_ends_the_trial_in_its_transaction(database: Database, started: Started, holder: Enrol) -> None:
    """Where the pruner ends the trial, everything written from the epoch on stands between one BEGIN and one COMMIT."""
    study, worker = started(pruner={"name": "median", "n_startup_trials": 1}), holder("w")
    good, bad = claim(database, study, worker), claim(database, study, worker)
    assert good is not None
    assert bad is not None
    database.transact(
        lambda c: simulation.record(c, good, metrics(1, 0.9), ReadOnlyStorage(study.study_id, Direction.MAXIMIZE))
    )
    database.transact(lambda c: attempts.finish(c, good, TrialOutcome.COMPLETED, {}))
    queue = make_queue(database, bad)
    queue.add(EpochReport(metrics(1, 0.1), None, MATRIX))
    with round_trips(database) as sent:
        assert queue.store() is not None
    assert (sent[1], sent[-1]) == ("BEGIN", "COMMIT")
    assert sent.count("BEGIN") == sent.count("COMMIT") == 1
    assert "hpsearch.epochs" in sent[2]
