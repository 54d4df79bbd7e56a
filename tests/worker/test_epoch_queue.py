"""What a worker asks of the database at each epoch."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import event

from hpsearch.errors import UnreachableError
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
    asked: list[str] = []

    def execute(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        if not connection.connection.driver_connection.autocommit and connection.info.get("began") is None:
            connection.info["began"] = True
            asked.append("BEGIN")
        asked.append(" ".join(statement.split()))

    def commit(connection: Any) -> None:
        if connection.info.pop("began", None):
            asked.append("COMMIT")

    event.listen(database.engine, "before_cursor_execute", execute)
    event.listen(database.engine, "commit", commit)
    yield asked
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


def backlog(database: Database, held: Attempt) -> EpochQueue:
    return EpochQueue(
        database, held, ReadOnlyStorage(held.study.study_id, "maximize"), StudyArtifacts(database, None), print
    )


def test_epoch_is_one_round_trip(database: Database, started: Started, holder: Enrol) -> None:
    """Without a pruner an epoch is a single statement, which is a transaction by itself, matrix and all."""
    held = claim(database, started(), holder("w"))
    assert held is not None
    kept = backlog(database, held)
    kept.add(EpochReport(metrics(1), None, MATRIX))
    with round_trips(database) as asked:
        assert kept.store() is None
    assert len(asked) == 1, asked


def test_pruner_costs_an_epoch_one_round_trip_more(database: Database, started: Started, holder: Enrol) -> None:
    """Where the pruner is asked and lets the trial go on, what is new is read in one statement before."""
    pruner = {"name": "median", "n_startup_trials": 1}
    found, worker = started(pruner=pruner), holder("w")
    good, other = claim(database, found, worker), claim(database, found, worker)
    assert good is not None
    assert other is not None
    for epoch, value in ((1, 0.5), (2, 0.6), (3, 0.7)):
        told = metrics(epoch, value)
        database.transact(lambda c: simulation.record(c, good, told, ReadOnlyStorage(found.study_id, "maximize")))
    database.transact(lambda c: attempts.finish(c, good, TrialOutcome.COMPLETED, {}))
    kept = backlog(database, other)
    kept.add(EpochReport(metrics(1, 0.9), None, MATRIX))
    kept.add(EpochReport(metrics(2, 0.1), None, None))
    with round_trips(database) as asked:
        assert kept.store() is None
    assert len(asked) == 4, asked


def test_pruner_is_asked_at_its_rungs_alone(database: Database, started: Started, holder: Enrol) -> None:
    """Between two rungs an epoch is a single statement; at a rung, what is new is read before."""
    found = started(pruner={"name": "asha", "min_resource": 2}, budget={"trials": 4, "epochs": 9})
    held = claim(database, found, holder("w"))
    assert held is not None
    kept, asked_of = backlog(database, held), []
    for epoch in (1, 2, 3):
        kept.add(EpochReport(metrics(epoch), None, None))
        with round_trips(database) as asked:
            assert kept.store() is None
        asked_of.append(len(asked))
    assert asked_of == [1, 2, 1]


def swallowed_rung(database: Database, found: Study, worker: WorkerIdentity) -> EpochQueue:
    """Of a bad trial in its second attempt: its rung at epoch 2 was only brought back, and epoch 3 is to be stored."""
    history = ReadOnlyStorage(found.study_id, "maximize")
    good, bad = claim(database, found, worker), claim(database, found, worker)
    assert good is not None
    assert bad is not None
    for told in (metrics(1, 0.9), metrics(2, 0.9)):
        database.transact(lambda c: simulation.record(c, good, told, history))
    database.transact(lambda c: attempts.release(c, bad, AttemptEnd.PREEMPTED))
    again = claim(database, found, worker)
    assert again is not None
    assert (again.trial_id, again.number) == (bad.trial_id, 2)
    database.transact(lambda c: attempts.restore_epochs(c, again, (metrics(1, 0.1), metrics(2, 0.1))))
    kept = backlog(database, again)
    kept.add(EpochReport(metrics(3, 0.1), None, None))
    return kept


def test_rung_that_an_outage_swallowed_is_made_up_for(database: Database, started: Started, holder: Enrol) -> None:
    """A trial whose rung was only brought back by its checkpoint is compared at the next epoch, and pruned there."""
    found = started(pruner={"name": "asha", "min_resource": 2}, budget={"trials": 4, "epochs": 9})
    assert swallowed_rung(database, found, holder("w")).store() is not None


def test_rung_is_still_owed_where_its_epoch_cannot_be_stored(
    database: Database, started: Started, holder: Enrol
) -> None:
    """Where the connection breaks after the comparison, it is made anew once the epoch can be stored, and prunes."""
    found = started(pruner={"name": "asha", "min_resource": 2}, budget={"trials": 4, "epochs": 9})
    kept = swallowed_rung(database, found, holder("w"))
    with broken_at(database, "insert into hpsearch.epochs"), pytest.raises(UnreachableError):
        kept.store()
    assert kept.store() is not None


def test_pruned_epoch_ends_the_trial_in_its_transaction(database: Database, started: Started, holder: Enrol) -> None:
    """Where the pruner ends the trial, everything written from the epoch on stands between one BEGIN and one COMMIT."""
    found, worker = started(pruner={"name": "median", "n_startup_trials": 1}), holder("w")
    good, bad = claim(database, found, worker), claim(database, found, worker)
    assert good is not None
    assert bad is not None
    database.transact(
        lambda c: simulation.record(c, good, metrics(1, 0.9), ReadOnlyStorage(found.study_id, "maximize"))
    )
    database.transact(lambda c: attempts.finish(c, good, TrialOutcome.COMPLETED, {}))
    kept = backlog(database, bad)
    kept.add(EpochReport(metrics(1, 0.1), None, MATRIX))
    with round_trips(database) as asked:
        assert kept.store() is not None
    assert (asked[1], asked[-1]) == ("BEGIN", "COMMIT")
    assert asked.count("BEGIN") == asked.count("COMMIT") == 1
    assert "hpsearch.epochs" in asked[2]
