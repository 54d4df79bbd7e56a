"""Differences between configurations that were trained with a few seeds each, with simultaneous 95% intervals.

Two or three seeds say little of one configuration's variance, and all of them together say much. So the variance is
pooled over the configurations where Bartlett's (1937) test finds no difference between them; where it does, each is
moderated towards a common one as far as they agree (Smyth 2004). A configuration of which a training ended no better
than guessing keeps a variance of its own: whether a model learns at all is another kind of noise.

The intervals hold all differences at once: draws of the means and variances, as far as the seeds leave them open, give
how small the least of all p-values gets by chance alone. With one variance they are Dunnett's (1955) for differences to
one configuration, and Tukey's for all pairs. benchmarks/ablation.py measures how often they hold the truth.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special, stats

from hpsearch.analysis.statistics import CONFIDENCE

Floats = NDArray[np.float64]

EQUAL_VARIANCES = 0.1
"""The p-value of Bartlett's test from which the variances are taken for one."""
DRAWS = 8_000
"""From which the common level of the intervals is read: its quantile varies by 1%."""


@dataclass(frozen=True)
class Interval:
    """A difference `amount` of two means, in the unit of the values, and the ends of its interval."""

    amount: float
    low: float
    high: float

    @property
    def is_settled(self) -> bool:
        """Whether the interval excludes zero."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class NoiseModel:
    """The variance of each configuration's values (k,), its degrees of freedom (k,), and which share one (k,)."""

    variances: Floats
    freedom: Floats
    shared: NDArray[np.bool_]


def compare(
    samples: Sequence[Sequence[float]],
    at_chance: Sequence[bool],
    pairs: Sequence[tuple[int, int]],
    resolution: float = 0.0,
    confidence: float = CONFIDENCE,
) -> list[Interval | None]:
    """Return by how much the first of each pair is above the second; None where one of them has a single value.

    Args:
        samples: the values of each configuration, one a seed.
        at_chance: whether one of them is no better than guessing.
        pairs: indices of `samples`; the intervals hold for all of them at once.
        resolution: the distance between neighbouring values, whose rounding is the least noise there is.
        confidence: of all intervals together.
    """
    known = [pair for pair in pairs if min(len(samples[i]) for i in pair) > 1]
    if not known:
        return [None] * len(pairs)
    noise = estimate_noise(samples, at_chance, resolution)
    counts = np.array([max(1, len(sample)) for sample in samples])
    means = np.array([np.mean(sample) if len(sample) else math.nan for sample in samples])
    first, second = (np.array(side) for side in zip(*known, strict=True))
    errors, freedom = _combine(noise, counts, first, second)
    level = _find_level(noise, counts, (first, second), errors, freedom, confidence)
    halves = special.stdtrit(freedom, 1 - level / 2) * errors
    amounts = means[first] - means[second]
    intervals = {
        pair: Interval(float(amount), float(amount - half), float(amount + half))
        for pair, amount, half in zip(known, amounts, halves, strict=True)
    }
    return [intervals.get(pair) for pair in pairs]


def estimate_noise(
    samples: Sequence[Sequence[float]], at_chance: Sequence[bool], resolution: float = 0.0
) -> NoiseModel:
    """Return the variance that each configuration's values have by the seed; see `compare`."""
    least = max(resolution**2 / 12, np.finfo(float).tiny)
    freedom = np.array([max(0, len(sample) - 1) for sample in samples], dtype=float)
    variances = np.array([max(np.var(sample, ddof=1), least) if len(sample) > 1 else least for sample in samples])
    learned = (freedom > 0) & ~np.array(at_chance, dtype=bool)
    nothing = np.zeros(len(samples), dtype=bool)
    if learned.sum() < 2:
        return NoiseModel(variances, np.maximum(freedom, 1), nothing)
    own, spread = freedom[learned], variances[learned]
    common, prior = _moderate(spread, own)
    if _test_equality(spread, own) >= EQUAL_VARIANCES or math.isinf(prior):
        variances[learned], freedom[learned] = own @ spread / own.sum(), own.sum()
        return NoiseModel(variances, np.maximum(freedom, 1), learned)
    variances[learned] = (prior * common + own * spread) / (prior + own)
    freedom[learned] = prior + own
    return NoiseModel(variances, np.maximum(freedom, 1), nothing)


def _test_equality(variances: Floats, freedom: Floats) -> float:
    """Return the p-value of Bartlett's test that variances are equal."""
    total, groups = freedom.sum(), len(variances)
    pooled = freedom @ variances / total
    statistic = total * math.log(pooled) - freedom @ np.log(variances)
    correction = 1 + ((1 / freedom).sum() - 1 / total) / (3 * (groups - 1))
    return float(stats.chi2.sf(statistic / correction, groups - 1))


def _moderate(variances: Floats, freedom: Floats) -> tuple[float, float]:
    """Return the variance common to all, and how many degrees of freedom it is worth: infinite where they are one.

    Smyth's (2004) estimates from the moments of the logarithms.
    """
    logarithms = np.log(variances) - special.digamma(freedom / 2) + np.log(freedom / 2)
    excess = float(np.var(logarithms, ddof=1) - special.polygamma(1, freedom / 2).mean())
    if excess <= 0:
        return float(freedom @ variances / freedom.sum()), math.inf
    half = math.exp(optimize.brentq(lambda x: special.polygamma(1, math.exp(x)) - excess, -20, 20))
    common = math.exp(float(logarithms.mean()) + special.digamma(half) - math.log(half))
    return common, 2 * half


def _combine(noise: NoiseModel, counts: Floats, first: Floats, second: Floats) -> tuple[Floats, Floats]:
    """Return the standard error of each difference of two means, and its degrees of freedom (Welch and Satterthwaite).

    Two that share their variance have that one's.
    """
    squares = noise.variances / counts
    total = squares[first] + squares[second]
    welch = total**2 / (squares[first] ** 2 / noise.freedom[first] + squares[second] ** 2 / noise.freedom[second])
    both = noise.shared[first] & noise.shared[second]
    return np.sqrt(total), np.where(both, noise.freedom[first], welch)


def _find_level(
    noise: NoiseModel,
    counts: Floats,
    pairs: tuple[Floats, Floats],
    errors: Floats,
    freedom: Floats,
    confidence: float,
) -> float:
    """Return the level at which each interval is to be so that all of them hold with the given confidence."""
    random = np.random.default_rng(0)
    size = (DRAWS, len(counts))
    variances = noise.variances * noise.freedom / random.chisquare(noise.freedom, size)
    shared = np.flatnonzero(noise.shared)
    variances[:, shared] = variances[:, shared[:1]]
    means = random.standard_normal(size) * np.sqrt(variances / counts)
    distances = np.abs(means[:, pairs[0]] - means[:, pairs[1]]) / errors
    values = 2 * special.stdtr(freedom, -distances)
    return float(np.quantile(values.min(axis=1), 1 - confidence))
