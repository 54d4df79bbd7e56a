"""A landscape over eight hyperparameters: momentum counts for two optimizers only, and two have no effect at all."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

CHANCE = 0.1
NAMES = ("conditional",)
SPACE: dict[str, Any] = {
    "learning_rate": {"low": 1e-5, "high": 1e-1, "log": True},
    "optimizer": ["sgd", "momentum", "nesterov", "adam", "rmsprop"],
    "momentum": {"low": 0.5, "high": 0.95, "when": {"optimizer": ["momentum", "nesterov"]}},
    "activation": ["sigmoid", "tanh", "relu", "elu"],
    "batch_size": [16, 32, 64, 128],
    "dropout": {"low": 0.0, "high": 0.6},
    "dense_units": {"low": 64, "high": 1024, "log": True},
    "augment": [True, False],
}
BEST_RATES = {"sgd": -1.5, "momentum": -2.0, "nesterov": -2.0, "adam": -3.2, "rmsprop": -3.4}
OPTIMIZERS = {"sgd": -0.05, "momentum": 0.0, "nesterov": 0.01, "adam": 0.03, "rmsprop": 0.0}
ACTIVATIONS = {"sigmoid": -0.12, "tanh": -0.02, "relu": 0.0, "elu": 0.02}


def mean(params: Mapping[str, Any], epoch: int, name: str) -> float:
    """Return the validation accuracy at an epoch, without noise."""
    away = math.log10(params["learning_rate"]) - BEST_RATES[params["optimizer"]]
    final = 0.62 + OPTIMIZERS[params["optimizer"]] + ACTIVATIONS[params["activation"]] - 0.04 * away**2
    final += 0.25 * (params["momentum"] - 0.75) if "momentum" in params else 0.0
    final += 0.03 * math.log10(params["dense_units"] / 256) - 0.3 * (params["dropout"] - 0.25) ** 2
    share = 1 - math.exp(-epoch / 4)
    return float(CHANCE + (max(CHANCE, final) - CHANCE) * share)


def curve(params: Mapping[str, Any], epochs: int, rng: np.random.Generator, name: str) -> list[float]:
    """Return the validation accuracies of a training."""
    end = rng.normal(0, 0.012)
    noise = [end * (1 - math.exp(-epoch / 3.5)) + rng.normal(0, 0.006) for epoch in range(1, epochs + 1)]
    return [max(CHANCE / 2, mean(params, epoch, name) + part) for epoch, part in enumerate(noise, start=1)]
