"""The branches of a search space."""

import itertools
import pickle
from pathlib import Path

import pytest

from hpsearch.spec import branches, loader
from hpsearch.spec.branches import Branch
from hpsearch.spec.hyperparameters import BASE_TABLE
from hpsearch.spec.rows import Value
from hpsearch.spec.study_spec import StudySpec
from tests.support.study_files import OPTIMIZERS

STUDIES = Path(__file__).parents[2] / "studies"
REGULARIZATION = """
[space]
dropout = [0.0, 0.25]
batch_norm = { choices = [false, true], when = { dropout = [0.25] } }
"""

AXES = ("optimizer", "activation", "batch_norm")


def study(text: str, *overrides: str) -> StudySpec:
    return loader.from_toml(text, overrides, name="x")


def read_axes(branch: Branch) -> tuple[Value, ...]:
    return tuple(branch.values[axis] for axis in AXES)


def test_the_default_study_has_every_combination_once() -> None:
    """All optimizers, activations and batch norms meet; the rest is the base model's."""
    default = loader.load(None)
    listed = branches.list_branches(default)
    every = itertools.product(OPTIMIZERS, BASE_TABLE["activation"].choices, (True, False))
    assert sorted(map(read_axes, listed)) == sorted(every)
    for branch in listed:
        assert branch.values == BASE_TABLE.fill_defaults(dict(zip(AXES, read_axes(branch), strict=True)))
    assert branches.choose_base(default) == BASE_TABLE.fill_defaults({})


def test_a_study_without_a_space_has_the_base_model_alone() -> None:
    """What is not searched has its fixed or default value."""
    (only,) = branches.list_branches(study("[fixed]\nactivation = 'elu'\nlearning_rate = 0.5\n"))
    assert only == Branch(BASE_TABLE.fill_defaults({"activation": "elu", "learning_rate": 0.5}), (0.5,))
    assert only.format_name(AXES) == "optimizer=nesterov activation=elu batch_norm=false"
    assert pickle.loads(pickle.dumps(only)) == only


def test_a_branch_that_the_conditions_forbid_is_none() -> None:
    """Batch norm that is searched with one optimizer only makes no branch with the other."""
    conditional = "batch_norm = { choices = [true, false], when = { optimizer = ['adam'] } }"
    listed = branches.list_branches(study(f"[space]\noptimizer = ['sgd', 'adam']\n{conditional}\n"))
    assert [read_axes(branch) for branch in listed] == [
        ("sgd", "relu", False),
        ("adam", "relu", True),
        ("adam", "relu", False),
    ]


def test_a_condition_on_what_is_no_axis_is_followed() -> None:
    """Every value of a parent is tried, so that no branch is missed; each has params that a trial can have."""
    listed = {branch.values["batch_norm"]: branch.values for branch in branches.list_branches(study(REGULARIZATION))}
    assert listed == {False: BASE_TABLE.fill_defaults({}), True: BASE_TABLE.fill_defaults({"batch_norm": True})}
    other = study(REGULARIZATION + "[[baseline]]\ndropout = 0.0\n")
    rates = {branch.values["batch_norm"]: branch.values["dropout"] for branch in branches.list_branches(other)}
    assert rates == {False: 0.0, True: 0.25}


@pytest.mark.parametrize("name", ["activations", "optimizers", "regularization", "learning-rate", "quickstart"])
def test_branches_of_a_shipped_study_are_what_its_trials_train(name: str) -> None:
    """The axes of the branches are those of the points of a grid; every base is a configuration of the study."""
    shipped = loader.load(STUDIES / f"{name}.toml")
    listed = {read_axes(branch) for branch in branches.list_branches(shipped)}
    if shipped.sampler.name == "grid":
        points = [shipped.resolve_params(point) for point in shipped.list_grid()]
        assert listed == {tuple(point[axis] for axis in AXES) for point in points}
        assert branches.choose_base(shipped) in points
    assert tuple(branches.choose_base(shipped)[axis] for axis in AXES) in listed


def test_the_base_is_the_first_baseline_else_the_nearest_to_the_defaults() -> None:
    """A default outside the space gives way to the first choice, or to the middle of its range."""
    space = "[space]\noptimizer = ['adam', 'sgd']\nl2 = { low = 1e-4, high = 1e-2, log = true }\nfilters = [8, 16]\n"
    base = branches.choose_base(study(space))
    assert (base["optimizer"], base["filters"]) == ("adam", 8)
    assert base["l2"] == pytest.approx(1e-3)
    stepped = "[space]\nfilters = { low = 40, high = 48, step = 2 }\n"
    assert branches.choose_base(study(stepped))["filters"] == 44
    first = "[[baseline]]\noptimizer = 'sgd'\nl2 = 0.01\nfilters = 16\n[[baseline]]\noptimizer = 'adam'\nl2 = 0.01\n"
    base = branches.choose_base(study(space + first + "filters = 8\n"))
    assert (base["optimizer"], base["l2"], base["filters"]) == ("sgd", 0.01, 16)


@pytest.mark.parametrize(
    ("entry", "rates"),
    [
        ("{ low = 1e-5, high = 1e-1, log = true }", (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)),
        ("{ low = 0.1, high = 0.5 }", (0.1, 0.2, 0.3, 0.4, 0.5)),
        ("{ low = 0.1, high = 0.3, step = 0.1 }", (0.1, 0.2, 0.3)),
        ("[3.0, 1.0]", (3.0, 1.0)),
        ("[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]", (1.0, 3.0, 5.0, 7.0, 9.0)),
    ],
)
def test_rates_are_spread_over_what_is_searched(entry: str, rates: tuple[float, ...]) -> None:
    """A few learning rates from end to end, each of them one that a trial can have."""
    (only,) = branches.list_branches(study(f"[space]\nlearning_rate = {entry}\n"))
    assert only.rates == pytest.approx(rates)


def test_rates_that_are_searched_with_one_optimizer_are_the_default_with_another() -> None:
    """An inactive learning rate is the base model's."""
    entry = "{ choices = [0.5], when = { optimizer = ['sgd'] } }"
    listed = branches.list_branches(study(f"[space]\nlearning_rate = {entry}\noptimizer = ['adam', 'sgd']\n"))
    assert [branch.rates for branch in listed] == [(0.001,), (0.5,)]


def test_one_each_takes_the_branch_that_is_most_like_the_base() -> None:
    """Each optimizer is checked with the base's activation and batch norm, where the space has them together."""
    default = loader.load(None)
    listed = branches.select_one_each(
        branches.list_branches(default), ("optimizer",), branches.choose_base(default), AXES
    )
    assert [read_axes(branch) for branch in listed] == [(name, "relu", False) for name in OPTIMIZERS]


def test_of_a_number_of_layers_the_ends_are_branches() -> None:
    """A searched depth is an axis with its smallest and its largest value; one that is not searched is none."""
    resnet = '[model]\nname = "resnet"\n[space]\n'
    for depth in ("{ low = 2, high = 9 }", "[5, 2, 9, 3]", "{ low = 2, high = 9, log = true }"):
        spec = study(resnet + f"depth = {depth}\n")
        assert branches.list_axes(spec) == ("optimizer", "depth")
        assert [branch.values["depth"] for branch in branches.list_branches(spec)] == [2, 9]
    assert branches.list_axes(study(resnet)) == ("optimizer",)
