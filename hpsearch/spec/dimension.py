"""A dimension of the search space: a list of choices, or a range of numbers."""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from types import MappingProxyType
from typing import Any

from pydantic import Field

from hpsearch.spec.hyperparameters import TABLE, Hyperparameter, Value
from hpsearch.spec.validation import Section, format_toml, read

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

    def points(self) -> tuple[Value, ...]:
        """What a grid takes."""
        return self.values

    def holds(self, value: Value) -> bool:
        """Whether a trial could get `value`."""
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
        return int((_exact(self.high) - _exact(self.low)) // _exact(self.step)) + 1

    def points(self) -> tuple[Value, ...]:
        """What a grid takes.

        Raises:
            ValueError: there is no step.
        """
        if self.size is None or self.step is None:
            raise ValueError("a range without a step has no points")
        # In fractions, so that 0.1 + 2 × 0.1 is 0.3.
        steps = (_exact(self.low) + i * _exact(self.step) for i in range(self.size))
        return tuple(int(value) if self.integer else float(value) for value in steps)

    def holds(self, value: Value) -> bool:
        """Whether a trial could get `value`."""
        if isinstance(value, bool | str) or not self.low <= value <= self.high:
            return False
        return not self.step or (_exact(value) - _exact(self.low)) % _exact(self.step) == 0

    def __str__(self) -> str:
        return f"{self.low!r} to {self.high!r}" + (f" in steps of {self.step!r}" if self.step else "")


Dimension = Choices | Range


class RangeEntry(Section):
    """`{ low = ..., high = ... }`."""

    low: Any = Field(description="The smallest value.")
    high: Any = Field(description="The largest value.")
    log: bool = Field(False, description="Sample the logarithm: true for what spans orders of magnitude.")
    step: Any = Field(None, description="The distance between values; any value by default.")
    when: dict[str, list[Any]] | None = Field(None, description="{ parent = [values with which this is searched] }.")


class ChoicesEntry(Section):
    """`{ choices = [...], when = ... }`."""

    choices: list[Any] = Field(description="The values.")
    when: dict[str, list[Any]] | None = Field(None, description="{ parent = [values with which this is searched] }.")


def canonical(dimension: Dimension) -> dict[str, Any]:
    """The meaning of `dimension`, whatever its spelling; a key that says nothing is absent."""
    said: dict[str, Any]
    if isinstance(dimension, Choices):
        said = {"choices": sorted(dimension.values, key=json.dumps)}
    else:
        step = None if dimension.integer and dimension.step == 1 else dimension.step
        said = {"low": dimension.low, "high": dimension.high, "log": dimension.log or None, "step": step}
    if dimension.when:
        said["when"] = {name: sorted(values, key=json.dumps) for name, values in dimension.when.items()}
    return {key: value for key, value in said.items() if value is not None}


def to_json(dimension: Dimension) -> dict[str, Any]:
    """Everything about `dimension`."""
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


def from_json(row: Hyperparameter, entry: Mapping[str, Any]) -> Dimension:
    """What `to_json` wrote."""
    when = _when(entry.get("when"))
    if "choices" in entry:
        return Choices(tuple(row.cast(value) for value in entry["choices"]), when)
    step = None if entry.get("step") is None else _number(row, entry["step"])
    low, high = _number(row, entry["low"]), _number(row, entry["high"])
    return Range(low, high, entry.get("log", False), step, row.kind is int, when)


def parse(row: Hyperparameter, entry: object, faults: list[str]) -> Dimension | None:
    """What the file says of `row` in `[space]`; None and its faults where that is no dimension."""
    field = f"space.{row.name}"
    if isinstance(entry, list):
        entry = {"choices": entry}
    if not isinstance(entry, dict):
        example = "[true, false]" if row.kind is bool else f'["{row.choices[0]}", ...]' if row.choices else "[...]"
        numeric = " or { low = ..., high = ... }" if row.kind in (int, float) else ""
        faults.append(
            f"{field}: {format_toml(entry)} is one value: list several, {example}{numeric}, or move it to [fixed]"
        )
        return None
    if "choices" in entry:
        choices = read(ChoicesEntry, entry, field, faults)
        return _choices(row, choices, faults) if choices else None
    if row.kind in (bool, str):
        faults.append(f"{field}: a range needs a number: list values of {row.bounds}")
        return None
    ends = read(RangeEntry, entry, field, faults)
    return _range(row, ends, faults) if ends else None


def _choices(row: Hyperparameter, entry: ChoicesEntry, faults: list[str]) -> Choices | None:
    field = f"space.{row.name}"
    wrong = [fault for value in entry.choices if (fault := row.fault(value))]
    faults += [f"{field}: {fault}" for fault in wrong]
    if not entry.choices:
        faults.append(f"{field}: the list is empty: list values of {row.bounds}")
    if wrong or not entry.choices:
        return None
    values = [row.cast(value) for value in entry.choices]
    twice = dict.fromkeys(value for value in values if values.count(value) > 1)
    faults += [f"{field}: {format_toml(value)} is listed more than once: list it once" for value in twice]
    return Choices(tuple(values), _when(entry.when))


def _range(row: Hyperparameter, entry: RangeEntry, faults: list[str]) -> Range | None:
    field = f"space.{row.name}"
    before = len(faults)
    for key, end in (("low", entry.low), ("high", entry.high)):
        if fault := row.fault(end):
            faults.append(f"{field}.{key}: {fault}")
    if len(faults) > before:
        return None
    if entry.low >= entry.high:
        faults.append(f"{field}.low: {entry.low!r} is not below high = {entry.high!r}: exchange or change them")
    if entry.log and entry.low <= 0:
        faults.append(f"{field}.low: {entry.low!r} has no logarithm: above 0, or without log = true")
    faults += [f"{field}.step: {fault}" for fault in _step_faults(row, entry)]
    if len(faults) > before:
        return None
    step = None if entry.step is None else _number(row, entry.step)
    low, high = _number(row, entry.low), _number(row, entry.high)
    return Range(low, high, entry.log, step, row.kind is int, _when(entry.when))


def _step_faults(row: Hyperparameter, entry: RangeEntry) -> Iterator[str]:
    step = entry.step
    if step is None:
        return
    whole = row.kind is int
    if isinstance(step, bool) or not isinstance(step, int if whole else (int, float)) or not math.isfinite(step):
        yield f"{format_toml(step)} is not a {'whole number' if whole else 'number'}: the distance between values"
    elif step <= 0:
        yield f"{step!r} is out of bounds: above 0"
    elif entry.log:
        yield "cannot go with log = true: drop one of them"
    elif entry.low < entry.high and (span := _exact(entry.high) - _exact(entry.low)) % _exact(step):
        fits = _exact(entry.low) + span // _exact(step) * _exact(step)
        near = f"high = {_number(row, fits)!r}" if fits > entry.low else f"at most {_number(row, span)!r}"
        yield f"{step!r} does not lead from low = {entry.low!r} to high = {entry.high!r}: {near} would fit"


def _when(raw: Mapping[str, Any] | None) -> When | None:
    if raw is None:
        return None
    return MappingProxyType({parent: _cast(parent, values) for parent, values in raw.items()})


def _cast(parent: str, values: list[Any]) -> tuple[Value, ...]:
    row = TABLE.get(parent)
    return tuple(row.cast(value) if row and not row.fault(value) else value for value in values)


def _number(row: Hyperparameter, value: float | Fraction) -> float:
    return float(value) if row.kind is float else int(value)


def _exact(value: float) -> Fraction:
    # Of the shortest spelling, which is what the user wrote: 0.05, not the binary fraction nearest to it.
    return Fraction(str(value))
