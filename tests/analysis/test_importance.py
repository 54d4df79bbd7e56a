"""Importance on simulated searches of which it is known what matters."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from hpsearch.analysis import importance
from hpsearch.analysis.anova import stages
from hpsearch.analysis.importance import Importance, Share
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


def find_share(measured: Importance, name: str) -> Share:
    return next(share for share in measured.shares if share.name == name)


def by_rate_and_optimizer(params: dict[str, Any]) -> float:
    """A straight line in the exponent of the rate, and a bonus for one optimizer."""
    is_adam: bool = params["optimizer"] == "adam"
    return 0.3 + 0.05 * (math.log10(params["learning_rate"]) + 5) + 0.04 * is_adam


def test_shares_are_the_variances_explained() -> None:
    """Known variances over the space lie in the intervals of the shares."""
    measured = measure(draw_points(80, by_rate_and_optimizer))
    rates = np.array([by_rate_and_optimizer({"learning_rate": 10**x, "optimizer": "sgd"}) for x in np.linspace(-5, -1)])
    optimizers = [by_rate_and_optimizer({"learning_rate": 1e-3, "optimizer": name}) for name in SPACE["optimizer"]]
    variances = {"learning_rate": rates.var(), "optimizer": float(np.var(optimizers)), "dropout": 0.0, "momentum": 0.0}
    whole = sum(variances.values())
    for name, variance in variances.items():
        share = find_share(measured, name)
        assert share.low <= variance / whole <= share.high + 1e-3, name
        assert share.share == pytest.approx(variance / whole, abs=0.06), name


def test_what_matters_is_named_and_settled() -> None:
    """The hyperparameter that makes the value comes first, its interval above the next one's."""
    measured = measure(draw_points(80, by_rate))
    assert measured.shares[0].name == "learning_rate"
    assert {share.name for share in measured.shares} == set(SPACE)
    assert sum(share.share for share in measured.shares) <= 1
    assert all(share.low <= share.share <= share.high for share in measured.shares)
    assert measured.is_settled
    assert measured.trials == 80
    first, second = measured.shares[:2]
    assert measured.sentences == (
        f"learning_rate matters most: it explains {first.share:.0%} ({first.low:.0%} to {first.high:.0%}) of the "
        f"variance of val_accuracy over the search space, before {second.name} with {second.share:.0%} "
        f"({second.low:.0%} to {second.high:.0%}).",
        "Computed from the 80 trials that were trained to epoch 30, by their best value until then; in brackets, 95% "
        "intervals.",
    )


def test_an_interaction_is_named() -> None:
    """Where each optimizer has its own best rate, the pair explains what neither does alone, and a sentence says so."""
    best = {"sgd": -1.5, "momentum": -3.0, "adam": -4.5}
    measured = measure(
        draw_points(
            120, lambda params: 0.6 - 0.1 * abs(math.log10(params["learning_rate"]) - best[params["optimizer"]])
        )
    )
    assert set(measured.interactions[0].names) == {"learning_rate", "optimizer"}
    assert measured.interactions[0].low > 0.1
    assert any(sentence.startswith("learning_rate × optimizer explains") for sentence in measured.sentences)


def test_where_a_sampler_looked_does_not_matter() -> None:
    """Trials crowded around the best rate, as a sampler leaves them, give the share over the whole space too."""
    random = np.random.default_rng(1)
    crowded = []
    for params, _ in draw_points(120, by_rate):
        if random.uniform() < 0.6:
            params["learning_rate"] = float(10 ** random.normal(-3, 0.15))
        crowded.append((params, by_rate(params) + random.normal(0, 0.01)))
    share = find_share(measure(crowded), "learning_rate")
    assert share.low > 0.85


def test_a_pruned_search_is_compared_where_all_of_it_was() -> None:
    """The complete trials of a pruner are few and much alike: all trials are compared at the first rung."""
    for full in (8, 60):
        measured, _ = measure_pruned_search(80, full)
        assert (measured.epoch, measured.trials) == (1, 80)
        assert measured.shares[0].name == "learning_rate"
        assert measured.statements[0].startswith("learning_rate matters most at epoch 1 of 8")
        assert any("need not be what matters at epoch 8" in sentence for sentence in measured.warnings)


def test_a_diverged_trial_counts_as_the_worst() -> None:
    """One that diverged before the epoch is a value no better than guessing, not a gap."""
    _, trials = measure_pruned_search(60, 0)
    trials.append(make_trial(60, trials[0].params, [math.nan], "pruned", "diverged"))
    measured = importance.compute_importance(make_summary({"space": SPACE, "budget": {"epochs": 8}}, trials), trials)
    assert (measured.epoch, measured.trials) == (1, 61)


def test_a_trial_at_chance_counts_at_every_epoch() -> None:
    """One that ended at chance, or diverged, has a value at epochs that it did not reach: no better than guessing."""
    spec = make_summary({"space": SPACE, "budget": {"epochs": 8}}, []).study.spec
    full = make_trial(0, {}, [0.3, 0.4, 0.5, 0.6, 0.6, 0.7, 0.7, 0.7])
    chance = make_trial(1, {}, [0.09, 0.1], "pruned", "at_chance")
    diverged = make_trial(2, {}, [0.3, 0.4, 0.5], "pruned", "diverged")
    pruned = make_trial(3, {}, [0.3, 0.4], "pruned", "pruned")
    stage = stages.choose_stage(spec, [full, chance, diverged])
    assert (stage.epoch, stage.values) == (8, (0.7, 0.1, -math.inf))
    stage = stages.choose_stage(spec, [full, chance, diverged, pruned])
    assert (stage.epoch, stage.values) == (2, (0.4, 0.1, -math.inf, 0.4))


def test_a_trial_out_of_memory_takes_no_part() -> None:
    """What a configuration needs is nothing that it does."""
    _, trials = measure_pruned_search(60, 0)
    trials.append(make_trial(60, trials[0].params, [0.4], "pruned", "out_of_memory"))
    measured = importance.compute_importance(make_summary({"space": SPACE, "budget": {"epochs": 8}}, trials), trials)
    assert measured.trials == 60


def test_a_rate_that_leaves_trials_at_chance_matters() -> None:
    """Where most of the space is no better than guessing, that is what the rate does, and the sentence counts them."""
    measured = measure(draw_points(80, lambda params: 0.6 if params["learning_rate"] < 1e-3 else 0.1))
    assert measured.shares[0].name == "learning_rate"
    assert measured.shares[0].low > 0.7
    assert "of them no better than guessing" in measured.statements[-1]


def test_a_conditional_hyperparameter_matters_where_it_is_active() -> None:
    """One that makes the value of the trials that have it is named, though most trials do not."""
    measured = measure(
        draw_points(80, lambda params: 0.2 + (params["momentum"] - 0.5) * (params["optimizer"] == "momentum"))
    )
    assert {share.name for share in measured.shares[:2]} == {"optimizer", "momentum"}


def test_overlapping_intervals_are_not_settled() -> None:
    """Overlapping intervals are said in words."""
    measured = measure(
        draw_points(
            30, lambda params: 0.6 + math.log10(params["learning_rate"]) / 16 + params["dropout"] / 2, noise=0.05
        )
    )
    assert not measured.is_settled
    assert measured.warnings[0].endswith("overlap: which of them matters more is not settled.")


def test_shares_of_noise_are_not_shown() -> None:
    """Where no hyperparameter matters there is no share, and a sentence says what would settle it."""
    measured = measure(draw_points(60, lambda _: 0.5, noise=0.05))
    assert measured.shares == ()
    assert measured.sentences == (
        "60 trials at epoch 30 of 30 do not settle that any hyperparameter matters: what they do is not told from the "
        "noise, and no level is said to be better. More trials may settle it.",
    )


@pytest.mark.parametrize(
    ("points", "searched", "reason"),
    [
        (draw_points(9, by_rate), SPACE, "it needs 10 trials that reached epoch 30, and there are 9."),
        ([], SPACE, "it needs 10 trials that reached epoch 30, and there are 0."),
        (draw_points(20, lambda _: 0.5, noise=0), SPACE, "all trials have the same value."),
        (draw_points(20, by_rate), {"optimizer": ["sgd", "momentum", "adam"]}, "fewer than two are searched."),
        ([({}, 0.5)] * 20, {}, "fewer than two are searched."),
    ],
)
def test_nothing_to_compute_is_a_reason(points: list[Any], searched: dict[str, Any], reason: str) -> None:
    """Too few trials, one value or one hyperparameter give no shares, and say why."""
    measured = measure(points, searched)
    assert measured.shares == ()
    (sentence,) = measured.sentences
    assert sentence.endswith(reason)


def test_every_host_computes_in_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of more, sums round otherwise, and two hosts would show different figures; afterwards all is as it was."""
    before = threadpool_info()
    seen: list[int] = []

    def record(*_: object) -> None:
        seen.extend(pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas")

    monkeypatch.setattr(importance, "_compute_importance", record)
    importance.compute_importance(None, ())  # type: ignore[arg-type]
    assert seen
    assert set(seen) == {1}
    assert threadpool_info() == before
