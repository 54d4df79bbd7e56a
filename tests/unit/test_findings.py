"""Findings, recomputed with numpy and scipy from the trials' own figures."""

from typing import Any

import numpy as np
import pytest
from scipy import stats
from synthetic import summary, trial

from hpsearch import findings
from hpsearch.effects import Effect
from hpsearch.estimate import Difference
from hpsearch.findings import Findings
from hpsearch.results import Trial

GRID: dict[str, Any] = {
    "budget": {"repeats": 3, "epochs": 3},
    "space": {"optimizer": ["nesterov", "adam", "sgd"]},
    "sampler": {"name": "grid"},
}
VALUES = {"nesterov": (0.60, 0.622, 0.61), "adam": (0.70, 0.71, 0.73), "sgd": (0.40, 0.47, 0.41)}


def repeated(**extra: Any) -> list[Trial]:
    """Three optimizers, three seeds each; the last of three epochs is not the best."""
    return [
        trial(number, {"optimizer": optimizer}, (value / 2, value, value - 0.05), **extra)
        for number, (optimizer, value) in enumerate(
            (optimizer, VALUES[optimizer][seed]) for seed in range(3) for optimizer in VALUES
        )
    ]


def find(raw: dict[str, Any], trials: list[Trial], status: str = "finished") -> Findings:
    """What is found."""
    return findings.find(summary(raw, trials, status), trials)


def difference(effect: Effect, first: str, second: str) -> Difference:
    """The difference of two levels."""
    return next(each for each in effect.values if {each.better, each.worse} == {first, second})


def test_levels_carry_students_intervals_over_seeds() -> None:
    """Each level's value, gap and seconds are the mean over its trials, with Student's interval."""
    (effect,) = find(GRID, repeated()).effects
    assert [level.label for level in effect.levels] == ["nesterov", "adam", "sgd"]
    for level in effect.levels:
        values = np.array(VALUES[level.label])
        low, high = stats.t.interval(0.95, 2, values.mean(), values.std(ddof=1) / np.sqrt(3))
        assert level.value is not None
        assert level.value.mean == pytest.approx(values.mean())
        assert level.value.half == pytest.approx((high - low) / 2)
        assert level.value.n == 3
        assert level.gap is not None
        assert level.gap.mean == pytest.approx(0.1)
        assert level.seconds is not None
        assert level.seconds.mean == 2.0
        assert level.endings == {"complete": 3, "pruned": 0, "diverged": 0, "out of memory": 0, "failed": 0}


def test_differences_are_games_and_howells() -> None:
    """The three pairs have the intervals that scipy's Tukey test gives without equal variances."""
    (effect,) = find(GRID, repeated()).effects
    told = stats.tukey_hsd(*VALUES.values(), equal_var=False)
    high = told.confidence_interval(0.95).high
    for i, first in enumerate(VALUES):
        for j, second in list(enumerate(VALUES))[i + 1 :]:
            found = difference(effect, first, second)
            assert found.amount == pytest.approx(abs(told.statistic[i, j]))
            assert found.half == pytest.approx(high[i, j] - told.statistic[i, j], rel=1e-3)


def test_answer_says_how_far_the_best_is_ahead() -> None:
    """The sentences carry the recomputed difference and interval, in points."""
    told = find(GRID, repeated())
    test = stats.tukey_hsd(VALUES["adam"], VALUES["nesterov"], VALUES["sgd"], equal_var=False)
    amount, half = 100 * test.statistic[0, 1], 100 * (test.confidence_interval().high - test.statistic)[0, 1]
    assert told.sentences.answer[0].startswith("Trial 7 is best: val_accuracy 73.0% at epoch 2, the highest of 9,")
    assert told.sentences.answer[1] == f"optimizer: adam ends {amount:.1f} ± {half:.1f} points above nesterov."
