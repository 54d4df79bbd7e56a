"""What a builder says of a hyperparameter in one call of a method of KerasTuner's."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hpsearch.errors import UserCodeError
from hpsearch.spec.dimension import to_fraction
from hpsearch.spec.rows import Value

SAMPLINGS = ("linear", "log", "reverse_log")

Condition = tuple[str, tuple[Value, ...]]
"""A parent, and the values with which what is inside its scope is active."""


@dataclass(frozen=True)
class Declaration:
    """A call such as `hp.Int("width", 16, 128)`.

    `values` are the choices, else empty; `conditions` the scopes the call is in.
    """

    method: str
    name: str
    default: Value
    low: float | None = None
    high: float | None = None
    step: float | None = None
    sampling: str = "linear"
    values: tuple[Value, ...] = ()
    conditions: tuple[Condition, ...] = field(default=(), compare=False)

    def __str__(self) -> str:
        arguments: list[Any] = [self.name]
        if self.low is not None:
            arguments += [self.low, self.high]
        elif self.method == "Choice":
            arguments.append(list(self.values))
        return f"hp.{self.method}({', '.join(repr(argument) for argument in arguments)})"

    @property
    def is_constant(self) -> bool:
        """Whether the bounds leave one value."""
        return self.low is not None and self.low == self.high

    def list_multiples(self) -> list[Value] | None:
        """Return the values of a range whose step multiplies, as with sampling "log"; None for any other."""
        low, high, step = self.low, self.high, self.step
        if low is None or high is None or not step or self.sampling == "linear":
            return None
        count = int(math.log(high / low, step) + 1e-9) + 1
        points = [float(to_fraction(low) * to_fraction(step) ** index) for index in range(count)]
        return [int(point) for point in points] if self.method == "Int" else list(points)

    def cast(self, value: Value) -> Value:
        """Return a value of the study file as the builder gets it.

        Raises:
            UserCodeError: the call declares no such value.
        """
        fault = self._find_fault(value)
        if fault:
            raise UserCodeError(f"{self.name} = {value!r} {fault} {self}: change the study file or the builder")
        if self.method == "Choice":
            return next(choice for choice in self.values if choice == value)
        return float(value) if self.method == "Float" else value

    def _find_fault(self, value: Value) -> str | None:
        if not self._is_of_type(value):
            return "is of another type than"
        if self.method == "Choice":
            return None if value in self.values else "is no choice of"
        if self.low is not None and self.high is not None and not self.low <= float(value) <= self.high:
            return "is out of the bounds of"
        return None

    def _is_of_type(self, value: Value) -> bool:
        example = self.values[0] if self.values else self.default
        if self.method in ("Choice", "Fixed") and isinstance(example, str):
            return isinstance(value, str)
        if self.method == "Boolean" or isinstance(example, bool):
            return isinstance(value, bool)
        whole = self.method == "Int" or (self.method == "Fixed" and isinstance(example, int))
        return isinstance(value, int if whole else (int, float)) and not isinstance(value, bool)


def declare_number(
    method: str,
    name: str,
    bounds: tuple[float, float],
    step: float | None,
    sampling: str | None,
    default: float | None,
) -> Declaration:
    """Return the declaration of a call of `Int` or `Float`, whose default is the lower bound.

    Raises:
        UserCodeError: it declares nothing that could be.
    """
    kind = int if method == "Int" else float
    wrong = [bound for bound in (*bounds, step) if bound is not None and kind(bound) != bound]
    if wrong:
        raise UserCodeError(f"hp.{method}({name!r}): {wrong[0]!r} is not a whole number")
    low, high = (kind(bound) for bound in bounds)
    sampling = (sampling or "linear").lower()
    declaration = Declaration(
        method,
        name,
        low if default is None else kind(default),
        low,
        high,
        None if step is None else kind(step),
        sampling,
    )
    if low > high:
        raise UserCodeError(f"{declaration}: the lower bound is above the upper one")
    if sampling not in SAMPLINGS:
        raise UserCodeError(f"{declaration}: sampling is {sampling!r}, not one of {', '.join(SAMPLINGS)}")
    if sampling != "linear" and low <= 0:
        raise UserCodeError(f"{declaration}: sampling {sampling!r} needs a lower bound above 0")
    return declaration


def declare_choice(name: str, values: Sequence[Any], default: Value | None) -> Declaration:
    """Return the declaration of a call of `Choice`, whose default is the first value.

    Raises:
        UserCodeError: it declares nothing that could be.
    """
    if not values or len({type(value) for value in values}) > 1 or not isinstance(values[0], Value):
        raise UserCodeError(
            f"hp.Choice({name!r}, {list(values)!r}): list words, whole numbers, numbers or booleans, of one type"
        )
    if default is not None and default not in values:
        raise UserCodeError(f"hp.Choice({name!r}, {list(values)!r}): the default {default!r} is not among them")
    return Declaration("Choice", name, values[0] if default is None else default, values=tuple(values))


@dataclass(frozen=True)
class Asked:
    """What dry builds tell of a hyperparameter: how it is declared, and with which values of others it is asked for.

    `listed` are the values that were tried where others depend on it, else empty.
    """

    declaration: Declaration
    listed: tuple[Value, ...] = ()
    when: Mapping[str, tuple[Value, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Explored:
    """What a builder asks for, parents first, and whether it compiles its model."""

    asked: tuple[Asked, ...]
    is_compiled: bool
