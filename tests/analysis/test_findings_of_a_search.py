"""Findings of searches that are no repeated grid, and of studies that have little to tell."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from scipy import stats

from hpsearch.analysis import findings, importance
from hpsearch.outcomes import TrialOutcome, TrialState
from hpsearch.spec.hyperparameters import Value
from hpsearch.storage.results import AttemptRecord, Trial
from tests.support.synthetic_trials import GRID, difference, find, repeated, summary, trial

NAN = float("nan")
NOW = datetime(2026, 1, 1, tzinfo=UTC)
ADAPTIVE: dict[str, Any] = {
    "budget": {"trials": 60, "epochs": 3},
    "space": {
        "learning_rate": {"low": 1e-5, "high": 1e-1, "log": True},
        "optimizer": ["sgd", "momentum", "adam"],
        "momentum": {"low": 0.5, "high": 0.95, "when": {"optimizer": ["momentum"]}},
    },
}


def searched(count: int, epochs: int = 3) -> list[Trial]:
    """Trials of every ending, as a search makes them."""
    random = np.random.default_rng(0)
    endings: list[tuple[str, str | None]] = [*[("complete", "completed")] * 5, *[("pruned", "pruned")] * 3]
    endings += [("pruned", "diverged"), ("pruned", "out_of_memory"), ("failed", "error"), ("running", None)]
    found = []
    for number in range(count):
        optimizer = str(random.choice(["sgd", "momentum", "adam"]))
        params: dict[str, Any] = {"learning_rate": float(10 ** random.uniform(-5, -1)), "optimizer": optimizer}
        if optimizer == "momentum":
            params["momentum"] = float(random.uniform(0.5, 0.95))
        state, outcome = endings[int(random.integers(len(endings)))]
        value = 0.5 + 0.1 * (optimizer == "adam") + 0.01 * random.normal()
        accuracies = [value * epoch / epochs for epoch in range(1, epochs + 1)]
        found.append(trial(number, params, [float("nan")] if outcome == "diverged" else accuracies, state, outcome))
    return found


def test_an_adaptive_search_compares_what_it_completed() -> None:
    """Means are over complete trials, endings are counted, and the cautions say what that leaves out."""
    trials = searched(120)
    told = find(ADAPTIVE, trials, status="running")
    effects = {effect.name: effect for effect in told.effects}
    for level in effects["optimizer"].levels:
        mine = [each for each in trials if each.params["optimizer"] == level.label]
        values = [each.value for each in mine if each.state == "complete" and each.value is not None]
        assert level.value is not None
        assert level.value.mean == pytest.approx(np.mean(values))
        assert level.value.n == len(values)
        assert level.endings[TrialState.COMPLETE] == len(values)
        assert level.endings[TrialOutcome.DIVERGED] == sum(each.outcome == "diverged" for each in mine)
        assert level.endings[TrialOutcome.OUT_OF_MEMORY] == sum(each.outcome == "out_of_memory" for each in mine)
        assert level.endings[TrialState.PRUNED] == sum(each.outcome == "pruned" for each in mine)
        assert level.endings[TrialState.FAILED] == sum(each.state == "failed" for each in mine)
        assert level.trials == tuple(each.number for each in mine)
    groups = [
        [each.value for each in trials if each.state == "complete" and each.params["optimizer"] == name]
        for name in ("sgd", "momentum", "adam")
    ]
    test = stats.tukey_hsd(*groups, equal_var=False)
    found = difference(effects["optimizer"], "adam", "sgd")
    assert found.half == pytest.approx((test.confidence_interval().high - test.statistic)[2, 0], rel=1e-3)
    assert [level.label for level in effects["learning_rate"].levels] == [
        "1e-5 to 1e-4",
        "1e-4 to 1e-3",
        "1e-3 to 1e-2",
        "1e-2 to 1e-1",
    ]
    assert effects["momentum"].when == "optimizer momentum"
    assert sum(len(level.trials) for level in effects["momentum"].levels) == len(effects["optimizer"].levels[1].trials)
    cautions = told.sentences.caveats
    ended = sum(each.state != "running" for each in trials)
    pruned = sum(each.outcome == "pruned" for each in trials)
    assert cautions[0] == f"The search is running: {ended} of 60 trials have ended."
    assert cautions[1].startswith("Seed noise was not measured")
    assert cautions[2].startswith("The sampler (tpe) chose what to try")
    assert cautions[3].startswith(f"{pruned} of {ended} ended trials were pruned and are left out of the means")
    assert cautions[4].startswith("Left out of the means too: ")
    assert told.configurations is None


def test_the_best_values_own_interval_is_wilsons() -> None:
    """What the number of validation images makes of the best value is told beside it."""
    caution = find(GRID, repeated()).sentences.caveats[-1]
    share, images, z = 0.73, 5000, stats.norm.ppf(0.975)
    middle = (share + z**2 / (2 * images)) / (1 + z**2 / images)
    half = z / (1 + z**2 / images) * np.sqrt(share * (1 - share) / images + z**2 / (4 * images**2))
    assert f"95% confidence interval from their number alone: {middle - half:.1%} to {middle + half:.1%}" in caution


def test_a_level_that_was_given_up_is_told() -> None:
    """Where half of a level's trials or more diverged, the answer says so."""
    raw = {**GRID, "space": {"learning_rate": [10.0, 0.01]}}
    trials = [
        trial(n, {"learning_rate": rate}, [0.5 + 0.01 * n] if rate < 1 else [float("nan")], *ending)
        for n, (rate, ending) in enumerate([(10.0, ("pruned", "diverged")), (0.01, ("complete", "completed"))] * 3)
    ]
    told = find(raw, trials)
    assert "learning_rate: only 0.01 has a complete trial, so nothing can be compared." in told.sentences.answer
    assert "learning_rate: with 10, 3 of 3 trials gave no value (3 diverged)." in told.sentences.answer


def test_devices_of_different_kinds_are_told() -> None:
    """Seconds from two kinds of devices are no comparison; two GPUs of one kind are."""

    def on(*devices: str) -> tuple[str, ...]:
        trials = [
            replace(each, history=(AttemptRecord(1, "w", "host", devices[each.number % 2], 1.0, 3, None, NOW, NOW),))
            for each in repeated()
        ]
        return find(GRID, trials).sentences.caveats

    assert any(line.startswith("Trials ran on A100 and H200:") for line in on("GPU 0 (H200)", "GPU 0 (A100)"))
    assert not any("Trials ran on" in line for line in on("GPU 0 (H200)", "GPU 1 (H200)"))


def unfinished(state: str, outcome: str | None = None) -> list[Trial]:
    """Two trials that ended so before their first epoch was over."""
    return [trial(n, {"learning_rate": 1e-3, "optimizer": "sgd"}, [], state, outcome) for n in range(2)]


@pytest.mark.parametrize(
    ("make", "answer"),
    [
        (list, "No trial has ended: there is nothing to tell yet."),
        (lambda: unfinished("waiting"), "No trial has ended: there is nothing to tell yet."),
        (lambda: unfinished("running"), "No trial has ended: there is nothing to tell yet."),
        (
            lambda: unfinished("failed", "error"),
            "None of the 2 ended trials is complete (2 failed): there is nothing to compare.",
        ),
        (
            lambda: [trial(0, {"learning_rate": 1e-3, "optimizer": "sgd"}, [0.5])],
            "One trial is complete: there is nothing to compare it with.",
        ),
        (
            lambda: unfinished("pruned", "diverged")[:1],
            "The only ended trial is not complete (1 diverged): there is nothing to compare.",
        ),
    ],
)
@pytest.mark.parametrize("raw", [ADAPTIVE, {"space": {}, "budget": {"trials": 3}}])
def test_little_is_told_as_little(make: Callable[[], list[Trial]], answer: str, raw: dict[str, Any]) -> None:
    """A study without a comparison says in one sentence what there is."""
    trials = make() if raw["space"] else [replace(each, params={}) for each in make()]
    told = find(raw, trials, status="running")
    assert told.sentences.answer[0] == answer
    assert (told.best is None) == (len(told.sentences.answer) == 1)


def test_the_base_model_alone_has_its_mean_over_seeds() -> None:
    """A study that searches nothing tells the mean of its trainings."""
    trials = [trial(n, {}, [value]) for n, value in enumerate((0.5, 0.52, 0.54))]
    told = find({"space": {}, "budget": {"trials": 3}}, trials)
    half = 100 * stats.t.ppf(0.975, 2) * 0.02 / np.sqrt(3)
    assert told.sentences.answer[0] == f"The base model reaches val_accuracy 52.0 ± {half:.1f}% (n = 3)."
    assert told.repeated


def test_an_evaluation_compares_its_configurations_on_the_test_images() -> None:
    """Only the last epoch has figures, of the test images; configurations are compared and no search is told of."""
    points: list[dict[str, Value]] = [
        {"learning_rate": 0.01, "optimizer": "sgd"},
        {"learning_rate": 0.001, "optimizer": "adam"},
    ]
    trials = [trial(n, points[n % 2], [NAN, NAN, (0.6, 0.7)[n % 2] + 0.01 * (n // 2)]) for n in range(6)]
    made = summary({**ADAPTIVE, "sampler": {"name": "random"}}, trials)
    described = replace(
        made.study.spec,
        evaluation=1,
        baselines=tuple(points * 3),
        budget=made.study.spec.budget.model_copy(update={"repeats": 3}),
    )
    made = replace(made, study=replace(made.study, spec=described))
    told = findings.analyze_study(made, trials)
    assert told.effects == ()
    assert told.repeated
    half = 100 * stats.t.ppf(0.975, 2) * 0.01 / np.sqrt(3)
    test = stats.tukey_hsd((0.6, 0.61, 0.62), (0.7, 0.71, 0.72), equal_var=False).confidence_interval()
    best = "learning_rate 0.001, optimizer adam"
    assert told.sentences.answer == (
        f"The best configuration is {best}: test accuracy 71.0 ± {half:.1f}% (n = 3).",
        f"configuration: {best} ends 10.0 ± {50 * (test.high - test.low)[0, 1]:.1f} points above learning_rate 0.01, "
        "optimizer sgd.",
    )
    assert not any("validation images" in line for line in told.sentences.caveats)
    assert importance.compute_importance(made, trials).shares == ()


def test_equal_values_are_no_difference() -> None:
    """Levels that end alike every time are told as alike, and constant seconds as no cost."""
    trials = [trial(n, {"optimizer": name}, [0.1, 0.1]) for n, name in enumerate(["nesterov", "adam", "sgd"] * 3)]
    told = find(GRID, trials)
    assert {each.amount for each in told.effects[0].values} == {0.0}
    assert not any(each.distinguishable for each in told.effects[0].values)
    assert told.sentences.answer[0].startswith("optimizer: nesterov and adam end alike")
    assert told.sentences.cost == ()


def test_thousands_of_trials_are_told() -> None:
    """5,000 trials of 30 epochs keep every level and every ending."""
    told = find(ADAPTIVE, searched(5000, epochs=30))
    assert sum(sum(level.endings.values()) for level in told.effects[0].levels) == sum(
        each.state != "running" for each in searched(5000)
    )
