"""The parts of `gpu.py` that measure speed, on random images: the figures of the models mean nothing.

python benchmarks/gpu_speed.py epochs|compilation|slots
"""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise
from statistics import mean, stdev
from typing import TYPE_CHECKING
from unittest import mock

from gpu_nvml import Utilization
from gpu_rows import call_part, choose_network, find_gpu, is_quick, leave_out, report

from hpsearch.devices import Gpu
from hpsearch.spec.hyperparameters import BASE_TABLE
from hpsearch.training.protocol import BatchProgress, EpochReport, FromTrainer, GoOn, Loaded, Ready, Train
from hpsearch.training.requests import DataRequest
from hpsearch.worker.trainer_process import TrainerProcess
from hpsearch.worker.wakeup import WakeupPipe

if TYPE_CHECKING:
    from hpsearch.training.loading import ImageArrays

EPOCHS = {32: 4, 128: 8, 512: 16}
"""How many are measured at which batch size, besides the first one."""
SLOTS = (1, 2, 4, 8)
IMAGES, VALIDATION = 20_000, 5_000
SLOT_BATCH, SLOT_IMAGES = 128, 10_000
WINDOW_SECONDS = 6.0
SIDES = {
    "ours": "hpsearch",
    "plain": "fit",
    "ours float32": "hpsearch, float32",
    "plain both": "fit, bfloat16, steps_per_execution = 32",
}


def measure_epochs() -> None:
    """Measure seconds per epoch with validation of the base model, and what the first takes more, which compiles."""
    from hpsearch.training import loading

    images, validation = (256, 100) if is_quick() else (IMAGES, VALIDATION)
    dataset = loading.load(DataRequest("cifar10", images, validation, 0))
    _ = dataset.inputs
    with Utilization(find_gpu()) as utilization:
        for batch, epochs in ({32: 1} if is_quick() else EPOCHS).items():
            seconds: dict[str, float] = {}
            for side, name in SIDES.items():
                marks = _train_side(side, batch, dataset, epochs + 1)
                first, *later = (after - before for before, after in pairwise(marks))
                seconds[side] = mean(later)
                report(
                    f"batch {batch}, {name}",
                    f"{mean(later):.3f}{f' ± {stdev(later):.3f}' if epochs > 1 else ''} s an epoch (n = {epochs}); "
                    f"{images / mean(later):,.0f} images/s; first epoch {first - mean(later):.1f} s more; "
                    f"{utilization.describe(marks[1], marks[-1])}",
                )
            ratios = ", ".join(f"{seconds[side] / seconds['ours']:.2f} × {SIDES[side]}" for side in list(SIDES)[1:])
            report(f"batch {batch}", f"hpsearch is as fast as {ratios}")


def _train_side(side: str, batch: int, dataset: "ImageArrays", epochs: int) -> list[float]:
    """Train a side; return when it began and when each epoch ended."""
    from training_sides import run

    from hpsearch.training import backends

    marks = [time.monotonic()]
    values = BASE_TABLE.fill_defaults({**choose_network(), "batch_size": batch})
    run(side, values, dataset, epochs, lambda: marks.append(time.monotonic()), False)
    backends.current.free_memory()
    return marks


class PausedTrainer:
    """A trainer in the middle of a long training, which it leaves and takes up at an epoch's end."""

    def __init__(self, gpu: Gpu | None, slots: int) -> None:
        self._trainer, self._wakeup = TrainerProcess(gpu, slots), WakeupPipe()

    def warm(self, images: int, directory: str) -> float:
        """Train the first two epochs; return the seconds from the start of the first to its end."""
        values = BASE_TABLE.fill_defaults({**choose_network(), "batch_size": SLOT_BATCH})
        data = DataRequest("cifar10", images, 2_000, 0)
        self._trainer.send(Train(values, data, 1, 10**6, "val_accuracy", 10**6, None, directory))
        self._await(Loaded)
        began = time.monotonic()
        self._go_on()
        first = time.monotonic() - began
        self._go_on()
        return first

    def train_until(self, end: float) -> list[float]:
        """Train epochs until one ends after `end`; return when each ended, by the monotonic clock."""
        ends: list[float] = []
        while time.monotonic() < end:
            self._go_on()
            ends.append(time.monotonic())
        return ends

    def _go_on(self) -> None:
        self._trainer.send(GoOn())
        self._await(EpochReport)

    def _await(self, kind: type[FromTrainer]) -> None:
        while True:
            message = self._trainer.receive(self._wakeup, 60)
            if isinstance(message, kind):
                return
            if message is not None and not isinstance(message, Ready | BatchProgress):
                raise RuntimeError(f"the trainer says {message}")

    def close(self) -> None:
        """End the trainer."""
        self._trainer.kill()
        self._trainer.close()


@contextmanager
def start_trainers(gpu: Gpu | None, count: int, images: int) -> Iterator[Sequence[PausedTrainer]]:
    """Start trainers, the first one alone, so that the others find what it compiled; warm all of them up."""
    trainers = [PausedTrainer(gpu, count) for _ in range(count)]
    try:
        with tempfile.TemporaryDirectory() as directory, ThreadPoolExecutor(count) as pool:
            paths = [f"{directory}/{number}" for number in range(count)]
            first = trainers[0].warm(images, paths[0])
            others = list(pool.map(lambda trainer, path: trainer.warm(images, path), trainers[1:], paths[1:]))
            report(
                f"{count} trainers with a compilation cache",
                f"first epoch of one {first:.1f} s, then of the {len(others)} others at once {mean(others):.1f} s",
            )
            yield trainers
    finally:
        for trainer in trainers:
            trainer.close()


@contextmanager
def keep_compiled() -> Iterator[None]:
    """Let trainers that are started in this block share JAX's compilation cache, which TensorFlow has not."""
    with tempfile.TemporaryDirectory() as directory:
        changed = {
            "JAX_COMPILATION_CACHE_DIR": directory,
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        }
        with mock.patch.dict(os.environ, changed):
            yield


def measure_compilation() -> None:
    """Measure the first epoch of a new trainer process, which compiles."""
    trainer = PausedTrainer(find_gpu(), 1)
    with tempfile.TemporaryDirectory() as directory:
        seconds = trainer.warm(256 if is_quick() else SLOT_IMAGES, directory)
    trainer.close()
    report("a new process", f"first epoch {seconds:.1f} s")


def measure_slots() -> None:
    """Measure the epochs a second of 1 to 8 slots, without and with NVIDIA's Multi-Process Service."""
    gpu = find_gpu()
    with keep_compiled():
        _measure_slots(gpu, "")
        control = shutil.which("nvidia-cuda-mps-control")
        if gpu is None or control is None:
            leave_out("slots with MPS", "no GPU" if gpu is None else "nvidia-cuda-mps-control is not installed")
            return
        with tempfile.TemporaryDirectory() as directory:
            os.environ |= {"CUDA_MPS_PIPE_DIRECTORY": directory, "CUDA_MPS_LOG_DIRECTORY": directory}
            started = subprocess.run([control, "-d"], capture_output=True, text=True, timeout=20, check=False)
            if started.returncode:
                reason = (started.stderr or started.stdout).strip().splitlines() or [f"exit {started.returncode}"]
                leave_out("slots with MPS", f"it does not start: {reason[-1]}")
                return
            try:
                _measure_slots(gpu, ", MPS")
            finally:
                subprocess.run([control], input="quit -t 5\n", text=True, capture_output=True, timeout=30, check=False)


def _measure_slots(gpu: Gpu | None, how: str) -> None:
    """Measure slots that share the GPU, each with as much of its memory as the most of them get."""
    short = is_quick() or gpu is None
    counts, images, seconds = (SLOTS[:2], 256, 1.0) if short else (SLOTS, SLOT_IMAGES, WINDOW_SECONDS)
    alone = 0.0
    with start_trainers(gpu, counts[-1], images) as trainers, Utilization(gpu) as utilization:
        for count in counts:
            began = time.monotonic()
            end = began + seconds
            with ThreadPoolExecutor(count) as pool:
                ends = list(pool.map(PausedTrainer.train_until, trainers[:count], [end] * count))
            # Over the time of the epochs counted, as the last one ends after the window.
            rate = sum(len(each) / (each[-1] - began) for each in ends)
            alone = alone or rate
            epochs = sum(map(len, ends))
            report(
                f"{count} slots{how}",
                f"{rate:.2f} epochs/s (n = {epochs}), {rate * images:,.0f} images/s, {rate / alone:.2f}× one slot; "
                f"{utilization.describe(began, end)}",
            )


if __name__ == "__main__":
    call_part({"epochs": measure_epochs, "compilation": measure_compilation, "slots": measure_slots})
