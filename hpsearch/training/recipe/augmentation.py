"""Random changes of the training images, by Keras's layers; outside training they leave an image as it is."""

from collections.abc import Iterator, Mapping
from typing import Any

import keras
import numpy as np

from hpsearch.errors import UsageError

FLIPS = {"horizontal": "horizontal", "vertical": "vertical", "both": "horizontal_and_vertical"}

PIXELS = (0, 255)
"""The range of a pixel's values."""


def augment(image: Any, hyperparameters: Mapping[str, Any], seeds: Iterator[int]) -> Any:
    """Return the images, pixels of 0..255 as a KerasTensor, through the layers that the hyperparameters turn on.

    Raises:
        KeyError: a hyperparameter is missing.
        UsageError: randaugment is on, and the images are not of three channels.
    """
    for layer in list_layers(hyperparameters, image.shape[-1], seeds):
        image = layer(image)
    return image


def list_layers(hyperparameters: Mapping[str, Any], channels: int, seeds: Iterator[int]) -> list[keras.layers.Layer]:
    """Return the layers that the hyperparameters turn on, for images of so many channels, in the order they apply."""
    names = ("flip", "shift", "rotation", "zoom", "color", "randaugment", "erasing")
    flip, shift, rotation, zoom, color, magnitude, erasing = (hyperparameters[name] for name in names)
    layers, made = keras.layers, []
    if flip != "none":
        made.append(layers.RandomFlip(FLIPS[flip], seed=next(seeds)))
    if shift:
        made.append(layers.RandomTranslation(shift, shift, seed=next(seeds)))
    if rotation:
        made.append(layers.RandomRotation(rotation, seed=next(seeds)))
    if zoom:
        made.append(layers.RandomZoom(zoom, seed=next(seeds)))
    if color:
        made += _list_color_layers(color, channels, seeds)
    if magnitude:
        if channels != 3:
            raise UsageError(f"randaugment needs images of 3 channels, these have {channels}: leave it at 0")
        made.append(layers.RandAugment(PIXELS, factor=magnitude, seed=next(seeds)))
    if erasing:
        made.append(layers.RandomErasing((erasing, erasing), value_range=PIXELS, seed=next(seeds)))
    return made


def _list_color_layers(strength: float, channels: int, seeds: Iterator[int]) -> list[keras.layers.Layer]:
    """Return what RandomColorJitter has, but for the hue.

    RandomColorJitter gives RandomSaturation the pixels' range, to which that clips the saturation, of 0..1: pixels
    would become negative.
    """
    jitter = [
        keras.layers.RandomBrightness(strength, PIXELS, seed=next(seeds)),
        keras.layers.RandomContrast(strength, PIXELS, seed=next(seeds)),
    ]
    if channels == 3:
        neutral, reach = 0.5, strength / 2  # RandomSaturation's 0 is grey, 1 saturated
        bounds = (neutral - reach, neutral + reach)
        jitter.append(keras.layers.RandomSaturation(bounds, value_range=(0, 1), seed=next(seeds)))
    return jitter


def list_mixing_layers(hyperparameters: Mapping[str, Any]) -> tuple[keras.layers.Layer, ...]:
    """Return the layers that mix images and their labels, one after the other; `seed_layers` seeds them.

    A model without preprocessing has none of these rows.
    """
    mixup, cutmix = (hyperparameters.get(name, 0.0) for name in ("mixup", "cutmix"))
    made = []
    if mixup:
        made.append(keras.layers.MixUp(mixup, seed=0))
    if cutmix:
        made.append(keras.layers.CutMix(cutmix, seed=0))
    return tuple(made)


def seed_layers(layers: tuple[keras.layers.Layer, ...], seed: int, epoch: int) -> None:
    """Start the random numbers of mixing layers anew for an epoch, so that no checkpoint need hold them."""
    generator = np.random.default_rng((seed, epoch, 1))  # (seed, epoch) gives the order of the images
    for layer in layers:
        state = layer.generator.state
        state.assign(np.array([generator.integers(2**31), 0], dtype=state.dtype))
