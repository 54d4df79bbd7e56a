"""[[baseline]]: what is tried first."""

import pytest

from tests.support.study_files import FIVE, MOMENTUM, list_faults, read


def test_a_baseline_is_completed_with_defaults() -> None:
    """Each holds every hyperparameter active in it, those not named from the table."""
    study = read(FIVE + MOMENTUM + '[[baseline]]\n[[baseline]]\noptimizer = "adam"\nlearning_rate = 1e-2\n')
    base = {
        "learning_rate": 0.001,
        "optimizer": "nesterov",
        "activation": "relu",
        "dropout": 0.25,
        "batch_norm": False,
    }
    assert study.baselines == (
        {**base, "momentum": 0.9},
        {**base, "optimizer": "adam", "learning_rate": 0.01},
    )


def test_defaults_follow_what_the_baseline_names() -> None:
    """A searched dense_dropout that is not named follows the dropout of the baseline, or the fixed one."""
    dense = "[space]\ndense_dropout = { low = 0.0, high = 0.5 }\n"
    assert read(dense + "dropout = [0.1, 0.3]\n[[baseline]]\ndropout = 0.3\n").baselines[0]["dense_dropout"] == 0.3
    assert read("[fixed]\ndropout = 0.4\n" + dense + "[[baseline]]\n").baselines[0]["dense_dropout"] == 0.4


@pytest.mark.parametrize(
    ("baseline", "fault"),
    [
        ("dropout = 0.6", "baseline[1].dropout: 0.6 is outside the space: 0.0 to 0.5"),
        ("dropout = 'a'", "baseline[1].dropout: 'a' is not a number"),
        ("dropot = 0.1", "baseline[1].dropot: unknown: did you mean dropout?"),
        ("l1 = 0.1", "baseline[1].l1: is fixed to 0.5: drop it here or search it"),
        ("l2 = 0.1", "baseline[1].l2: is not searched: drop it here or add it to [space]"),
        (
            "optimizer = 'adam'\nmomentum = 0.9",
            "baseline[1].momentum: is not searched with optimizer = 'adam': drop it here",
        ),
        (
            "filters = 33",
            "baseline[1].filters: 33 is outside the space: 16 to 64 in steps of 16",
        ),
    ],
)
def test_a_baseline_outside_the_space_is_refused(baseline: str, fault: str) -> None:
    """A baseline names searched hyperparameters only, with values a trial could get."""
    searched = FIVE + MOMENTUM + "filters = { low = 16, high = 64, step = 16 }\n"
    assert list_faults("[fixed]\nl1 = 0.5\n" + searched + "[[baseline]]\n[[baseline]]\n" + baseline) == [fault]


def test_a_default_outside_the_space_asks_for_a_value() -> None:
    """Where the table's default is not in the space, the baseline has to name a value."""
    assert list_faults("[space]\nlearning_rate = [0.1, 0.01]\n[[baseline]]\n") == [
        "baseline[0].learning_rate: the default 0.001 is outside the space: [0.1, 0.01], name one"
    ]


def test_more_baselines_than_trials_are_refused() -> None:
    """Every baseline is one of the trials."""
    assert list_faults(FIVE + "[[baseline]]\n[[baseline]]\n", "budget.trials=1") == [
        "baseline: 2 do not fit into budget.trials = 1: drop some or raise it"
    ]


def test_a_baseline_that_is_no_list_of_tables_is_refused() -> None:
    """A single table or a value is no baseline."""
    assert list_faults("", "baseline=3") == ["baseline: 3 is not a list of tables: write [[baseline]] above each"]
