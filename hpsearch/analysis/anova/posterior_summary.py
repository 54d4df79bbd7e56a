"""What a posterior over the search space says: shares of the variance, and the levels of each hyperparameter.

Each figure is computed for every draw, so that its spread over the draws is how far it is known.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hpsearch.analysis.anova.axes import INACTIVE, Cells, Floats, SpaceAxis, deactivate, draw_cells
from hpsearch.analysis.anova.functional_anova import Posterior, SpacePosterior, Term

CONFIGURATIONS = 3000
"""Drawn from the space to average over."""
SWAPPED = 1200
"""Of them, those in which each level is tried in turn."""
GOOD = 0.1
"""The part of the configurations that are good: the best of each draw."""
SUMMARY_DRAWS = 200
INTERVAL = (0.025, 0.975)
"""The quantiles of the posterior between which a figure lies: 95%."""


@dataclass(frozen=True)
class VarianceShares:
    """Parts of the variance of the metric over the space, one a draw: of each axis alone, and of each pair."""

    main: Mapping[str, Floats]
    pairs: Mapping[tuple[str, str], Floats]


@dataclass(frozen=True)
class CellMeans:
    """The metric by the cell of one axis (cells, draws): over the whole space, and among the good configurations."""

    space: Floats
    good: Floats


def measure_shares(posterior: Posterior, seed: int = 0) -> VarianceShares:
    """Return Sobol's first-order indices, and those of the pairs, of every draw.

    A main effect is the variance of the mean given the axis, less what the means of so few configurations vary by
    themselves. What the main effects leave is shared among the interactions as the terms' own variances are.
    """
    axes = posterior.axes
    cells = deactivate(axes, draw_cells(axes, CONFIGURATIONS, np.random.default_rng(seed)))
    values = posterior.predict(cells)
    variance = np.maximum(values.var(axis=0), np.finfo(float).tiny)
    main = {axis.name: _between(values, cells[:, i]) / variance for i, axis in enumerate(axes)}
    left = np.maximum(0.0, 1 - np.sum(list(main.values()), axis=0))
    interactions = ((term, chosen) for term, chosen in posterior.list_terms() if len(term.axes) > 1)
    spreads = {term.axes: _spread(term, chosen) for term, chosen in interactions}
    whole = np.maximum(np.sum(list(spreads.values()), axis=0), np.finfo(float).tiny) if spreads else 1.0
    pairs = {
        (axes[chosen[0]].name, axes[chosen[1]].name): left * spread / whole
        for chosen, spread in spreads.items()
        if len(chosen) == 2
    }
    return VarianceShares(main, pairs)


def measure_contrasts(posterior: Posterior) -> dict[str, float]:
    """Return how far each main effect is from none: its clearest difference of two cells, in posterior deviations."""
    contrasts = {}
    for number, axis in enumerate(posterior.axes):
        effect = _main_effect(posterior, number)
        differences = effect[:, :, None] - effect[:, None, :]
        deviations = np.maximum(differences.std(axis=0), np.finfo(float).tiny)
        contrasts[axis.name] = float((np.abs(differences.mean(axis=0)) / deviations).max())
    return contrasts


def measure_cells(posterior: SpacePosterior, seed: int = 0) -> dict[str, CellMeans]:
    """Return the metric by cell of each axis, everything else left as it is in the configurations averaged over.

    Those are drawn from the whole space, and for `good` each draw takes the tenth that it finds the best.
    """
    axes = posterior.axes
    drawn = draw_cells(axes, SWAPPED, np.random.default_rng(seed))
    values = posterior.predict(deactivate(axes, drawn))
    good = np.argsort(-values, axis=0)[: max(1, round(GOOD * SWAPPED))]
    return {axis.name: _swap(posterior, drawn, i, axis, good) for i, axis in enumerate(axes)}


def average_cells(means: Floats, cells: Sequence[int]) -> Floats:
    """Return the mean over some cells of an axis (draws,)."""
    averaged: Floats = means[list(cells)].mean(axis=0)
    return averaged


def _between(values: Floats, column: Cells) -> Floats:
    """Return the variance between the groups of configurations that share a cell (draws,), of those that have one.

    Times their part of all: where a conditional hyperparameter is inactive it explains nothing.
    """
    active = column != INACTIVE
    part, values = active.mean(), values[active]
    if not part:
        return np.zeros(values.shape[1])
    labels, groups, counts = np.unique(column[active], return_inverse=True, return_counts=True)
    members = np.zeros((labels.size, len(values)))
    members[groups, np.arange(len(values))] = 1.0
    means = members @ values / counts[:, None]
    within = members @ values**2 / counts[:, None] - means**2
    weights = counts / len(values)
    between = weights @ (means - weights @ means) ** 2
    chance = (weights * (1 - weights)) @ (within / counts[:, None])
    return np.asarray(part * np.maximum(0.0, between - chance), dtype=float)


def _main_effect(posterior: Posterior, number: int) -> Floats:
    """Return the main effect of an axis by its cells (draws, cells), in standardized units."""
    effect = np.zeros((len(posterior.coefficients), posterior.axes[number].size))
    for term, coefficients in posterior.list_terms():
        if term.axes == (number,):
            effect += coefficients @ term.bases[0].T
    return effect


def _spread(term: Term, coefficients: Floats) -> Floats:
    """Return the variance over the space of one term, every axis active (draws,), in standardized units."""
    gram: Floats = np.ones((1, 1))
    for basis in term.bases:
        gram = np.asarray(np.kron(gram, basis.T @ basis / len(basis)), dtype=float)
    spread: Floats = np.einsum("dp,pq,dq->d", coefficients, gram, coefficients)
    return spread


def _swap(posterior: SpacePosterior, drawn: Cells, number: int, axis: SpaceAxis, good: Cells) -> CellMeans:
    space, among = [], []
    for cell in range(axis.size):
        tried = drawn.copy()
        tried[:, number] = cell
        active = deactivate(posterior.axes, tried)
        values = posterior.predict(active)
        there = (active[:, number] != INACTIVE)[:, None]
        space.append(_mean_where(values, np.broadcast_to(there, values.shape)))
        kept = np.take_along_axis(values, good, axis=0)
        among.append(_mean_where(kept, np.take_along_axis(np.broadcast_to(there, values.shape), good, axis=0)))
    return CellMeans(np.array(space), np.array(among))


def _mean_where(values: Floats, kept: np.ndarray) -> Floats:
    """Return the means of columns over what is kept; of all of a column that keeps nothing."""
    counts = kept.sum(axis=0)
    sums = np.where(kept, values, 0.0).sum(axis=0)
    means: Floats = np.where(counts > 0, sums / np.maximum(counts, 1), values.mean(axis=0))
    return means
