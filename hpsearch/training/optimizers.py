"""Hyperparameters -> a Keras optimizer, and its learning rate over the epochs."""

import math
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

UNSUPPORTED = ("use_ema", "loss_scale_factor", "gradient_accumulation_steps")
"""Settings of an optimizer that our training loop does not implement. `keras.Model.fit` overwrites the weights with
their averages and scales the loss; with accumulated gradients an optimizer does not count every step, as the averages
of batch norm need it."""


def make_optimizer(hyperparameters: Mapping[str, Any]) -> keras.optimizers.Optimizer:
    """Make the optimizer with its starting learning rate; what the table does not name stays at Keras's default.

    Raises:
        KeyError: a hyperparameter is missing, or the optimizer is not in the table.
    """
    name, momentum = hyperparameters["optimizer"], hyperparameters["momentum"]
    options: dict[str, Any] = {"learning_rate": hyperparameters["learning_rate"]}
    if name in ("momentum", "nesterov"):
        options.update(momentum=momentum, nesterov=name == "nesterov")
    return OPTIMIZERS[name](**options)


def refuse_unsupported(optimizer: keras.optimizers.Optimizer) -> None:
    """Raise where the optimizer has a setting that our training loop would ignore.

    Raises:
        ValueError: it has; the message names it.
    """
    for name in UNSUPPORTED:
        value = getattr(optimizer, name, None)
        if value not in (None, False):
            raise ValueError(f"the training loop does not implement {name}={value!r} of {type(optimizer).__name__}")


def compute_learning_rate(start: float, schedule: str, epoch: int, epochs: int) -> float:
    """Return the rate of an epoch, counted from 1: the same for all of its steps.

    constant: `start`. step: divided by 10 once half of the epochs are over, and again after three quarters (the
    shape of He et al. 2016, arXiv:1512.03385). cosine: start * (1 + cos(pi * (epoch - 1) / epochs)) / 2 (Loshchilov
    and Hutter 2017, arXiv:1608.03983, without restarts): it would be 0 in the epoch after the last.

    Raises:
        ValueError: no schedule is called `schedule`.
    """
    done = (epoch - 1) / epochs
    if schedule == "step":
        return float(start / 10 ** ((done >= 0.5) + (done >= 0.75)))
    if schedule == "cosine":
        return start * (1 + math.cos(math.pi * done)) / 2
    if schedule != "constant":
        raise ValueError(f"no learning rate schedule is called {schedule!r}")
    return start
