"""TensorBoard: a directory for the study with its answer and report, and in it one for each trial.

A run is one event file. It is its own record of what is in it, so that the directory may be moved or emptied.
"""

import hashlib
import re
import shutil
import socket
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from hpsearch.errors import HpsearchError, TrackerError
from hpsearch.markdown import escape
from hpsearch.mirror.event_files import EventFile
from hpsearch.mirror.runs import Fact, StudyRun, TrialRun
from hpsearch.mirror.tracker import StudyText, TrialFiles
from hpsearch.outcomes import TrialState

SLUG_LENGTH = 60
DIGITS = 4
"""Of a trial's number in the name of its directory, so that TensorBoard's list is in order."""


class TensorboardTracker:
    """A log directory of TensorBoard, for one study.

    Raises:
        TrackerError: TensorBoard is not installed, or the directory cannot be used.
    """

    kind = "tensorboard"

    def __init__(self, directory: str) -> None:
        try:
            import tensorboard.compat.proto.event_pb2
            import tensorboard.plugins.hparams.summary_v2  # noqa: F401
        except ImportError:
            raise TrackerError("--tensorboard needs the extra hpsearch[tensorboard]: pip install tensorboard") from None
        if "://" in directory:
            raise TrackerError("--tensorboard takes a directory of this host, from which TensorBoard reads")
        self._root = Path(directory).expanduser().absolute()
        self.destination = f"{self._root} on {socket.gethostname()}"
        self._study = self._root
        self._files: dict[str, EventFile] = {}

    def open_study(self, study: StudyRun, run_id: str | None) -> str:
        """Return the id of the study's run, its directory below DIR; see `Tracker`."""
        name = f"{make_slug(study.name)}-{study.key[:6]}"
        self._study = self._root / name
        with self._translate():
            self._open(name, study.key).append([_make_experiment(study)], 0, study.began)
        return name

    def open_trial(self, trial: TrialRun, run_id: str | None) -> str:
        """Return the id of a trial's run, its directory below DIR; see `Tracker`."""
        name = f"{self._study.name}/trial-{trial.number:0{DIGITS}d}"
        with self._translate():
            file = self._open(name, trial.key)
            values = _make_session_start(trial) if trial.params else []
            file.append(values, 0, trial.began)
        return name

    def write_trial(self, run_id: str, trial: TrialRun, files: TrialFiles | None) -> None:
        """Log the epochs that a trial's run lacks, and once it has ended all else; see `Tracker`."""
        with self._translate():
            file = self._files[run_id]
            for epoch in trial.epochs:
                file.append([_make_scalar(*item) for item in epoch.figures.items()], epoch.epoch, epoch.at)
            if files is not None and trial.ended is not None:
                self._describe_trial(file, trial, files, trial.ended)
                del self._files[run_id]  # of thousands of trials

    def _describe_trial(self, file: EventFile, trial: TrialRun, files: TrialFiles, ended: datetime) -> None:
        file.append([_make_scalar(*item) for item in trial.best.items()], trial.best_epoch, ended)
        last = trial.epochs[-1].epoch if trial.epochs else 0
        file.append([_make_image(Path(name).stem, path) for name, path in files.pictures.items()], last, ended)
        file.replace(_make_text("trial", _tabulate({**trial.params, **trial.facts})), ended)
        if files.model is not None:
            _replace(files.model, file.directory / files.model.name)
        if trial.params:
            file.append([_make_session_end(trial.state, ended)], 0, ended)

    def write_study(self, run_id: str, study: StudyRun, shown: StudyText) -> None:
        """Show a study's state, question, answer and report; see `Tracker`."""
        with self._translate():
            file = self._files[run_id]
            file.append([_make_scalar(*item) for item in study.best.items()], study.ended, study.now)
            file.replace(_make_text("answer", shown.answer), study.now)
            file.replace(_make_text("study", _tabulate({**study.facts, **study.best, **study.fixed})), study.now)
            _replace(shown.report, self._study / "report")

    def forget(self) -> None:
        """Read anew what the runs have; see `Tracker`."""
        self._files.clear()

    def close(self) -> None:
        """End what is open, which is nothing between two calls."""

    def _open(self, name: str, key: str) -> EventFile:
        return self._files.setdefault(name, EventFile(self._root / name, key))

    @contextmanager
    def _translate(self) -> Iterator[None]:
        """Turn an error of the file system into a line.

        Raises:
            TrackerError: it cannot be written to.
        """
        try:
            yield
        except HpsearchError:
            raise
        except OSError as error:
            raise TrackerError(f"{self._root} cannot be written to ({error.strerror or error}): name another") from None


def make_slug(name: str) -> str:
    """Return a directory's name for a study, also for one whose name no directory can have."""
    slug = re.sub(r"[^A-Za-z0-9_.]+", "-", name).strip("-.")[:SLUG_LENGTH]
    return slug or hashlib.sha256(name.encode()).hexdigest()[:8]


def _replace(source: Path, target: Path) -> None:
    """Put a file or a directory in the place of what is there, completely or not at all."""
    for leftover in target.parent.glob(f".{target.name}-*"):  # of a process that was killed here
        _remove(leftover)
    draft = target.with_name(f".{target.name}-{uuid.uuid4().hex[:8]}")
    old = draft.with_suffix(".old")
    if source.is_dir():
        shutil.copytree(source, draft)
    else:
        shutil.copyfile(source, draft)
    if target.is_dir():
        target.rename(old)
    draft.rename(target)
    _remove(old)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _make_scalar(name: str, value: float) -> Any:
    from tensorboard.compat.proto.summary_pb2 import Summary

    return Summary.Value(tag=name, simple_value=value)


def _make_text(name: str, text: str) -> Any:
    from tensorboard.plugins.text.summary_v2 import text_pb

    return _only_value(text_pb(name, text))


def _make_image(name: str, path: Path) -> Any:
    from PIL import Image
    from tensorboard.compat.proto.summary_pb2 import Summary

    with Image.open(path) as picture:
        width, height = picture.size
    image = Summary.Image(height=height, width=width, colorspace=4, encoded_image_string=path.read_bytes())
    return Summary.Value(tag=name, image=image)


def _make_experiment(study: StudyRun) -> Any:
    """Return what the HPARAMS page compares: the searched hyperparameters and the study's metric."""
    from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2

    experiment = api_pb2.Experiment(description=study.question, time_created_secs=study.began.timestamp())
    for name, choices in study.searched.items():
        info = experiment.hparam_infos.add(name=name)
        kinds = {bool: "DATA_TYPE_BOOL", str: "DATA_TYPE_STRING"}
        kind = {kinds.get(type(choice), "DATA_TYPE_FLOAT64") for choice in choices or (0.0,)}
        info.type = api_pb2.DataType.Value(kind.pop() if len(kind) == 1 else "DATA_TYPE_STRING")
    for tag in (f"best_{study.metric}", study.metric):
        experiment.metric_infos.add(name=api_pb2.MetricName(tag=tag))
    return _make_hparams_value(metadata.EXPERIMENT_TAG, plugin_data_pb2.HParamsPluginData(experiment=experiment))


def _make_session_start(trial: TrialRun) -> list[Any]:
    from tensorboard.plugins.hparams.summary_v2 import hparams_pb

    return list(hparams_pb(dict(trial.params), trial_id=trial.key, start_time_secs=trial.began.timestamp()).value)


def _make_session_end(state: TrialState, ended: datetime) -> Any:
    from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2

    status = api_pb2.Status.Value("STATUS_FAILURE" if state is TrialState.FAILED else "STATUS_SUCCESS")
    end = plugin_data_pb2.SessionEndInfo(status=status, end_time_secs=ended.timestamp())
    data = plugin_data_pb2.HParamsPluginData(session_end_info=end)
    return _make_hparams_value(metadata.SESSION_END_INFO_TAG, data)


def _make_hparams_value(tag: str, data: Any) -> Any:
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.hparams import metadata

    data.version = metadata.PLUGIN_DATA_VERSION
    return Summary.Value(tag=tag, metadata=metadata.create_summary_metadata(data), tensor=metadata.NULL_TENSOR)


def _only_value(summary: Any) -> Any:
    (value,) = summary.value
    return value


def _tabulate(facts: Mapping[str, Fact]) -> str:
    """Return a Markdown table of facts."""
    rows = (f"| {escape(name)} | {escape(str(value)).replace('|', '&#124;')} |" for name, value in facts.items())
    return "\n".join(("| | |", "|---|---|", *rows))
