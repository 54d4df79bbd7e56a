"""How the levels of a hyperparameter differ, given a posterior over the search space."""

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from hpsearch.analysis import bins
from hpsearch.analysis.anova import posterior_summary
from hpsearch.analysis.anova.axes import Floats, SpaceAxis
from hpsearch.analysis.anova.functional_anova import SpacePosterior
from hpsearch.analysis.anova.posterior_summary import INTERVAL, average_cells
from hpsearch.spec.rows import Value

MIN_SUPPORT = 3
"""Trials of a level that must have come to an epoch to claim that it is the better one there."""


class Where(StrEnum):
    """Over which configurations levels are compared."""

    SPACE = "space"
    """Everything that the search may try, alike."""
    GOOD = "good"
    """Everything else as in the best tenth of the configurations."""


@dataclass(frozen=True)
class LevelDifference:
    """How much better one level of the hyperparameter `name` is than another, in the unit of the metric.

    `amount` is the posterior mean, 0 or more; `low` and `high` are its 95% interval. It holds at `epoch`. Where it is
    not `is_supported`, something speaks against a claim although the interval may leave out zero.
    """

    name: str
    better: str
    worse: str
    amount: float
    low: float
    high: float
    where: Where
    epoch: int
    is_supported: bool = True

    def orient(self, first: str) -> tuple[float, float, float]:
        """Return how much better `first`, one of the two, is than the other (below 0: worse), with the interval."""
        return (self.amount, self.low, self.high) if first == self.better else (-self.amount, -self.high, -self.low)

    def name_other(self, level: str) -> str:
        """Return the level that `level`, one of the two, is compared with."""
        return self.worse if level == self.better else self.better

    @property
    def is_settled(self) -> bool:
        """Return whether the better level is claimed to be that: the interval leaves out zero."""
        return self.is_supported and self.low > 0


def compare_levels(
    posterior: SpacePosterior,
    params: Sequence[Mapping[str, Value]],
    epoch: int,
    limits: tuple[float, float],
    support: Sequence[Mapping[str, Value]] | None = None,
) -> tuple[LevelDifference, ...]:
    """Return every pair of levels of each hyperparameter, over the space and among good configurations.

    Args:
        posterior: of the metric, thinned to the draws to compute with.
        params: of the trials, which decide into which bins a range is divided.
        epoch: at which the posterior's metric is that of a trial.
        limits: the smallest and the largest value that the metric can have. A difference that no two such values have
            is extrapolated from too little: it is cut off, and nothing is claimed.
        support: of the trials of which a level must have `MIN_SUPPORT` to be compared; None where every level is.
    """
    measured = posterior_summary.measure_cells(posterior)
    differences: list[LevelDifference] = []
    for axis in posterior.axes:
        levels = _find_level_cells(axis, params)
        if support is not None:
            counts = Counter(axis.find_cell(each[axis.name]) for each in support if axis.name in each)
            levels = {
                label: cells for label, cells in levels.items() if sum(counts[cell] for cell in cells) >= MIN_SUPPORT
            }
        for where, means in ((Where.SPACE, measured[axis.name].space), (Where.GOOD, measured[axis.name].good)):
            averages = {label: average_cells(means, cells) for label, cells in levels.items()}
            differences += _compare_pairs(axis.name, averages, where, epoch, limits[1] - limits[0])
    return tuple(differences)


def find_best_level(differences: Sequence[LevelDifference]) -> str:
    """Return the level that is the better one in most of the pairs, all of one hyperparameter and place."""
    return Counter(each.better for each in differences).most_common(1)[0][0]


@dataclass(frozen=True)
class BestLevel:
    """The best level of a hyperparameter: its pairs with those that it is settled to be better than, and the others.

    The pairs by how much the best one is better, the most first.
    """

    label: str
    settled: tuple[LevelDifference, ...]
    open: tuple[LevelDifference, ...]


def compare_best_level(pairs: Sequence[LevelDifference]) -> BestLevel:
    """Return the best level beside each other one; `pairs` are all of one hyperparameter, epoch and place."""
    best = find_best_level(pairs)
    others = sorted(
        (pair for pair in pairs if best in {pair.better, pair.worse}), key=lambda pair: -pair.orient(best)[0]
    )
    settled = tuple(pair for pair in others if pair.is_settled and pair.better == best)
    return BestLevel(best, settled, tuple(pair for pair in others if pair not in settled))


def _find_level_cells(axis: SpaceAxis, params: Sequence[Mapping[str, Value]]) -> dict[str, list[int]]:
    """Return the cells of each level; a bin narrower than a cell has the cell it lies in."""
    tried = [each[axis.name] for each in params if axis.name in each]
    levels = {}
    for level in bins.make_bins(axis.dimension, tried):
        cells = [cell for cell, value in enumerate(axis.values) if level.contains(value)]
        cells = cells or sorted({axis.find_cell(value) for value in tried if level.contains(value)})
        if cells:
            levels[level.label] = cells
    return levels


def _compare_pairs(
    name: str, averages: Mapping[str, Floats], where: Where, epoch: int, largest: float
) -> Iterator[LevelDifference]:
    for first, second in itertools.combinations(averages, 2):
        drawn = averages[first] - averages[second]
        amount = float(drawn.mean())
        better, worse = (first, second) if amount >= 0 else (second, first)
        low, high = np.quantile(drawn if amount >= 0 else -drawn, INTERVAL)
        cut = (min(abs(amount), largest), max(float(low), -largest), min(float(high), largest))
        yield LevelDifference(name, better, worse, *cut, where, epoch, is_supported=bool(high <= largest))
