"""The trainer process, over a real pipe: what it sends, what it obeys, and when it ends."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import psutil
import pytest

from hpsearch import settings, signals
from hpsearch.outcomes import TrialOutcome
from hpsearch.training.process import FOR_OTHERS, leave_out
from hpsearch.training.protocol import (
    BatchProgress,
    Ended,
    EpochReport,
    GoOn,
    Loaded,
    Ready,
    Refused,
    Released,
    Stop,
    Train,
)
from hpsearch.training.requests import DataRequest
from tests.support.training_jobs import MakeJob

pytestmark = pytest.mark.tensorflow

DEADLINE = 60.0  # seconds until a test gives up waiting for a message


class Trainer:
    """The supervisor's end of a trainer process."""

    def __init__(self, stderr: Path | None = None, **environment: str) -> None:
        self.pipe, theirs = multiprocessing.Pipe()
        self.messages: list[Any] = []
        with (stderr or Path(os.devnull)).open("w") as file:
            self.process = subprocess.Popen(
                settings.make_python_command("hpsearch.training.process", str(theirs.fileno())),
                pass_fds=[theirs.fileno()],
                env={**settings.make_trainer_environment(None), **environment},
                stdout=subprocess.PIPE,
                stderr=file,
            )
        theirs.close()

    def receive(self, *kinds: type) -> Any:
        """Return the next message of one of `kinds`."""
        until = time.monotonic() + DEADLINE
        while self.pipe.poll(max(0.0, until - time.monotonic())):
            self.messages.append(self.pipe.recv())
            if isinstance(self.messages[-1], kinds):
                return self.messages[-1]
        raise TimeoutError(f"no {kinds} after {self.messages}")

    def run(self, job: Train) -> list[Any]:
        """Let a job go on to its end; return the messages about it."""
        self.messages = []
        self.pipe.send(job)
        while not isinstance(self.receive(Loaded, EpochReport, Ended, Refused), Ended | Refused):
            self.pipe.send(GoOn())
        return [message for message in self.messages if not isinstance(message, BatchProgress)]

    def close(self) -> int:
        self.pipe.close()
        return self.process.wait(DEADLINE)


@pytest.fixture(scope="module")
def trainer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trainer]:
    stderr = tmp_path_factory.mktemp("trainer") / "stderr"
    trainer = Trainer(stderr)
    assert isinstance(trainer.receive(Ready), Ready)
    yield trainer
    assert trainer.close() == 0
    assert stderr.read_text() == ""  # all this went well, so it had nothing to say there
    assert trainer.process.stdout is not None
    assert trainer.process.stdout.read() == b""


def test_ready_names_backend_device_and_versions(trainer: Trainer) -> None:
    """With every GPU hidden it computes on the CPU, and says with what."""
    ready = trainer.messages[0]
    assert (ready.backend, ready.device) == (os.environ.get("KERAS_BACKEND", "tensorflow"), "CPU")
    assert {"hpsearch", "python", "keras", "numpy", ready.backend} <= set(ready.versions)


def test_a_start_leaves_out_what_only_others_need(trainer: Trainer) -> None:
    """Drawing, tables and the other framework take a part of a start where they are installed; user code has them."""
    mapped = {Path(part.path).parts for part in psutil.Process(trainer.process.pid).memory_maps()}
    imported = {package for parts in mapped for package in (*FOR_OTHERS, "jaxlib", "numpy") if package in parts}
    backend = {"jax", "jaxlib"} if os.environ.get("KERAS_BACKEND") == "jax" else set()
    assert imported - backend == {"numpy"}
    sys.modules.pop("colorsys", None)
    with leave_out(["colorsys", "os"]):
        with pytest.raises(ImportError):
            import_module("colorsys")
        assert import_module("os") is os
    assert import_module("colorsys").__name__ == "colorsys"


def test_job_runs_to_its_end(trainer: Trainer, job: MakeJob) -> None:
    """Loaded, an epoch at a time, Ended: with the model and the memory it took."""
    loaded, *reports, ended = trainer.run(job(epochs=2))
    assert isinstance(loaded, Loaded)
    assert (len(loaded.data_fingerprint), loaded.epochs) == (64, ())
    assert loaded.weights > 1000
    assert [report.metrics.epoch for report in reports] == [1, 2]
    assert all(Path(reports[-1].checkpoint).exists() for _ in reports)
    assert ended.end.outcome is TrialOutcome.COMPLETED
    assert Path(ended.end.model).exists()
    assert ended.end.memory > 50_000_000


def test_stop_in_an_epoch_and_resume(trainer: Trainer, job: MakeJob) -> None:
    """A Stop that comes unasked is obeyed within a batch; the checkpoint goes on in the same curve."""
    trial = job({"batch_size": 1}, epochs=3)
    whole = [message.metrics.val_loss for message in trainer.run(trial) if isinstance(message, EpochReport)]
    trainer.pipe.send(trial)
    trainer.receive(Loaded)
    trainer.pipe.send(GoOn())
    trainer.receive(EpochReport)
    trainer.pipe.send(GoOn())
    trainer.pipe.send(Stop(checkpoint=True))  # read in the second epoch: the GoOn before it is the answer to the first
    released = trainer.receive(Released, EpochReport)
    if isinstance(released, EpochReport):  # this machine is quick: the Stop came with the second epoch's end
        released = trainer.receive(Released)
    assert released.checkpoint is not None
    loaded, *reports, _ = trainer.run(replace(trial, checkpoint=released.checkpoint))
    assert [epoch.epoch for epoch in loaded.epochs] == list(range(1, released.epoch + 1))
    resumed = [epoch.val_loss for epoch in loaded.epochs] + [report.metrics.val_loss for report in reports]
    assert resumed == pytest.approx(whole, rel=1e-3)


def test_stop_as_an_answer_ends_the_trial(trainer: Trainer, job: MakeJob) -> None:
    """Answered with Stop, to Loaded or to an epoch, it releases the trial and waits for the next."""
    trainer.pipe.send(job())
    trainer.receive(Loaded)
    trainer.pipe.send(Stop())
    assert trainer.receive(Released) == Released(0, None)
    trainer.pipe.send(job())
    trainer.receive(Loaded)
    trainer.pipe.send(GoOn())
    trainer.receive(EpochReport)
    trainer.pipe.send(Stop())
    assert trainer.receive(Released) == Released(1, None)


def test_answers_that_crossed_a_release_are_dropped(trainer: Trainer, job: MakeJob) -> None:
    """What was on its way when a trial ended does not start or stop the next one."""
    trainer.pipe.send(job())
    trainer.receive(Loaded)
    for late in (Stop(checkpoint=True), GoOn(), Stop()):
        trainer.pipe.send(late)
    assert trainer.receive(Released) == Released(0, None)
    assert trainer.run(job(epochs=1))[-1].end.outcome is TrialOutcome.COMPLETED


def test_missing_data_are_refused(trainer: Trainer, job: MakeJob) -> None:
    """A dataset that this host lacks is one line, before anything is trained; the trainer goes on."""
    (refused,) = trainer.run(job(data=DataRequest("nothing", None, 10, 0)))
    assert isinstance(refused, Refused)
    assert "\n" not in refused.detail
    assert trainer.run(job(epochs=1))[-1].end.outcome is TrialOutcome.COMPLETED


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("HPSEARCH_DATA_DIR", "~nobody-has-this-name/data", "home directory"),
        ("HPSEARCH_DATA_DIR", "/" + "x" * 300, "File name too long"),
        ("HPSEARCH_DATA_DIR_FILE", "/no/such/file", "/no/such/file cannot be read"),
    ],
)
def test_a_host_that_is_set_up_wrong_refuses_the_study(
    job: MakeJob, monkeypatch: pytest.MonkeyPatch, name: str, value: str, reason: str
) -> None:
    """Where the data cannot be looked for, no trial of the study is to blame, and none fails for it."""
    monkeypatch.delenv("HPSEARCH_DATA_DIR", raising=False)
    trainer = Trainer(None, **{name: value})
    trainer.receive(Ready)
    (refused,) = trainer.run(job(data=DataRequest("cifar10", None, 5000, 0)))
    assert isinstance(refused, Refused)
    assert reason in refused.detail
    assert trainer.close() == 0


def test_raising_configuration_is_an_error(trainer: Trainer, job: MakeJob) -> None:
    """An exception becomes an outcome with one line and a traceback, and the next trial runs."""
    trial = job(epochs=1)
    broken = {name: value for name, value in trial.hyperparameters.items() if name != "filters"}
    (ended,) = trainer.run(replace(trial, hyperparameters=broken))
    assert (ended.end.outcome, ended.end.detail) == (TrialOutcome.ERROR, "KeyError: 'filters'")
    assert "cnn.py" in ended.end.traceback
    (ended,) = trainer.run(replace(trial, data=replace(trial.data, validation=5000)))
    assert ended.end.outcome is TrialOutcome.ERROR
    assert ended.end.detail.startswith("validation of digits: 5,000 is not from 10")
    assert trainer.run(trial)[-1].end.outcome is TrialOutcome.COMPLETED


def test_diverged_training_says_so(trainer: Trainer, diverging: Train) -> None:
    """A loss that is not finite ends the trial."""
    ended = trainer.run(diverging)[-1]
    assert ended.end.outcome is TrialOutcome.DIVERGED


def test_requests_to_leave_are_ignored(trainer: Trainer, job: MakeJob) -> None:
    """What a terminal or a batch system sends to all processes is left to the supervisor."""
    trainer.pipe.send(job({"batch_size": 1}, epochs=1))
    trainer.receive(Loaded)
    trainer.pipe.send(GoOn())
    for number in (signal.SIGINT, *signals.REQUESTS):
        trainer.process.send_signal(number)
    trainer.receive(EpochReport)
    trainer.pipe.send(GoOn())
    assert trainer.receive(Ended).end.outcome is TrialOutcome.COMPLETED


def test_trainer_goes_when_the_pipe_closes_in_an_epoch(job: MakeJob) -> None:
    """The supervisor killed in the middle of a long epoch: its trainer is gone within seconds."""
    trainer = Trainer()
    trainer.receive(Ready)
    trainer.pipe.send(job({"batch_size": 1, "filters": 64, "dense_units": 512}))
    trainer.receive(Loaded)
    trainer.pipe.send(GoOn())
    trainer.receive(BatchProgress)
    assert trainer.close() == 0


def test_trainer_goes_when_the_pipe_closes_while_it_loads() -> None:
    """The same while it still imports its framework."""
    trainer = Trainer()
    deadline = time.monotonic() + DEADLINE
    while not any("numpy" in part.path for part in psutil.Process(trainer.process.pid).memory_maps()):
        assert time.monotonic() < deadline, "the trainer does not load numpy, which its framework needs"
    assert trainer.close() == 0
    assert not psutil.pid_exists(trainer.process.pid)


def test_failed_start_says_why(tmp_path: Path) -> None:
    """What a framework printed when it failed to load is not held back."""
    trainer = Trainer(tmp_path / "stderr", KERAS_BACKEND="nonsense")
    assert trainer.process.wait(DEADLINE) != 0
    assert "nonsense" in (tmp_path / "stderr").read_text()
