"""A study in TensorBoard, read back with its own event reader."""

import math
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from hpsearch.errors import TrackerError
from hpsearch.metrics import EpochMetrics
from hpsearch.mirror.event_files import EventFile
from hpsearch.mirror.tensorboard_tracker import TensorboardTracker, _make_scalar
from hpsearch.outcomes import TrialOutcome
from hpsearch.storage import attempts, study_deletion
from hpsearch.storage.attempts import Attempt
from hpsearch.storage.database import Database
from hpsearch.storage.studies import Study
from tests.support.small_study import finish_trial
from tests.support.tracked_study import Killed, KillSwitch, expire, forget_mirrors, run_pass

# By this TensorBoard's reader does without TensorFlow, whose import takes seconds.
sys.modules.setdefault("tensorboard.compat.notf", ModuleType("notf"))
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # noqa: E402 - see above
from tensorboard.plugins.hparams import metadata  # noqa: E402 - see above


def read(directory: Path, trial: int | None = None) -> Any:
    """What TensorBoard reads of a trial's run, or of the study's."""
    (study,) = directory.iterdir()
    events = EventAccumulator(str(study if trial is None else study / f"trial-{trial:04d}"), {"images": 0})
    return events.Reload()


def read_scalars(directory: Path, trial: int, tag: str = "val_accuracy") -> list[tuple[int, float]]:
    """The steps of a figure with its values, in the order of the file."""
    return [(event.step, round(event.value, 6)) for event in read(directory, trial).Scalars(tag)]


def read_text(directory: Path, tag: str, trial: int | None = None) -> list[str]:
    return [event.tensor_proto.string_val[0].decode() for event in read(directory, trial).Tensors(tag)]


@pytest.mark.usefixtures("plain")
def test_a_finished_study_is_shown_whole(database: Database, finished: Study, tmp_path: Path) -> None:
    """Each trial's figures, table, plots, hyperparameters and model; the study's answer and report."""
    logs = tmp_path / "logs"
    run_pass(database, finished, TensorboardTracker(str(logs)))
    assert read_scalars(logs, 0) == [(1, 0.5), (2, 0.7)]
    assert read_scalars(logs, 0, "best_val_accuracy") == [(2, 0.7)]
    assert [image.step for image in read(logs, 0).Images("learning-curves")] == [2]
    (table,) = read_text(logs, "trial", 1)
    assert "it broke" in table
    assert "version_keras | 3.15" in read_text(logs, "trial", 0)[0]
    (study,) = logs.iterdir()
    assert (study / "trial-0000" / "model.keras").read_bytes() == b"a model"
    assert (study / "report" / "report.html").exists()
    assert "Which rate?" in read_text(logs, "answer")[0]
    start, end = (
        metadata.parse_session_start_info_plugin_data(read_plugin(logs, 0, metadata.SESSION_START_INFO_TAG)),
        metadata.parse_session_end_info_plugin_data(read_plugin(logs, 1, metadata.SESSION_END_INFO_TAG)),
    )
    assert set(start.hparams) >= {"learning_rate", "optimizer"}
    assert end.status == 2  # a failure
    experiment = metadata.parse_experiment_plugin_data(read_plugin(logs, None, metadata.EXPERIMENT_TAG))
    assert {info.name for info in experiment.hparam_infos} == {"learning_rate", "optimizer", "momentum"}


def read_plugin(directory: Path, trial: int | None, tag: str) -> bytes:
    content: bytes = read(directory, trial).SummaryMetadata(tag).plugin_data.content
    return content


@pytest.mark.usefixtures("plain")
def test_a_trial_goes_on_in_its_run(
    database: Database, started: Callable[..., Study], begin: Callable[..., Attempt], tmp_path: Path
) -> None:
    """Each epoch is there once, whoever mirrors next; also one that is no number; the answer is replaced."""
    logs = tmp_path / "logs"
    study = started()
    attempt = begin(study, 0.5, 0.6)
    for _ in range(2):
        run_pass(database, study, TensorboardTracker(str(logs)))
    diverged = EpochMetrics(3, math.nan, 0.1, math.inf, 0.1, 0.01, 2.0)
    database.transact(lambda c: attempts.store_epoch(c, attempt, diverged, attempts.PrunerVerdict()))
    finish_trial(database, attempt, TrialOutcome.DIVERGED)
    forget_mirrors(database)
    for _ in range(2):
        run_pass(database, study, TensorboardTracker(str(logs)))
    assert read_scalars(logs, 0) == [(1, 0.5), (2, 0.6), (3, 0.1)]
    assert math.isinf(read_scalars(logs, 0, "val_loss")[2][1])
    assert [text.splitlines()[0] for text in read_text(logs, "answer")] == [
        "**running**, 0 of 4 trials ended (1 running)",
        "**running**, 1 of 4 trials ended (1 pruned)",
    ]


@pytest.mark.usefixtures("plain")
def test_a_mirror_killed_anywhere_goes_on_exactly(
    database: Database, finished: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed before any record, file or transaction, it leaves no double or missing step."""
    switch = KillSwitch()
    switch.wrap(monkeypatch, Database, "transact")
    switch.wrap(monkeypatch, EventFile, "_write")
    switch.wrap(monkeypatch, Path, "rename")
    for due in range(1000):
        forget_mirrors(database)
        logs = tmp_path / str(due)
        switch.calls, switch.due = [], due
        try:
            run_pass(database, finished, TensorboardTracker(str(logs)))
        except Killed:
            switch.due = None
            expire(database)
            run_pass(database, finished, TensorboardTracker(str(logs)))
            assert read_scalars(logs, 0) == [(1, 0.5), (2, 0.7)], due
            assert read_scalars(logs, 0, "best_val_accuracy") == [(2, 0.7)], due
            assert read_scalars(logs, 1) == [(1, 0.4)], due
            assert len(read_text(logs, "trial", 0)) == 1
            (study,) = logs.iterdir()
            assert {path.name for path in study.iterdir() if path.name.startswith(".")} == set()
            assert (study / "report" / "report.html").exists()
            continue
        break
    assert due > 20


def test_a_record_that_was_cut_short_is_written_again(tmp_path: Path) -> None:
    """Wherever a kill cut the file, what follows is whole and there once."""

    def write() -> Path:
        file = EventFile(tmp_path / "study" / "trial-0000", "key")
        for step in (1, 2):
            file.append([_make_scalar(name, step / 8) for name in ("val_accuracy", "seconds")], step, datetime.now(UTC))
        return file.path

    content = write().read_bytes()
    for length in range(len(content) + 1):
        write().write_bytes(content[:length])
        write()
        for tag in ("val_accuracy", "seconds"):
            assert read_scalars(tmp_path, 0, tag) == [(1, 0.125), (2, 0.25)], length


@pytest.mark.usefixtures("plain")
def test_two_studies_of_a_name_are_two(
    database: Database, started: Callable[..., Study], begin: Callable[..., Attempt], tmp_path: Path
) -> None:
    """A study that was deleted and made anew is not mixed with what was mirrored of the first."""
    logs = tmp_path / "logs"
    for value in (0.5, 0.6):
        study = started()
        begin(study, value)
        run_pass(database, study, TensorboardTracker(str(logs)))
        database.transact(lambda c: study_deletion.delete(c, study.study_id))
    assert len(list(logs.iterdir())) == 2


def test_a_directory_that_cannot_be_written_is_a_line(
    database: Database, started: Callable[..., Study], tmp_path: Path
) -> None:
    """It names the directory and the reason."""
    (tmp_path / "file").write_text("")
    with pytest.raises(TrackerError, match=r"file.* cannot be written to \(Not a directory\)"):
        run_pass(database, started(), TensorboardTracker(str(tmp_path / "file")))
