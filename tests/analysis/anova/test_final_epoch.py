"""What is said of the last epoch, on searches that were pruned and of which it is known how they would have ended."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from hpsearch.analysis import importance
from hpsearch.analysis.anova import functional_anova, posterior_summary
from hpsearch.analysis.anova.level_differences import LevelDifference, Where
from hpsearch.analysis.importance import Importance
from hpsearch.storage.results import Trial
from tests.support.synthetic_trials import make_summary, make_trial

EPOCHS = 9
SPACE: dict[str, Any] = {
    "learning_rate": {"low": 1e-4, "high": 1e-1, "log": True},
    "optimizer": ["sgd", "momentum", "adam"],
}
ORDER: tuple[str, ...] = tuple(SPACE["optimizer"])
RUNGS = {1: 0.5, 3: 0.6}
"""The fraction of the trials that goes on at each."""


@dataclass(frozen=True)
class Landscape:
    """How well each optimizer ends, and how many epochs it takes to learn most of that."""

    ends: Mapping[str, float]
    speeds: Mapping[str, float]

    def mean(self, params: Mapping[str, Any], epoch: int) -> float:
        """Return the accuracy at an epoch, without noise."""
        end = self.ends[params["optimizer"]] - 0.04 * (math.log10(params["learning_rate"]) + 2) ** 2
        return 0.1 + (end - 0.1) * (1 - math.exp(-epoch / self.speeds[params["optimizer"]]))

    def compare(self, first: str, second: str) -> float:
        """Return by how much an optimizer is above another at the end, with the rates of the best tenth."""
        rates = 10 ** np.linspace(-4, -1, 101)
        ends = {
            name: [self.mean({"optimizer": name, "learning_rate": each}, EPOCHS) for each in rates] for name in ORDER
        }
        ranked = sorted(((ends[name][i], i) for name in ORDER for i in range(len(rates))), reverse=True)
        good = [i for _, i in ranked[: round(0.1 * len(ranked))]]
        return float(np.mean([ends[first][i] - ends[second][i] for i in good]))


ALIKE = Landscape({"sgd": 0.5, "momentum": 0.56, "adam": 0.6}, dict.fromkeys(SPACE["optimizer"], 3.0))


def search(seed: int, landscape: Landscape = ALIKE, count: int = 60) -> list[Trial]:
    """Return random trials, of which each rung lets the best fraction so far go on."""
    random = np.random.default_rng(seed)
    seen: dict[int, list[float]] = {rung: [] for rung in RUNGS}
    trials = []
    for number in range(count):
        optimizer = str(random.choice(SPACE["optimizer"]))
        params = {"learning_rate": float(10 ** random.uniform(-4, -1)), "optimizer": optimizer}
        values = list(_train(params, landscape, seen, random))
        ending = ("complete", "completed") if len(values) == EPOCHS else ("pruned", "pruned")
        trials.append(make_trial(number, params, values, *ending))
    return trials


def _train(
    params: Mapping[str, Any], landscape: Landscape, seen: Mapping[int, list[float]], random: np.random.Generator
) -> Iterator[float]:
    best = 0.0
    for epoch in range(1, EPOCHS + 1):
        value = landscape.mean(params, epoch) + random.normal(0, 0.01)
        yield value
        best = max(best, value)
        if epoch in seen:
            seen[epoch].append(best)
            if best < np.quantile(seen[epoch], 1 - RUNGS[epoch]):
                return


def analyze(trials: Sequence[Trial], **described: Any) -> Importance:
    described = {"space": SPACE, "budget": {"epochs": EPOCHS}, **described}
    return importance.compute_importance(make_summary(described, trials), trials)


def list_optimizers(measured: Importance) -> list[LevelDifference]:
    """Return the differences between optimizers at the end, which are among good configurations."""
    assert measured.final is not None
    assert {row.where for row in measured.final.differences} <= {Where.GOOD}
    return [row for row in measured.final.differences if row.name == "optimizer"]


def test_the_end_is_compared_where_curves_keep_their_order() -> None:
    """What most of its trials brought to the end is told there from what was pruned, by about what they differ."""
    measured = analyze(search(0, count=150))
    assert measured.epoch == 1
    assert measured.final is not None
    assert measured.final.reason is None
    pair = next(row for row in list_optimizers(measured) if {row.better, row.worse} == {"adam", "momentum"})
    assert (pair.better, pair.epoch, pair.is_settled) == ("adam", EPOCHS, True)
    assert pair.low <= ALIKE.compare("adam", "momentum") <= pair.high


def test_the_same_trials_give_the_same_end() -> None:
    """Nothing of it depends on when it is computed."""
    assert analyze(search(1)).final == analyze(search(1)).final


def test_the_end_is_held_where_speeds_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Over searches whose optimizers end anywhere and learn at any speed, 95% intervals hold nine truths of ten.

    And of what is claimed to be better, hardly anything is worse.
    """
    monkeypatch.setattr(functional_anova, "BURN_IN", 100)
    monkeypatch.setattr(posterior_summary, "SWAPPED", 300)
    covered, wrong = [], 0
    for seed in range(24):
        random = np.random.default_rng([7, seed])
        landscape = Landscape(
            {name: float(random.uniform(0.4, 0.7)) for name in SPACE["optimizer"]},
            {name: float(math.exp(random.normal(1, 0.5))) for name in SPACE["optimizer"]},
        )
        for row in list_optimizers(analyze(search(seed, landscape))):
            truth = landscape.compare(row.better, row.worse)
            covered.append(row.low <= truth <= row.high)
            wrong += row.is_settled and truth <= 0
    assert np.mean(covered) >= 0.9
    assert wrong <= 1


def test_a_level_that_never_came_to_the_end_is_not_compared_there() -> None:
    """The one that seems best early has no trial beyond the rung: nothing is said of it at the end."""
    trials = [
        trial if trial.params["optimizer"] != "adam" else make_trial(i, trial.params, [0.3], "pruned", "pruned")
        for i, trial in enumerate(search(2))
    ]
    measured = analyze(trials)
    assert any(row.better == "adam" and row.is_settled for row in measured.differences)
    assert not any("adam" in {row.better, row.worse} for row in list_optimizers(measured))


def test_few_that_came_to_the_end_leave_it_open() -> None:
    """Fewer than eight trials that learned something say nothing, and a sentence says so."""
    trials = [trial for trial in search(3) if trial.state == "pruned"]
    trials += [make_trial(100 + i, trial.params, [0.1] * EPOCHS) for i, trial in enumerate(trials[:20])]
    final = analyze(trials).final
    assert final is not None
    assert (final.trials, final.differences) == (0, ())
    assert final.reason == (
        "Which levels end better is left open: it takes 8 trials that learned something until epoch 9, and there are 0."
    )


def test_without_a_pruner_the_first_stage_is_the_end() -> None:
    """Where all were trained to the last epoch there is nothing to carry there."""
    trials = [make_trial(i, trial.params, [0.3 + i / 100] * EPOCHS) for i, trial in enumerate(search(4, count=30))]
    measured = analyze(trials)
    assert (measured.epoch, measured.final) == (EPOCHS, None)
    assert {row.epoch for row in measured.differences} == {EPOCHS}


def test_diverged_and_running_trials_and_losses_take_part() -> None:
    """A search for the least loss, with trials that diverged, that still run and that stopped early, has an end."""
    trials = []
    for trial in search(5, count=80):
        accuracies = [epoch.val_accuracy for epoch in trial.epochs]
        state, outcome = str(trial.state), trial.outcome and str(trial.outcome)
        if trial.number % 10 == 0:
            accuracies, state, outcome = [math.nan], "pruned", "diverged"
        elif trial.number % 10 == 1 and state == "complete":
            accuracies, state, outcome = accuracies[:5], "running", None
        elif trial.number % 10 == 2 and state == "complete":
            accuracies = accuracies[:6]
        trials.append(make_trial(trial.number, trial.params, accuracies, state, outcome, metric="val_loss"))
    measured = analyze(trials, study={"name": "losses", "metric": "val_loss"})
    assert measured.final is not None
    assert measured.final.reason is None
    assert all(math.isfinite(row.high) and row.low <= row.amount <= row.high for row in measured.final.differences)
