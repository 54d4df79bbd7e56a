"""Work that is repeated while the database is unreachable."""

from typing import Any

import pytest

from hpsearch.errors import UnreachableError
from hpsearch.worker.db_retry import DatabaseRetry, StopRequest
from hpsearch.worker.timing import Timing

UNUSED: Any = None
"""The database, which work that fails by itself has no use for."""


def test_outage_is_reported_once_and_waited_out() -> None:
    """Work is repeated until the database answers, with one line about the outage."""
    lines: list[str] = []
    failures = [UnreachableError("no route"), UnreachableError("no route")]

    def work() -> str:
        if failures:
            raise failures.pop()
        return "done"

    assert DatabaseRetry(UNUSED, StopRequest(), lines.append, Timing(retry=0.0)).retry(work) == "done"
    assert lines == ["no route; waiting for it"]


def test_worker_that_was_told_to_stop_gives_up() -> None:
    """Once a stop was requested, work is repeated for the time to leave and then fails."""
    stop, tries = StopRequest(), 0

    def work() -> None:
        nonlocal tries
        tries += 1
        stop.requested = tries == 3
        raise UnreachableError("no route")

    with pytest.raises(UnreachableError):
        DatabaseRetry(UNUSED, stop, print, Timing(retry=0.0, leave=0.0)).retry(work)
    assert tries == 3


def test_other_errors_are_not_retried() -> None:
    """What no outage explains is raised at once."""

    def work() -> None:
        raise ValueError("a bug")

    with pytest.raises(ValueError, match="a bug"):
        DatabaseRetry(UNUSED, StopRequest(), print, Timing()).retry(work)
