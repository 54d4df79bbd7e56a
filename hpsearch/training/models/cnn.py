"""Hyperparameters -> a Keras model and its optimizer.

The network is the base model of DESIGN.md: two blocks of two convolutions, a dense layer, a softmax head. It takes
raw pixels and is made of stock Keras layers only, so that a saved model predicts wherever Keras is, without this
package.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import keras
import numpy as np

from hpsearch.training.backends import STOCK, Layers
from hpsearch.training.datasets.arrays import PixelStatistics

LEAKY_SLOPE = 0.1
SHIFT = 0.1  # of height and width, either way

BATCH_NORM_MOMENTUM = 0.9
"""What batch norm's moving averages keep at each step: PyTorch's default.

Keras's, 0.99, remembers hundreds of steps, and a search takes few, in which the weights change fast: at 40 an epoch, a
network that had two thirds of its training images right was still at chance in validation after six epochs.
"""

OPTIMIZERS: Mapping[str, type[keras.optimizers.Optimizer]] = {
    "sgd": keras.optimizers.SGD,
    "momentum": keras.optimizers.SGD,
    "nesterov": keras.optimizers.SGD,
    "adam": keras.optimizers.Adam,
    "adagrad": keras.optimizers.Adagrad,
    "rmsprop": keras.optimizers.RMSprop,
}


def build(
    hyperparameters: Mapping[str, Any],
    input_shape: tuple[int, int, int],
    classes: int,
    seed: int,
    statistics: PixelStatistics,
    layers: Layers = STOCK,
) -> keras.Model:
    """The untrained network, not compiled.

    Args:
        hyperparameters: every row of the table.
        input_shape: (height, width, channels) of an image.
        classes: width of the softmax.
        seed: of the initial kernels, dropout and augmentation; the same seed gives the same weights.
        statistics: of the training images, for `preprocessing = "standardize"`.
        layers: what dropout, batch norm, PReLU and precision between preprocessing and head are.

    Returns:
        A model from raw pixels 0..255, (batch, height, width, channels) of any number type, to probabilities
        (batch, classes).

    Raises:
        KeyError: a hyperparameter is missing.
        ValueError: a hyperparameter has a value that Keras refuses.
    """
    seeds = _seeds(seed)
    filters, rate = hyperparameters["filters"], hyperparameters["dropout"]
    image = keras.Input(input_shape, name="image")
    x = _augment(image, seeds) if hyperparameters["augment"] else image
    x = _preprocess(x, hyperparameters["preprocessing"], statistics)
    with _computing_in(layers.precision):
        for width in (filters, 2 * filters):
            for padding in ("same", "valid"):
                x = _activate(x, hyperparameters, layers, partial(_conv, hyperparameters, width, padding, seeds))
            x = keras.layers.MaxPooling2D(2)(x)
            x = layers.dropout(rate, seed=next(seeds))(x)
        x = keras.layers.Flatten()(x)
        x = _activate(x, hyperparameters, layers, partial(_dense, hyperparameters, seeds))
        x = layers.dropout(hyperparameters["dense_dropout"], seed=next(seeds))(x)
    # The head starts from the same initializer as the rest, but carries no penalty: l1 and l2 would pull its
    # probabilities towards uniform rather than simplify the features.
    start = _initializer(hyperparameters, seeds)
    head = keras.layers.Dense(classes, "softmax", kernel_initializer=start, name="head")
    return keras.Model(image, head(x), name="cnn")


def make_optimizer(hyperparameters: Mapping[str, Any]) -> keras.optimizers.Optimizer:
    """The optimizer with its starting learning rate; what the table does not name stays at Keras's default.

    Raises:
        KeyError: a hyperparameter is missing, or the optimizer is not in the table.
    """
    name = hyperparameters["optimizer"]
    options: dict[str, Any] = {"learning_rate": hyperparameters["learning_rate"]}
    if name in ("momentum", "nesterov"):
        options.update(momentum=hyperparameters["momentum"], nesterov=name == "nesterov")
    return OPTIMIZERS[name](**options)


@contextmanager
def _computing_in(precision: str | None) -> Iterator[None]:
    """Layers made inside have that dtype policy."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision or before)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def _seeds(seed: int) -> Iterator[int]:
    """An endless row of seeds: two layers that shared one would start from the same numbers."""
    generator = np.random.default_rng(seed)
    while True:
        yield int(generator.integers(2**31))


def _augment(image: Any, seeds: Iterator[int]) -> Any:
    flipped = keras.layers.RandomFlip("horizontal", seed=next(seeds))(image)
    return keras.layers.RandomTranslation(SHIFT, SHIFT, seed=next(seeds))(flipped)


def _preprocess(image: Any, how: str, statistics: PixelStatistics) -> Any:
    if how == "scale":
        return keras.layers.Rescaling(1 / 255)(image)
    scale = [1 / deviation for deviation in statistics.deviation]
    offset = [-mean / deviation for mean, deviation in zip(statistics.mean, statistics.deviation, strict=True)]
    return keras.layers.Rescaling(scale, offset)(image)


def _activate(
    x: Any, hyperparameters: Mapping[str, Any], layers: Layers, layer: Callable[[], keras.layers.Layer]
) -> Any:
    """`x` through a fresh layer, batch norm where it is on, and the activation; maxout has two of the former."""

    def linear() -> Any:
        y = layer()(x)
        return layers.batch_norm(momentum=BATCH_NORM_MOMENTUM)(y) if hyperparameters["batch_norm"] else y

    activation = hyperparameters["activation"]
    if activation == "maxout":
        return keras.layers.Maximum()([linear(), linear()])
    if activation == "prelu":
        return layers.prelu()(linear())
    if activation == "leaky_relu":
        return keras.layers.LeakyReLU(negative_slope=LEAKY_SLOPE)(linear())
    return keras.layers.Activation(activation)(linear())


def _conv(hyperparameters: Mapping[str, Any], filters: int, padding: str, seeds: Iterator[int]) -> keras.layers.Layer:
    return keras.layers.Conv2D(
        filters, hyperparameters["filter_size"], padding=padding, **_kernel(hyperparameters, seeds)
    )


def _dense(hyperparameters: Mapping[str, Any], seeds: Iterator[int]) -> keras.layers.Layer:
    return keras.layers.Dense(hyperparameters["dense_units"], **_kernel(hyperparameters, seeds))


def _kernel(hyperparameters: Mapping[str, Any], seeds: Iterator[int]) -> dict[str, Any]:
    l1, l2 = hyperparameters["l1"], hyperparameters["l2"]
    return {
        "kernel_initializer": _initializer(hyperparameters, seeds),
        "kernel_regularizer": keras.regularizers.L1L2(l1, l2) if l1 or l2 else None,
    }


def _initializer(hyperparameters: Mapping[str, Any], seeds: Iterator[int]) -> keras.initializers.Initializer:
    return type(keras.initializers.get(hyperparameters["initializer"]))(seed=next(seeds))
