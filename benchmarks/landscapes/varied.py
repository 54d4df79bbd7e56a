"""Landscapes over the default study's space in which what leads early need not lead at the end, drawn from a seed.

How fast a training learns depends on optimizer, activation, learning rate and dropout; it approaches its end by an
exponential or a power law; some wait before they learn, and some diverge late. The models of what comes after the
rungs were chosen on the even seeds; nobody looked at the odd ones before the method stood.
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
NAMES = tuple(f"varied-{seed}" for seed in range(16))
NEVER = 1_000
"""An epoch that no training reaches."""


@dataclass(frozen=True)
class VariedEffects:
    """What makes the end of a training, how fast it comes there, and noise; rates as decimal logarithms."""

    level: float
    optimizers: Mapping[str, float]
    activations: Mapping[str, float]
    best_rates: Mapping[str, float]
    rate_bend: float
    dropout_slope: float
    batch_norm: float
    speed: float
    """Epochs until most is learned, as a rule."""
    slow_optimizers: Mapping[str, float]
    slow_activations: Mapping[str, float]
    slow_rate: float
    slow_dropout: float
    fast_norm: float
    power: float | None
    """Of the law by which the end is approached; None of an exponential one."""
    waits: Mapping[str, float]
    """Epochs before anything is learned, by activation; fewer than the trainer waits before it gives up."""
    diverging_rates: Mapping[str, float]
    diverging_epoch: int
    between: float
    within: float

    def mean(self, params: Mapping[str, Any], epoch: int) -> float:
        """Return the validation accuracy at an epoch, without noise; that of chance once it diverged."""
        if self.is_diverged(params, epoch):
            return CHANCE
        optimizer, activation, dropout = params["optimizer"], params["activation"], params["dropout"]
        away = math.log10(params["learning_rate"]) - self.best_rates[optimizer]
        final = self.level + self.optimizers[optimizer] + self.activations[activation] - self.rate_bend * away**2
        final += self.dropout_slope * dropout + self.batch_norm * params["batch_norm"]
        slowness = self.slow_optimizers[optimizer] + self.slow_activations[activation] - self.slow_rate * away
        slowness += self.slow_dropout * dropout - self.fast_norm * params["batch_norm"]
        trained = max(0.0, epoch - self.waits[activation]) / (self.speed * math.exp(slowness))
        share = 1 - math.exp(-trained) if self.power is None else 1 - (1 + trained) ** -self.power
        return float(min(1.0, CHANCE + (min(1.0, max(CHANCE, final)) - CHANCE) * share))

    def is_diverged(self, params: Mapping[str, Any], epoch: int) -> bool:
        """Return whether the losses are not numbers any more."""
        return epoch >= self.diverging_epoch and (
            math.log10(params["learning_rate"]) > self.diverging_rates[params["optimizer"]]
        )


@cache
def draw(name: str) -> VariedEffects:
    """Draw the landscape of a name."""
    rng = np.random.default_rng([31, int(name.rpartition("-")[2])])

    def effects(names: tuple[str, ...], low: float, high: float) -> dict[str, float]:
        return dict(zip(names, rng.normal(0, rng.uniform(low, high), len(names)).tolist(), strict=True))

    centre = rng.uniform(-3.5, -2)
    best_rates = {name: float(centre + shift) for name, shift in effects(OPTIMIZERS, 0.0, 0.8).items()}
    waits = {name: float(wait) for name, wait in zip(ACTIVATIONS, rng.uniform(0, 1, 7), strict=True)}
    diverging = rng.uniform() < 0.5
    return VariedEffects(
        level=float(rng.uniform(0.5, 0.8)),
        optimizers=effects(OPTIMIZERS, 0.01, 0.1),
        activations=effects(ACTIVATIONS, 0.005, 0.1),
        best_rates=best_rates,
        rate_bend=float(rng.uniform(0.01, 0.06)),
        dropout_slope=float(rng.normal(0, 0.15)),
        batch_norm=float(rng.normal(0, 0.04)),
        speed=float(rng.uniform(2, 8)),
        slow_optimizers=effects(OPTIMIZERS, 0.1, 0.6),
        slow_activations=effects(ACTIVATIONS, 0.0, 0.4),
        slow_rate=float(rng.uniform(0, 0.5)),
        slow_dropout=float(rng.uniform(0, 2)),
        fast_norm=float(rng.uniform(0, 0.5)),
        power=float(rng.uniform(0.5, 2)) if rng.uniform() < 0.5 else None,
        waits=waits if rng.uniform() < 0.5 else dict.fromkeys(ACTIVATIONS, 0.0),
        diverging_rates={name: float(rate + rng.uniform(0.5, 1.5)) for name, rate in best_rates.items()},
        diverging_epoch=int(rng.integers(3, 20)) if diverging else NEVER,
        between=float(rng.uniform(0.005, 0.025)),
        within=float(rng.uniform(0.002, 0.01)),
    )


def mean(params: Mapping[str, Any], epoch: int, name: str) -> float:
    """Return the validation accuracy at an epoch, without noise."""
    return draw(name).mean(params, epoch)


def curve(params: Mapping[str, Any], epochs: int, rng: np.random.Generator, name: str) -> list[float]:
    """Return the validation accuracies of a training; NaN where it diverged."""
    landscape = draw(name)
    end = rng.normal(0, landscape.between)
    accuracies = []
    for epoch in range(1, epochs + 1):
        noise = end * (1 - math.exp(-epoch / 3.5)) + rng.normal(0, landscape.within)
        value = min(1.0, max(CHANCE / 2, mean(params, epoch, name) + noise))
        accuracies.append(math.nan if landscape.is_diverged(params, epoch) else value)
    return accuracies
