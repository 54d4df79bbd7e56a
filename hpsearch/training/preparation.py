"""A trial made ready to train: its model, optimizer and steps, in the state of a checkpoint where there is one."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from hpsearch.metrics import EpochMetrics
from hpsearch.training import backends, checkpoint, model_building
from hpsearch.training.backends import STOCK, Layers, Steps
from hpsearch.training.checkpoint import Checkpoint
from hpsearch.training.epoch import compile_steps
from hpsearch.training.loading import ImageArrays
from hpsearch.training.optimizers import make_optimizer
from hpsearch.training.protocol import ModelRequest, Train


class TrackedHyperparameters(Mapping[str, Any]):
    """Hyperparameters, and which of them have been read: one that nothing reads would be ignored silently."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values
        self._unread = dict.fromkeys(values)

    def __getitem__(self, name: str) -> Any:
        value = self._values[name]
        self._unread.pop(name, None)
        return value

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def refuse_unread(self) -> None:
        """Raise where a hyperparameter has not been read.

        Raises:
            ValueError: one has not; the message names it.
        """
        if self._unread:
            raise ValueError(f"nothing in training reads the hyperparameter {', '.join(self._unread)}")


@dataclass(frozen=True)
class LoopSettings:
    """The hyperparameters that the training loop itself reads."""

    learning_rate: float
    schedule: str
    batch_size: int

    @classmethod
    def read(cls, hyperparameters: Mapping[str, Any]) -> "LoopSettings":
        """Pick the settings from every row of the table.

        Raises:
            KeyError: one is missing.
        """
        return cls(hyperparameters["learning_rate"], hyperparameters["schedule"], hyperparameters["batch_size"])


@dataclass(frozen=True, eq=False)
class Training:
    """A compiled model, in the state of `start` where there was a checkpoint to go on from."""

    job: Train
    settings: LoopSettings
    dataset: ImageArrays
    model: keras.Model
    steps: Steps
    start: Checkpoint | None

    @property
    def epochs(self) -> tuple[EpochMetrics, ...]:
        """Return the epochs of the checkpoint."""
        return self.start.epochs if self.start else ()


def prepare(job: Train, dataset: ImageArrays) -> Training:
    """Build the model, and resume it from `job.checkpoint`; one that cannot be read means from the beginning.

    Raises:
        KeyError: a hyperparameter is missing.
        ValueError: a hyperparameter has a value that Keras refuses, or nothing reads it.
    """
    model, steps = build_and_compile(job.model, job.hyperparameters, dataset, job.seed)
    start = checkpoint.load(Path(job.checkpoint), model) if job.checkpoint else None
    if start:
        checkpoint.restore(start, model)
    return Training(job, LoopSettings.read(job.hyperparameters), dataset, model, steps, start)


def build_and_compile(
    model: ModelRequest, hyperparameters: Mapping[str, Any], dataset: ImageArrays, seed: int
) -> tuple[keras.Model, Steps]:
    """Build the model that a trial trains, and compile its steps.

    Raises:
        KeyError: a hyperparameter is missing.
        ValueError: a hyperparameter has a value that Keras refuses, or nothing reads it.
    """
    tracked, current = TrackedHyperparameters(hyperparameters), backends.current
    LoopSettings.read(tracked)
    precision = choose_precision(tracked)
    layers = Layers(precision, current.make_dropout, current.make_batch_norm, current.make_prelu)
    network = _build(model, tracked, dataset, seed, layers)
    steps = compile_steps(network, make_optimizer(tracked))
    tracked.refuse_unread()
    return network, steps


def build_stock(
    model: ModelRequest, hyperparameters: Mapping[str, Any], dataset: ImageArrays, seed: int
) -> keras.Model:
    """Return the untrained model of Keras's own layers, in float32."""
    return _build(model, hyperparameters, dataset, seed, STOCK)


def choose_precision(hyperparameters: Mapping[str, Any]) -> str:
    """Return the dtype policy in which a trial trains on this device."""
    return backends.current.find_fast_precision() if hyperparameters["precision"] == "auto" else "float32"


def copy_to_stock_layers(training: Training) -> keras.Model:
    """Return the same model with its present weights, of Keras's own layers, in float32: it is saved, and tested."""
    job = training.job
    model = build_stock(job.model, job.hyperparameters, training.dataset, job.seed)
    for copy, trained in zip(model.variables, training.model.variables, strict=True):
        copy.assign(trained)
    return model


def _build(
    model: ModelRequest, hyperparameters: Mapping[str, Any], dataset: ImageArrays, seed: int, layers: Layers
) -> keras.Model:
    shape, classes = dataset.x_train.shape[1:], len(dataset.classes)
    return model_building.build(model, hyperparameters, shape, classes, seed, dataset.statistics, layers)
