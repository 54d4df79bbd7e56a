"""hyperparameters.py: the table, what it refuses, and how it fills in defaults."""

import math

import pytest

from hpsearch.spec.hyperparameters import BASE_TABLE
from hpsearch.spec.rows import Hyperparameter

BASE_MODEL = {
    "learning_rate": 0.001,
    "optimizer": "nesterov",
    "momentum": 0.9,
    "activation": "relu",
    "dropout": 0.25,
    "dense_dropout": 0.25,
    "batch_norm": False,
    "l1": 0.0,
    "l2": 0.0,
    "batch_size": 32,
    "initializer": "glorot_uniform",
    "filter_size": 3,
    "filters": 32,
    "blocks": 2,
    "dense_units": 512,
    "preprocessing": "scale",
    "augment": False,
    "schedule": "constant",
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
        ("schedule", "linear", "'linear' is unknown: one of constant, step, cosine"),
    ],
)
def test_a_fault_says_what_would_be_right(name: str, value: bool | float | str, fault: str) -> None:
    """Types are not bent into one another, and bounds are named."""
    assert BASE_TABLE[name].find_fault(value) == fault


def test_dense_dropout_follows_dropout_until_it_is_chosen() -> None:
    """The dense layer drops as much as the blocks do, unless it is told otherwise."""
    assert BASE_TABLE.fill_defaults({"dropout": 0.4})["dense_dropout"] == 0.4
    assert BASE_TABLE.fill_defaults({"dropout": 0.4, "dense_dropout": 0.1})["dense_dropout"] == 0.1


def test_a_whole_number_becomes_a_float_where_one_is_meant() -> None:
    """1 and 1.0 are the same learning rate, also in what is stored and compared."""
    assert type(BASE_TABLE.fill_defaults({"learning_rate": 1})["learning_rate"]) is float


def test_a_name_outside_the_table_is_an_error() -> None:
    """A misspelt hyperparameter is never dropped silently."""
    with pytest.raises(KeyError, match="droput"):
        BASE_TABLE.fill_defaults({"droput": 0.1})
