"""Who writes to a tracker, and what the database keeps of it."""

import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import text

from hpsearch.cli.main import app
from hpsearch.errors import ExitCode, NotFoundError, TrackerError
from hpsearch.mirror import following
from hpsearch.mirror.events import list_events
from hpsearch.mirror.following import StopRequestedError
from hpsearch.mirror.leases import HeldElsewhereError
from hpsearch.mirror.mirroring import Mirror
from hpsearch.mirror.mlflow_tracker import MlflowTracker
from hpsearch.mirror.runs import LoggedEpoch, StudyRun, TrialRun
from hpsearch.mirror.tensorboard_tracker import TensorboardTracker
from hpsearch.mirror.tracker import RunRemovedError, StudyText, TrialFiles
from hpsearch.mirror.wandb_tracker import WandbTracker
from hpsearch.storage import study_control, study_deletion
from hpsearch.storage.attempts import Attempt
from hpsearch.storage.database import Database
from hpsearch.storage.events import history as histories
from hpsearch.storage.studies import Study
from hpsearch.storage.tables import mirrors
from tests.support.evaluated_study import request_evaluation, train_trial
from tests.support.tracked_study import expire


class MemoryTracker:
    """A tracker that keeps in memory what it is given."""

    kind = "memory"
    destination = "here"

    def __init__(self, removed: int | None = None) -> None:
        self.epochs: dict[str, list[LoggedEpoch]] = {}
        self.studies: list[StudyRun] = []
        self.forgotten = 0
        self.during: Callable[[], object] = lambda: None
        self._removed = removed

    def open_study(self, study: StudyRun, run_id: str | None) -> str:
        return study.key

    def open_trial(self, trial: TrialRun, run_id: str | None) -> str:
        if trial.number == self._removed:
            raise RunRemovedError(f"{trial.title} was removed")
        return trial.key

    def write_trial(self, run_id: str, trial: TrialRun, files: TrialFiles | None) -> None:
        self.epochs[run_id] = list(trial.epochs)
        self.during()

    def write_study(self, run_id: str, study: StudyRun, shown: StudyText) -> None:
        self.epochs[run_id] = []
        self.studies.append(study)

    def forget(self) -> None:
        self.forgotten += 1

    def close(self) -> None:
        pass


def make_mirror(database: Database, study: Study, tracker: MemoryTracker, lines: list[str] | None = None) -> Mirror:
    said: list[str] = [] if lines is None else lines
    return Mirror(database, study, tracker, threading.Event(), said.append)


@pytest.fixture
def running(started: Callable[..., Study], begin: Callable[..., Attempt]) -> Study:
    """A study with two running trials."""
    study = started()
    begin(study, 0.5), begin(study, 0.6)
    return study


@pytest.mark.parametrize(
    ("tracker", "package", "remedy"),
    [
        (MlflowTracker, "mlflow", "pip install mlflow-skinny"),
        (TensorboardTracker, "tensorboard.compat.proto.event_pb2", "pip install tensorboard"),
        (WandbTracker, "wandb", "pip install wandb"),
    ],
)
def test_without_the_client_a_line_says_what_to_install(
    tracker: Callable[[str], object], package: str, remedy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clients are extras."""
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(TrackerError, match=f"{remedy}$"):
        tracker("somewhere")


@pytest.mark.usefixtures("plain")
def test_one_process_writes_at_a_time(database: Database, running: Study) -> None:
    """Another one is told who does, and has its turn afterwards; then the first reads the tracker anew."""
    first, second = MemoryTracker(), MemoryTracker()
    others = make_mirror(database, running, second)

    def meet() -> None:
        with pytest.raises(HeldElsewhereError, match=r"another hpsearch mirror \(process \d+ on "):
            others.run_pass()

    first.during = meet
    mirror = make_mirror(database, running, first)
    assert mirror.run_pass(describes_study=False).epochs == 2
    forgotten = first.forgotten
    mirror.run_pass(describes_study=False)
    assert first.forgotten == forgotten
    assert others.run_pass(describes_study=False).runs == 0
    mirror.run_pass(describes_study=False)
    assert first.forgotten == forgotten + 1


@pytest.mark.usefixtures("plain")
def test_who_was_not_heard_of_is_replaced(database: Database, running: Study) -> None:
    """A frozen process stores nothing more once another one has taken over."""
    frozen, tracker = MemoryTracker(), MemoryTracker()

    def take_over() -> None:
        expire(database)
        make_mirror(database, running, tracker).run_pass(describes_study=False)
        frozen.during = lambda: None

    frozen.during = take_over
    with pytest.raises(HeldElsewhereError, match="has taken over"):
        make_mirror(database, running, frozen).run_pass(describes_study=False)
    assert len(tracker.epochs) == 2


def test_a_removed_run_is_passed_over(database: Database, running: Study) -> None:
    """The others are mirrored, and a line says so once."""
    lines: list[str] = []
    mirror = make_mirror(database, running, MemoryTracker(removed=0), lines)
    assert mirror.run_pass(describes_study=False).runs == 1
    assert mirror.run_pass(describes_study=False).runs == 0
    assert lines == ["trial 0 was removed"]


def test_a_pass_ends_when_it_is_told_to(database: Database, running: Study) -> None:
    """Between two trials; the next pass goes on."""
    leave, tracker = threading.Event(), MemoryTracker()
    tracker.during = leave.set
    with pytest.raises(StopRequestedError):
        Mirror(database, running, tracker, leave, print).run_pass()
    assert make_mirror(database, running, tracker).run_pass(describes_study=False).runs == 1


def test_a_deleted_study_takes_its_mirrors_along(database: Database, running: Study, tmp_path: Path) -> None:
    """The rows go with it, and a mirror that follows it ends with a line."""
    mirror = make_mirror(database, running, MemoryTracker())
    mirror.run_pass(describes_study=False)
    database.transact(lambda connection: study_deletion.delete(connection, running.study_id))
    query = text("select count(*) from hpsearch.mirrors full join hpsearch.mirrored_runs using (mirror_id)")
    assert database.transact(lambda connection: connection.scalar(query)) == 0
    with pytest.raises(NotFoundError, match="no longer in the database"):
        mirror.run_pass()


def test_a_study_deleted_before_or_during_a_pass_is_a_line(database: Database, running: Study) -> None:
    """A mirror that had not begun yet, and one that has read only part of it."""
    database.transact(lambda connection: study_deletion.delete(connection, running.study_id))
    with pytest.raises(NotFoundError, match="no longer in the database"):
        make_mirror(database, running, MemoryTracker()).run_pass()
    with pytest.raises(NotFoundError, match="no longer in the database"):
        database.transact(lambda connection: mirrors.read_created_at(connection, running.study_id))


@pytest.mark.usefixtures("plain")
def test_an_evaluation_has_no_best_trial(
    database: Database, finished_search: Callable[..., Study], tmp_path: Path
) -> None:
    """In a tracker as at a webhook, since no trial is chosen by the test images; its trials have their values."""
    finished_search([0.5, 0.7])
    evaluated = request_evaluation(database)
    train_trial(database, evaluated, tmp_path / "predictions.npz")
    study = evaluated.study
    assert study is not None
    database.transact(lambda connection: study_control.stop(connection, study.name))
    tracker = MemoryTracker()
    assert make_mirror(database, study, tracker).run_pass().is_over
    (shown,) = tracker.studies
    assert (shown.best, shown.facts.get("best_trial")) == ({}, None)
    ((trial,),) = [epochs[-1:] for epochs in tracker.epochs.values() if epochs]
    assert "test_accuracy" in trial.figures
    history = database.transact(lambda connection: histories.read(connection, study.study_id))
    (end,) = [event for event in list_events(history, ()) if event.is_last]
    assert end.details["best"] is None


@pytest.mark.parametrize(("options", "code"), [((), ExitCode.INTERRUPTED), (("--follow",), ExitCode.DONE)])
def test_only_a_pass_that_was_cut_short_exits_with_130(
    storage: str, running: Study, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], code: ExitCode
) -> None:
    """Who follows a study is ended by Ctrl-C; a script that waits for one pass must not take part of it for all."""

    def leave(*_: object) -> None:
        raise StopRequestedError

    monkeypatch.setattr(following, "run_once", leave)
    monkeypatch.setattr(following, "follow", leave)
    arguments = ["mirror", running.name, "--webhook", "http://127.0.0.1:1/", "--storage", storage, *options]
    assert (app(arguments, standalone_mode=False) or ExitCode.DONE) == code
