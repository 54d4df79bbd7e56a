"""What is true of a search space on real training, from a full grid over it that was trained more than once.

The mean over repetitions of the grid contains their noise, and so does its variance. A product of two repetitions does
not, in expectation: all variances here are covariances between repetitions, and good configurations are chosen by other
repetitions than those that they are compared in. Between the points of a range the metric is interpolated, linearly on
the range's own scale. What is left of the noise is stated as a standard error, from grids drawn anew around the mean of
this one with the noise of each point.
"""

import itertools
from collections.abc import Mapping, Sequence
from functools import cache, cached_property

import numpy as np
from answers_truth import GOOD, Where, list_values
from numpy.typing import NDArray

from hpsearch.analysis import bins
from hpsearch.spec.dimension import Choices, Dimension, Range
from hpsearch.spec.rows import Value

Floats = NDArray[np.float64]

CELLS = 48
"""Values of a range between its ends, evenly on its scale, at which the metric is interpolated."""
RESAMPLED = 100
"""Grids that are drawn for the standard errors."""


class GridTruth:
    """What a grid says is true at one epoch.

    `space` is that of the searches, without conditions; `points` are the grid's values of each hyperparameter, from end
    to end where that is a range; `values` (repetitions, points of the first hyperparameter, of the second, ...) are the
    metric, more being better.
    """

    def __init__(self, space: Mapping[str, Dimension], points: Mapping[str, Sequence[Value]], values: Floats) -> None:
        if len(values) < 2:
            raise ValueError(f"{len(values)} repetition of the grid: its noise takes two")
        self.space, self._points, self._values = space, points, values
        self._bases = [_weigh_cells(dimension, points[name]) for name, dimension in space.items()]
        self._compare = cache(self._compute_difference)

    @cached_property
    def shares(self) -> Mapping[str, float]:
        """Return the share of the variance that each hyperparameter explains by itself: Sobol's first-order index."""
        return {name: self._explain(i) / self._variance for i, name in enumerate(self.space)}

    @cached_property
    def interactions(self) -> Mapping[tuple[str, str], float]:
        """Return the share that each pair explains beyond what its two do."""
        explained = {
            (i, j): self._explain(i, j) - self._explain(i) - self._explain(j)
            for i, j in itertools.combinations(range(len(self.space)), 2)
        }
        names = list(self.space)
        return {(names[i], names[j]): amount / self._variance for (i, j), amount in explained.items()}

    @property
    def lead(self) -> float:
        """Return how far the largest share is above the next."""
        first, second = sorted([*self.shares.values(), 0.0], reverse=True)[:2]
        return first - second

    def compare(self, name: str, better: str, worse: str, where: Where) -> float:
        """Return by how much one level is above another."""
        return self._compare(name, better, worse, where)

    def list_levels(self, name: str) -> list[str]:
        """Return the labels of the levels that a search which tried everything would compare."""
        dimension = self.space[name]
        values = dimension.values if isinstance(dimension, Choices) else _list_cells(dimension)
        return [level.label for level in bins.make_bins(dimension, list(values))]

    @cached_property
    def noise(self) -> float:
        """Return the standard deviation of a training of the same configuration, the root of its mean square."""
        return float(np.sqrt(self._values.var(axis=0, ddof=1).mean()))

    @cached_property
    def share_errors(self) -> Mapping[str, float]:
        """Return the standard error of each share."""
        return {name: float(np.std([grid.shares[name] for grid in self._resampled])) for name in self.space}

    @cached_property
    def interaction_errors(self) -> Mapping[tuple[str, str], float]:
        """Return the standard error of each pair's share."""
        drawn = [grid.interactions for grid in self._resampled]
        return {pair: float(np.std([shares[pair] for shares in drawn])) for pair in self.interactions}

    def measure_error(self, name: str, better: str, worse: str, where: Where) -> float:
        """Return the standard error of a difference."""
        return float(np.std([grid.compare(name, better, worse, where) for grid in self._resampled]))

    @cached_property
    def _resampled(self) -> "list[GridTruth]":
        rng = np.random.default_rng(1)
        mean, deviation = self._values.mean(axis=0), self._values.std(axis=0, ddof=1)
        draws = [mean + deviation * rng.normal(size=self._values.shape) for _ in range(RESAMPLED)]
        return [GridTruth(self.space, self._points, values) for values in draws]

    @cached_property
    def _cells(self) -> Floats:
        """The metric over the whole space, each hyperparameter's cells being alike likely (repetitions, cells, ...)."""
        cells = self._values
        for axis, basis in enumerate(self._bases, start=1):
            cells = _apply(basis, cells, axis)
        return cells

    @cached_property
    def _variance(self) -> float:
        return _multiply_repetitions(self._cells.reshape(len(self._cells), -1))

    def _explain(self, *axes: int) -> float:
        """Return the variance of the mean given these hyperparameters."""
        others = tuple(i + 1 for i in range(len(self.space)) if i not in axes)
        return _multiply_repetitions(self._cells.mean(axis=others).reshape(len(self._cells), -1))

    def _compute_difference(self, name: str, better: str, worse: str, where: Where) -> float:
        means = self._average_level(name, better), self._average_level(name, worse)
        if where == "space":
            return float(means[0].mean() - means[1].mean())
        axis = list(self.space).index(name)
        weights = np.array([chosen.sum(axis=axis) for chosen in self._good])
        return float(((means[0] - means[1]) * weights).sum() / weights.sum())

    def _average_level(self, name: str, label: str) -> Floats:
        """Return the metric with the hyperparameter at that level, over the cells of the others."""
        dimension, axis = self.space[name], list(self.space).index(name)
        row = _weigh(dimension, self._points[name], list_values(dimension, label)).mean(axis=0, keepdims=True)
        averaged = _apply(row, self._values, axis + 1)
        for other, basis in enumerate(self._bases):
            if other != axis:
                averaged = _apply(basis, averaged, other + 1)
        return averaged.squeeze(axis + 1)

    @cached_property
    def _good(self) -> Sequence[NDArray[np.bool_]]:
        """Which cells are the best tenth, for each repetition, by the mean of the others."""
        chosen = []
        for repetition in range(len(self._cells)):
            others = np.delete(self._cells, repetition, axis=0).mean(axis=0)
            chosen.append(others >= np.quantile(others, 1 - GOOD))
        return chosen


def _multiply_repetitions(values: Floats) -> float:
    """Return the covariance of two repetitions, averaged over all pairs of them (repetitions, cells)."""
    centred = values - values.mean(axis=1, keepdims=True)
    products = centred @ centred.T / values.shape[1]
    count = len(values)
    return float((products.sum() - np.trace(products)) / (count * (count - 1)))


def _apply(weights: Floats, values: Floats, axis: int) -> Floats:
    """Return the values with one axis replaced by weighted sums over it (rows of `weights`)."""
    return np.moveaxis(np.tensordot(values, weights, axes=(axis, 1)), -1, axis)


def _weigh_cells(dimension: Dimension, points: Sequence[Value]) -> Floats:
    return _weigh(dimension, points, dimension.values if isinstance(dimension, Choices) else _list_cells(dimension))


def _weigh(dimension: Dimension, points: Sequence[Value], values: Sequence[Value]) -> Floats:
    """Return the weights of the grid's points for each of the values (values, points): linear between two."""
    if isinstance(dimension, Choices):
        return np.array([[float(point == value) for point in points] for value in values])
    places = [_place(dimension, float(point)) for point in points]
    unit = np.eye(len(points))
    return np.array([[np.interp(_place(dimension, float(value)), places, row) for row in unit] for value in values])


def _list_cells(dimension: Range) -> list[Value]:
    low, high = float(dimension.low), float(dimension.high)
    middles = (np.arange(CELLS) + 0.5) / CELLS
    values = low * (high / low) ** middles if dimension.log else low + (high - low) * middles
    return [float(value) for value in values]


def _place(dimension: Range, value: float) -> float:
    return float(np.log(value)) if dimension.log else value
