"""Effects, recomputed with numpy and scipy from the trials' own figures."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from hpsearch.analysis import effects
from hpsearch.outcomes import TrialOutcome, TrialState
from hpsearch.spec import loader
from tests.support.synthetic_trials import (
    GRID,
    SEARCH,
    VALUES,
    analyze,
    find_difference,
    make_repeated_grid,
    make_search_trials,
    make_trial,
)


def test_levels_carry_students_intervals_over_seeds() -> None:
    """Each level's value, gap and seconds are the mean over its trials, with Student's interval."""
    (effect,) = analyze(GRID, make_repeated_grid()).findings.effects
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
        assert {ending for ending, count in level.endings.items() if count} == {TrialState.COMPLETE}
        assert level.endings[TrialState.COMPLETE] == 3


def test_differences_are_games_and_howells() -> None:
    """The three pairs have the intervals that scipy's Tukey test gives without equal variances."""
    (effect,) = analyze(GRID, make_repeated_grid()).findings.effects
    tukey = stats.tukey_hsd(*VALUES.values(), equal_var=False)
    high = tukey.confidence_interval(0.95).high
    for i, first in enumerate(VALUES):
        for j, second in list(enumerate(VALUES))[i + 1 :]:
            difference = find_difference(effect, first, second)
            assert difference.amount == pytest.approx(abs(tukey.statistic[i, j]))
            assert difference.half == pytest.approx(high[i, j] - tukey.statistic[i, j], rel=1e-3)


def test_a_loss_at_chance_counts_as_that_of_a_guess_at_most() -> None:
    """With val_loss a diverged trial has ln(classes), one at chance no more than that; a pruned one has no value."""
    described = {"study": {"name": "x", "metric": "val_loss"}, **GRID, "space": {"optimizer": ["sgd", "adam"]}}
    spec = loader.from_dict(described)
    guess = math.log(10)

    def find(loss: float, state: str, outcome: str) -> float | None:
        return effects.find_value(spec, make_trial(0, {}, [2 - loss], state, outcome, metric="val_loss"))

    assert find(2.29, "pruned", "at_chance") == pytest.approx(2.29)
    assert find(50.0, "pruned", "at_chance") == pytest.approx(guess)
    assert find(math.nan, "pruned", "at_chance") == pytest.approx(guess)
    assert find(1.0, "pruned", "diverged") == pytest.approx(guess)
    assert find(50.0, "complete", "completed") == pytest.approx(50.0)
    assert find(1.0, "pruned", "pruned") is None
    assert find(1.0, "pruned", "out_of_memory") is None


def test_a_grid_of_two_factors_compares_within_settings() -> None:
    """The difference of two levels is the mean over the other factor's values, its noise that of the seeds."""
    described = {**GRID, "space": {"optimizer": ["sgd", "adam"], "learning_rate": [0.1, 0.01, 0.001]}}
    random = np.random.default_rng(1)
    rates = {0.1: 0.2, 0.01: 0.6, 0.001: 0.4}
    cells = {
        (optimizer, rate): rates[rate] + 0.05 * (optimizer == "adam") + 0.005 * random.normal(size=3)
        for optimizer in ("sgd", "adam")
        for rate in rates
    }
    points = [(optimizer, rate, float(value)) for (optimizer, rate), values in cells.items() for value in values]
    trials = [
        make_trial(n, {"optimizer": optimizer, "learning_rate": rate}, [value])
        for n, (optimizer, rate, value) in enumerate(points)
    ]
    answer = analyze(described, trials)
    difference = find_difference(answer.findings.effects[0], "sgd", "adam")
    amount = np.mean([cells["adam", rate].mean() - cells["sgd", rate].mean() for rate in rates])
    variances = np.array([values.var(ddof=1) / 3 for values in cells.values()])
    freedom = variances.sum() ** 2 / (variances**2 / 2).sum()
    half = stats.t.ppf(0.975, freedom) * np.sqrt(variances.sum()) / 3
    assert (difference.better, difference.settings) == ("adam", 3)
    assert difference.amount == pytest.approx(amount)
    assert difference.half == pytest.approx(half, rel=1e-3)
    assert answer.findings.configurations is not None
    labels = [level.label for level in answer.findings.configurations.levels]
    assert labels[0] == "optimizer sgd, learning_rate 0.1"
    assert len(labels) == 6
    values = {level.label: level.value.mean for level in answer.findings.configurations.levels if level.value}
    assert values["optimizer adam, learning_rate 0.01"] == pytest.approx(cells["adam", 0.01].mean())
    assert answer.sentences.levels[0].startswith(
        f"The best configuration is optimizer adam, learning_rate 0.01: val_accuracy "
        f"{100 * cells['adam', 0.01].mean():.1f} ± "
    )


def test_a_grid_without_repeats_has_no_interval_and_says_why() -> None:
    """One training of each point of one factor claims no difference."""
    described = {**GRID, "budget": {"epochs": 3}}
    answer = analyze(described, make_repeated_grid()[:3])
    assert {difference.half for difference in answer.findings.effects[0].values} == {None}
    assert answer.sentences.answer[0] == (
        "optimizer: adam comes out best with 70.0%; the noise was not measured, so no difference is claimed."
    )
    assert answer.sentences.caveats[0].startswith("Seed noise was not measured: a configuration was trained once")
    assert not answer.findings.repeated


def test_an_unrepeated_grid_of_two_factors_takes_settings_for_repeats() -> None:
    """The interval is the paired t interval over the other factor's values."""
    described = {
        **GRID,
        "budget": {"epochs": 3},
        "space": {"batch_norm": [True, False], "dropout": [0.0, 0.1, 0.2, 0.3]},
    }
    on, off = (0.62, 0.63, 0.66, 0.60), (0.57, 0.55, 0.58, 0.56)
    rows = [(flag, rate, value) for flag, values in ((True, on), (False, off)) for rate, value in enumerate(values)]
    trials = [
        make_trial(n, {"batch_norm": flag, "dropout": rate / 10}, [value]) for n, (flag, rate, value) in enumerate(rows)
    ]
    difference = find_difference(analyze(described, trials).findings.effects[0], "on", "off")
    test = stats.ttest_rel(on, off).confidence_interval(0.95)
    assert difference.amount - (difference.half or 0) == pytest.approx(test.low, rel=1e-3)
    assert difference.amount + (difference.half or 0) == pytest.approx(test.high, rel=1e-3)


def test_a_tree_of_configurations_is_compared_as_a_whole() -> None:
    """Levels that never share a setting are not compared; the configurations are."""
    described = {
        **GRID,
        "space": {
            "dropout": [0.0, 0.25],
            "batch_norm": {"choices": [False, True], "when": {"dropout": [0.25]}},
            "l1": {"choices": [0.0, 1e-5], "when": {"dropout": [0.0]}},
        },
    }
    points = loader.from_dict({"study": {"name": "x"}, **described}).list_grid()
    trials = [
        make_trial(n, point, [0.5 + 0.1 * float(point["dropout"]) + 0.001 * (n % 5)]) for n, point in enumerate(points)
    ]
    answer = analyze(described, trials)
    by_name = {effect.name: effect for effect in answer.findings.effects}
    assert by_name["dropout"].values == ()
    assert by_name["batch_norm"].when == "dropout 0.25"
    assert [level.label for level in by_name["batch_norm"].levels] == ["off", "on"]
    assert sum(len(level.trials) for level in by_name["batch_norm"].levels) == 6
    assert answer.findings.configurations is not None
    assert [level.label for level in answer.findings.configurations.levels] == [
        "dropout 0, l1 0",
        "dropout 0, l1 1e-5",
        "dropout 0.25, batch_norm off",
        "dropout 0.25, batch_norm on",
    ]
    assert len(answer.findings.configurations.values) == 6


def test_training_rate_counts_epochs_and_their_seconds() -> None:
    """For each accuracy: how many trials reached it, their median epoch and their median seconds until then."""
    curves = {"nesterov": (0.2, 0.45, 0.55, 0.62), "adam": (0.45, 0.62, 0.7, 0.74), "sgd": (0.1, 0.2, 0.3, 0.35)}
    trials = [
        make_trial(n, {"optimizer": name}, [value + 0.001 * (n // 3) for value in curves[name]])
        for n, name in enumerate(list(curves) * 3)
    ]
    trials.append(make_trial(9, {"optimizer": "sgd"}, [0.1, 0.41], "pruned", "pruned"))
    answer = analyze(GRID, trials)
    assert answer.findings.accuracies == (0.4, 0.5, 0.6, 0.7)
    reached = {
        level.label: {reach.accuracy: reach for reach in level.reached} for level in answer.findings.effects[0].levels
    }
    assert (reached["nesterov"][0.6].trials, reached["nesterov"][0.6].epoch) == (3, 4)
    assert reached["nesterov"][0.6].seconds == 6 + 2 + 2 + 2  # the first epoch takes three times as long
    assert (reached["adam"][0.6].trials, reached["adam"][0.6].epoch, reached["adam"][0.6].seconds) == (3, 2, 8)
    assert (reached["sgd"][0.4].trials, reached["sgd"][0.4].epoch) == (1, 2)
    assert reached["sgd"][0.5].trials == 0
    assert reached["sgd"][0.5].epoch is None
    assert answer.sentences.cost[-1] == (
        "optimizer: adam reaches 60% validation accuracy after 2 epochs (8 s), nesterov after 4 epochs (12 s)."
    )


def test_epochs_without_a_validation_reach_nothing() -> None:
    """An evaluation's epochs have no accuracy but the last, and that one counts."""
    assert effects.choose_milestones([make_trial(0, {}, (float("nan"), 0.52))], [5] * 10) == (0.2, 0.3, 0.4, 0.5)
    assert effects.choose_milestones([make_trial(0, {}, (float("nan"),))], [5] * 10) == ()


def test_an_adaptive_search_compares_what_it_completed() -> None:
    """Means are over complete trials and those that came to no more than a guess, and endings are counted."""
    trials = make_search_trials(120)
    chance = {TrialOutcome.DIVERGED, TrialOutcome.AT_CHANCE}

    def list_values(optimizer: str) -> list[float]:
        mine = [trial for trial in trials if trial.params["optimizer"] == optimizer]
        values = [trial.value for trial in mine if trial.state == TrialState.COMPLETE and trial.value is not None]
        return values + [0.1] * sum(trial.outcome in chance for trial in mine)

    answer = analyze(SEARCH, trials, status="running")
    by_name = {effect.name: effect for effect in answer.findings.effects}
    for level in by_name["optimizer"].levels:
        mine = [trial for trial in trials if trial.params["optimizer"] == level.label]
        values = list_values(level.label)
        assert level.value is not None
        assert level.value.mean == pytest.approx(np.mean(values))
        assert level.value.n == len(values)
        assert level.endings[TrialState.COMPLETE] == sum(trial.state == TrialState.COMPLETE for trial in mine)
        assert level.endings[TrialOutcome.AT_CHANCE] == sum(trial.outcome == TrialOutcome.AT_CHANCE for trial in mine)
        assert level.endings[TrialOutcome.DIVERGED] == sum(trial.outcome == TrialOutcome.DIVERGED for trial in mine)
        assert level.endings[TrialOutcome.OUT_OF_MEMORY] == sum(
            trial.outcome == TrialOutcome.OUT_OF_MEMORY for trial in mine
        )
        assert level.endings[TrialState.PRUNED] == sum(trial.outcome == TrialOutcome.PRUNED for trial in mine)
        assert level.endings[TrialState.FAILED] == sum(trial.state == TrialState.FAILED for trial in mine)
        assert level.trials == tuple(trial.number for trial in mine)
    groups = [list_values(name) for name in ("sgd", "momentum", "adam")]
    test = stats.tukey_hsd(*groups, equal_var=False)
    difference = find_difference(by_name["optimizer"], "adam", "sgd")
    assert difference.half == pytest.approx((test.confidence_interval().high - test.statistic)[2, 0], rel=1e-3)
    assert [level.label for level in by_name["learning_rate"].levels] == [
        "1e-5 to 1e-4",
        "1e-4 to 1e-3",
        "1e-3 to 1e-2",
        "1e-2 to 1e-1",
    ]
    assert by_name["momentum"].when == "optimizer momentum"
    assert sum(len(level.trials) for level in by_name["momentum"].levels) == len(by_name["optimizer"].levels[1].trials)
    assert answer.findings.configurations is None


def test_thousands_of_trials_are_counted() -> None:
    """5,000 trials of 30 epochs keep every level and every ending."""
    answer = analyze(SEARCH, make_search_trials(5000, epochs=30))
    assert sum(sum(level.endings.values()) for level in answer.findings.effects[0].levels) == sum(
        trial.state != TrialState.RUNNING for trial in make_search_trials(5000)
    )


def test_training_accuracy_that_is_missing_makes_no_gap() -> None:
    """A model of a user's own may have none: its trials have values and seconds, and no figure is made up."""
    trials = [
        replace(trial, epochs=tuple(replace(epoch, train_accuracy=math.nan) for epoch in trial.epochs))
        for trial in make_repeated_grid()
    ]
    (effect,) = analyze(GRID, trials).findings.effects
    assert all(level.gap is None and level.value is not None for level in effect.levels)
    assert effect.gaps == ()
