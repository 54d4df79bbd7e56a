"""What TensorFlow and JAX each do in a way of their own: the interface, and the backend that Keras runs on.

A backend is one module of this package, named as Keras names it. Only these modules name a framework.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, cast

import keras
import numpy as np
import numpy.typing as npt

from hpsearch.training.recipe.objective import Objective

Probabilities = npt.NDArray[np.float32]
"""What a model gives each class of each image: (n, classes), a row sums to 1."""


FLOAT32, BFLOAT16 = "float32", "mixed_bfloat16"
"""The dtype policies that trials are trained in."""


class Steps(Protocol):
    """The compiled steps of one model. One call runs many of them without returning to Python in between."""

    model: keras.Model
    objective: Objective

    def train(self, images: Any, labels: Any, order: Any, first: int, last: int) -> tuple[float, float]:
        """Take the steps from `first` to before `last`; the model and its optimizer are changed.

        Args:
            images: (n, height, width, channels) of 0..255.
            labels: (n,).
            order: (steps, batch) indices of images, a row a step. A batch of another size compiles anew.
            first: counted from 0.
            last: at most the number of steps.

        Returns:
            Sums over all images of the steps: cross-entropy in nats, without any penalty, and right answers; where
            images are mixed, by the mixed labels.
        """

    def predict(self, images: Any) -> Probabilities:
        """Return the model's probabilities for images (n, height, width, channels) of 0..255, in one step."""


class Backend(Protocol):
    """The functions that each backend's module has."""

    def limit_memory(self, limit: int) -> None:
        """Keep to `limit` bytes of the GPU's memory; to be called before the GPU is used."""

    def keep_compiled(self, directory: Path) -> None:
        """Take compiled steps from `directory`, and keep them there, for the other processes of this host."""

    def read_peak_memory(self, *, reset: bool = False) -> int | None:
        """Return the most bytes that arrays held on the device since the start or the last `reset`.

        Returns:
            None where that is unknown.
        """

    def list_precisions(self) -> tuple[str, ...]:
        """Return the dtype policies that may be the fastest on this device without losing accuracy.

        The first is to be taken where they have not been compared, or are as fast. On a GPU it is one: measured there
        by hand (docs/performance.md), and to compile a sample of each takes longer than a trial should wait.
        """

    def make_dropout(self, rate: float, seed: int) -> keras.layers.Layer:
        """Make a dropout layer to train with; it has the variables of Keras's own."""

    def make_batch_norm(self, momentum: float, gamma_initializer: str = "ones") -> "UnbiasedBatchNorm":
        """Make a batch normalization layer to train with; it has the variables of Keras's own."""

    def copy_to_device(self, array: npt.NDArray[Any]) -> Any:
        """Return a copy of `array` in the device's memory."""

    def make_steps(self, model: keras.Model, optimizer: keras.optimizers.Optimizer, objective: Objective) -> Steps:
        """Make the steps of a model and its optimizer, both built. They compile when they are first taken."""

    def compile_call(self, model: keras.Model) -> Callable[[Any], Any]:
        """Return the model in training mode, as a function of images that compiles when it is first called.

        It may change variables that are not trained, such as moving averages, or leave them as they are.
        """

    def free_memory(self) -> None:
        """Free what a trial left behind: Keras and its framework keep models, graphs and compiled steps."""

    def allow_double_precision(self) -> AbstractContextManager[None]:
        """Let models made inside the context compute in float64, where that is turned off by default."""


class UnbiasedBatchNorm(keras.layers.BatchNormalization):  # type: ignore[misc] # Keras ships no types
    """Batch normalization whose moving averages `Steps` make those of the steps so far.

    What they began with is divided out, as Adam does with its moments (Kingma and Ba 2015, section 3). Keras's begin
    with mean 0 and variance 1, and where the variance is small, that dominates them long after the first epoch of a
    small search. A layer of the user's own is left as Keras's.
    """


def list_moving_averages(model: keras.Model) -> list[tuple[keras.Variable, float]]:
    """Return the moving averages of a model's `UnbiasedBatchNorm` layers, and what each keeps of itself in a step."""
    return [
        (average, layer.momentum)
        for layer in walk_layers(model)
        if isinstance(layer, UnbiasedBatchNorm)
        for average in (layer.moving_mean, layer.moving_variance)
    ]


def walk_layers(model: keras.Model) -> Iterator[keras.layers.Layer]:
    """Yield the layers of a model, and those of the models in it."""
    for layer in model.layers:
        yield layer
        if isinstance(layer, keras.Model):
            yield from walk_layers(layer)


@dataclass(frozen=True)
class Layers:
    """The layers a network is made of where a backend may have its own: see `Backend`. By default Keras's."""

    precision: str | None = None
    """The dtype policy between preprocessing and head, which stay in Keras's default, as None does."""
    dropout: Callable[..., keras.layers.Layer] = keras.layers.Dropout
    batch_norm: Callable[..., keras.layers.Layer] = keras.layers.BatchNormalization


STOCK = Layers()
"""The layers of a saved model, so that it loads wherever Keras is."""

current = cast(Backend, import_module(f"hpsearch.training.backends.{keras.backend.backend()}"))
"""The module of the framework that Keras runs on."""


def name_device() -> str:
    """Return what the framework computes on: "GPU" or "CPU". The first call takes hold of the device."""
    names = keras.distribution.list_devices()  # GPUs where it sees any, else the CPU
    return "CPU" if all(name.startswith("cpu") for name in names) else "GPU"


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether `error` says that the device or the host has no memory left.

    TensorFlow raises a ResourceExhaustedError, JAX an error that begins with RESOURCE_EXHAUSTED.
    """
    if isinstance(error, MemoryError) or type(error).__name__ == "ResourceExhaustedError":
        return True
    return "RESOURCE_EXHAUSTED" in str(error)


def is_unsupported(error: BaseException) -> bool:
    """Return whether `error` says that the device has no such computation.

    TensorFlow raises an UnimplementedError, or passes on what oneDNN says; JAX an error that begins with UNIMPLEMENTED.
    """
    if type(error).__name__ == "UnimplementedError":
        return True
    return str(error).startswith("UNIMPLEMENTED") or "could not create a primitive" in str(error)


def read_version() -> str:
    """Return the framework's own version."""
    return str(sys.modules[keras.backend.backend()].__version__)
