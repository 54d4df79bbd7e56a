"""Differences between levels, on data whose truth is known."""

import math
from typing import Any

import numpy as np
import pytest

from hpsearch.analysis.anova import functional_anova, level_differences
from hpsearch.analysis.anova.axes import find_cells, make_axes
from hpsearch.analysis.anova.level_differences import LevelDifference, Where
from hpsearch.spec import loader
from hpsearch.spec.dimension import Dimension

SPACE: dict[str, Any] = {
    "learning_rate": {"low": 1e-5, "high": 1e-1, "log": True},
    "optimizer": ["sgd", "adam", "rmsprop"],
    "dropout": {"low": 0.0, "high": 0.5},
}
BEST = {"sgd": -2.0, "adam": -4.0, "rmsprop": -4.0}


def compare(
    count: int, noise: float, seed: int = 0, limits: tuple[float, float] = (0.0, 1.0)
) -> tuple[LevelDifference, ...]:
    """Return the differences after random trials in which each optimizer has its own best learning rate."""
    random = np.random.default_rng(seed)
    space: dict[str, Dimension] = dict(loader.from_dict({"study": {"name": "x"}, "space": SPACE}).space)
    params: list[dict[str, Any]] = [
        {
            "learning_rate": float(10 ** random.uniform(-5, -1)),
            "optimizer": str(random.choice(SPACE["optimizer"])),
            "dropout": float(random.uniform(0, 0.5)),
        }
        for _ in range(count)
    ]
    values = np.array([compute_value(each) + random.normal(0, noise) for each in params])
    axes = make_axes(space)
    posterior = functional_anova.fit(axes, find_cells(axes, params), values, -math.inf, seed)
    return level_differences.compare_levels(posterior.thin(200), params, 3, limits)


def compute_value(params: dict[str, Any]) -> float:
    """The true value: 0.6 at the optimizer's best rate, rmsprop 0.05 above adam, dropout without effect."""
    rate = math.log10(params["learning_rate"]) - BEST[params["optimizer"]]
    bonus = 0.05 if params["optimizer"] == "rmsprop" else 0.0
    return 0.6 - 0.05 * float(rate**2) + bonus


def find_pair(differences: tuple[LevelDifference, ...], first: str, second: str, where: Where) -> LevelDifference:
    return next(each for each in differences if {each.better, each.worse} == {first, second} and each.where is where)


def test_a_difference_that_the_metric_cannot_have_is_cut_off_and_claims_nothing() -> None:
    """What is extrapolated beyond the smallest and the largest value is no finding, however far zero is from it."""
    settled = find_pair(compare(120, 0.01), "rmsprop", "adam", Where.SPACE)
    largest = (settled.amount + settled.high) / 2
    pair = find_pair(compare(120, 0.01, limits=(0.5, 0.5 + largest)), "rmsprop", "adam", Where.SPACE)
    assert settled.is_settled
    assert not pair.is_settled
    assert (pair.amount, pair.low) == (settled.amount, settled.low)
    assert pair.high == pytest.approx(largest)


@pytest.mark.parametrize("where", list(Where))
def test_a_true_difference_is_settled_and_held(where: Where) -> None:
    """Two optimizers alike but for 0.05 are told apart by about that, wherever they are compared."""
    pair = find_pair(compare(120, 0.01), "rmsprop", "adam", where)
    assert (pair.better, pair.is_settled, pair.epoch) == ("rmsprop", True, 3)
    assert pair.low <= 0.05 <= pair.high
    assert pair.orient("adam") == (-pair.amount, -pair.high, -pair.low)


def test_what_has_no_effect_is_not_settled() -> None:
    """No two levels of a hyperparameter without an effect are told apart."""
    dropout = [each for each in compare(120, 0.01) if each.name == "dropout"]
    assert dropout
    assert not any(each.is_settled and each.amount > 0.01 for each in dropout)


def test_noise_settles_nothing() -> None:
    """Where noise is ten times as large as any effect, at most one of all pairs of three searches is settled."""
    settled = sum(each.is_settled for seed in range(3) for each in compare(40, 0.6, seed))
    assert settled <= 1


def test_the_best_level_is_the_better_one_of_most_pairs() -> None:
    """Of a hyperparameter's levels, the one above the others is the best."""
    good = [each for each in compare(120, 0.01) if each.name == "optimizer" and each.where is Where.GOOD]
    assert level_differences.find_best_level(good) == "rmsprop"
