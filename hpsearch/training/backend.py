"""What TensorFlow and JAX do in ways of their own, and Keras does not even out: for each a file of its own.

`here` is the one of the framework that Keras runs on.
"""

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol, cast

import keras
import numpy as np
import numpy.typing as npt

Probabilities = npt.NDArray[np.float32]
"""What a model gives each class of each image: (n, classes), a row sums to 1."""


class Steps(Protocol):
    """The compiled steps of one model: many of them a launch, without a word of Python between two."""

    model: keras.Model

    def train(self, images: Any, labels: Any, order: Any, first: int, last: int) -> tuple[float, float]:
        """The steps from `first` to before `last`; the model and its optimizer are changed.

        Args:
            images: (n, height, width, channels) of 0..255.
            labels: (n,).
            order: (steps, batch) which image comes when, a row a step. A batch of another size compiles anew.
            first: counted from 0.
            last: at most the number of steps.

        Returns:
            Sums over all images of the steps: cross-entropy in nats, without any penalty, and right answers.
        """

    def predict(self, images: Any) -> Probabilities:
        """What the model makes of images (n, height, width, channels) of 0..255, in one step."""


class Backend(Protocol):
    """What each backend's file has."""

    def take_share(self, share: int) -> None:
        """Keeps to so many bytes of the GPU's memory; to be called before the GPU is used."""

    def device_memory(self, *, reset: bool = False) -> int | None:
        """Bytes that arrays have held on the device at most, since the start or the last `reset`; None: unknown."""

    def fast_precision(self) -> str:
        """The dtype policy in which this device trains fastest without losing accuracy."""

    def dropout(self, rate: float, seed: int) -> keras.layers.Layer:
        """A dropout layer to train with; it has the variables of Keras's own."""

    def batch_norm(self, momentum: float) -> keras.layers.Layer:
        """A batch normalization layer to train with; it has the variables of Keras's own.

        In `Steps`, its moving averages are those of the steps so far: what they began with is divided out, as Adam does
        with its moments (Kingma and Ba 2015, section 3). Keras's begin with mean 0 and variance 1, and where the
        variance is small, that hides it long after the first epoch of a small search.
        """

    def prelu(self) -> keras.layers.Layer:
        """A PReLU layer to train with; it has the variables of Keras's own."""

    def resident(self, array: npt.NDArray[Any]) -> Any:
        """`array` where the device reads it."""

    def steps(self, model: keras.Model, optimizer: keras.optimizers.Optimizer) -> Steps:
        """The steps of a model and its optimizer, both built. They compile when they are first taken."""

    def forget(self) -> None:
        """Frees what a trial left behind: Keras and its framework keep models, graphs and compiled steps."""

    def double_precision(self) -> AbstractContextManager[None]:
        """Models made inside can compute in float64, where that is turned off by default."""


@dataclass(frozen=True)
class Layers:
    """What a network is made with where its layers may be a backend's own: see `Backend`. By default Keras's."""

    precision: str | None = None
    """The dtype policy between preprocessing and head, which stay in Keras's own, as None does."""
    dropout: Callable[..., keras.layers.Layer] = keras.layers.Dropout
    batch_norm: Callable[..., keras.layers.Layer] = keras.layers.BatchNormalization
    prelu: Callable[..., keras.layers.Layer] = keras.layers.PReLU


STOCK = Layers()
"""What a model is kept in, so that it loads wherever Keras is."""

here = cast(Backend, import_module(f"hpsearch.training.backend_{keras.backend.backend()}"))


def name_device() -> str:
    """What the framework computes on: "GPU" or "CPU". The first call takes hold of the device."""
    names = keras.distribution.list_devices()  # GPUs where it sees any, else the CPU
    return "CPU" if all(name.startswith("cpu") for name in names) else "GPU"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error` says that the device or the host has no memory left.

    One framework raises a ResourceExhaustedError, the other an error that begins with RESOURCE_EXHAUSTED.
    """
    if isinstance(error, MemoryError) or type(error).__name__ == "ResourceExhaustedError":
        return True
    return "RESOURCE_EXHAUSTED" in str(error)


def read_version() -> str:
    """The framework's own version."""
    return str(sys.modules[keras.backend.backend()].__version__)
