"""Repeat passes until a study is over, through outages of the database and of the tracker."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from hpsearch.errors import HpsearchError, StatementError, TrackerUnreachableError, UnreachableError
from hpsearch.mirror.leases import HeldElsewhereError

POLL_SECONDS = 5.0
"""Between two passes."""
MAX_PAUSE = 60.0
"""Between two tries at something that does not answer; the first is after POLL_SECONDS, each later one doubles."""
MAX_SHARE = 0.1
"""The fraction of the time that passes take at most."""
MAX_STUDY_SHARE = 0.05
"""The fraction of the time that goes at most into the answer and the report of a study that goes on."""

PASSING = (UnreachableError, StatementError, TrackerUnreachableError)
"""What a later try may not meet."""

Tell = Callable[[str], None]


class StopRequestedError(Exception):
    """The process was told to leave."""


@dataclass(frozen=True)
class PassResult:
    """What a pass wrote, and whether nothing more is to come."""

    is_over: bool
    runs: int
    epochs: int


class PassMaker(Protocol):
    """What makes passes over a study: a mirror of it in a tracker, or at a webhook."""

    def run_pass(self, *, describes_study: bool = True) -> PassResult:
        """Write what the receiver lacks; of the study itself where `describes_study`, or nothing more is to come."""


def run_once(mirror: PassMaker, leave: threading.Event, tell: Tell) -> PassResult:
    """Make one pass, after that of another process where one is at it."""
    told = False
    while True:
        try:
            return mirror.run_pass()
        except HeldElsewhereError as error:
            if not told:
                tell(f"{error}: waiting for it")
            told = True
        if leave.wait(1.0):
            raise StopRequestedError


def follow(mirror: PassMaker, leave: threading.Event, tell: Tell) -> PassResult:
    """Make passes until the study is over, and return what all of them wrote.

    Raises:
        StopRequestedError: `leave` was set.
        TrackerError: the tracker refuses what no later try mends.
        DatabaseError: the database refuses us.
    """
    runs = epochs = 0
    pause, failing, next_study = POLL_SECONDS, "", 0.0
    while True:
        began = time.monotonic()
        describes_study = began >= next_study
        try:
            result = mirror.run_pass(describes_study=describes_study)
            runs, epochs = runs + result.runs, epochs + result.epochs
            if failing:
                tell("it goes on")
            spent, pause, failing = time.monotonic() - began, POLL_SECONDS, ""
            if result.is_over:
                return PassResult(True, runs, epochs)
            pause = max(pause, spent / MAX_SHARE)
            if describes_study:
                next_study = time.monotonic() + spent / MAX_STUDY_SHARE
        except HeldElsewhereError as error:
            pause = POLL_SECONDS
            failing = _tell_change(tell, failing, error, "waiting for it")
        except PASSING as error:
            pause = min(2 * pause, MAX_PAUSE) if failing else POLL_SECONDS
            failing = _tell_change(tell, failing, error, "trying again until it does")
        if leave.wait(pause):
            raise StopRequestedError


def _tell_change(tell: Tell, failing: str, error: HpsearchError, remedy: str) -> str:
    """Say what fails, once for each kind of it, and return that."""
    kind = type(error).__name__
    if kind != failing:
        tell(f"{error}: {remedy}")
    return kind
