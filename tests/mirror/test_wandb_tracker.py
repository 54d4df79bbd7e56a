"""A study in W&B offline, read back with the reader of its own files."""

import json
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hpsearch.errors import TrackerError
from hpsearch.mirror.wandb_tracker import WandbTracker
from hpsearch.storage import attempts
from hpsearch.storage.attempts import Attempt
from hpsearch.storage.database import Database
from hpsearch.storage.studies import Study
from tests.support.small_study import finish_trial, metrics
from tests.support.tracked_study import Killed, KillSwitch, expire, forget_mirrors, run_pass


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory into which W&B writes, offline."""
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    monkeypatch.setenv("WANDB_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "wandb"


def list_records(content: bytes) -> Iterator[bytes]:
    """The records of W&B's file, a log of LevelDB: pieces with a header each, none across blocks of 32 KiB."""
    assert content[:4] == b":W&B"
    position, record = 7, b""
    while position + 7 <= len(content):
        if (left := 32768 - position % 32768) < 7:
            position += left
            continue
        length, kind = struct.unpack_from("<HB", content, position + 4)
        position += 7
        record += content[position : position + length]
        position += length
        if kind in (1, 4):  # whole, or its last piece
            yield record
            record = b""


class OfflineRun:
    """What is in the file of a run."""

    def __init__(self, path: Path) -> None:
        from wandb.proto import wandb_internal_pb2

        self.directory = path.parent
        self.history: list[dict[str, Any]] = []
        self.summary: dict[str, Any] = {}
        self.config: dict[str, Any] = {}
        self.run: Any = None
        self.exit_code: int | None = None
        for content in list_records(path.read_bytes()):
            record = wandb_internal_pb2.Record.FromString(content)
            if record.HasField("run"):
                self.run = record.run
                self._update(self.config, record.run.config.update)
            elif record.HasField("config"):
                self._update(self.config, record.config.update)
            elif record.HasField("summary"):
                self._update(self.summary, record.summary.update)
            elif record.HasField("history"):
                row: dict[str, Any] = {"_step": record.history.step.num}
                self._update(row, record.history.item)
                self.history.append(row)
            elif record.HasField("exit"):
                self.exit_code = record.exit.exit_code

    @staticmethod
    def _update(values: dict[str, Any], items: Any) -> None:
        for item in items:
            values[item.key or ".".join(item.nested_key)] = json.loads(item.value_json)

    def read(self, name: str = "val_accuracy") -> list[tuple[int, float]]:
        """The steps of a figure with its values."""
        return [(row["_step"], row[name]) for row in self.history if name in row]


def read_runs(place: Path) -> dict[str, OfflineRun]:
    """The runs that `wandb sync` finds, by name."""
    runs = [OfflineRun(path) for path in place.glob("offline-run-*/run-*.wandb")]
    by_name = {run.run.display_name: run for run in runs}
    assert len(by_name) == len(runs), "two files of a run"
    return by_name


@pytest.mark.usefixtures("plain")
def test_a_finished_study_is_shown_whole(database: Database, finished: Study, place: Path) -> None:
    """A run for the study and each trial in a group: configuration, epochs, facts, plots, model, answer and report."""
    run_pass(database, finished, WandbTracker("team/digits"))
    runs = read_runs(place)
    assert set(runs) == {"small", "trial 0", "trial 1"}
    first = runs["trial 0"]
    assert first.read() == [(1, 0.5), (2, 0.7)]
    assert first.read("train_loss") == [(1, 1.0), (2, 1.0)]
    assert set(first.config) >= {"learning_rate", "optimizer"}
    shown = {"outcome": "completed", "seed": 7, "version_keras": "3.15", "worker": "w", "best_val_accuracy": 0.7}
    assert {name: first.summary[name] for name in shown} == shown
    assert first.summary["learning-curves"]["_type"] == "image-file"
    assert (first.directory / "files" / first.summary["learning-curves"]["path"]).exists()
    assert (first.directory / "files" / "model.keras").read_bytes() == b"a model"
    assert (first.run.entity, first.run.project, first.run.resumed) == ("team", "digits", False)
    assert {run.run.run_group for run in runs.values()} == {first.run.run_group}
    assert [runs[name].exit_code for name in ("trial 0", "trial 1")] == [0, 1]
    assert "Which rate?" in runs["small"].run.notes
    assert (runs["small"].directory / "files" / "report.html").exists()


@pytest.mark.usefixtures("plain")
def test_a_trial_goes_on_in_its_run(
    database: Database, started: Callable[..., Study], begin: Callable[..., Attempt], place: Path
) -> None:
    """Each epoch is there once, whoever mirrors next: offline the run is written whole in the place of the old one."""
    study = started()
    attempt = begin(study, 0.5, 0.6)
    run_pass(database, study, WandbTracker("digits"), describes_study=False)
    database.transact(lambda c: attempts.store_epoch(c, attempt, metrics(3, 0.7), attempts.PrunerVerdict()))
    finish_trial(database, attempt)
    forget_mirrors(database)
    for _ in range(2):
        run_pass(database, study, WandbTracker("digits"), describes_study=False)
    run = read_runs(place)["trial 0"]
    assert run.read() == [(1, 0.5), (2, 0.6), (3, 0.7)]


@pytest.mark.usefixtures("plain")
def test_a_mirror_killed_anywhere_goes_on_exactly(
    database: Database,
    started: Callable[..., Study],
    begin: Callable[..., Attempt],
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Killed before any transaction, call of W&B or renaming, it leaves each run once and whole."""
    import wandb
    from wandb.sdk.wandb_run import Run

    study = started()
    begin(study, 0.5, 0.7)
    switch = KillSwitch()
    switch.wrap(monkeypatch, Database, "transact")
    switch.wrap(monkeypatch, wandb, "init")
    switch.wrap(monkeypatch, Run, "log")
    switch.wrap(monkeypatch, Path, "rename")
    for due in range(1000):
        forget_mirrors(database)
        switch.calls, switch.due = [], due
        try:
            run_pass(database, study, WandbTracker("digits"), describes_study=False)
        except Killed:
            switch.due = None
            expire(database)
            run_pass(database, study, WandbTracker("digits"), describes_study=False)
            assert read_runs(place)["trial 0"].read() == [(1, 0.5), (2, 0.7)], due
            assert [path for path in place.iterdir() if path.name.startswith(".")] == []
            continue
        break
    assert due > 9


class OnlineRun:
    """A run of a W&B server, as far as its client shows it to us: it refuses steps that are past."""

    def __init__(self, server: dict[str, list[int]], run_id: str) -> None:
        self._steps = server.setdefault(run_id, [])
        self.step = self._steps[-1] + 1 if self._steps else 0
        self.summary: dict[str, Any] = {}
        self.config = self.summary
        self.finished: list[int] = []

    def log(self, figures: dict[str, float], step: int) -> None:
        assert step >= self.step, "W&B drops this"
        self._steps.append(step)
        self.step = step

    def finish(self, exit_code: int = 0) -> None:
        self.finished.append(exit_code)


@pytest.mark.usefixtures("plain")
def test_online_a_run_is_resumed_where_the_server_has_it(
    database: Database,
    started: Callable[..., Study],
    begin: Callable[..., Attempt],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By id, with resume="allow"; what the server has not, though we had logged it, is logged again."""
    import wandb

    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_MODE", "online")
    server: dict[str, list[int]] = {}
    opened: list[tuple[dict[str, Any], OnlineRun]] = []

    def init(**options: Any) -> OnlineRun:
        assert options["resume"] == "allow"
        opened.append((options, OnlineRun(server, options["id"])))
        return opened[-1][1]

    monkeypatch.setattr(wandb, "init", init)
    study = started()
    attempt = begin(study, 0.5, 0.6)
    run_pass(database, study, WandbTracker("digits"), describes_study=False)
    ((run_id, steps),) = server.items()
    assert steps == [1, 2]
    steps.pop()  # it was on its way when the process was killed
    database.transact(lambda c: attempts.store_epoch(c, attempt, metrics(3, 0.7), attempts.PrunerVerdict()))
    tracker = WandbTracker("digits")
    run_pass(database, study, tracker, describes_study=False)
    assert server == {run_id: [1, 2, 3]}
    assert [run.finished for _, run in opened] == [[0], [0]]


def test_without_a_key_a_line_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nobody is asked for it in the middle of a mirror."""
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    with pytest.raises(TrackerError, match="set WANDB_API_KEY or run wandb login; or set WANDB_MODE=offline"):
        WandbTracker("digits")


@pytest.fixture(autouse=True)
def _fresh_settings() -> Iterator[None]:
    """W&B reads the environment once in a process."""
    import wandb

    yield
    wandb.teardown()
