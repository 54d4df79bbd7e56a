"""Passes that are repeated until a study is over."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from hpsearch.errors import DatabaseError, TrackerError, TrackerUnreachableError, UnreachableError
from hpsearch.mirror import following
from hpsearch.mirror.following import PassResult, StopRequestedError
from hpsearch.mirror.leases import HeldElsewhereError


class ScriptedMirror:
    """A mirror whose passes go as they are told; each is an error or what it wrote."""

    def __init__(self, *passes: Exception | PassResult) -> None:
        self.passes: Iterator[Exception | PassResult] = iter(passes)
        self.described: list[bool] = []

    def run_pass(self, *, describes_study: bool = True) -> PassResult:
        self.described.append(describes_study)
        result = next(self.passes)
        if isinstance(result, Exception):
            raise result
        return result


class Pauses(threading.Event):
    """An event that is not waited for: it notes for how long one would have."""

    def __init__(self, leave_after: int = 100) -> None:
        super().__init__()
        self.seconds: list[float] = []
        self._leave_after = leave_after

    def wait(self, timeout: float | None = None) -> bool:
        self.seconds.append(timeout or 0.0)
        return len(self.seconds) > self._leave_after


GOES_ON, OVER = PassResult(False, 1, 2), PassResult(True, 1, 1)


def follow(mirror: Any, pauses: Pauses) -> tuple[PassResult, list[str]]:
    lines: list[str] = []
    return following.follow(mirror, pauses, lines.append), lines


def test_passes_are_made_until_the_study_is_over() -> None:
    """With a pause between two; what they wrote is added up."""
    pauses = Pauses()
    result, lines = follow(ScriptedMirror(GOES_ON, GOES_ON, OVER), pauses)
    assert result == PassResult(True, 3, 5)
    assert lines == []
    assert len(pauses.seconds) == 2
    assert all(following.POLL_SECONDS <= seconds < 2 * following.POLL_SECONDS for seconds in pauses.seconds)


@pytest.mark.parametrize("error", [UnreachableError, TrackerUnreachableError])
def test_an_outage_is_waited_out(error: type[Exception]) -> None:
    """With growing pauses, a line when it begins and one when it is over."""
    pauses = Pauses()
    gone = [error("it does not answer")] * 6
    _, lines = follow(ScriptedMirror(GOES_ON, *gone, OVER), pauses)
    assert pauses.seconds[1:] == [5, 10, 20, 40, 60, 60]
    assert lines == ["it does not answer: trying again until it does", "it goes on"]


@pytest.mark.parametrize("error", [DatabaseError, TrackerError])
def test_what_no_later_try_mends_ends_it(error: type[Exception]) -> None:
    """A refusal is raised at once."""
    with pytest.raises(error, match="no rights"):
        follow(ScriptedMirror(error("no rights")), Pauses())


def test_another_mirror_is_waited_for() -> None:
    """Of two that follow at once each makes a pass when the other makes none."""
    _, lines = follow(ScriptedMirror(*[HeldElsewhereError("another one writes")] * 3, OVER), Pauses())
    assert lines == ["another one writes: waiting for it", "it goes on"]


def test_it_leaves_when_it_is_told_to() -> None:
    """In the pause between two passes."""
    with pytest.raises(StopRequestedError):
        follow(ScriptedMirror(GOES_ON, GOES_ON), Pauses(leave_after=0))


def test_the_answer_is_not_computed_in_each_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes at most a twentieth of the time."""
    clock = iter([0.0, 2.0, 2.0, 10.0, 10.1, 50.0, 50.1, 50.1])
    monkeypatch.setattr("hpsearch.mirror.following.time.monotonic", lambda: next(clock))
    mirror = ScriptedMirror(GOES_ON, GOES_ON, OVER)
    follow(mirror, Pauses())
    assert mirror.described == [True, False, True]
