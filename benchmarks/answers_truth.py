"""What is true of a landscape at an epoch, computed from its mean over draws of the space.

The share of a hyperparameter is the part of the variance over the space that the mean given its value explains (the
first-order index of Sobol 1993), where it is active. The mean of a level is that of configurations with only that level
exchanged: all of the space, or the best tenth of it ("good"). The value of a training is its best epoch until then.
"""

import math
from collections.abc import Mapping, Sequence
from functools import cache, cached_property
from typing import Any, Literal

import numpy as np
from answers_landscapes import CHANCE, Landscape
from numpy.typing import NDArray

from hpsearch.analysis import bins
from hpsearch.spec.dimension import Choices, Dimension, Range
from hpsearch.spec.rows import Value
from hpsearch.spec.search_space import is_active

Where = Literal["space", "good"]

CONFIGURATIONS = 16_000
"""Drawn from the space; half as many where trainings have to be averaged."""
EXCHANGED = 0.2
"""The part of them in which each level is tried over the space."""
GOOD = 0.1
CELLS = 32
"""Values of a range whose means make its share."""
WITHIN = 8
"""Values that stand for a bin of a range."""
DRAWS = 8
"""Trainings of a configuration that are averaged where the landscape has no mean; one where a level is exchanged."""
LEAST_VARIANCE = 1e-8
"""Below it (a standard deviation of 0.01 points) nothing matters, and there are no shares."""
NOISE_LEFT = 0.05
"""So much of the variance of averaged trainings may be left of their noise."""


class Truth:
    """What is true of one landscape at one epoch of a study of so many."""

    def __init__(self, landscape: Landscape, epoch: int, epochs: int) -> None:
        self.space = landscape.make_spec(epochs).space
        self._landscape, self._epoch, self._epochs = landscape, epoch, epochs
        self._drawn = _draw(self.space, CONFIGURATIONS if landscape.mean else CONFIGURATIONS // 2)
        self._mean_over = cache(self._compute_mean_over)

    @cached_property
    def shares(self) -> Mapping[str, float] | None:
        """Return the share of each hyperparameter; None where nothing matters."""
        noise = float(np.mean([error**2 for _, error in self._means]))
        variance = float(self._values.var()) - noise
        if variance < max(LEAST_VARIANCE, NOISE_LEFT * noise):
            return None
        return {name: self._measure_main_effect(name) / variance for name in self.space}

    @property
    def lead(self) -> float:
        """Return how far the largest share is above the next."""
        first, second = sorted([*(self.shares or {}).values(), 0.0, 0.0], reverse=True)[:2]
        return first - second

    def compare(self, name: str, better: str, worse: str, where: Where) -> float | None:
        """Return by how much one level is above another; None where no such configuration has the hyperparameter."""
        above, below = (self._measure_level(name, label, where) for label in (better, worse))
        return None if above is None or below is None else above - below

    def list_levels(self, name: str) -> list[str]:
        """Return the labels of the levels that a search which tried everything would compare."""
        dimension = self.space[name]
        tried = [_place(dimension, (i + 0.5) / 200) for i in range(200)]
        return [level.label for level in bins.make_bins(dimension, tried)]

    @cached_property
    def _means(self) -> list[tuple[float, float]]:
        """Mean and standard error of every drawn configuration."""
        return [self._measure(_activate(self.space, full), i, DRAWS) for i, full in enumerate(self._drawn)]

    @property
    def _values(self) -> NDArray[np.float64]:
        return np.array([mean for mean, _ in self._means])

    @cached_property
    def _good(self) -> Sequence[int]:
        best = np.argsort(-self._values)[: round(GOOD * len(self._drawn))]
        return [int(number) for number in best]

    def _measure(self, params: Mapping[str, Value], number: int, draws: int) -> tuple[float, float]:
        """Return the mean of a configuration and its standard error; `number` seeds the trainings that are averaged."""
        if self._landscape.mean is not None:
            return float(self._landscape.mean(params, self._epoch, self._landscape.name)), 0.0
        rngs = [np.random.default_rng([number, draws, draw]) for draw in range(draws)]
        curves = [self._landscape.draw(params, self._epochs, rng)[: self._epoch] for rng in rngs]
        best = [max(filter(math.isfinite, curve), default=CHANCE) for curve in curves]
        return float(np.mean(best)), float(np.std(best, ddof=min(1, draws - 1)) / draws**0.5)

    def _measure_main_effect(self, name: str) -> float:
        """Return the variance of the means given each value, times how often the hyperparameter is active."""
        dimension = self.space[name]
        count = dimension.size if isinstance(dimension, Choices) else CELLS
        values = [_place(dimension, (i + 0.5) / count) for i in range(count)]
        means = [mean for value in values if (mean := self._mean_over(name, value, "space")) is not None]
        active = np.mean([is_active(self.space, name, full) for full in self._drawn])
        return float(active * np.var(means)) if means else 0.0

    def _measure_level(self, name: str, label: str, where: Where) -> float | None:
        values = list_values(self.space[name], label)
        means = [mean for value in values if (mean := self._mean_over(name, value, where)) is not None]
        return float(np.mean(means)) if means else None

    def _compute_mean_over(self, name: str, value: Value, where: Where) -> float | None:
        """Return the mean of configurations with one value exchanged, over those in which it is active."""
        chosen = self._good if where == "good" else range(round(EXCHANGED * len(self._drawn)))
        tried = [(i, _activate(self.space, {**self._drawn[i], name: value})) for i in chosen]
        means = [self._measure(params, i, 1)[0] for i, params in tried if name in params]
        return float(np.mean(means)) if means else None


def list_values(dimension: Dimension, label: str) -> list[Value]:
    """Return the values that stand for a level: one, or some spread over a bin on the range's scale.

    Raises:
        ValueError: the dimension has no such level.
    """
    for level in bins.make_bins(dimension, ()):
        if level.label == label and (points := _list_members(dimension, level)):
            return points
    if isinstance(dimension, Choices):
        raise ValueError(f"{label} is none of {dimension}")
    low, _, high = label.partition(" to ")
    half = 0.5 if dimension.integer else 0.0
    start, stop = _locate(dimension, float(low) - half), _locate(dimension, float(high or low) + half)
    return [_place(dimension, start + (stop - start) * (i + 0.5) / WITHIN) for i in range(WITHIN)]


def _list_members(dimension: Dimension, level: bins.Bin) -> list[Value]:
    """Return the values of a level that has but a few, as choices and short ranges have; none for a bin."""
    if isinstance(dimension, Choices):
        return [value for value in dimension.values if level.contains(value)]
    if dimension.size is not None and dimension.size <= bins.MAX_POINTS:
        return [value for value in dimension.list_points() if level.contains(value)]
    if dimension.integer and dimension.high - dimension.low < bins.MAX_POINTS:
        return [value for value in range(int(dimension.low), int(dimension.high) + 1) if level.contains(value)]
    return []


def _draw(space: Mapping[str, Dimension], count: int) -> list[dict[str, Value]]:
    """Draw configurations uniformly, each hyperparameter spread evenly over its scale; conditions not yet applied."""
    rng = np.random.default_rng(5)
    columns = {
        name: [_place(dimension, float(u)) for u in (rng.permutation(count) + 0.5) / count]
        for name, dimension in space.items()
    }
    return [{name: column[i] for name, column in columns.items()} for i in range(count)]


def _activate(space: Mapping[str, Dimension], full: Mapping[str, Value]) -> dict[str, Value]:
    """Return a configuration without what its conditions rule out."""
    return {name: full[name] for name in space if space[name].when is None or is_active(space, name, full)}


def _place(dimension: Dimension, position: float) -> Value:
    """Return the value at a position from 0 to 1 of a dimension's own scale."""
    if isinstance(dimension, Choices):
        return dimension.values[min(int(position * dimension.size), dimension.size - 1)]
    if dimension.size is not None:
        return dimension.list_points()[min(int(position * dimension.size), dimension.size - 1)]
    low, high = _widen(dimension)
    value = low * (high / low) ** position if dimension.log else low + (high - low) * position
    return min(max(round(value), int(dimension.low)), int(dimension.high)) if dimension.integer else float(value)


def _locate(dimension: Range, value: float) -> float:
    """Return the position of a value: the inverse of `_place`."""
    low, high = _widen(dimension)
    position: Any = np.log(value / low) / np.log(high / low) if dimension.log else (value - low) / (high - low)
    return float(np.clip(position, 0, 1))


def _widen(dimension: Range) -> tuple[float, float]:
    """Return the ends of a range; of whole numbers, those that round to its first and last."""
    half = 0.5 if dimension.integer else 0.0
    return dimension.low - half, dimension.high + half
