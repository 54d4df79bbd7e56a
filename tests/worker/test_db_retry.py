"""Work that is repeated while the database is unreachable."""

import time

import pytest

from hpsearch.errors import UnreachableError
from hpsearch.storage.database import Database
from hpsearch.worker.db_retry import DatabaseRetry
from hpsearch.worker.timing import Timing


@pytest.fixture
def nowhere() -> Database:
    """A database that work which fails by itself does not connect to."""
    return Database("postgresql://somebody@nowhere.invalid/nothing")


def test_outage_is_reported_once_and_waited_out(nowhere: Database) -> None:
    """Work is repeated until the database answers, with one line about the outage."""
    lines: list[str] = []
    failures = [UnreachableError("no route"), UnreachableError("no route")]

    def work() -> str:
        if failures:
            raise failures.pop()
        return "done"

    assert DatabaseRetry(nowhere, lines.append, Timing(retry=0.0)).retry(work) == "done"
    assert lines == ["no route; waiting for it"]


def test_worker_that_was_told_to_stop_gives_up(nowhere: Database) -> None:
    """Once a stop was requested, work is repeated for the time to leave and then fails."""
    tries = 0

    def work() -> None:
        nonlocal tries
        tries += 1
        nowhere.limits.record(time.monotonic(), answered=False)
        if tries == 3:
            nowhere.limits.hurry(leave=0.0)
        raise UnreachableError("no route")

    with pytest.raises(UnreachableError):
        DatabaseRetry(nowhere, print, Timing(retry=0.0)).retry(work)
    assert tries == 3


def test_other_errors_are_not_retried(nowhere: Database) -> None:
    """What no outage explains is raised at once."""

    def work() -> None:
        raise ValueError("a bug")

    with pytest.raises(ValueError, match="a bug"):
        DatabaseRetry(nowhere, print, Timing()).retry(work)
