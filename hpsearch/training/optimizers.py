"""Keras's optimizers as the hyperparameters name them."""

from collections.abc import Mapping
from typing import Any

import keras

OPTIMIZERS: Mapping[str, type[keras.optimizers.Optimizer]] = {
    "sgd": keras.optimizers.SGD,
    "momentum": keras.optimizers.SGD,
    "nesterov": keras.optimizers.SGD,
    "adam": keras.optimizers.Adam,
    "adagrad": keras.optimizers.Adagrad,
    "rmsprop": keras.optimizers.RMSprop,
}


def make_optimizer(hyperparameters: Mapping[str, Any]) -> keras.optimizers.Optimizer:
    """Return the optimizer with its starting learning rate; what the table does not name stays at Keras's default.

    Raises:
        KeyError: a hyperparameter is missing, or the optimizer is not in the table.
    """
    name = hyperparameters["optimizer"]
    options: dict[str, Any] = {"learning_rate": hyperparameters["learning_rate"]}
    if name in ("momentum", "nesterov"):
        options.update(momentum=hyperparameters["momentum"], nesterov=name == "nesterov")
    return OPTIMIZERS[name](**options)
