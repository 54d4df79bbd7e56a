"""Differences between configurations of a few seeds each, with intervals for all of them at once."""

import numpy as np
import pytest
from scipy import stats

from hpsearch.analysis.ablations import seed_noise
from hpsearch.analysis.ablations.seed_noise import Interval

LEVELS = 12


def draw(random: np.random.Generator, means: np.ndarray, deviations: np.ndarray, seeds: int) -> list[list[float]]:
    """Return so many values of each configuration."""
    return [list(random.normal(mean, deviation, seeds)) for mean, deviation in zip(means, deviations, strict=True)]


def against_first(count: int) -> list[tuple[int, int]]:
    return [(number, 0) for number in range(1, count)]


def get_known(intervals: list[Interval | None]) -> list[Interval]:
    """Return the intervals, all of which are there."""
    known = [interval for interval in intervals if interval is not None]
    assert len(known) == len(intervals)
    return known


def test_equal_variances_give_dunnetts_intervals() -> None:
    """Where the seeds find no difference in variance, the intervals are those of scipy's Dunnett."""
    samples = draw(np.random.default_rng(1), np.linspace(0, 3, LEVELS), np.ones(LEVELS), 3)
    found = get_known(seed_noise.compare(samples, [False] * LEVELS, against_first(LEVELS)))
    expected = stats.dunnett(*samples[1:], control=samples[0]).confidence_interval(0.95)
    halves = (expected.high - expected.low) / 2
    assert [each.high - each.amount for each in found] == pytest.approx(list(halves), rel=0.02)
    assert [each.low for each in found] == pytest.approx(list(expected.low), abs=0.05)


def test_all_pairs_have_tukeys_intervals() -> None:
    """For every pair of levels they are Tukey's."""
    samples = draw(np.random.default_rng(2), np.zeros(5), np.ones(5), 4)
    pairs = [(i, j) for i in range(5) for j in range(i)]
    found = get_known(seed_noise.compare(samples, [False] * 5, pairs))
    expected = stats.tukey_hsd(*samples).confidence_interval(0.95)
    assert found[0].high - found[0].low == pytest.approx(expected.high[1, 0] - expected.low[1, 0], rel=0.02)


@pytest.mark.parametrize("spread", [0.0, 0.6], ids=["one variance", "uneven variances"])
def test_intervals_hold_all_true_differences(spread: float) -> None:
    """In simulated ablations with 3 seeds, all intervals hold at once in about 95 of 100."""
    random, held, count = np.random.default_rng(3), 0, 150
    for _ in range(count):
        means = random.normal(0, 1, LEVELS)
        samples = draw(random, means, np.exp(random.normal(0, spread, LEVELS)), 3)
        found = get_known(seed_noise.compare(samples, [False] * LEVELS, against_first(LEVELS)))
        trues = means[1:] - means[0]
        held += all(each.low <= true <= each.high for each, true in zip(found, trues, strict=True))
    assert (0.9 if spread == 0 else 0.85) <= held / count <= 0.99


def test_level_at_chance_does_not_widen_the_others() -> None:
    """A level of which one training learned nothing has a variance of its own, and is not settled by two others."""
    samples = draw(np.random.default_rng(4), np.zeros(6), np.full(6, 0.01), 3)
    broken = [*samples, [0.9, -0.5, -0.5]]
    alone = get_known(seed_noise.compare(samples, [False] * 6, against_first(6)))
    beside = get_known(seed_noise.compare(broken, [False] * 6 + [True], against_first(7)))
    assert beside[0].high - beside[0].low == pytest.approx(alone[0].high - alone[0].low, rel=0.1)
    assert not beside[-1].is_settled
    pooled = get_known(seed_noise.compare(broken, [False] * 7, against_first(7)))
    assert pooled[0].high - pooled[0].low > 1.5 * (alone[0].high - alone[0].low)


def test_single_values_are_not_compared() -> None:
    """No difference of one training has an interval; the others have theirs."""
    samples = [[0.5, 0.52, 0.51], [0.6], [0.4, 0.41, 0.43], []]
    found = seed_noise.compare(samples, [False] * 4, against_first(4))
    assert [each is None for each in found] == [True, False, True]
    assert seed_noise.compare([[0.5], [0.6, 0.7]], [False, False], [(1, 0)]) == [None]


def test_rounding_is_the_least_noise() -> None:
    """Equal values, as of a level at chance or of few images, do not make an interval of no width."""
    (found,) = get_known(seed_noise.compare([[0.5, 0.5], [0.6, 0.6]], [False, False], [(1, 0)], resolution=0.01))
    assert found.high - found.low > 0.01
