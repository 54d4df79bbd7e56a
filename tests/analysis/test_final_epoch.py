"""What is said of the last epoch, on searches that were pruned and of which it is known how they would have ended."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from hpsearch.analysis import importance
from hpsearch.analysis.importance import Importance
from hpsearch.analysis.level_differences import LevelDifference, Where
from hpsearch.storage.results import Trial
from tests.support.synthetic_trials import make_summary, make_trial

EPOCHS = 9
SPACE: dict[str, Any] = {
    "learning_rate": {"low": 1e-4, "high": 1e-1, "log": True},
    "optimizer": ["sgd", "momentum", "adam"],
}
BONUS = {"sgd": 0.0, "momentum": 0.06, "adam": 0.1}
RUNGS = {1: 0.5, 3: 0.6}
"""The fraction of the trials that goes on at each."""
Curve = Callable[[Mapping[str, Any], int], float]


def rise(params: Mapping[str, Any], epoch: int) -> float:
    """The true value at an epoch, on the way from chance to the end that the configuration comes to."""
    end = 0.5 + BONUS[params["optimizer"]] - 0.05 * (math.log10(params["learning_rate"]) + 2) ** 2
    return 0.1 + (end - 0.1) * (1 - math.exp(-epoch / 3))


def search(seed: int, curve: Curve = rise, count: int = 60) -> list[Trial]:
    """Return random trials, of which each rung leaves the best fraction so far."""
    random = np.random.default_rng(seed)
    seen: dict[int, list[float]] = {rung: [] for rung in RUNGS}
    trials = []
    for number in range(count):
        params = {
            "learning_rate": float(10 ** random.uniform(-4, -1)),
            "optimizer": str(random.choice(SPACE["optimizer"])),
        }
        values: list[float] = []
        for epoch in range(1, EPOCHS + 1):
            values.append(curve(params, epoch) + random.normal(0, 0.01))
            if epoch in RUNGS:
                seen[epoch].append(max(values))
                if max(values) < np.quantile(seen[epoch], 1 - RUNGS[epoch]):
                    break
        complete = len(values) == EPOCHS
        trials.append(make_trial(number, params, values, *(("complete", "completed") if complete else ("pruned",) * 2)))
    return trials


def analyze(trials: list[Trial]) -> Importance:
    return importance.compute_importance(make_summary({"space": SPACE, "budget": {"epochs": EPOCHS}}, trials), trials)


def find_pair(measured: Importance, first: str, second: str) -> LevelDifference:
    assert measured.final is not None
    return next(
        row
        for row in measured.final.differences
        if {row.better, row.worse} == {first, second} and row.where is Where.GOOD
    )


def test_the_end_is_compared_from_what_came_there_and_what_was_pruned() -> None:
    """Two optimizers that reached the last epoch are told apart there by about what they differ."""
    measured = analyze(search(0))
    assert measured.epoch == 1
    assert measured.final is not None
    assert measured.final.reason is None
    pair = find_pair(measured, "adam", "sgd")
    assert pair.epoch == EPOCHS
    assert pair.low <= 0.1 * (1 - math.exp(-3)) <= pair.high
