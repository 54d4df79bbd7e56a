"""What a worker asks of the database at each epoch."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import simulated
from small import claim, metrics
from sqlalchemy import event

from hpsearch import attempt
from hpsearch.attempt import Attempt
from hpsearch.backlog import Backlog
from hpsearch.database import Database
from hpsearch.depot import Depot
from hpsearch.history import History
from hpsearch.messages import EpochReport
from hpsearch.outcome import Ending
from hpsearch.roster import Holder
from hpsearch.study import Study

Started = Callable[..., Study]
Enrol = Callable[[str], Holder]

MATRIX = ((5, 1), (2, 4))


@contextmanager
def round_trips(database: Database) -> Iterator[list[str]]:
    """The statements in the block; those in a transaction stand between its BEGIN and its COMMIT."""
    asked: list[str] = []

    def execute(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        if not connection.connection.driver_connection.autocommit and connection.info.get("began") is None:
            connection.info["began"] = asked.append("BEGIN") or True
        asked.append(" ".join(statement.split()))

    def commit(connection: Any) -> None:
        if connection.info.pop("began", None):
            asked.append("COMMIT")

    event.listen(database.engine, "before_cursor_execute", execute)
    event.listen(database.engine, "commit", commit)
    yield asked
    event.remove(database.engine, "before_cursor_execute", execute)
    event.remove(database.engine, "commit", commit)


def backlog(database: Database, held: Attempt) -> Backlog:
    return Backlog(database, held, History(held.study.study_id, "maximize"), Depot(database, None), print)


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
        database.transact(lambda c, m=told: simulated.record(c, good, m, History(found.study_id, "maximize")))
    database.transact(lambda c: attempt.finish(c, good, Ending.COMPLETED, {}))
    kept = backlog(database, other)
    kept.add(EpochReport(metrics(1, 0.9), None, MATRIX))
    kept.add(EpochReport(metrics(2, 0.1), None, None))
    with round_trips(database) as asked:
        assert kept.store() is None
    assert len(asked) == 4, asked


def test_pruned_epoch_ends_the_trial_in_its_transaction(database: Database, started: Started, holder: Enrol) -> None:
    """Where the pruner ends the trial, everything written from the epoch on stands between one BEGIN and one COMMIT."""
    found, worker = started(pruner={"name": "median", "n_startup_trials": 1}), holder("w")
    good, bad = claim(database, found, worker), claim(database, found, worker)
    assert good is not None
    assert bad is not None
    database.transact(lambda c: simulated.record(c, good, metrics(1, 0.9), History(found.study_id, "maximize")))
    database.transact(lambda c: attempt.finish(c, good, Ending.COMPLETED, {}))
    kept = backlog(database, bad)
    kept.add(EpochReport(metrics(1, 0.1), None, MATRIX))
    with round_trips(database) as asked:
        assert kept.store() is not None
    assert (asked[1], asked[-1]) == ("BEGIN", "COMMIT")
    assert asked.count("BEGIN") == asked.count("COMMIT") == 1
    assert "hpsearch.epochs" in asked[2]
