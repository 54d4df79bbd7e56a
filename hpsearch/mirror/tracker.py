"""What a mirror asks of a tracker; a module for each implements it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from hpsearch.errors import TrackerError
from hpsearch.mirror.runs import StudyRun, TrialRun


@dataclass(frozen=True)
class StudyText:
    """The question, how far the study is, and the answer, in Markdown; and the report's directory."""

    answer: str
    report: Path


@dataclass(frozen=True)
class TrialFiles:
    """The files of a trial: its plots by file name, and where it is kept the model."""

    pictures: Mapping[str, Path]
    model: Path | None


class RunRemovedError(TrackerError):
    """Somebody removed a run from the tracker, which does not take another one in its place."""


class Tracker(Protocol):
    """A tracker that is open for one study.

    Every call can be repeated: one that was cut short anywhere, in this process or another, leaves nothing that the
    same call does not complete, and no epoch twice.
    """

    kind: str
    """Its name in the database."""
    destination: str
    """Where it is, without a secret; on a host's own disk with the host's name."""

    def open_study(self, study: StudyRun, run_id: str | None) -> str:
        """Return the id of the study's run, which is made where there is none; `run_id` is the id it had."""

    def open_trial(self, trial: TrialRun, run_id: str | None) -> str:
        """Return the id of a trial's run, which is made where there is none; `run_id` is the id it had.

        Raises:
            RunRemovedError: somebody removed it.
        """

    def write_trial(self, run_id: str, trial: TrialRun, files: TrialFiles | None) -> None:
        """Log those of a trial's epochs that its run lacks; with `files`, as all else has changed, show that, too."""

    def write_study(self, run_id: str, study: StudyRun, shown: StudyText) -> None:
        """Show a study's state, question, answer and report."""

    def forget(self) -> None:
        """Read anew, when it is needed, what the runs have: another process may have written to them."""

    def close(self) -> None:
        """End what is open."""
