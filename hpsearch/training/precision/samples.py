"""Small networks of the kinds of layers that models have: what is faster for one is taken to be for its kind."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import keras
import numpy as np

from hpsearch.training import backends
from hpsearch.training.backends import Layers
from hpsearch.training.epoch import compile_steps
from hpsearch.training.model_layers import BATCH_NORM_MOMENTUM, compute_in
from hpsearch.training.precision.measurement import Launch
from hpsearch.training.requests import ModelRequest

VERSION = 1
"""Of all below: to be counted up with a change, so that hosts measure again."""

BATCH = 32
"""Images a step: the default of the study file."""
SIDE, CHANNELS, CLASSES = 16, 32, 10
FILTERS, UNITS = 64, 128
"""Of the base model's second block and of half its dense layer: most of its multiplications are of such shapes."""


class Kind(StrEnum):
    """The layers that most of a model's time goes to."""

    CONVOLUTION = "convolution"
    BATCH_NORM = "convolution and batch norm"
    KERAS = "convolution and batch norm of Keras"


def find_kind(model: ModelRequest, hyperparameters: Mapping[str, Any]) -> Kind | None:
    """Return the kind of a trial's model; None where no sample tells what is faster for it.

    That is so for an application but VGG: at 32×32 pixels, many weights of each take part in few multiplications
    (docs/performance.md). A model of the user's own has Keras's layers; which, is not looked at.
    """
    if model.name is None:
        return Kind.KERAS
    if model.name == "application":
        return Kind.CONVOLUTION if hyperparameters["application"].startswith("VGG") else None
    return Kind.BATCH_NORM if hyperparameters.get("batch_norm", True) else Kind.CONVOLUTION


def compile_sample(kind: Kind, policy: str) -> Launch:
    """Build and compile the sample of a kind, and take its first step; what is returned takes more."""
    images = np.random.default_rng(0).integers(0, 256, (BATCH, SIDE, SIDE, CHANNELS), np.uint8)
    labels = (np.arange(BATCH) % CLASSES).astype(np.int32)
    order = np.tile(np.arange(BATCH, dtype=np.int32), (2, 1))  # a single row would not be compiled
    images, labels, order = map(backends.current.copy_to_device, (images, labels, order))
    steps = compile_steps(_build(kind, policy), keras.optimizers.Adam())
    steps.train(images, labels, order, 0, 1)
    return lambda: steps.train(images, labels, order, 0, 1)


def _build(kind: Kind, policy: str) -> keras.Model:
    current = backends.current
    layers = Layers(policy)
    if kind is not Kind.KERAS:
        layers = Layers(policy, current.make_dropout, current.make_batch_norm)
    image = keras.Input((SIDE, SIDE, CHANNELS))
    x = keras.layers.Rescaling(1 / 255)(image)
    with compute_in(policy):
        x = keras.layers.Conv2D(FILTERS, 3, padding="same")(x)
        if kind is not Kind.CONVOLUTION:
            x = layers.batch_norm(momentum=BATCH_NORM_MOMENTUM)(x)
        x = keras.layers.ReLU()(x)
        x = keras.layers.MaxPooling2D(2)(x)
        x = layers.dropout(0.25, seed=1)(x)
        x = keras.layers.Flatten()(x)
        x = keras.layers.Dense(UNITS, "relu")(x)
    return keras.Model(image, keras.layers.Dense(CLASSES, "softmax", name="head")(x))
