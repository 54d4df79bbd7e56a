"""Intervals against scipy's, and against how often they hold the truth."""

import numpy as np
import pytest
from scipy import stats

from hpsearch.analysis import statistics
from hpsearch.analysis.statistics import Cells
from hpsearch.metrics import Direction


@pytest.mark.parametrize(("levels", "freedom"), [(2, 1.0), (2, 7.5), (5, 2.0), (7, 3.4), (7, 60.0), (20, 11.0)])
def test_studentized_range_is_scipys(levels: int, freedom: float) -> None:
    """The quantile agrees with scipy's, which takes longer, to four digits."""
    theirs = stats.studentized_range.ppf(0.95, levels, freedom)
    assert statistics.compute_studentized_range(levels, freedom) == pytest.approx(theirs, rel=1e-4)


@pytest.mark.slow
def test_intervals_hold_the_true_differences() -> None:
    """Of 300 grids of 4 levels and 5 seeds, as many have all their intervals right as 95% ones have by chance."""
    random, truth = np.random.default_rng(0), {"a": 0.5, "b": 0.52, "c": 0.6, "d": 0.6}
    covered = 0
    for _ in range(300):
        levels: dict[str, Cells] = {
            name: {0: tuple(mean + 0.01 * random.normal(size=5))} for name, mean in truth.items()
        }
        differences = statistics.compare_levels(levels, Direction.MAXIMIZE, repeated=True)
        assert len(differences) == 6
        covered += all(
            abs(truth[entry.better] - truth[entry.worse] - entry.amount) <= (entry.half or 0) for entry in differences
        )
    low, high = stats.binom.interval(0.999, 300, 0.95)
    assert low <= covered <= high


def test_a_single_value_has_no_interval() -> None:
    """One value is its own mean; none, or only values that are not finite, have none."""
    assert statistics.estimate_mean([0.5, None, float("nan")]) == statistics.Estimate(0.5, None, 1)
    assert statistics.estimate_mean([float("inf"), None]) is None


def test_values_that_never_vary_differ_by_rounding_at_least() -> None:
    """Two levels without variance have the rounding of their values for noise; without rounding they have none."""
    cells: dict[str, Cells] = {"a": {0: (0.5, 0.5, 0.5)}, "b": {0: (0.6, 0.6, 0.6)}}
    (difference,) = statistics.compare_levels(cells, Direction.MAXIMIZE, repeated=True, resolution=0.1)
    deviation = np.sqrt(2 * 0.1**2 / 12 / 3)
    assert difference.half == pytest.approx(stats.t.ppf(0.975, 4) * deviation, rel=1e-3)
    (difference,) = statistics.compare_levels(cells, Direction.MAXIMIZE, repeated=True)
    assert (difference.better, difference.half, difference.distinguishable) == ("b", None, False)


def test_settings_of_one_level_alone_do_not_count() -> None:
    """Only settings that both levels have tried are compared; where there is none, nothing is."""
    cells: dict[str, Cells] = {
        "a": {0: (0.5, 0.6), 1: (0.9, 0.8)},
        "b": {0: (0.7, 0.7), 2: (0.1, 0.1)},
        "c": {3: (0.1, 0.1)},
    }
    (difference,) = statistics.compare_levels(cells, Direction.MAXIMIZE, repeated=True)
    assert (difference.better, difference.worse, difference.settings) == ("b", "a", 1)
    assert difference.amount == pytest.approx(0.15)
