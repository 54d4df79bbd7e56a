"""Landscapes over the default study's space whose effects, interactions, speeds and noise are drawn from a seed.

`drawn-7` is the one of seed 7; `NAMES` are those that the table takes.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

CHANCE = 0.1
OPTIMIZERS = ("sgd", "momentum", "nesterov", "adam", "adagrad", "rmsprop")
ACTIVATIONS = ("sigmoid", "tanh", "relu", "leaky_relu", "prelu", "elu", "maxout")
NAMES = tuple(f"drawn-{seed}" for seed in range(8))


@dataclass(frozen=True)
class DrawnEffects:
    """Effects of levels, parabolas over the ranges, speeds by optimizer, and noise."""

    level: float
    optimizers: Mapping[str, float]
    activations: Mapping[str, float]
    batch_norm: Mapping[str, float]
    """By activation."""
    best_rates: Mapping[str, float]
    """Decimal logarithms, by optimizer."""
    rate_bend: float
    dropout_slope: float
    dropout_bend: float
    best_dropout: float
    speeds: Mapping[str, float]
    """Epochs, by optimizer."""
    between: float
    within: float

    def mean(self, params: Mapping[str, Any], epoch: int) -> float:
        """Return the validation accuracy at an epoch, without noise."""
        optimizer, activation, dropout = params["optimizer"], params["activation"], params["dropout"]
        final = self.level + self.optimizers[optimizer] + self.activations[activation]
        final += self.batch_norm[activation] if params["batch_norm"] else 0.0
        final -= self.rate_bend * (math.log10(params["learning_rate"]) - self.best_rates[optimizer]) ** 2
        final += self.dropout_slope * dropout - self.dropout_bend * (dropout - self.best_dropout) ** 2
        share = 1 - math.exp(-epoch / self.speeds[optimizer])
        return float(min(1.0, CHANCE + (max(CHANCE, final) - CHANCE) * share))


@cache
def draw(name: str) -> DrawnEffects:
    """Draw the landscape of a name."""
    rng = np.random.default_rng([13, int(name.rpartition("-")[2])])

    def effects(names: tuple[str, ...], low: float, high: float) -> dict[str, float]:
        return dict(zip(names, rng.normal(0, rng.uniform(low, high), len(names)).tolist(), strict=True))

    whole = float(rng.normal(0, 0.04))
    shifts = effects(OPTIMIZERS, 0.0, 0.8)
    centre, speed = rng.uniform(-4, -2), rng.uniform(2, 6)
    return DrawnEffects(
        level=float(rng.uniform(0.45, 0.75)),
        optimizers=effects(OPTIMIZERS, 0.01, 0.12),
        activations=effects(ACTIVATIONS, 0.005, 0.12),
        batch_norm={name: whole + part for name, part in effects(ACTIVATIONS, 0.0, 0.04).items()},
        best_rates={name: float(centre + shift) for name, shift in shifts.items()},
        rate_bend=float(rng.uniform(0.01, 0.08)),
        dropout_slope=float(rng.normal(0, 0.15)),
        dropout_bend=float(rng.uniform(0, 0.6)),
        best_dropout=float(rng.uniform(0, 0.5)),
        speeds={name: float(speed * math.exp(part)) for name, part in effects(OPTIMIZERS, 0.25, 0.25).items()},
        between=float(rng.uniform(0.005, 0.03)),
        within=float(rng.uniform(0.002, 0.01)),
    )


def mean(params: Mapping[str, Any], epoch: int, name: str) -> float:
    """Return the validation accuracy at an epoch, without noise."""
    return draw(name).mean(params, epoch)


def curve(params: Mapping[str, Any], epochs: int, rng: np.random.Generator, name: str) -> list[float]:
    """Return the validation accuracies of a training."""
    landscape = draw(name)
    end = rng.normal(0, landscape.between)
    noise = [end * (1 - math.exp(-epoch / 3.5)) + rng.normal(0, landscape.within) for epoch in range(1, epochs + 1)]
    return [min(1.0, max(CHANCE / 2, mean(params, epoch, name) + part)) for epoch, part in enumerate(noise, start=1)]
