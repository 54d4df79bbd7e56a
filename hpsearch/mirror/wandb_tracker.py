"""Weights & Biases: a run for the study and for each trial, grouped, with ids of our own that are resumed.

Online the server says which step comes next. Offline a run is a directory that W&B only ever begins anew, so that it is
written whole, beside the old one, and takes its place: `wandb sync` finds each run once.
"""

import os
import shutil
import socket
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from hpsearch.errors import HpsearchError, TrackerError, TrackerUnreachableError, first_line, shorten
from hpsearch.mirror.runs import StudyRun, TrialRun
from hpsearch.mirror.tracker import StudyText, TrialFiles
from hpsearch.outcomes import TrialState

DEFAULTS = {"WANDB_ERROR_REPORTING": "false", "WANDB_SILENT": "true"}
"""What the environment may set otherwise: W&B itself reports its errors to its makers."""

SETTINGS: Mapping[str, Any] = {
    "console": "off",
    "disable_code": True,
    "disable_git": True,
    "disable_job_creation": True,
    "save_code": False,
    "x_disable_machine_info": True,
    "x_disable_meta": True,
    "x_disable_stats": True,
    "x_save_requirements": False,
}
"""This process did not train: its code, host and load say nothing of the trial."""


class WandbTracker:
    """A W&B project, as PROJECT or ENTITY/PROJECT, for one study.

    Raises:
        TrackerError: its client is not installed, has no key, or is disabled.
    """

    kind = "wandb"

    def __init__(self, project: str) -> None:
        for name, value in DEFAULTS.items():
            os.environ.setdefault(name, value)
        try:
            import wandb
        except ImportError:
            raise TrackerError("--wandb needs the extra hpsearch[wandb]: pip install wandb") from None
        self._wandb: Any = wandb
        self._entity, _, self._project = project.rpartition("/")
        try:
            settings = wandb.setup().settings
        except (wandb.errors.Error, ValueError) as error:  # also those of pydantic
            raise TrackerError(f"W&B's own settings are at fault: {shorten(first_line(error), 160)}") from None
        mode = settings.mode
        self._offline = mode in {"offline", "dryrun"}
        self._directory = Path(os.environ.get("WANDB_DIR") or ".").absolute() / "wandb"
        self.destination = f"W&B project {project}"
        if self._offline:
            self.destination += f", offline in {self._directory} on {socket.gethostname()}"
        elif mode == "disabled":
            raise TrackerError("W&B is disabled (WANDB_MODE): set it to online or offline")
        elif not settings.api_key and not wandb.api.api_key:
            raise TrackerError("W&B has no API key: set WANDB_API_KEY or run wandb login; or set WANDB_MODE=offline")
        self._group = ""
        self._sessions: dict[str, Any] = {}

    def open_study(self, study: StudyRun, run_id: str | None) -> str:
        """Return the id of the study's run, which is its key; see `Tracker`."""
        self._group = f"{study.name}-{study.key[:6]}"
        return study.key

    def open_trial(self, trial: TrialRun, run_id: str | None) -> str:
        """Return the id of a trial's run, which is its key; see `Tracker`."""
        return trial.key

    def write_trial(self, run_id: str, trial: TrialRun, files: TrialFiles | None) -> None:
        """Log the epochs that a trial's run lacks, and once it has ended all else; see `Tracker`."""
        options = {"name": trial.title, "job_type": "trial", "config": dict(trial.params)}
        with self._open(run_id, trial.began, options, trial.ended, trial.state) as (run, last):
            for epoch in trial.epochs:
                if epoch.epoch > last:
                    run.log({**epoch.figures, "epoch": epoch.epoch}, step=epoch.epoch)
            run.config.update(dict(trial.params), allow_val_change=True)  # of a run that began before they were known
            run.summary.update({**trial.facts, **trial.best, "began": trial.began.isoformat()})
            if files is not None:
                for name, path in files.pictures.items():
                    run.summary[Path(name).stem] = self._wandb.Image(str(path))
                if files.model is not None:
                    _keep_file(run, files.model)

    def write_study(self, run_id: str, study: StudyRun, shown: StudyText) -> None:
        """Show a study's state, question, answer and report; see `Tracker`."""
        options = {"name": study.title, "job_type": "study", "notes": shown.answer, "config": dict(study.fixed)}
        with self._open(run_id, study.began, options, study.now) as (run, _):
            run.summary.update({**study.facts, **study.best, "answer": shown.answer})
            _keep_file(run, shown.report / "report.html")  # which needs no other file

    def forget(self) -> None:
        """Read anew what the runs have; see `Tracker`."""
        self.close()

    def close(self) -> None:
        """End the runs of trials that go on; who mirrors next resumes them."""
        sessions, self._sessions = self._sessions, {}
        for run, _ in sessions.values():
            with self._translate():
                run.finish()

    @contextmanager
    def _open(
        self,
        run_id: str,
        began: datetime,
        options: Mapping[str, Any],
        ended: datetime | None,
        state: TrialState = TrialState.COMPLETE,
    ) -> Iterator[tuple[Any, int]]:
        """Open a run, with the last step that it has, for the block; online one that has not ended stays open."""
        if self._offline:
            with self._translate(), self._rewrite(run_id, began, options, state) as run:
                yield run, -1
            return
        with self._translate():
            run, last = self._sessions.get(run_id) or self._resume(run_id, options, self._directory.parent)
            self._sessions[run_id] = run, last
            yield run, last
            self._sessions[run_id] = run, max(last, run.step)
            if ended is not None:
                del self._sessions[run_id]
                run.finish(exit_code=int(state is TrialState.FAILED))

    def _resume(self, run_id: str, options: Mapping[str, Any], root: Path) -> tuple[Any, int]:
        """Begin a run or go on with it, and return it with the last step that the server has, -1 where it has none."""
        run = self._wandb.init(
            id=run_id,
            entity=self._entity or None,
            project=self._project,
            group=self._group,
            resume="allow",
            reinit="create_new",
            settings=self._wandb.Settings(root_dir=str(root), **SETTINGS),
            **options,
        )
        return run, run.step - 1

    @contextmanager
    def _rewrite(self, run_id: str, began: datetime, options: Mapping[str, Any], state: TrialState) -> Iterator[Any]:
        """Open a run of a directory of its own, which takes the place of the one that the run had."""
        self._directory.mkdir(parents=True, exist_ok=True)
        for leftover in self._directory.glob(f".{run_id}-*"):  # of a process that was killed here
            shutil.rmtree(leftover, ignore_errors=True)
        draft = self._directory / f".{run_id}-{uuid.uuid4().hex[:8]}"
        draft.mkdir()
        try:
            run, _ = self._resume(run_id, options, draft)
            try:
                yield run
            finally:
                run.finish(exit_code=int(state is TrialState.FAILED))
            written = Path(run.settings.sync_dir)
            final = self._directory / f"offline-run-{began:%Y%m%d_%H%M%S}-{run_id}"
            if final.exists():
                final.rename(draft / "old")
            written.rename(final)
        finally:
            shutil.rmtree(draft, ignore_errors=True)

    @contextmanager
    def _translate(self) -> Iterator[None]:
        """Turn W&B's errors into a line each.

        Raises:
            TrackerError: it refuses the request, or (`TrackerUnreachableError`) does not answer.
        """
        errors = self._wandb.errors
        try:
            yield
        except HpsearchError:
            raise
        except (errors.AuthenticationError, errors.UsageError) as error:
            raise TrackerError(f"W&B refuses it: {shorten(first_line(error), 160)}") from None
        except (errors.Error, OSError) as error:
            raise TrackerUnreachableError(f"W&B cannot be written to ({shorten(first_line(error), 160)})") from None


def _keep_file(run: Any, path: Path) -> None:
    """Have a run keep a copy of a file."""
    copied = shutil.copy(path, run.dir)
    run.save(str(copied), base_path=run.dir, policy="now")
