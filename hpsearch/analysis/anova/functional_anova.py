"""Bayesian functional ANOVA: a metric over the search space, as main effects and interactions with a posterior.

The model of a trial's value is a constant, a main effect of each hyperparameter, an interaction of each pair and, in
small spaces, of each triple, and normal noise. Each of these terms has a scale of its own with a half-Cauchy prior
whose own scale follows the noise, so that a term nothing speaks for shrinks to nothing. A value no better than chance
is censored: the trial is at most that good, and how far below, the metric cannot show (Tobin 1958). Where a sampler
looked is no part of the likelihood, so that trials which a sampler chose do not bias it; what they leave open shows as
width.

Sampled by Gibbs: the coefficients at once (Bhattacharya, Chakraborty and Mallick 2016, where there are more of them
than trials), the scales as inverse gammas (Makalic and Schmidt 2016), the noise by a slice.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, special

from hpsearch.analysis.anova.axes import INACTIVE, Cells, Floats, SpaceAxis

ORDER_SCALES = (0.7, 0.3, 0.2)
"""Prior scales of main effects, pairs and triples, in units of the noise."""

FEW_INTERACTIONS = 10
"""Interactions of an order that have its prior scale each, as many as five hyperparameters have. More of them share it:
what is left of the noise in each would else add up, and take from the main effects of a large space."""

MOST_AXES_WITH_TRIPLES = 6
MOST_TRIALS_WITH_TRIPLES = 300
"""Above them triples cost more seconds than they settle differences."""

MOST_WORK = 4e8
"""Multiplications a step, trials² × columns, where there are more columns than trials: some ten seconds in all."""

BURN_IN = 300
DRAWS = 400

CONSTANT_VARIANCE = 10.0
"""Prior variance of the constant, in units of the trials' variance."""

LEAST_VARIANCE = 1e-6
"""Of the noise, in units of the trials' variance: below it the equations cannot be solved."""

LOWEST = 1.0
"""Standard deviations below the floor at which a censored value is cut off.

Further below, a cliff makes the smooth functions so steep that they rise beside it above all that was seen: of claims
among good configurations in two such searches 3 of 7 had the wrong sign with 6, none of 2 with 1.
"""


@dataclass(frozen=True)
class Term:
    """One main effect or interaction: the axes it is over, a basis for each, and its prior scale."""

    axes: tuple[int, ...]
    bases: tuple[Floats, ...]
    scale: float

    def design(self, cells: Cells) -> Floats:
        """Return the term's functions at configurations (n, functions); 0 where one of its axes is inactive."""
        product = np.ones((len(cells), 1))
        for axis, basis in zip(self.axes, self.bases, strict=True):
            column = cells[:, axis]
            values = basis[column] * (column != INACTIVE)[:, None]
            product = (product[:, :, None] * values[:, None, :]).reshape(len(cells), -1)
        return product

    @property
    def size(self) -> int:
        """How many functions it has."""
        return math.prod(basis.shape[1] for basis in self.bases)


class SpacePosterior(Protocol):
    """Draws from the posterior of a metric over the space; more is better."""

    @property
    def axes(self) -> tuple[SpaceAxis, ...]:
        """The searched hyperparameters."""

    def predict(self, cells: Cells) -> Floats:
        """Return the metric at configurations (n, draws)."""


@dataclass(frozen=True)
class Posterior:
    """Draws from the posterior of the metric over the space.

    `coefficients` (draws, columns) are of the standardized metric, the constant first, then the columns of each term;
    `floor` is the value that is no better than chance, below which nothing is predicted; more is better.
    """

    axes: tuple[SpaceAxis, ...]
    terms: tuple[Term, ...]
    coefficients: Floats
    centre: float
    scale: float
    floor: float

    def predict(self, cells: Cells) -> Floats:
        """Return the metric at configurations (n, draws)."""
        return self.evaluate(make_design(self.terms, cells))

    def evaluate(self, design: Floats) -> Floats:
        """Return the metric at the configurations of a design of these terms (n, draws)."""
        return np.maximum(self.centre + self.scale * (design @ self.coefficients.T), self.floor)

    def thin(self, draws: int) -> "Posterior":
        """Return so many of the draws, evenly spaced."""
        kept = np.linspace(0, len(self.coefficients) - 1, min(draws, len(self.coefficients))).astype(int)
        return replace(self, coefficients=self.coefficients[kept])

    def list_terms(self) -> Iterator[tuple[Term, Floats]]:
        """Yield each term with its own coefficients (draws, functions)."""
        start = 1
        for term in self.terms:
            yield term, self.coefficients[:, start : start + term.size]
            start += term.size


def fit(axes: Sequence[SpaceAxis], cells: Cells, values: Floats, floor: float, seed: int = 0) -> Posterior:
    """Sample the posterior.

    Args:
        axes: the searched hyperparameters.
        cells: of the trials (n, axes).
        values: of the trials (n,); more is better. One at or below `floor` is censored there.
        floor: what is no better than chance; `-inf` where nothing is censored.
        seed: of the sampler.
    """
    terms = make_terms(axes, len(values))
    kept = _limit_trials(len(values), 1 + sum(term.size for term in terms))
    cells, values = cells[kept], values[kept]
    sampler = Sampler(terms, make_design(terms, cells), values, floor, np.random.default_rng(seed))
    coefficients = sampler.draw(DRAWS)
    return Posterior(tuple(axes), terms, coefficients, sampler.centre, sampler.scale, floor)


def make_terms(axes: Sequence[SpaceAxis], trials: int) -> tuple[Term, ...]:
    """Return the main effects, pairs and, where space and trials are few, triples."""
    main, *higher = ORDER_SCALES
    terms = [Term((i,), (basis,), main) for i, axis in enumerate(axes) for basis in axis.main_bases]
    triples = len(axes) <= MOST_AXES_WITH_TRIPLES and trials <= MOST_TRIALS_WITH_TRIPLES
    for order, scale in zip((2, 3), higher, strict=True):
        if order == 2 or triples:
            chosen = list(itertools.combinations(range(len(axes)), order))
            shared = scale * min(1.0, FEW_INTERACTIONS / max(1, len(chosen)))
            terms += [Term(each, tuple(axes[i].interaction_basis for i in each), shared) for each in chosen]
    return tuple(terms)


def _limit_trials(trials: int, columns: int) -> NDArray[np.int64]:
    """Return which trials to fit: all, or so many, evenly over the search, that a step stays within `MOST_WORK`."""
    most = trials if columns <= trials else max(1, int(math.sqrt(MOST_WORK / columns)))
    return np.unique(np.linspace(0, trials - 1, min(trials, most)).astype(np.int64))


def make_design(terms: Sequence[Term], cells: Cells) -> Floats:
    """Return the constant's column and those of each term, at configurations (n, columns)."""
    return np.hstack([np.ones((len(cells), 1)), *(term.design(cells) for term in terms)])


class Sampler:
    """The state of the Gibbs sampler. In standardized units but for `centre` and `scale`, which undo that.

    Args:
        terms: have the last columns of the design.
        design: at the trials (n, columns).
        values: of the trials (n,).
        floors: a value at or below which a trial is censored there; one for all, or one each.
        random: the source of all draws.
        slopes: the prior deviations of the columns between the constant and the terms, in the values' unit.
        unit: what the terms' prior scales are multiples of, in the values' unit; None for the deviation of the noise.
    """

    def __init__(
        self,
        terms: Sequence[Term],
        design: Floats,
        values: Floats,
        floors: float | Floats,
        random: np.random.Generator,
        slopes: Sequence[float] = (),
        unit: float | None = None,
    ) -> None:
        self._random = random
        self._design = design
        self.columns = design.shape[1]
        self._censored: NDArray[np.bool_] = values <= floors
        seen = values[~self._censored] if (~self._censored).sum() > 1 else values
        self.centre, self.scale = float(seen.mean()), float(seen.std()) or 1e-6
        self._values = (values - self.centre) / self.scale
        self._floors = (np.broadcast_to(floors, values.shape)[self._censored] - self.centre) / self.scale
        self._sizes = np.array([term.size for term in terms])
        self._term_of = np.repeat(np.arange(len(terms)), self._sizes)
        self._prior_variances = np.array([term.scale for term in terms]) ** 2
        self._variances = np.full(len(terms), 0.05)
        self._fixed = np.array([CONSTANT_VARIANCE, *(np.square(slopes) / self.scale**2)])
        self._unit = None if unit is None else (unit / self.scale) ** 2
        self.variance = 0.3
        self.coefficients: Floats = np.zeros(self.columns)
        self._gram = design.T @ design if self.columns <= len(values) else None

    def draw(self, draws: int, every: int = 1) -> Floats:
        """Return so many draws of the coefficients (draws, columns), one in `every` steps, after a burn-in."""
        for _ in range(BURN_IN):
            self.step()
        coefficients = np.empty((draws, self.columns))
        for row in coefficients:
            for _ in range(every):
                self.step()
            row[:] = self.coefficients
        return coefficients

    def step(self) -> None:
        """Draw everything once, each given the rest."""
        self._draw_censored()
        self._draw_coefficients()
        self._draw_scales()
        self._draw_noise()

    def _draw_censored(self) -> None:
        """Draw the censored values from the normal below the floor."""
        if not self._censored.any():
            return
        mean, deviation = (self._design @ self.coefficients)[self._censored], math.sqrt(self.variance)
        below = special.ndtr((self._floors - mean) / deviation)
        uniform = self._random.uniform(size=mean.size)
        drawn = mean + deviation * special.ndtri(np.clip(uniform * below, 1e-300, 1.0))
        self._values[self._censored] = np.clip(drawn, self._floors - LOWEST, self._floors)

    def _draw_coefficients(self) -> None:
        prior = np.concatenate([self._fixed, self._variances[self._term_of]])
        if self._gram is not None:
            precision = self._gram / self.variance + np.diag(1 / prior)
            root = linalg.cholesky(precision, lower=True)
            right = linalg.solve_triangular(root, self._design.T @ self._values / self.variance, lower=True)
            right += self._random.normal(size=self.columns)
            self.coefficients = linalg.solve_triangular(root, right, lower=True, trans="T")
            return
        drawn = self._random.normal(size=self.columns) * np.sqrt(prior)
        noise = math.sqrt(self.variance) * self._random.normal(size=len(self._values))
        weighted = self._design * prior
        covariance = weighted @ self._design.T + self.variance * np.eye(len(self._values))
        residual = self._values - self._design @ drawn - noise
        self.coefficients = drawn + weighted.T @ linalg.solve(covariance, residual, assume_a="pos")

    def _draw_scales(self) -> None:
        squares = np.bincount(self._term_of, self.coefficients[len(self._fixed) :] ** 2, minlength=len(self._sizes))
        prior = self._prior_variances * (self._unit or self.variance)
        mixing = (1 / prior + 1 / self._variances) / self._random.gamma(1.0, size=len(prior))
        rates = squares / 2 + 1 / mixing
        self._variances = np.maximum(rates / self._random.gamma((self._sizes + 1) / 2), 1e-12)

    def _draw_noise(self) -> None:
        residual = self._values - self._design @ self.coefficients
        squares = float(residual @ residual)

        def log_density(log_variance: float) -> float:
            variance = math.exp(log_variance)
            likelihood = -0.5 * len(residual) * log_variance - 0.5 * squares / variance
            density = likelihood + 0.5 * log_variance - math.log1p(variance)
            if self._unit is None:
                density += _log_half_cauchy(self._variances / self._prior_variances, variance)
            return density

        self.variance = max(LEAST_VARIANCE, math.exp(_slice(math.log(self.variance), log_density, self._random)))


def _log_half_cauchy(variances: Floats, scale: float) -> float:
    """Return the log density of variances whose roots are half-Cauchy with the root of `scale`, up to a constant."""
    return float(np.sum(-0.5 * math.log(scale) - np.log1p(variances / scale)))


def _slice(current: float, log_density: Callable[[float], float], random: np.random.Generator) -> float:
    """Draw the next value by stepping out and shrinking (Neal 2003)."""
    level = log_density(current) - random.exponential()
    low = current - random.uniform()
    high = low + 1.0
    while log_density(low) > level:
        low -= 1.0
    while log_density(high) > level:
        high += 1.0
    while True:
        drawn = float(random.uniform(low, high))
        if log_density(drawn) > level:
            return drawn
        low, high = (drawn, high) if drawn < current else (low, drawn)
