"""The sentences on what was found, with figures recomputed by numpy and scipy."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import stats

from hpsearch.outcomes import TrialOutcome
from hpsearch.storage.results import Trial
from tests.support.synthetic_trials import (
    GRID,
    SEARCH,
    VALUES,
    analyze,
    find_difference,
    make_repeated_grid,
    make_trial,
)


def test_answer_says_how_far_the_best_is_ahead() -> None:
    """The sentences carry the recomputed difference and interval, in points."""
    answer = analyze(GRID, make_repeated_grid())
    test = stats.tukey_hsd(VALUES["adam"], VALUES["nesterov"], VALUES["sgd"], equal_var=False)
    amount, half = 100 * test.statistic[0, 1], 100 * (test.confidence_interval().high - test.statistic)[0, 1]
    ahead, last, best = answer.sentences.answer
    assert ahead == f"optimizer: adam ends {amount:.1f} ± {half:.1f} points above nesterov."
    amount, half = 100 * test.statistic[0, 2], 100 * (test.confidence_interval().high - test.statistic)[0, 2]
    assert last == f"optimizer: sgd is last, {amount:.1f} ± {half:.1f} points below adam."
    assert best.startswith("Trial 7 is best: val_accuracy 73.0% at epoch 2, the highest of 9, with optimizer adam.")


def test_a_lower_loss_is_better() -> None:
    """With val_loss the lower is the better, in nats."""
    described = {**GRID, "study": {"name": "x", "metric": "val_loss"}}
    answer = analyze(described, make_repeated_grid(metric="val_loss"))
    (effect,) = answer.findings.effects
    assert answer.findings.best is not None
    assert answer.findings.best.number == 7
    difference = find_difference(effect, "adam", "nesterov")
    assert difference.better == "adam"
    values = {name: 2 - np.array(VALUES[name]) for name in VALUES}
    assert difference.amount == pytest.approx(values["nesterov"].mean() - values["adam"].mean())
    assert (
        answer.sentences.answer[0]
        == f"optimizer: adam ends {difference.amount:.2f} ± {difference.half:.2f} nats below nesterov."
    )
    assert answer.sentences.answer[1].startswith("optimizer: sgd is last, 0.29 ± 0.11 nats above adam")
    assert "val_loss 1.27 nats at epoch 2, the lowest of 9" in answer.sentences.answer[2]


def test_levels_indistinguishable_from_the_best_are_named() -> None:
    """Overlapping levels are named in words, and no last is named among them."""
    described = {**GRID, "space": {"activation": ["relu", "tanh", "elu", "prelu"]}}
    random = np.random.default_rng(0)
    trials = [
        make_trial(n, {"activation": name}, [0.5 + 0.02 * random.normal()])
        for n, name in enumerate(["relu", "tanh", "elu", "prelu"] * 3)
    ]
    sentences = analyze(described, trials).sentences.answer
    assert len(sentences) == 2
    assert sentences[0].endswith(": not distinguishable, nor is any other level.")


def test_cost_stands_beside_the_gain() -> None:
    """A level that takes longer than the base model's is named with its factor and its gain."""
    described = {**GRID, "space": {"activation": ["relu", "prelu", "tanh"]}}
    values = {"relu": (0.60, 0.61, 0.62), "prelu": (0.61, 0.62, 0.60), "tanh": (0.3, 0.31, 0.33)}
    times = {"relu": (2.0, 2.1, 1.9), "prelu": (2.8, 2.9, 2.7), "tanh": (2.0, 2.05, 2.0)}
    trials = [
        make_trial(3 * seed + i, {"activation": name}, [values[name][seed]] * 3, seconds=times[name][seed])
        for seed in range(3)
        for i, name in enumerate(values)
    ]
    answer = analyze(described, trials)
    seconds = {level.label: level.seconds for level in answer.findings.effects[0].levels}
    assert {name: estimate.mean for name, estimate in seconds.items() if estimate} == pytest.approx(
        {name: np.mean(times[name]) for name in times}  # the first epoch, thrice as long, is left out
    )
    ratio = np.mean(times["prelu"]) / np.mean(times["relu"])
    difference = find_difference(answer.findings.effects[0], "relu", "prelu")
    assert answer.sentences.cost == (
        f"activation: prelu costs {ratio:.1f}× relu's time per epoch and loses "
        f"{100 * difference.amount:.1f} ± {100 * (difference.half or 0):.1f} points: not distinguishable.",
    )


def test_generalization_gaps_are_named_where_levels_differ() -> None:
    """The widest and the narrowest gap are named with their difference."""
    described = {**GRID, "space": {"dropout": [0.0, 0.5]}}
    gaps = {0.0: (0.2, 0.21, 0.22), 0.5: (-0.01, -0.02, 0.0)}
    trials = [
        make_trial(2 * seed + i, {"dropout": rate}, [0.4, 0.6], gap=gaps[rate][seed])
        for seed in range(3)
        for i, rate in enumerate(gaps)
    ]
    answer = analyze(described, trials)
    test = stats.tukey_hsd(gaps[0.0], gaps[0.5], equal_var=False)
    half = (test.confidence_interval().high - test.statistic)[0, 1]
    student = 100 * stats.t.ppf(0.975, 2) * 0.01 / np.sqrt(3)
    assert answer.sentences.gap == (
        f"dropout: 0 ends with training accuracy 21.0 ± {student:.1f} points above validation accuracy, 0.5 with "
        f"1.0 ± {student:.1f} points below: 22.0 ± {100 * half:.1f} points apart.",
    )


def test_a_level_that_is_mostly_infeasible_is_named() -> None:
    """Where half of a level's trials or more came to nothing, the answer says to what they came instead."""
    described = {**GRID, "space": {"batch_size": [32, 512], "learning_rate": [10.0, 0.01]}}
    endings = {(32, 10.0): "diverged", (32, 0.01): "completed", (512, 10.0): "at_chance", (512, 0.01): "out_of_memory"}
    trials = [
        make_trial(
            n,
            {"batch_size": batch, "learning_rate": rate},
            {"diverged": [math.nan], "completed": [0.5 + 0.01 * n], "at_chance": [0.1], "out_of_memory": []}[outcome],
            TrialOutcome(outcome).state,
            outcome,
        )
        for n, ((batch, rate), outcome) in enumerate([*endings.items()] * 3)
    ]
    sentences = analyze(described, trials).sentences
    assert (
        "learning_rate: with 10, 6 of 6 trials were no better than guessing (3 diverged, 3 at chance)."
        in sentences.answer
    )
    assert (
        "batch_size: with 512, 6 of 6 trials gave no usable value (3 at chance, 3 out of memory)." in sentences.answer
    )
    assert "Left out of the means: 3 out of memory." in sentences.caveats
    assert "In the means as no better than guessing: 3 diverged, 3 at chance." in sentences.caveats


@pytest.mark.parametrize("ending", [("complete", "completed"), ("pruned", "at_chance"), ("pruned", "diverged")])
def test_levels_at_chance_are_compared(ending: tuple[str, str]) -> None:
    """A grid of SGD that learns nothing against Adam says how far Adam is ahead, however SGD's trials ended."""
    described = {**GRID, "data": {"name": "digits"}, "space": {"optimizer": ["sgd", "adam"]}}
    diverged = ending[1] == "diverged"
    chance = (math.nan, math.nan, math.nan) if diverged else (0.05, 0.09, 0.14)
    values = {"sgd": (0.1, 0.1, 0.1) if diverged else chance, "adam": (0.55, 0.66, 0.74)}
    trials = [make_trial(n, {"optimizer": "sgd"}, [value], *ending) for n, value in enumerate(chance)]
    trials += [make_trial(n, {"optimizer": "adam"}, [value]) for n, value in enumerate(values["adam"], start=3)]
    answer = analyze(described, trials)
    sgd, adam = (np.array(values[name]) for name in ("sgd", "adam"))
    (difference,) = answer.findings.effects[0].values
    assert (difference.better, difference.distinguishable) == ("adam", True)
    assert difference.amount == pytest.approx(adam.mean() - sgd.mean())
    variances = np.array([adam.var(ddof=1) / 3, sgd.var(ddof=1) / 3])
    freedom = variances.sum() ** 2 / (variances**2 / 2).sum()  # Welch's
    assert difference.half == pytest.approx(stats.t.ppf(0.975, freedom) * np.sqrt(variances.sum()), rel=0.01)
    assert answer.sentences.answer[0].startswith(f"optimizer: adam ends {100 * difference.amount:.1f} ± ")
    level = answer.findings.effects[0].find_level("sgd")
    assert (level.value.n if level.value else 0, level.endings[TrialOutcome.DIVERGED]) == (3, 3 * diverged)
    rank = "of 6" if ending[0] == "complete" else "of 3"
    assert any(
        f"is best: val_accuracy 74.0% at epoch 1, the highest {rank}, " in line for line in answer.sentences.answer
    )


def test_equal_values_are_no_difference() -> None:
    """Levels that end alike every time are called alike, and constant seconds as no cost."""
    trials = [make_trial(n, {"optimizer": name}, [0.1, 0.1]) for n, name in enumerate(["nesterov", "adam", "sgd"] * 3)]
    answer = analyze(GRID, trials)
    assert {difference.amount for difference in answer.findings.effects[0].values} == {0.0}
    assert not any(difference.distinguishable for difference in answer.findings.effects[0].values)
    assert answer.sentences.answer[0].startswith("optimizer: nesterov and adam end alike")
    assert answer.sentences.cost == ()


def make_unfinished_trials(state: str, outcome: str | None = None) -> list[Trial]:
    """Return two trials that ended so before their first epoch was over."""
    return [make_trial(n, {"learning_rate": 1e-3, "optimizer": "sgd"}, [], state, outcome) for n in range(2)]


@pytest.mark.parametrize(
    ("make", "answer"),
    [
        (list, "No trial has ended: there is nothing to tell yet."),
        (lambda: make_unfinished_trials("waiting"), "No trial has ended: there is nothing to tell yet."),
        (lambda: make_unfinished_trials("running"), "No trial has ended: there is nothing to tell yet."),
        (
            lambda: make_unfinished_trials("failed", "error"),
            "None of the 2 ended trials is complete (2 failed): there is nothing to compare.",
        ),
        (
            lambda: [make_trial(0, {"learning_rate": 1e-3, "optimizer": "sgd"}, [0.5])],
            "One trial is complete: there is nothing to compare it with.",
        ),
        (
            lambda: make_unfinished_trials("pruned", "diverged")[:1],
            "The only ended trial is not complete (1 diverged): there is nothing to compare.",
        ),
    ],
)
@pytest.mark.parametrize("described", [SEARCH, {"space": {}, "budget": {"trials": 3}}])
def test_a_study_without_a_comparison_says_so(
    make: Callable[[], list[Trial]], answer: str, described: dict[str, Any]
) -> None:
    """A study without a comparison says in one sentence what there is."""
    trials = make() if described["space"] else [replace(trial, params={}) for trial in make()]
    result = analyze(described, trials, status="running")
    assert result.sentences.answer[0] == answer
    assert (result.findings.best is None) == (len(result.sentences.answer) == 1)


def test_the_base_model_alone_has_its_mean_over_seeds() -> None:
    """A study that searches nothing tells the mean of its trainings."""
    trials = [make_trial(n, {}, [value]) for n, value in enumerate((0.5, 0.52, 0.54))]
    answer = analyze({"space": {}, "budget": {"trials": 3}}, trials)
    half = 100 * stats.t.ppf(0.975, 2) * 0.02 / np.sqrt(3)
    assert answer.sentences.answer[0] == f"The base model reaches val_accuracy 52.0 ± {half:.1f}% (n = 3)."
    assert answer.findings.repeated
