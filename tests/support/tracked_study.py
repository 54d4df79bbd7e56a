"""A mirror of a study under test: opened as a new process would, and killed at a call of the test's choice."""

import base64
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from hpsearch.evaluation import answers
from hpsearch.mirror.following import PassResult
from hpsearch.mirror.mirroring import Mirror
from hpsearch.mirror.tracker import Tracker
from hpsearch.plotting import trial_plots
from hpsearch.report import report
from hpsearch.storage.database import Database
from hpsearch.storage.studies import Study

PICTURE = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
"""A PNG of one pixel."""


class Killed(BaseException):
    """The end of the process, so that no handler of the code under test takes it for an error."""


class KillSwitch:
    """Counts the calls that pass it, and ends the process before the one that is due."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.due: int | None = None

    def wrap(self, patch: pytest.MonkeyPatch, owner: Any, *names: str) -> None:
        """Have calls of these functions of `owner` pass the switch."""
        for name in names:
            patch.setattr(owner, name, self._guard(name, getattr(owner, name)))

    def _guard(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def guarded(*arguments: Any, **options: Any) -> Any:
            if threading.current_thread() is threading.main_thread():
                if self.due is not None and len(self.calls) >= self.due:
                    raise Killed
                self.calls.append(name)
            return function(*arguments, **options)

        return guarded


def run_pass(database: Database, study: Study, tracker: Tracker, **options: Any) -> PassResult:
    """Make one pass as a process of its own does."""
    try:
        return Mirror(database, study, tracker, threading.Event(), print).run_pass(**options)
    finally:
        tracker.close()


def expire(database: Database) -> None:
    """Let the hold of a killed mirror expire."""
    statement = (
        "update hpsearch.mirrors set held_until = clock_timestamp() - interval '1 s' where held_until is not null"
    )
    database.transact(lambda connection: connection.execute(text(statement)))


def forget_mirrors(database: Database) -> None:
    """Delete what the database knows of mirrors."""
    database.transact(lambda connection: connection.execute(text("delete from hpsearch.mirrors")))


@contextmanager
def plain_contents(patch: pytest.MonkeyPatch) -> Iterator[None]:
    """Spare the seconds of plots, answer and report: the note says that the answer is pending."""

    def write(source: Any, directory: Path) -> Path:
        directory.mkdir()
        (directory / "report.html").write_text("a report")
        return directory / "report.html"

    with patch.context() as context:
        context.setattr(report, "write", write)
        context.setattr(answers, "answer", lambda source: None)
        for name in ("draw_learning_curves", "draw_confusion_matrix"):
            context.setattr(trial_plots, name, lambda *arguments: PICTURE)
        yield
