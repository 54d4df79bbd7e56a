"""What a builder asks for: dry builds, each with one value changed, tell which hyperparameters depend on which."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import keras

from hpsearch.spec.rows import Value
from hpsearch.training.user.declarations import Asked, Declaration
from hpsearch.training.user_models.building import call_builder
from hpsearch.training.user_models.hyperparameters import BuilderHyperparameters

MAX_BUILDS = 100
MAX_VALUES = 12
"""Values of a whole number that are all tried, where its lowest and highest lead to different hyperparameters."""


class RecordingHyperparameters(BuilderHyperparameters):
    """Remembers each call; what is asked for has the value in `values`, else the call's own default."""

    def __init__(self, values: Mapping[str, Value]) -> None:
        super().__init__(values, tuple(values))
        self.active: dict[str, Declaration] = {}
        self.inactive: dict[str, Declaration] = {}

    def _describe_missing(self, name: str) -> str:
        return f"hp[{name!r}]: ask for it first, as by hp.Int or hp.Choice: the space is what these calls declare"

    def _declare(self, declaration: Declaration, *, is_active: bool) -> None:
        (self.active if is_active else self.inactive).setdefault(declaration.name, declaration)


class Explorer:
    """Builds a model again and again, and collects what the builder asks for."""

    def __init__(self, builder: Callable[..., Any], input_shape: tuple[int, ...], classes: int) -> None:
        """Take the builder, and the shape of an image and the number of classes that it gets."""
        self._builder, self._input_shape, self._classes = builder, input_shape, classes
        self._declarations: dict[str, Declaration] = {}
        self._whens: dict[str, dict[str, list[Value]]] = {}
        self._listed: dict[str, list[Value]] = {}
        self._builds = 0
        self.is_compiled = False

    def explore(self) -> tuple[Asked, ...]:
        """Return what the builder asks for, parents first.

        Raises:
            UserCodeError: the builder returns no model with its defaults.
            Exception: whatever the builder raises with its defaults.
        """
        hp = RecordingHyperparameters({})
        self.is_compiled = bool(call_builder(self._builder, hp, self._input_shape, self._classes).compiled)
        waiting = list(self._note(hp, {}))
        while waiting:
            name, values = waiting.pop(0)
            waiting += self._vary(self._declarations[name], values)
        return tuple(
            Asked(declaration, tuple(self._listed.get(name, ())), self._find_when(name))
            for name, declaration in self._declarations.items()
        )

    def _vary(self, declaration: Declaration, values: dict[str, Value]) -> Iterator[tuple[str, dict[str, Value]]]:
        """Build with each value of one hyperparameter beside `values`; yield what is new, with what leads to it."""
        name = declaration.name
        builds = {}
        for listed in _list_values(declaration):
            for value in listed:
                if value not in builds and (hp := self._build({**values, name: value})) is not None:
                    builds[value] = hp
                    yield from self._note(hp, {**values, name: value})
            if len({frozenset(hp.active) for hp in builds.values()}) < 2:
                return  # nothing depends on it
        self._listed[name] = sorted(builds) if declaration.low is not None else list(builds)
        for child in dict.fromkeys(child for hp in builds.values() for child in hp.active):
            with_child = [value for value in self._listed[name] if child in builds[value].active]
            if len(with_child) < len(builds) and child != name:
                self._whens.setdefault(child, {}).setdefault(name, with_child)

    def _build(self, values: dict[str, Value]) -> RecordingHyperparameters | None:
        """Build once; None where there were too many builds, or these values make no model."""
        if self._builds >= MAX_BUILDS:
            return None
        self._builds += 1
        hp = RecordingHyperparameters(values)
        try:
            call_builder(self._builder, hp, self._input_shape, self._classes)
        except Exception:  # noqa: BLE001 - a combination may be impossible, and says nothing then
            return None
        finally:
            keras.backend.clear_session()
        return hp

    def _note(self, hp: RecordingHyperparameters, values: dict[str, Value]) -> Iterator[tuple[str, dict[str, Value]]]:
        """Remember what is asked for; yield what is new, with values with which it is active."""
        for name, declaration in [*hp.active.items(), *hp.inactive.items()]:
            if name in self._declarations:
                continue
            self._declarations[name] = declaration
            activated = {parent: choices[0] for parent, choices in declaration.conditions if choices}
            for parent, choices in declaration.conditions:
                self._whens.setdefault(name, {})[parent] = list(choices)
            yield name, values if name in hp.active else {**values, **activated}

    def _find_when(self, name: str) -> dict[str, tuple[Value, ...]]:
        """Return the conditions of `name`, without those that its other parents have already."""
        when = self._whens.get(name, {})
        inherited = {(parent, tuple(values)) for other in when for parent, values in self._whens.get(other, {}).items()}
        return {parent: tuple(values) for parent, values in when.items() if (parent, tuple(values)) not in inherited}


def _list_values(declaration: Declaration) -> Iterator[list[Value]]:
    """Yield the values to build with, in two lots: the second only where the first makes a difference."""
    if declaration.method == "Boolean":
        yield [False, True]
    elif declaration.method == "Choice":
        yield list(dict.fromkeys(declaration.values))
    elif declaration.method == "Int":
        assert declaration.low is not None
        assert declaration.high is not None
        values = declaration.list_multiples()
        if values is None:
            values = list(range(int(declaration.low), int(declaration.high) + 1, int(declaration.step or 1)))
        yield [values[0], values[-1]]
        if len(values) > MAX_VALUES:
            places = {round(index * (len(values) - 1) / (MAX_VALUES - 1)) for index in range(MAX_VALUES)}
            values = [values[place] for place in sorted(places)]
        yield list(values)
