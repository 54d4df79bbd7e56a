"""A model made of the image, augmentation, preprocessing and the layers that the study's model puts behind them."""

from collections.abc import Iterator, Mapping
from typing import Any

import keras

from hpsearch.errors import UsageError
from hpsearch.spec.models import list_models
from hpsearch.training import model_layers
from hpsearch.training.backends import STOCK, Layers
from hpsearch.training.loading import PixelStatistics
from hpsearch.training.recipe.augmentation import augment
from hpsearch.training.requests import ModelRequest


def build(
    model: ModelRequest,
    hyperparameters: Mapping[str, Any],
    input_shape: tuple[int, ...],
    classes: int,
    seed: int,
    statistics: PixelStatistics,
    layers: Layers = STOCK,
) -> keras.Model:
    """Return the untrained model, not compiled.

    Args:
        model: which.
        hyperparameters: every row of its table.
        input_shape: (height, width, channels) of an image.
        classes: width of the softmax.
        seed: of the initial kernels, dropout and augmentation; the same seed gives the same weights.
        statistics: of the training images, for `preprocessing = "standardize"`.
        layers: what dropout, batch norm and precision between preprocessing and head are.

    Returns:
        A model from raw pixels 0..255, (batch, height, width, channels) of any number type, to probabilities
        (batch, classes).

    Raises:
        KeyError: a hyperparameter is missing.
        UsageError: images of that shape are too small for it.
        ValueError: a hyperparameter has a value that Keras refuses.
    """
    if model.name is None:
        raise ValueError("a model of the user's own is not built here")
    body = list_models()[model.name]
    if fault := body.find_fault(hyperparameters, input_shape):
        raise UsageError(fault)
    seeds = model_layers.draw_seeds(seed)
    image = keras.Input(input_shape, name="image")
    x = prepare_image(image, hyperparameters, statistics, seeds)
    options = {"weights": model.weights} if body.takes_weights else {}
    return keras.Model(image, body.build(hyperparameters, x, classes, seeds, layers, **options), name=body.name)


def prepare_image(
    image: Any, hyperparameters: Mapping[str, Any], statistics: PixelStatistics, seeds: Iterator[int]
) -> Any:
    """Return what a model gets of the images: augmented in training, and preprocessed; `image` itself where neither."""
    x = augment(image, hyperparameters, seeds)
    return model_layers.preprocess(x, hyperparameters.get("preprocessing", "none"), statistics)
