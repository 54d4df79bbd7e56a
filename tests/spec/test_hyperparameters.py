"""hyperparameters.py: the table, what it refuses, and how it fills in defaults."""

import math

import pytest

from hpsearch.spec.hyperparameters import BASE_TABLE, fill_optimizer_defaults
from hpsearch.spec.rows import Hyperparameter, Value

BASE_MODEL = {
    "learning_rate": 0.001,
    "optimizer": "nesterov",
    "momentum": 0.9,
    "beta_1": 0.9,
    "beta_2": 0.999,
    "epsilon": 1e-7,
    "weight_decay": 0.0,
    "clipnorm": 0.0,
    "ema": 0.0,
    "activation": "relu",
    "dropout": 0.25,
    "dense_dropout": 0.25,
    "batch_norm": False,
    "l1": 0.0,
    "l2": 0.0,
    "batch_size": 32,
    "gradient_accumulation": 1,
    "label_smoothing": 0.0,
    "class_weight": "none",
    "initializer": "glorot_uniform",
    "filter_size": 3,
    "filters": 32,
    "blocks": 2,
    "dense_units": 512,
    "preprocessing": "scale",
    "augment": False,
    "flip": "none",
    "shift": 0.0,
    "rotation": 0.0,
    "zoom": 0.0,
    "color": 0.0,
    "randaugment": 0.0,
    "erasing": 0.0,
    "mixup": 0.0,
    "cutmix": 0.0,
    "schedule": "constant",
    "warmup": 0.0,
    "final_rate": 0.0,
    "precision": "auto",
}


def test_the_defaults_are_the_base_model() -> None:
    """Nothing chosen is the base model of the design, row by row."""
    assert BASE_TABLE.fill_defaults({}) == BASE_MODEL


@pytest.mark.parametrize("row", BASE_TABLE.rows, ids=lambda row: row.name)
def test_each_row_admits_its_own_default_and_choices(row: Hyperparameter) -> None:
    """A default or a listed word is never refused by the row it stands in."""
    default = BASE_TABLE.fill_defaults({})[row.name]
    assert row.find_fault(default) is None
    assert type(default) is row.kind
    assert all(row.find_fault(word) is None for word in row.choices)


@pytest.mark.parametrize("row", BASE_TABLE.rows, ids=lambda row: row.name)
@pytest.mark.parametrize("value", [None, [], {}, "nonsense", math.nan, math.inf, -1])
def test_each_row_refuses_what_is_no_value_of_it(row: Hyperparameter, value: object) -> None:
    """What no hyperparameter takes is refused by every row, with what it is and what would be right."""
    fault = row.find_fault(value)
    assert fault is not None
    assert fault.startswith(repr(value))


@pytest.mark.parametrize(
    ("name", "value", "fault"),
    [
        ("learning_rate", 0, "0 is out of bounds: above 0 to 10"),
        ("dropout", 1.0, "1.0 is out of bounds: from 0 to 0.95"),
        ("batch_size", 32.0, "32.0 is not a whole number"),
        ("batch_size", True, "True is not a whole number"),
        ("dropout", True, "True is not a number"),
        ("batch_norm", 1, "1 is not true or false"),
        ("schedule", "linear", "'linear' is unknown: one of constant, step, cosine, exponential, one_cycle"),
    ],
)
def test_a_fault_says_what_would_be_right(name: str, value: bool | float | str, fault: str) -> None:
    """Types are not bent into one another, and bounds are named."""
    assert BASE_TABLE[name].find_fault(value) == fault


def test_dense_dropout_follows_dropout_until_it_is_chosen() -> None:
    """The dense layer drops as much as the blocks do, unless it is told otherwise."""
    assert BASE_TABLE.fill_defaults({"dropout": 0.4})["dense_dropout"] == 0.4
    assert BASE_TABLE.fill_defaults({"dropout": 0.4, "dense_dropout": 0.1})["dense_dropout"] == 0.1


@pytest.mark.parametrize(
    ("chosen", "name", "default"),
    [
        ({"optimizer": "adamw"}, "weight_decay", 0.004),
        ({"optimizer": "lion"}, "beta_2", 0.99),
        ({"optimizer": "muon"}, "momentum", 0.95),
        ({"schedule": "one_cycle"}, "warmup", 0.3),
        ({"schedule": "one_cycle", "warmup": 0.1}, "warmup", 0.1),
        ({"schedule": "exponential"}, "final_rate", 0.01),
        ({"augment": True}, "flip", "horizontal"),
        ({"augment": True}, "shift", 0.1),
    ],
)
def test_a_default_may_be_another_beside_another_row(chosen: dict[str, Value], name: str, default: Value) -> None:
    """Each optimizer and schedule brings its own defaults, until one is chosen."""
    assert BASE_TABLE.fill_defaults(chosen)[name] == default


@pytest.mark.parametrize("row", BASE_TABLE.rows, ids=lambda row: row.name)
def test_other_defaults_are_admitted_and_follow_a_row_before(row: Hyperparameter) -> None:
    """A default that follows another row is admitted, and that row comes first and has the values that are named."""
    if row.default_from is None:
        assert not row.defaults_by
        return
    names = [other.name for other in BASE_TABLE.rows]
    assert names.index(row.default_from) < names.index(row.name)
    for value, default in row.defaults_by.items():
        assert BASE_TABLE[row.default_from].find_fault(value) is None
        assert row.find_fault(default) is None
        assert type(default) is row.kind


def test_optimizer_defaults_are_the_whole_group() -> None:
    """An optimizer as Keras has it, whatever a study fixes."""
    values = fill_optimizer_defaults("adam", 0.5)
    assert (values["optimizer"], values["learning_rate"], values["weight_decay"]) == ("adam", 0.5, 0.0)
    assert values.keys() == {row.name for row in BASE_TABLE.rows if row.group == "optimizer"}


def test_a_whole_number_becomes_a_float_where_one_is_meant() -> None:
    """1 and 1.0 are the same learning rate, also in what is stored and compared."""
    assert type(BASE_TABLE.fill_defaults({"learning_rate": 1})["learning_rate"]) is float


def test_a_name_outside_the_table_is_an_error() -> None:
    """A misspelt hyperparameter is never dropped silently."""
    with pytest.raises(KeyError, match="droput"):
        BASE_TABLE.fill_defaults({"droput": 0.1})
