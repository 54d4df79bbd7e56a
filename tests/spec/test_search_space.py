"""[space]: conditions, the grid, and entries that are no dimension."""

import pytest

from hpsearch.spec.hyperparameters import BASE_TABLE
from tests.support.study_files import GRID, MOMENTUM, list_faults, read


def test_parents_come_before_children_wherever_they_stand() -> None:
    """A condition may precede in the file the hyperparameter that it names."""
    study = read(
        "[space]\n" + MOMENTUM + 'l1 = [0.0, 1e-5]\noptimizer = ["sgd", "momentum"]',
        "space.momentum.when.optimizer=['momentum']",
    )
    assert list(study.space) == ["momentum", "l1", "optimizer"]
    assert study.searched == ("l1", "optimizer", "momentum")


def test_a_condition_holds_through_its_ancestors() -> None:
    """A hyperparameter is inactive where its parent is, whatever value the parent has by default."""
    study = read(
        "[space]\ndropout = [0.0, 0.25]\nl1 = { choices = [0.0, 1e-5], when = { dropout = [0.0] } }\n"
        "l2 = { choices = [0.0, 1e-4], when = { l1 = [0.0] } }"
    )
    assert study.is_active("l2", {"dropout": 0.0, "l1": 0.0})
    assert not study.is_active("l2", {"dropout": 0.0, "l1": 1e-5})
    assert not study.is_active("l2", {"dropout": 0.25, "l1": 0.0})
    assert not study.is_active("l1", {})


def test_all_parents_must_agree() -> None:
    """Conditions on two parents hold together or not at all."""
    study = read(
        "[space]\nbatch_norm = [true, false]\naugment = [true, false]\n"
        "l2 = { choices = [0.0, 1e-4], when = { batch_norm = [true], augment = [false] } }"
    )
    assert study.is_active("l2", {"batch_norm": True, "augment": False})
    assert not study.is_active("l2", {"batch_norm": True, "augment": True})


def test_a_grid_is_the_product_in_the_order_of_the_file() -> None:
    """The last hyperparameter is the fastest, steps are exact, and trials default to the number of points."""
    study = read('[space]\noptimizer = ["sgd", "adam"]\ndropout = { low = 0, high = 0.3, step = 0.1 }\n' + GRID)
    points = [(p["optimizer"], p["dropout"]) for p in study.list_grid()]
    assert points == [(name, rate) for name in ("sgd", "adam") for rate in (0.0, 0.1, 0.2, 0.3)]
    assert study.budget.trials == 8


def test_repeats_come_round_by_round() -> None:
    """Every point is tried once before any is tried again."""
    study = read("[budget]\nrepeats = 3\n[space]\nbatch_size = { low = 16, high = 32, step = 16 }\n" + GRID)
    assert [point["batch_size"] for point in study.list_grid()] == [16, 32] * 3
    assert study.budget.trials == 6


def test_inactive_combinations_count_once() -> None:
    """What differs only in an inactive hyperparameter is one point, without that hyperparameter."""
    study = read(
        '[space]\nmomentum = { choices = [0.5, 0.9], when = { optimizer = ["momentum"] } }\n'
        'optimizer = ["adam", "momentum"]\n' + GRID
    )
    assert study.list_grid() == [
        {"optimizer": "adam"},
        {"momentum": 0.5, "optimizer": "momentum"},
        {"momentum": 0.9, "optimizer": "momentum"},
    ]
    assert study.budget.trials == 3


def test_fewer_trials_than_points_are_allowed() -> None:
    """A grid can be begun and extended later."""
    assert read("[space]\nbatch_norm = [true, false]\n" + GRID, "budget.trials=1").budget.trials == 1


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "space: is empty, which is no grid: list values of a hyperparameter, or choose another sampler"),
        (
            "[space]\ndropout = { low = 0, high = 0.5 }\n",
            "space.dropout.step: missing: a grid needs the step of a range, or a list of values",
        ),
        (
            "[space]\nbatch_size = { low = 8, high = 16 }\n",
            "space.batch_size.step: missing: a grid needs the step of a range, or a list of values",
        ),
        (
            "[budget]\ntrials = 7\nrepeats = 3\n[space]\nbatch_norm = [true, false]\n",
            "budget.trials: 7 are more than the grid has: 2 points × 3 repeats make 6, the default",
        ),
        (
            "[budget]\ntrials = 7\nrepeats = 2000000000\n[space]\nbatch_norm = [true, false]\n",
            "budget.repeats: 2 points make 4000000000 trials, over 100000: repeat less",
        ),
        (
            "[space]\nbatch_norm = [true, false]\n[[baseline]]\n",
            "baseline: a grid tries its own points only: drop [[baseline]] or choose another sampler",
        ),
        (
            "[space]\ndropout = { low = 0.0, high = 0.9, step = 1e-6 }\n",
            "space: over 100000 combinations are too many for a grid: widen steps or drop values",
        ),
    ],
)
def test_what_is_no_grid_is_refused(text: str, fault: str) -> None:
    """A grid needs something to enumerate, no more trials than points, and no other points."""
    assert list_faults(text + GRID) == [fault]


@pytest.mark.parametrize(
    ("entry", "fault"),
    [
        ("dropout = { low = 0.5, high = 0.1 }", ".low: 0.5 is not below high = 0.1: exchange or change them"),
        ("dropout = { low = 0.5, high = 0.5 }", ".low: 0.5 is not below high = 0.5: exchange or change them"),
        ("dropout = { low = 0.5 }", ".high: missing: the largest value"),
        ("dropout = { low = 0.5, hihg = 0.6, high = 0.6 }", ".hihg: unknown: did you mean high?"),
        ("dropout = { low = -0.5, high = 0.5 }", ".low: -0.5 is out of bounds: from 0 to 0.95"),
        ("dropout = { low = 0.5, high = 1 }", ".high: 1 is out of bounds: from 0 to 0.95"),
        ("dropout = { low = nan, high = 0.5 }", ".low: nan is not finite"),
        ("dropout = { low = 'a', high = 0.5 }", ".low: 'a' is not a number"),
        (
            "dropout = { low = 0, high = 0.5, log = 1 }",
            ".log: 1 is not true or false: sample the logarithm: true for what spans orders of magnitude",
        ),
        ("l2 = { low = 0, high = 0.1, log = true }", ".low: 0 has no logarithm: above 0, or without log = true"),
        ("learning_rate = { low = 0, high = 0.1, log = true }", ".low: 0 is out of bounds: above 0 to 10"),
        (
            "l2 = { low = 0.1, high = 0.4, log = true, step = 0.1 }",
            ".step: cannot go with log = true: drop one of them",
        ),
        ("dropout = { low = 0, high = 0.5, step = 0 }", ".step: 0 is out of bounds: above 0"),
        ("dropout = { low = 0, high = 0.5, step = -0.1 }", ".step: -0.1 is out of bounds: above 0"),
        (
            "dropout = { low = 0, high = 0.5, step = inf }",
            ".step: inf is not a number: the distance between values",
        ),
        (
            "dropout = { low = 0, high = 0.5, step = 0.2 }",
            ".step: 0.2 does not lead from low = 0 to high = 0.5: high = 0.4 would fit",
        ),
        (
            "dropout = { low = 0, high = 0.5, step = 0.6 }",
            ".step: 0.6 does not lead from low = 0 to high = 0.5: at most 0.5 would fit",
        ),
        ("batch_size = { low = 16.0, high = 32 }", ".low: 16.0 is not a whole number"),
        (
            "batch_size = { low = 16, high = 32, step = 0.5 }",
            ".step: 0.5 is not a whole number: the distance between values",
        ),
        (
            "optimizer = { low = 0, high = 1 }",
            ": a range needs a number: list values of " + ", ".join(BASE_TABLE["optimizer"].choices),
        ),
        ("batch_norm = { low = 0, high = 1 }", ": a range needs a number: list values of true or false"),
        (
            "activation = ['relu', 'gelu']",
            ": 'gelu' is unknown: one of sigmoid, tanh, relu, leaky_relu, prelu, elu, maxout",
        ),
        ("activation = ['relu', 'relu']", ": 'relu' is listed more than once: list it once"),
        ("activation = ['LeakyReLU']", ": 'LeakyReLU' is unknown: did you mean leaky_relu?"),
        ("l1 = [0, 0.0]", ": 0.0 is listed more than once: list it once"),
        (
            "activation = []",
            ": the list is empty: list values of sigmoid, tanh, relu, leaky_relu, prelu, elu, maxout",
        ),
        ("batch_norm = [0, 1]", ": 0 is not true or false"),
        ("filters = [0]", ": 0 is out of bounds: from 1 to 1024"),
        ("activation = 'relu'", ": 'relu' is one value: list several, [\"sigmoid\", ...], or move it to [fixed]"),
        (
            "dropout = 0.1",
            ": 0.1 is one value: list several, [...] or { low = ..., high = ... }, or move it to [fixed]",
        ),
        ("dropout = { choices = 0.1 }", ".choices: 0.1 is not a list: the values"),
        ("dropout = { choices = [0.1], low = 0 }", ".low: unknown: one of choices, when"),
    ],
)
def test_an_impossible_dimension(entry: str, fault: str) -> None:
    """A dimension that cannot be sampled, or that leaves the table's bounds, is refused where it is wrong."""
    lines = list_faults(f"[space]\n{entry}")
    assert lines[0] == f"space.{entry.split()[0]}{fault}"
    assert all(line.startswith(f"space.{entry.split()[0]}") for line in lines)


@pytest.mark.parametrize(
    ("entries", "fault"),
    [
        (
            "{ optimizer = ['adagrad'] }",
            ".optimizer: 'adagrad' is not a value of optimizer: some of ['sgd', 'adam']",
        ),
        ("{ optimizer = [1] }", ".optimizer: 1 is not a value of optimizer: some of ['sgd', 'adam']"),
        ("{ optimizer = [] }", ".optimizer: the list is empty: some of ['sgd', 'adam']"),
        ("{ optimiser = ['adam'] }", ".optimiser: unknown: did you mean optimizer?"),
        ("{ batch_norm = [true] }", ".batch_norm: is not searched: add it to [space]"),
        ("{ dropout = [0.1] }", ".dropout: dropout is a range: a parent must be a list of choices"),
        (
            "{ optimizer = 'adam' }",
            ".optimizer: 'adam' is not a list: { parent = [values with which this is searched] }",
        ),
        ("{}", ": is empty: name a parent and its values, or drop it"),
        ("{ momentum = [0.9] }", ": goes in a circle through momentum: drop one of the conditions"),
    ],
)
def test_an_impossible_condition(entries: str, fault: str) -> None:
    """A condition names a searched list and values that it has, and never comes back to itself."""
    text = (
        "[space]\noptimizer = ['sgd', 'adam']\ndropout = { low = 0.1, high = 0.2 }\n"
        f"momentum = {{ choices = [0.9], when = {entries} }}"
    )
    assert list_faults(text) == [f"space.momentum.when{fault}"]


def test_a_circle_of_conditions_names_everyone_in_it() -> None:
    """Two hyperparameters that wait for one another would never be sampled."""
    assert list_faults(
        "[space]\nbatch_norm = { choices = [true, false], when = { augment = [true] } }\n"
        "augment = { choices = [true, false], when = { batch_norm = [true] } }"
    ) == [
        "space.batch_norm.when: goes in a circle through augment: drop one of the conditions",
        "space.augment.when: goes in a circle through batch_norm: drop one of the conditions",
    ]


def test_a_parent_with_a_fault_does_not_make_its_children_faulty() -> None:
    """One mistake is one line."""
    assert list_faults(
        "[space]\noptimizer = ['sgdd', 'momentum']\n" + MOMENTUM, "space.momentum.when.optimizer=['momentum']"
    ) == ["space.optimizer: 'sgdd' is unknown: one of " + ", ".join(BASE_TABLE["optimizer"].choices)]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('[fixed]\noptimizer = "sgd"\nbeta_1 = 0.8', "fixed.beta_1: does nothing where optimizer is 'sgd': drop it"),
        ("[fixed]\nepsilon = 1e-3", "fixed.epsilon: does nothing where optimizer is 'nesterov': drop it"),
        (
            '[fixed]\nbeta_2 = 0.9\n[space]\noptimizer = ["sgd", "rmsprop"]',
            "fixed.beta_2: does nothing where optimizer is 'sgd' or 'rmsprop': drop it",
        ),
        (
            '[fixed]\noptimizer = "adam"\n[space]\nmomentum = [0.5, 0.9]',
            "space.momentum: does nothing where optimizer is 'adam': drop it, or take optimizer = 'momentum', ",
        ),
        (
            '[space]\noptimizer = ["sgd", "adam"]\nbeta_1 = { choices = [0.8, 0.9], when = { optimizer = ["sgd"] } }',
            "space.beta_1: does nothing where optimizer is 'sgd': drop it",
        ),
        ("[fixed]\nfinal_rate = 0.1", "fixed.final_rate: does nothing where schedule is 'constant': drop it"),
        (
            '[model]\nbuild = "my_model.py:build"\n[fixed]\noptimizer = "sgd"\nbeta_1 = 0.8',
            "fixed.beta_1: does nothing where optimizer is 'sgd': drop it",
        ),
        (
            '[model]\nname = "application"\nweights = "none"\n[fixed]\ntrainable = 0.0',
            'fixed.trainable: 0 is too small: with weights = "none" the head alone would be trained',
        ),
        (
            '[model]\nname = "application"\nweights = "none"\n[space]\ntrainable = { low = 0, high = 1 }',
            'space.trainable: has the value 0: with weights = "none" the head alone would be trained',
        ),
    ],
)
def test_what_would_do_nothing_is_refused(text: str, fault: str) -> None:
    """A row that no trial of the study reads, fixed or searched, and layers that stay as they are drawn."""
    (line,) = list_faults(text)
    assert line.startswith(fault)


@pytest.mark.parametrize(
    "text",
    [
        '[fixed]\nbeta_1 = 0.8\n[space]\noptimizer = ["sgd", "adam"]',
        '[fixed]\nfinal_rate = 0.1\n[space]\nschedule = ["constant", "cosine"]',
        "[fixed]\nmomentum = 0.8",
        '[fixed]\noptimizer = "sgd"\nmomentum = 0.9',
        '[model]\nbuild = "my_model.py:build"\n[fixed]\nbeta_1 = 0.8',
        '[model]\nname = "application"\n[fixed]\ntrainable = 0.0',
        '[model]\nname = "application"\nweights = "none"\n[space]\ntrainable = [0.5, 1.0]',
    ],
)
def test_what_does_something_in_some_trial_is_accepted(text: str) -> None:
    """A model of the user's own may read a row by itself; and a default may be written out."""
    read(text)
