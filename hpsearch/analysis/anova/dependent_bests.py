"""What an interaction means for a choice: which value of one hyperparameter is best at each level of another."""

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hpsearch.analysis.anova.axes import Floats, SpaceAxis, deactivate, draw_cells
from hpsearch.analysis.anova.functional_anova import Posterior
from hpsearch.analysis.anova.posterior_summary import INTERVAL
from hpsearch.formatting import format_value
from hpsearch.spec.dimension import Choices

CONFIGURATIONS = 200
"""Drawn from the space to average everything else over."""
MIN_PROBABILITY = 0.975
"""The least posterior probability with which the best values at two levels differ, or lie on one side of each other."""


@dataclass(frozen=True)
class DependentBest:
    """The best value of the hyperparameter `name` at levels of `by`, between which it is sure to differ.

    `values` has for each of these levels the best value, and for a range the ends of its 95% interval; written as text.
    """

    name: str
    by: str
    values: Mapping[str, tuple[str, ...]]

    def describe(self) -> str:
        """Return `learning_rate is best near 0.1 (0.03 to 0.1) with optimizer sgd, near 0.01 (...) with adam`."""
        parts = [
            f"near {value[0]} ({value[1]} to {value[2]}) with {level}" if len(value) > 1 else f"{value[0]} with {level}"
            for level, value in self.values.items()
        ]
        parts[0] = parts[0].replace(" with ", f" with {self.by} ")
        return f"{self.name} is best {', '.join(parts)}"


def find_dependent_bests(posterior: Posterior, pairs: Iterable[tuple[str, str]]) -> tuple[DependentBest, ...]:
    """Return what is sure of the pairs of hyperparameters that interact, one of each pair being a choice."""
    return tuple(best for pair in pairs for best in _compare_pair(posterior, pair))


def _compare_pair(posterior: Posterior, pair: tuple[str, str]) -> Iterator[DependentBest]:
    numbers = {axis.name: number for number, axis in enumerate(posterior.axes)}
    # A range depends on a choice rather than the other way round.
    by, of = sorted(pair, key=lambda name: not isinstance(posterior.axes[numbers[name]].dimension, Choices))
    conditions, axis = posterior.axes[numbers[by]], posterior.axes[numbers[of]]
    if not isinstance(conditions.dimension, Choices):
        return
    best = _find_best_cells(posterior, numbers[by], numbers[of])
    levels = _select_levels(best, isinstance(axis.dimension, Choices))
    if levels:
        values = {format_value(conditions.values[level]): _write_best(axis, best[level]) for level in levels}
        yield DependentBest(of, by, values)


def _find_best_cells(posterior: Posterior, by: int, of: int) -> NDArray[np.int64]:
    """Return the best cell of the axis `of` at each cell of `by` (cells of `by`, draws), averaged over all else.

    A cell in which `of` is inactive has -1.
    """
    axes = posterior.axes
    drawn = draw_cells(axes, CONFIGURATIONS, np.random.default_rng(0))
    best = np.full((axes[by].size, len(posterior.coefficients)), -1)
    for level in range(axes[by].size):
        means: list[Floats] = []
        for cell in range(axes[of].size):
            tried = drawn.copy()
            tried[:, by], tried[:, of] = level, cell
            active = deactivate(axes, tried)
            if (active[:, of] == cell).any() and (active[:, by] == level).any():
                means.append(posterior.predict(active).mean(axis=0))
        if len(means) == axes[of].size:
            best[level] = np.argmax(means, axis=0)
    return best


def _select_levels(best: NDArray[np.int64], is_choice: bool) -> list[int]:
    """Return the levels between which the best cell is sure to differ; none where no two are."""
    levels = [level for level in range(len(best)) if best[level].min() >= 0]
    if is_choice:
        levels = [level for level in levels if np.bincount(best[level]).max() >= MIN_PROBABILITY * best.shape[1]]
        return levels if len({int(np.bincount(best[level]).argmax()) for level in levels}) > 1 else []
    sure = [
        pair for pair in itertools.permutations(levels, 2) if np.mean(best[pair[0]] < best[pair[1]]) >= MIN_PROBABILITY
    ]
    return sorted({level for pair in sure for level in pair})


def _write_best(axis: SpaceAxis, cells: NDArray[np.int64]) -> tuple[str, ...]:
    if isinstance(axis.dimension, Choices):
        return (format_value(axis.values[int(np.bincount(cells).argmax())]),)
    low, high = (int(np.quantile(cells, end, method="inverted_cdf")) for end in INTERVAL)
    return tuple(_round(axis.values[cell]) for cell in (int(np.median(cells)), low, high))


def _round(value: object) -> str:
    """Return a value to two digits: a cell of a range is no narrower."""
    return f"{value:.2g}".replace("e-0", "e-") if isinstance(value, float) else format_value(value)
