"""Findings, recomputed with numpy and scipy from the trials' own figures."""

import numpy as np
import pytest
from scipy import stats

from hpsearch.analysis import effects
from hpsearch.spec import study_spec
from tests.support.synthetic_trials import GRID, VALUES, difference, find, repeated, trial


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
        assert level.endings == {"complete": 3, "pruned": 0, "diverged": 0, "out_of_memory": 0, "failed": 0}


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
    ahead, last, best = told.sentences.answer
    assert ahead == f"optimizer: adam ends {amount:.1f} ± {half:.1f} points above nesterov."
    amount, half = 100 * test.statistic[0, 2], 100 * (test.confidence_interval().high - test.statistic)[0, 2]
    assert last == f"optimizer: sgd is last, {amount:.1f} ± {half:.1f} points below adam."
    assert best.startswith(
        "Trial 7 is best: val_accuracy 73.0% at epoch 2, the highest of 9, 2.0 points from the next,"
    )


def test_losses_are_told_the_other_way_round() -> None:
    """With val_loss the lower is the better, in nats."""
    raw = {**GRID, "study": {"name": "x", "metric": "val_loss"}}
    told = find(raw, repeated(metric="val_loss"))
    (effect,) = told.effects
    assert told.best is not None
    assert told.best.number == 7
    found = difference(effect, "adam", "nesterov")
    assert found.better == "adam"
    values = {name: 2 - np.array(VALUES[name]) for name in VALUES}
    assert found.amount == pytest.approx(values["nesterov"].mean() - values["adam"].mean())
    assert (
        told.sentences.answer[0] == f"optimizer: adam ends {found.amount:.2f} ± {found.half:.2f} nats below nesterov."
    )
    assert told.sentences.answer[1].startswith("optimizer: sgd is last, 0.29 ± 0.11 nats above adam")
    assert "val_loss 1.27 nats at epoch 2, the lowest of 9" in told.sentences.answer[2]


def test_a_level_that_cannot_be_told_from_the_best_is_listed_as_such() -> None:
    """Overlapping levels are named in words, and no last is named among them."""
    raw = {**GRID, "space": {"activation": ["relu", "tanh", "elu", "prelu"]}}
    random = np.random.default_rng(0)
    trials = [
        trial(n, {"activation": name}, [0.5 + 0.02 * random.normal()])
        for n, name in enumerate(["relu", "tanh", "elu", "prelu"] * 3)
    ]
    sentences = find(raw, trials).sentences.answer
    assert len(sentences) == 2
    assert sentences[0].endswith(": not distinguishable, nor is any other level.")


def test_cost_is_told_beside_what_it_buys() -> None:
    """A level that takes longer than the base model's is told with its factor and its gain."""
    raw = {**GRID, "space": {"activation": ["relu", "prelu", "tanh"]}}
    values = {"relu": (0.60, 0.61, 0.62), "prelu": (0.61, 0.62, 0.60), "tanh": (0.3, 0.31, 0.33)}
    times = {"relu": (2.0, 2.1, 1.9), "prelu": (2.8, 2.9, 2.7), "tanh": (2.0, 2.05, 2.0)}
    trials = [
        trial(3 * seed + i, {"activation": name}, [values[name][seed]] * 3, seconds=times[name][seed])
        for seed in range(3)
        for i, name in enumerate(values)
    ]
    told = find(raw, trials)
    seconds = {level.label: level.seconds for level in told.effects[0].levels}
    assert {name: found.mean for name, found in seconds.items() if found} == pytest.approx(
        {name: np.mean(times[name]) for name in times}  # the first epoch, thrice as long, is left out
    )
    ratio = np.mean(times["prelu"]) / np.mean(times["relu"])
    found = difference(told.effects[0], "relu", "prelu")
    assert told.sentences.cost == (
        f"activation: prelu costs {ratio:.1f}× relu's time per epoch and loses "
        f"{100 * found.amount:.1f} ± {100 * (found.half or 0):.1f} points: not distinguishable.",
    )


def test_training_rate_counts_epochs_and_their_seconds() -> None:
    """For each accuracy: how many trials reached it, their median epoch and their median seconds until then."""
    curves = {"nesterov": (0.2, 0.45, 0.55, 0.62), "adam": (0.45, 0.62, 0.7, 0.74), "sgd": (0.1, 0.2, 0.3, 0.35)}
    trials = [
        trial(n, {"optimizer": name}, [value + 0.001 * (n // 3) for value in curves[name]])
        for n, name in enumerate(list(curves) * 3)
    ]
    trials.append(trial(9, {"optimizer": "sgd"}, [0.1, 0.41], "pruned", "pruned"))
    told = find(GRID, trials)
    assert told.accuracies == (0.4, 0.5, 0.6, 0.7)
    reached = {level.label: {each.accuracy: each for each in level.reached} for level in told.effects[0].levels}
    assert (reached["nesterov"][0.6].trials, reached["nesterov"][0.6].epoch) == (3, 4)
    assert reached["nesterov"][0.6].seconds == 6 + 2 + 2 + 2  # the first epoch takes thrice as long
    assert (reached["adam"][0.6].trials, reached["adam"][0.6].epoch, reached["adam"][0.6].seconds) == (3, 2, 8)
    assert (reached["sgd"][0.4].trials, reached["sgd"][0.4].epoch) == (1, 2)
    assert reached["sgd"][0.5].trials == 0
    assert reached["sgd"][0.5].epoch is None
    assert told.sentences.cost[-1] == (
        "optimizer: adam reaches 60% validation accuracy after 2 epochs (8 s), nesterov after 4 epochs (12 s)."
    )


def test_overfitting_is_told_where_levels_differ_in_it() -> None:
    """The widest and the narrowest gap are told with their difference."""
    raw = {**GRID, "space": {"dropout": [0.0, 0.5]}}
    gaps = {0.0: (0.2, 0.21, 0.22), 0.5: (-0.01, -0.02, 0.0)}
    trials = [
        trial(2 * seed + i, {"dropout": rate}, [0.4, 0.6], gap=gaps[rate][seed])
        for seed in range(3)
        for i, rate in enumerate(gaps)
    ]
    told = find(raw, trials)
    test = stats.tukey_hsd(gaps[0.0], gaps[0.5], equal_var=False)
    half = (test.confidence_interval().high - test.statistic)[0, 1]
    student = 100 * stats.t.ppf(0.975, 2) * 0.01 / np.sqrt(3)
    assert told.sentences.gap == (
        f"dropout: 0 ends with training accuracy 21.0 ± {student:.1f} points above validation accuracy, 0.5 with "
        f"1.0 ± {student:.1f} points below: 22.0 ± {100 * half:.1f} points apart.",
    )


def test_a_grid_of_two_factors_compares_within_settings() -> None:
    """The difference of two levels is the mean over the other factor's values, its noise that of the seeds."""
    raw = {**GRID, "space": {"optimizer": ["sgd", "adam"], "learning_rate": [0.1, 0.01, 0.001]}}
    random = np.random.default_rng(1)
    rates = {0.1: 0.2, 0.01: 0.6, 0.001: 0.4}
    cells = {
        (optimizer, rate): rates[rate] + 0.05 * (optimizer == "adam") + 0.005 * random.normal(size=3)
        for optimizer in ("sgd", "adam")
        for rate in rates
    }
    points = [(optimizer, rate, float(value)) for (optimizer, rate), values in cells.items() for value in values]
    trials = [
        trial(n, {"optimizer": optimizer, "learning_rate": rate}, [value])
        for n, (optimizer, rate, value) in enumerate(points)
    ]
    told = find(raw, trials)
    found = difference(told.effects[0], "sgd", "adam")
    amount = np.mean([cells["adam", rate].mean() - cells["sgd", rate].mean() for rate in rates])
    variances = np.array([values.var(ddof=1) / 3 for values in cells.values()])
    freedom = variances.sum() ** 2 / (variances**2 / 2).sum()
    half = stats.t.ppf(0.975, freedom) * np.sqrt(variances.sum()) / 3
    assert (found.better, found.settings) == ("adam", 3)
    assert found.amount == pytest.approx(amount)
    assert found.half == pytest.approx(half, rel=1e-3)
    assert told.configurations is not None
    labels = [level.label for level in told.configurations.levels]
    assert labels[0] == "optimizer sgd, learning_rate 0.1"
    assert len(labels) == 6
    values = {level.label: level.value.mean for level in told.configurations.levels if level.value}
    assert values["optimizer adam, learning_rate 0.01"] == pytest.approx(cells["adam", 0.01].mean())
    assert told.sentences.answer[0].startswith(
        f"The best configuration is optimizer adam, learning_rate 0.01: val_accuracy "
        f"{100 * cells['adam', 0.01].mean():.1f} ± "
    )


def test_a_grid_without_repeats_has_no_interval_and_says_why() -> None:
    """One training of each point of one factor gives differences without ±."""
    raw = {**GRID, "budget": {"epochs": 3}}
    told = find(raw, repeated()[:3])
    assert {each.half for each in told.effects[0].values} == {None}
    assert told.sentences.answer[0] == "optimizer: adam ends 10.0 points above nesterov."
    assert told.sentences.caveats[0].startswith("Seed noise was not measured: a configuration was trained once")
    assert not told.repeated


def test_an_unrepeated_grid_of_two_factors_takes_settings_for_repeats() -> None:
    """The interval is the paired t interval over the other factor's values."""
    raw = {**GRID, "budget": {"epochs": 3}, "space": {"batch_norm": [True, False], "dropout": [0.0, 0.1, 0.2, 0.3]}}
    on, off = (0.62, 0.63, 0.66, 0.60), (0.57, 0.55, 0.58, 0.56)
    rows = [(flag, rate, value) for flag, values in ((True, on), (False, off)) for rate, value in enumerate(values)]
    trials = [
        trial(n, {"batch_norm": flag, "dropout": rate / 10}, [value]) for n, (flag, rate, value) in enumerate(rows)
    ]
    found = difference(find(raw, trials).effects[0], "on", "off")
    test = stats.ttest_rel(on, off).confidence_interval(0.95)
    assert found.amount - (found.half or 0) == pytest.approx(test.low, rel=1e-3)
    assert found.amount + (found.half or 0) == pytest.approx(test.high, rel=1e-3)


def test_a_tree_of_configurations_is_compared_as_a_whole() -> None:
    """Levels that never share a setting are not compared; the configurations are."""
    raw = {
        **GRID,
        "space": {
            "dropout": [0.0, 0.25],
            "batch_norm": {"choices": [False, True], "when": {"dropout": [0.25]}},
            "l1": {"choices": [0.0, 1e-5], "when": {"dropout": [0.0]}},
        },
    }
    points = study_spec.from_dict({"study": {"name": "x"}, **raw}).grid()
    trials = [
        trial(n, point, [0.5 + 0.1 * float(point["dropout"]) + 0.001 * (n % 5)]) for n, point in enumerate(points)
    ]
    told = find(raw, trials)
    effects = {effect.name: effect for effect in told.effects}
    assert effects["dropout"].values == ()
    assert effects["batch_norm"].when == "dropout 0.25"
    assert [level.label for level in effects["batch_norm"].levels] == ["off", "on"]
    assert sum(len(level.trials) for level in effects["batch_norm"].levels) == 6
    assert told.configurations is not None
    assert [level.label for level in told.configurations.levels] == [
        "dropout 0, l1 0",
        "dropout 0, l1 1e-5",
        "dropout 0.25, batch_norm off",
        "dropout 0.25, batch_norm on",
    ]
    assert len(told.configurations.values) == 6


def test_epochs_without_a_validation_reach_nothing() -> None:
    """An evaluation's epochs have no accuracy but the last, and that one counts."""
    assert effects.choose_milestones([trial(0, {}, (float("nan"), 0.52))], 10) == (0.2, 0.3, 0.4, 0.5)
    assert effects.choose_milestones([trial(0, {}, (float("nan"),))], 10) == ()


def test_a_list_of_configurations_is_compared_as_one() -> None:
    """Where every trial is written out, configurations are compared over their seeds, and no hyperparameter is."""
    listed = [{"optimizer": "nesterov"}, {"optimizer": "adam", "activation": "prelu"}]
    raw = {
        "study": {"name": "x"},
        "budget": {"trials": 4, "epochs": 3},
        "space": {"optimizer": ["nesterov", "adam"], "activation": ["relu", "prelu"]},
        "sampler": {"name": "random"},
        "pruner": {"name": "none"},
        "baseline": listed * 2,
    }
    params = [{"activation": "relu", **each} for each in listed * 2]
    values = [0.5, 0.7, 0.52, 0.66]
    told = find(raw, [trial(n, *each) for n, each in enumerate(zip(params, [[v] for v in values], strict=True))])
    assert told.effects == ()
    assert told.repeated
    assert told.configurations is not None
    means = [level.value.mean for level in told.configurations.levels if level.value]
    assert means == pytest.approx([np.mean(values[::2]), np.mean(values[1::2])])
    assert told.sentences.answer[0].startswith("The best configuration is optimizer adam, activation prelu: ")
    assert told.sentences.caveats[0].startswith("± is a 95% confidence interval over 2 seeds")


def test_a_list_that_leaves_trials_to_the_sampler_is_a_search() -> None:
    """Baselines that do not fill the budget are where a search begins."""
    raw = {"study": {"name": "x"}, "space": {"optimizer": ["sgd", "adam"]}, "baseline": [{"optimizer": "adam"}]}
    assert not study_spec.from_dict(raw).listed
    assert study_spec.from_dict(raw, trials=1).listed
