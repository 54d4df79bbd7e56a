"""What any model is made of: preprocessing, activations, and the options of kernels."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np

from hpsearch.training.backends import Layers
from hpsearch.training.loading import PixelStatistics

LEAKY_SLOPE = 0.1

BATCH_NORM_MOMENTUM = 0.9
"""What batch norm's moving averages keep at each step: PyTorch's default.

Keras's default of 0.99 covers hundreds of steps, and a search takes few, in which the weights change fast: at 40 an
epoch, a network that had two thirds of its training images right was still at chance in validation after six epochs.
"""


@contextmanager
def compute_in(precision: str | None) -> Iterator[None]:
    """Give layers that are made inside that dtype policy; None: the current one."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision or before)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def draw_seeds(seed: int) -> Iterator[int]:
    """Yield seeds without end: two layers that shared one would start from the same numbers."""
    generator = np.random.default_rng(seed)
    while True:
        yield int(generator.integers(2**31))


def preprocess(image: Any, how: str, statistics: PixelStatistics) -> Any:
    """Return the images scaled to 0..1, standardized to mean 0 and deviation 1 a channel, or (`none`) as they are."""
    if how == "none":
        return image
    if how == "scale":
        return keras.layers.Rescaling(1 / 255)(image)
    scale = [1 / deviation for deviation in statistics.deviation]
    offset = [-mean / deviation for mean, deviation in zip(statistics.mean, statistics.deviation, strict=True)]
    return keras.layers.Rescaling(scale, offset)(image)


def activate(
    x: Any, hyperparameters: Mapping[str, Any], layers: Layers, layer: Callable[[], keras.layers.Layer]
) -> Any:
    """Return `x` through a new layer, batch norm where it is on, and the activation; maxout has two of the former."""

    def linear() -> Any:
        y = layer()(x)
        return layers.batch_norm(momentum=BATCH_NORM_MOMENTUM)(y) if hyperparameters["batch_norm"] else y

    activation = hyperparameters["activation"]
    if activation == "maxout":
        return keras.layers.Maximum()([linear(), linear()])
    if activation == "prelu":
        return keras.layers.PReLU()(linear())
    if activation == "leaky_relu":
        return keras.layers.LeakyReLU(negative_slope=LEAKY_SLOPE)(linear())
    return keras.layers.Activation(activation)(linear())


def make_kernel_options(hyperparameters: Mapping[str, Any], seeds: Iterator[int]) -> dict[str, Any]:
    """Return a layer's options for its initial kernel and its penalty."""
    l1, l2 = hyperparameters["l1"], hyperparameters["l2"]
    return {
        "kernel_initializer": make_initializer(hyperparameters, seeds),
        "kernel_regularizer": keras.regularizers.L1L2(l1, l2) if l1 or l2 else None,
    }


def make_initializer(hyperparameters: Mapping[str, Any], seeds: Iterator[int]) -> keras.initializers.Initializer:
    """Return the initializer of a kernel."""
    return type(keras.initializers.get(hyperparameters["initializer"]))(seed=next(seeds))
