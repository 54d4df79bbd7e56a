"""Hyperparameters -> a Keras optimizer; and the averages of the weights that it keeps."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import keras

from hpsearch.training.recipe.schedules import Schedule

OPTIMIZERS: Mapping[str, type[keras.optimizers.Optimizer]] = {
    "sgd": keras.optimizers.SGD,
    "momentum": keras.optimizers.SGD,
    "nesterov": keras.optimizers.SGD,
    "adam": keras.optimizers.Adam,
    "adamw": keras.optimizers.AdamW,
    "nadam": keras.optimizers.Nadam,
    "adamax": keras.optimizers.Adamax,
    "adagrad": keras.optimizers.Adagrad,
    "rmsprop": keras.optimizers.RMSprop,
    "lion": keras.optimizers.Lion,
    "muon": keras.optimizers.Muon,
}

UNSUPPORTED = ("loss_scale_factor",)
"""Settings of an optimizer that our training loop does not implement: `keras.Model.fit` scales the loss."""


def make_optimizer(
    hyperparameters: Mapping[str, Any], steps: int | None = None, network: keras.Model | None = None
) -> keras.optimizers.Optimizer:
    """Make the optimizer with its learning rate; what the table does not name stays at Keras's default.

    Args:
        hyperparameters: every row of the table.
        steps: of the whole training, for a rate that changes within epochs; without, the rate stays at its start.
        network: what it is to train, whose output layer muon leaves to adamw; without, muon takes that too.

    Raises:
        KeyError: a hyperparameter is missing, or the optimizer is not in the table.
        ValueError: the schedule cannot be computed.
    """
    name, schedule = hyperparameters["optimizer"], Schedule.read(hyperparameters)
    accumulated = hyperparameters["gradient_accumulation"]
    options: dict[str, Any] = {
        "learning_rate": schedule.make_rate(steps) if steps and schedule.changes_within_epochs else schedule.start,
        "weight_decay": hyperparameters["weight_decay"] or None,
        "clipnorm": hyperparameters["clipnorm"] or None,
        "gradient_accumulation_steps": accumulated if accumulated > 1 else None,
        **_choose_own_options(name, hyperparameters),
    }
    if name == "muon" and network is not None:
        options["exclude_layers"] = [f"^{re.escape(path)}$" for path in find_output_kernel(network)]
    if hyperparameters["ema"]:
        options.update(use_ema=True, ema_momentum=hyperparameters["ema"])
    return OPTIMIZERS[name](**options)


def find_output_kernel(network: keras.Model) -> list[str]:
    """Return the path of the kernel that gives the classes, for which muon is not meant; none where no kernel does.

    It is the last one with a column for each class: a network's weights are in the order of its layers.
    """
    classes = network.output_shape[-1]
    kernels = [weight.path for weight in network.trainable_variables if tuple(weight.shape[1:]) == (classes,)]
    return kernels[-1:]


def _choose_own_options(name: str, hyperparameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that not every optimizer has."""
    momentum, epsilon = hyperparameters["momentum"], hyperparameters["epsilon"]
    beta_1, beta_2 = hyperparameters["beta_1"], hyperparameters["beta_2"]
    if name in ("momentum", "nesterov"):
        return {"momentum": momentum, "nesterov": name == "nesterov"}
    if name == "adamw":  # which takes no None
        decay = {"weight_decay": hyperparameters["weight_decay"]}
        return {"beta_1": beta_1, "beta_2": beta_2, "epsilon": epsilon, **decay}
    if name in ("adam", "nadam", "adamax"):
        return {"beta_1": beta_1, "beta_2": beta_2, "epsilon": epsilon}
    if name == "lion":
        return {"beta_1": beta_1, "beta_2": beta_2}
    if name == "muon":
        return {
            "momentum": momentum,
            "adam_beta_1": beta_1,
            "adam_beta_2": beta_2,
            "epsilon": epsilon,
            "adam_weight_decay": hyperparameters["weight_decay"] or None,
        }
    return {} if name == "sgd" else {"epsilon": epsilon}


def refuse_unsupported(optimizer: keras.optimizers.Optimizer) -> None:
    """Raise where the optimizer has a setting that our training loop would ignore.

    Raises:
        ValueError: it has; the message names it.
    """
    for name in UNSUPPORTED:
        value = getattr(optimizer, name, None)
        if value not in (None, False):
            raise ValueError(f"the training loop does not implement {name}={value!r} of {type(optimizer).__name__}")


def get_step_count(optimizer: keras.optimizers.Optimizer) -> keras.Variable:
    """Return the variable that counts the steps; `iterations` counts updates, where gradients are accumulated."""
    return optimizer._iterations


@contextmanager
def use_averages(model: keras.Model) -> Iterator[None]:
    """Give the model the averages of its weights inside the context, where its optimizer keeps them."""
    if not model.optimizer.use_ema:
        yield
        return
    weights = model.trainable_variables
    trained = [keras.ops.copy(weight.value) for weight in weights]
    model.optimizer.finalize_variable_values(weights)
    try:
        yield
    finally:
        for weight, value in zip(weights, trained, strict=True):
            weight.assign(value)
