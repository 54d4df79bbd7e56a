"""Importance on simulated searches of which it is known what matters."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import optuna
import pytest

from hpsearch.analysis import importance
from hpsearch.analysis.importance import Importance
from hpsearch.sampling import suggest
from hpsearch.spec import loader
from tests.support.synthetic_trials import make_summary, make_trial

SPACE: dict[str, Any] = {
    "learning_rate": {"low": 1e-5, "high": 1e-1, "log": True},
    "optimizer": ["sgd", "momentum", "adam"],
    "dropout": {"low": 0.0, "high": 0.5},
    "momentum": {"low": 0.5, "high": 0.9, "when": {"optimizer": ["momentum"]}},
}
Landscape = Callable[[dict[str, Any]], float]


def draw_points(count: int, landscape: Landscape, noise: float = 0.01, searched: dict[str, Any] = SPACE) -> list[Any]:
    """Return random configurations with their values."""
    random, spec = np.random.default_rng(0), loader.from_dict({"study": {"name": "x"}, "space": searched})
    points = []
    for _ in range(count):
        params: dict[str, Any] = {
            "learning_rate": float(10 ** random.uniform(-5, -1)),
            "optimizer": str(random.choice(["sgd", "momentum", "adam"])),
            "dropout": float(random.uniform(0, 0.5)),
            "momentum": float(random.uniform(0.5, 0.9)),
        }
        active = {name: params[name] for name in spec.searched if spec.is_active(name, params)}
        points.append((active, landscape(params) + random.normal(0, noise)))
    return points


def measure(points: list[Any], searched: dict[str, Any] = SPACE) -> Importance:
    """Return the importance over complete trials at these points, beside one that failed."""
    trials = [make_trial(number, params, [value]) for number, (params, value) in enumerate(points)]
    trials.append(make_trial(len(trials), {}, [], "failed", "error"))
    return importance.compute_importance(make_summary({"space": searched}, trials), trials)


def measure_pruned_search(count: int, full: int) -> tuple[Importance, list[Any]]:
    """Return importance and trials of ASHA: `full` are trained for 8 epochs and end much alike, the rest for 1."""
    points = draw_points(count, by_rate)
    trials = []
    for number, (params, value) in enumerate(points):
        if number < full:
            trials.append(make_trial(number, params, [value / 2] * 7 + [0.9]))
        else:
            trials.append(make_trial(number, params, [value / 2], "pruned", "pruned"))
    described = {"space": SPACE, "budget": {"epochs": 8}}
    return importance.compute_importance(make_summary(described, trials), trials), trials


def by_rate(params: dict[str, Any]) -> float:
    """What depends on the learning rate, and a little on the optimizer."""
    is_adam: bool = params["optimizer"] == "adam"
    return 0.5 - 0.1 * abs(math.log10(params["learning_rate"]) + 3) + 0.02 * is_adam


def test_shares_are_those_of_optunas_evaluator() -> None:
    """Where nothing is conditional, Optuna's mean decrease in impurity has the same shares."""
    searched = {name: SPACE[name] for name in ("learning_rate", "optimizer", "dropout")}
    points = draw_points(80, by_rate, searched=searched)
    spec = loader.from_dict({"study": {"name": "x"}, "space": searched})
    study = optuna.create_study(direction="maximize")
    distributions = {name: suggest.make_distribution(spec.space[name]) for name in spec.searched}
    study.add_trials(
        [optuna.trial.create_trial(params=params, distributions=distributions, value=value) for params, value in points]
    )
    evaluator = optuna.importance.MeanDecreaseImpurityImportanceEvaluator(seed=0)
    theirs = optuna.importance.get_param_importances(study, evaluator=evaluator)
    ours = {share.name: share.share for share in measure(points, searched).shares}
    assert ours == pytest.approx(theirs, abs=0.02)


def test_what_matters_is_named_and_settled() -> None:
    """The hyperparameter that makes the value comes first, its range above the next one's."""
    measured = measure(draw_points(80, by_rate))
    assert measured.shares[0].name == "learning_rate"
    assert {share.name for share in measured.shares} == set(SPACE)
    assert sum(share.share for share in measured.shares) == pytest.approx(1)
    assert all(share.low <= share.share <= share.high for share in measured.shares)
    assert measured.is_settled
    assert measured.explained is not None
    assert measured.explained > 0.8
    assert measured.trials == 80
    first, second = measured.shares[:2]
    assert measured.sentences == (
        f"learning_rate matters most: {first.share:.0%} ({first.low:.0%} to {first.high:.0%}) of what a random forest "
        f"explains of val_accuracy, before {second.name} with {second.share:.0%} ({second.low:.0%} to "
        f"{second.high:.0%}).",
        "Computed from the 80 complete of 81 ended trials; in brackets, the range over 20 resamples of them.",
    )


def test_a_pruned_search_is_compared_where_most_of_it_ended() -> None:
    """The few complete trials of a pruner are much alike: all are compared at the epoch that enough have reached."""
    measured, _ = measure_pruned_search(80, 8)
    assert (measured.epoch, measured.trials) == (1, 80)
    assert measured.shares[0].name == "learning_rate"
    assert "80 of 80 ended trials that were trained to epoch 1 of 8, by their best value" in measured.sentences[1]
    assert any("so early" in sentence for sentence in measured.sentences)
    kept, _ = measure_pruned_search(80, 60)  # enough to be compared at the end, as the pruned ones cannot be
    assert (kept.epoch, kept.trials) == (8, 60)


def test_a_diverged_trial_takes_no_part() -> None:
    """One without a finite value until the epoch has nothing to compare."""
    _, trials = measure_pruned_search(60, 0)
    trials.append(make_trial(60, trials[0].params, [math.nan], "pruned", "diverged"))
    measured = importance.compute_importance(make_summary({"space": SPACE, "budget": {"epochs": 8}}, trials), trials)
    assert (measured.epoch, measured.trials) == (1, 60)


def test_a_conditional_hyperparameter_matters_where_it_is_active() -> None:
    """One that makes the value of the trials that have it is named, though most trials do not."""
    measured = measure(draw_points(80, lambda params: params["momentum"] * (params["optimizer"] == "momentum")))
    assert {share.name for share in measured.shares[:2]} == {"optimizer", "momentum"}


def test_overlapping_ranges_are_not_settled() -> None:
    """Overlapping ranges and few trials are said in words."""
    measured = measure(draw_points(30, lambda params: math.log10(params["learning_rate"]) / 4 + params["dropout"] * 2))
    assert not measured.is_settled
    assert measured.sentences[2].endswith("overlap: which of them matters more is not settled.")
    assert measured.sentences[3].startswith("30 complete trials are few")


def test_shares_of_noise_mean_little() -> None:
    """Where no hyperparameter matters, the shares are said to mean little."""
    measured = measure(draw_points(60, lambda _: 0.5, noise=0.1))
    assert measured.explained is not None
    assert measured.explained < 0.2
    assert measured.sentences[-1].endswith("the shares mean little.")


@pytest.mark.parametrize(
    ("points", "searched", "reason"),
    [
        (draw_points(9, by_rate), SPACE, "it needs 10 trials that came to epoch 30, and there are 9."),
        ([], SPACE, "it needs 10 trials that came to epoch 30, and there are 0."),
        (draw_points(20, lambda _: 0.5, noise=0), SPACE, "all trials have the same value."),
        (draw_points(20, by_rate), {"optimizer": ["sgd", "momentum", "adam"]}, "fewer than two are searched."),
        ([({}, 0.5)] * 20, {}, "fewer than two are searched."),
    ],
)
def test_nothing_to_compute_is_a_reason(points: list[Any], searched: dict[str, Any], reason: str) -> None:
    """Too few trials, one value or one hyperparameter give no shares, and say why."""
    measured = measure(points, searched)
    assert measured.shares == ()
    assert measured.explained is None
    (sentence,) = measured.sentences
    assert sentence.endswith(reason)
