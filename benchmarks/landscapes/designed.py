"""Validation accuracies over the default study's space, each landscape designed to have one character.

A landscape file has `NAMES`, `curve` (a training's validation accuracies, by epoch) and, where it is known, `mean` (the
same without noise, at one epoch; it never falls); `SPACE`, as in a study file, where it is not the default study's.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

Params = Mapping[str, Any]

CHANCE = 0.1
ACTIVATIONS = {
    "sigmoid": -0.3,
    "tanh": -0.05,
    "relu": 0.0,
    "leaky_relu": 0.01,
    "prelu": 0.02,
    "elu": 0.01,
    "maxout": 0.01,
}


def _saturate(final: float, epoch: int, speed: float = 3.5) -> float:
    """Return the accuracy at an epoch on the way from chance to `final`."""
    return CHANCE + (max(CHANCE, final) - CHANCE) * (1 - math.exp(-epoch / speed))


def _rate(params: Params) -> float:
    """Return the decimal logarithm of the learning rate."""
    return math.log10(params["learning_rate"])


def two_strong(params: Params, epoch: int) -> float:
    """Optimizer and activation make nearly all of it, except where neither learns."""
    optimizers = {"sgd": 0.42, "momentum": 0.58, "nesterov": 0.6, "adam": 0.68, "adagrad": 0.4, "rmsprop": 0.66}
    final = optimizers[params["optimizer"]] + ACTIVATIONS[params["activation"]]
    return _saturate(final + 0.04 * params["batch_norm"] - 0.05 * abs(_rate(params) + 3), epoch)


def additive(params: Params, epoch: int) -> float:
    """Every hyperparameter adds its part, whatever the others are."""
    optimizers = {"sgd": -0.08, "momentum": -0.02, "nesterov": 0.0, "adam": 0.05, "adagrad": -0.05, "rmsprop": 0.03}
    activations = {"sigmoid": -0.1, "tanh": -0.03, "leaky_relu": 0.01, "prelu": 0.02, "elu": 0.015, "maxout": -0.01}
    final = 0.6 + optimizers[params["optimizer"]] + activations.get(params["activation"], 0.0)
    final += 0.05 * params["batch_norm"] - 0.4 * (params["dropout"] - 0.2) ** 2
    return _saturate(final - 0.036 * (_rate(params) + 3) ** 2, epoch)


def own_rates(params: Params, epoch: int) -> float:
    """Every optimizer has a learning rate of its own that suits it."""
    best = {"sgd": -1.3, "momentum": -2.0, "nesterov": -2.0, "adam": -3.2, "adagrad": -2.0, "rmsprop": -3.5}
    optimizers = {"sgd": -0.02, "nesterov": 0.01, "adam": 0.02, "adagrad": -0.03}
    away = _rate(params) - best[params["optimizer"]]
    final = 0.68 + optimizers.get(params["optimizer"], 0.0) - 0.12 * away**2 * (1.6 if away > 0 else 0.6)
    final += 0.4 * ACTIVATIONS[params["activation"]] + 0.03 * params["batch_norm"]
    return _saturate(final - 0.1 * (params["dropout"] - 0.25) ** 2, epoch)


def crossing(params: Params, epoch: int) -> float:
    """The optimizers that end best learn slowest, as does much dropout: what leads early loses in the end."""
    slowness = {"sgd": 9, "momentum": 6, "nesterov": 6, "adam": 2, "adagrad": 4, "rmsprop": 2}
    optimizers = {"sgd": 0.72, "momentum": 0.7, "nesterov": 0.7, "adam": 0.6, "adagrad": 0.58, "rmsprop": 0.58}
    final = optimizers[params["optimizer"]] + 0.3 * ACTIVATIONS[params["activation"]] - 0.04 * abs(_rate(params) + 3)
    final += 0.1 * params["dropout"] - 0.03 * params["batch_norm"]
    speed = slowness[params["optimizer"]] * (1 + 1.5 * params["dropout"]) * (0.5 if params["batch_norm"] else 1.0)
    return _saturate(final, epoch, speed)


def nothing(params: Params, epoch: int) -> float:
    """No hyperparameter makes any difference."""
    return _saturate(0.6, epoch)


def one_level(params: Params, epoch: int) -> float:
    """One optimizer is far above all others, and hardly anything else counts."""
    final = 0.65 if params["optimizer"] == "adam" else 0.3
    return _saturate(final - 0.02 * abs(_rate(params) + 3) + 0.01 * params["batch_norm"], epoch)


def cliff(params: Params, epoch: int) -> float:
    """Above a learning rate that depends on optimizer and batch normalization nothing is learned."""
    edge = -2.8 if params["optimizer"] in {"adam", "rmsprop"} else -1.8
    if _rate(params) > edge + 0.7 * params["batch_norm"]:
        return CHANCE
    return _saturate(0.55 + 0.08 * (_rate(params) + 5) / 3 + 0.5 * ACTIVATIONS[params["activation"]], epoch)


def opposite(params: Params, epoch: int) -> float:
    """Pairs without main effects: what batch normalization does depends on the activation, dropout on the rate."""
    sign = {"sigmoid": 1.0, "tanh": 1.0, "elu": 0.5, "relu": -0.5, "leaky_relu": -1.0, "prelu": -1.0}
    final = 0.55 + 0.06 * sign.get(params["activation"], 0.0) * (1 if params["batch_norm"] else -1)
    final += 0.12 * (params["dropout"] - 0.25) * (_rate(params) + 3)
    return _saturate(final - 0.01 * abs(_rate(params) + 3), epoch)


LANDSCAPES: dict[str, tuple[Callable[[Params, int], float], float, float]] = {
    "two-strong": (two_strong, 0.012, 0.006),
    "additive": (additive, 0.012, 0.006),
    "own-rates": (own_rates, 0.012, 0.006),
    "crossing": (crossing, 0.012, 0.006),
    "noisy": (additive, 0.08, 0.02),
    "nothing": (nothing, 0.015, 0.006),
    "one-level": (one_level, 0.012, 0.006),
    "cliff": (cliff, 0.015, 0.006),
    "opposite": (opposite, 0.012, 0.006),
}
"""The mean, and the standard deviations of a training's end and of each of its epochs."""
NAMES = tuple(LANDSCAPES)


def mean(params: Params, epoch: int, name: str) -> float:
    """Return the validation accuracy at an epoch, without noise."""
    return LANDSCAPES[name][0](params, epoch)


def curve(params: Params, epochs: int, rng: np.random.Generator, name: str) -> list[float]:
    """Return the validation accuracies of a training; one at chance is exactly there."""
    _, between, within = LANDSCAPES[name]
    end = rng.normal(0, between)
    accuracies = []
    for epoch in range(1, epochs + 1):
        level = mean(params, epoch, name)
        noise = end * (1 - math.exp(-epoch / 3.5)) + rng.normal(0, within)
        accuracies.append(level if level <= CHANCE else min(1.0, max(CHANCE / 2, level + noise)))
    return accuracies
