"""A dimension of the search space: a list of choices, or a range of numbers."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from types import MappingProxyType
from typing import Any

from hpsearch.formatting import format_toml
from hpsearch.spec.hyperparameters import HyperparameterTable
from hpsearch.spec.rows import Hyperparameter, Value

When = Mapping[str, tuple[Value, ...]]
"""For each parent, the values with which the dimension is active; all parents must have one of theirs."""


@dataclass(frozen=True)
class Choices:
    """One of `values`, in the order of the file."""

    values: tuple[Value, ...]
    when: When | None = None

    @property
    def size(self) -> int:
        """How many values a grid takes."""
        return len(self.values)

    def list_points(self) -> tuple[Value, ...]:
        """Return what a grid takes."""
        return self.values

    def contains(self, value: Value) -> bool:
        """Return whether a trial could get `value`."""
        return value in self.values

    def __str__(self) -> str:
        return format_toml(self.values)


@dataclass(frozen=True)
class Range:
    """A number from `low` to `high`, both included, in multiples of `step` above `low` where there is one."""

    low: float
    high: float
    log: bool = False
    step: float | None = None
    integer: bool = False
    when: When | None = None

    @property
    def size(self) -> int | None:
        """How many values a grid takes; None without a step."""
        if not self.step:
            return None
        return int((to_fraction(self.high) - to_fraction(self.low)) // to_fraction(self.step)) + 1

    def list_points(self) -> tuple[Value, ...]:
        """Return what a grid takes.

        Raises:
            ValueError: there is no step.
        """
        if self.size is None or self.step is None:
            raise ValueError("a range without a step has no points")
        # In fractions, so that 0.1 + 2 × 0.1 is 0.3.
        values = (to_fraction(self.low) + i * to_fraction(self.step) for i in range(self.size))
        return tuple(int(value) if self.integer else float(value) for value in values)

    def contains(self, value: Value) -> bool:
        """Return whether a trial could get `value`."""
        if isinstance(value, bool | str) or not self.low <= value <= self.high:
            return False
        return not self.step or (to_fraction(value) - to_fraction(self.low)) % to_fraction(self.step) == 0

    def __str__(self) -> str:
        return f"{self.low!r} to {self.high!r}" + (f" in steps of {self.step!r}" if self.step else "")


Dimension = Choices | Range


def make_choices(row: Hyperparameter, values: list[Any], when: When | None) -> Choices:
    """Return the choices for `row`, in its type."""
    return Choices(tuple(row.cast(value) for value in values), when)


def make_range(
    row: Hyperparameter,
    low: float,
    high: float,
    log: bool = False,
    step: float | None = None,
    when: When | None = None,
) -> Range:
    """Return the range for `row`, in its type."""
    spacing = None if step is None else cast_number(row, step)
    return Range(cast_number(row, low), cast_number(row, high), log, spacing, row.kind is int, when)


def normalize(dimension: Dimension) -> dict[str, Any]:
    """Return the meaning of `dimension`, whatever its spelling; a key that changes nothing is absent."""
    meaning: dict[str, Any]
    if isinstance(dimension, Choices):
        meaning = {"choices": sorted(dimension.values, key=json.dumps)}
    else:
        step = None if dimension.integer and dimension.step == 1 else dimension.step
        meaning = {"low": dimension.low, "high": dimension.high, "log": dimension.log or None, "step": step}
    if dimension.when:
        meaning["when"] = {name: sorted(values, key=json.dumps) for name, values in dimension.when.items()}
    return {key: value for key, value in meaning.items() if value is not None}


def dump_dimension(dimension: Dimension) -> dict[str, Any]:
    """Return everything about `dimension` for `load_dimension`."""
    when = {name: list(values) for name, values in dimension.when.items()} if dimension.when else None
    if isinstance(dimension, Choices):
        return {"choices": list(dimension.values), "when": when}
    return {
        "low": dimension.low,
        "high": dimension.high,
        "log": dimension.log,
        "step": dimension.step,
        "when": when,
    }


def load_dimension(entry: Mapping[str, Any], table: HyperparameterTable) -> Dimension:
    """Return the dimension that `dump_dimension` wrote.

    Raises:
        KeyError: the table does not have it.
        ValidationError: a newer version wrote it, with a key that this one does not know or a value out of its bounds.
    """
    # The trainer imports this module with the protocol, and needs no pydantic.
    from hpsearch.spec.validation import refuse, require_known

    row, when = table[entry["name"]], cast_conditions(entry.get("when"), table)
    listed = "choices" in entry
    require_known(entry, ("name", "when", "choices") if listed else ("name", "when", "low", "high", "log", "step"))
    values = list(entry["choices"]) if listed else [entry["low"], entry["high"]]
    refuse(f"{row.name}: {fault}" for value in values if (fault := row.find_fault(value)))
    if not values or (not listed and entry["low"] > entry["high"]):
        refuse([f"{row.name}: there is nothing to choose"])
    if listed:
        return make_choices(row, values, when)
    return make_range(row, entry["low"], entry["high"], entry.get("log", False), entry.get("step"), when)


def cast_number(row: Hyperparameter, value: float | Fraction) -> float:
    """Return `value` as a float or int, as `row` has it."""
    return float(value) if row.kind is float else int(value)


def to_fraction(value: float) -> Fraction:
    """Return `value` exactly as the user wrote it: 0.05, not the binary fraction nearest to it."""
    return Fraction(str(value))


def cast_conditions(raw: Mapping[str, list[Any]] | None, table: HyperparameterTable) -> When | None:
    """Return the conditions of a dimension with their values in the parents' types."""
    if raw is None:
        return None
    return MappingProxyType({parent: _cast_values(table.get(parent), values) for parent, values in raw.items()})


def _cast_values(row: Hyperparameter | None, values: list[Any]) -> tuple[Value, ...]:
    return tuple(row.cast(value) if row and not row.find_fault(value) else value for value in values)


def list_with_parents(space: Mapping[str, Dimension], names: Iterable[str]) -> frozenset[str]:
    """Return those of `names` that are searched, and all that decides whether they are."""
    wanted = {name for name in names if name in space}
    waiting = list(wanted)
    while waiting:
        parents = set(space[waiting.pop()].when or ()) - wanted
        wanted |= parents
        waiting += parents
    return frozenset(wanted)
