"""`hp`, as a builder gets it."""

import inspect
from typing import Any

import pytest

from hpsearch.errors import UserCodeError
from hpsearch.training.preparation import TrackedHyperparameters
from hpsearch.training.user_models.hyperparameters import BuilderHyperparameters

ARGUMENTS = {
    "Int": "name min_value max_value step=None sampling='linear' default=None parent_name=None parent_values=None",
    "Float": "name min_value max_value step=None sampling='linear' default=None parent_name=None parent_values=None",
    "Choice": "name values ordered=None default=None parent_name=None parent_values=None",
    "Boolean": "name default=False parent_name=None parent_values=None",
    "Fixed": "name value parent_name=None parent_values=None",
    "conditional_scope": "parent_name parent_values",
    "name_scope": "name",
}
"""As in KerasTuner 1.4.8."""


def wrap(**values: Any) -> BuilderHyperparameters:
    return BuilderHyperparameters(values, tuple(values))


@pytest.mark.parametrize("method", ARGUMENTS)
def test_methods_take_what_kerastuner_takes(method: str) -> None:
    """Names, order and defaults of the arguments are KerasTuner's."""
    parameters = list(inspect.signature(getattr(BuilderHyperparameters, method)).parameters.values())[1:]
    written = [
        parameter.name if parameter.default is parameter.empty else f"{parameter.name}={parameter.default!r}"
        for parameter in parameters
    ]
    assert " ".join(written) == ARGUMENTS[method]


def test_trial_values_are_returned() -> None:
    """Whatever the call's own default, what the study file chooses is what the builder gets."""
    hp = wrap(width=48, rate=1, block="residual", bias=True, depth=2, size=2)
    assert hp.Int("width", 16, 128, step=16) == 48
    rate = hp.Float("rate", 0.5, 2, sampling="log", default=0.7)
    assert (rate, type(rate)) == (1.0, float)
    assert hp.Choice("block", ["plain", "residual"]) == "residual"
    assert hp.Boolean("bias") is True
    assert hp.Fixed("depth", 1) == 2
    size = hp.Choice("size", [1.0, 2.0])
    assert (size, type(size)) == (2.0, float)
    assert (hp["width"], hp.get("block"), dict(hp)["bias"]) == (48, "residual", True)


def test_what_the_study_does_not_choose_has_the_default_of_the_call() -> None:
    """A table's own default is none of the builder's: KerasTuner's for that call is taken, and kept."""
    hp = BuilderHyperparameters({"learning_rate": 0.001}, ())
    assert hp["learning_rate"] == 0.001
    assert hp.Float("learning_rate", 0.01, 0.1) == 0.01
    assert hp["learning_rate"] == 0.01
    defaults = (
        hp.Int("a", 3, 9),
        hp.Int("b", 3, 9, default=4),
        hp.Choice("c", ["x", "y"]),
        hp.Choice("d", [1, 2], default=2),
        hp.Boolean("e"),
        hp.Boolean("f", default=True),
        hp.Fixed("g", "word"),
    )
    assert defaults == (3, 4, "x", 2, False, True, "word")
    assert set(hp) == {"learning_rate", *"abcdefg"}


def test_unknown_name_is_a_key_error() -> None:
    """A misspelt name is no silent None, and `in` and a default of one's own work as in any mapping."""
    hp = wrap(width=8)
    with pytest.raises(KeyError) as raised:
        hp.get("widht")
    assert str(raised.value) == (
        "hp['widht']: no hyperparameter is called that: there are width, and the rows of training; did you mean width?"
    )
    assert hp.get("widht", 4) == 4
    assert "width" in hp
    assert "widht" not in hp


OUTSIDE: dict[str, tuple[Any, Any, str]] = {
    "bounds": (200, lambda hp: hp.Int("x", 16, 128), r"x = 200 is out of the bounds of hp\.Int\('x', 16, 128\)"),
    "type": ("a", lambda hp: hp.Int("x", 16, 128), r"x = 'a' is of another type than hp\.Int\('x', 16, 128\)"),
    "fraction": (0.5, lambda hp: hp.Int("x", 0, 1), r"x = 0\.5 is of another type than hp\.Int\('x', 0, 1\)"),
    "boolean": (True, lambda hp: hp.Float("x", 0, 1), r"x = True is of another type than hp\.Float"),
    "choice": ("c", lambda hp: hp.Choice("x", ["a", "b"]), r"x = 'c' is no choice of hp\.Choice\('x', \['a', 'b'\]\)"),
    "word": ("a", lambda hp: hp.Boolean("x"), r"x = 'a' is of another type than hp\.Boolean\('x'\)"),
    "fixed": ("a", lambda hp: hp.Fixed("x", 1), r"x = 'a' is of another type than hp\.Fixed\('x'\)"),
}


@pytest.mark.parametrize("name", OUTSIDE)
def test_value_that_the_call_does_not_declare_is_refused(name: str) -> None:
    """One line names the study's value and the builder's call."""
    value, ask, message = OUTSIDE[name]
    with pytest.raises(UserCodeError, match=rf"^{message}.*: change the study file or the builder$"):
        ask(wrap(x=value))


WRONG: dict[str, Any] = {
    "empty": lambda hp: hp.Choice("x", []),
    "mixed": lambda hp: hp.Choice("x", [1, "a"]),
    "default": lambda hp: hp.Choice("x", [1, 2], default=3),
    "order": lambda hp: hp.Int("x", 5, 1),
    "whole": lambda hp: hp.Int("x", 0, 1.5),
    "sampling": lambda hp: hp.Float("x", 0, 1, sampling="gaussian"),
    "log of 0": lambda hp: hp.Float("x", 0, 1, sampling="log"),
    "parent": lambda hp: hp.Int("x", 0, 1, parent_name="nobody", parent_values=[1]),
}


@pytest.mark.parametrize("name", WRONG)
def test_call_that_declares_nothing_possible_is_refused(name: str) -> None:
    """What KerasTuner refuses is refused here too, in one line."""
    with pytest.raises(UserCodeError, match=r"^hp\.[^\n]+$"):
        WRONG[name](wrap())


def test_scopes_name_and_condition() -> None:
    """Names have their scope before them; what is inside an inactive scope is None, and is not read."""
    values = TrackedHyperparameters({"kind": "cnn", "cnn/width": 16, "units": 32})
    hp = BuilderHyperparameters(values, tuple(values))
    kind = hp.Choice("kind", ["mlp", "cnn"])
    with hp.conditional_scope("kind", ["mlp"]):
        assert hp.Int("units", 8, 64) is None
    assert hp.Int("other", 8, 64, parent_name="kind", parent_values="mlp") is None
    with hp.conditional_scope("kind", [kind]), hp.name_scope("cnn"):
        assert hp.Int("width", 8, 64) == 16
        assert hp.get("width") == 16
    assert hp.Int("depth", 1, 3, parent_name="kind", parent_values=["cnn"]) == 1
    assert values.list_unread() == ["units"]
