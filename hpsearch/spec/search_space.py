"""The search space: a dimension for each searched hyperparameter, in the order of the file."""

import itertools
import math
from collections.abc import Iterator, Mapping
from typing import Any, Self, cast

from pydantic import Field, ValidationError, ValidationInfo, model_validator

from hpsearch.formatting import format_toml, join_words
from hpsearch.spec.dimension import (
    Choices,
    Dimension,
    cast_conditions,
    cast_number,
    dump_dimension,
    list_with_parents,
    load_dimension,
    make_choices,
    make_range,
    to_fraction,
)
from hpsearch.spec.hyperparameters import TRAINING_NAMES, HyperparameterTable
from hpsearch.spec.models import NO_WEIGHTS
from hpsearch.spec.rows import Hyperparameter, Value
from hpsearch.spec.validation import Section, describe_unknown, list_faults, make_error, refuse

LARGEST_GRID = 100_000
"""Trials; a grid is enumerated in memory and stored when the study starts."""

LARGEST_LIST = 1_000
"""Values to choose from: a sampler counts each of them in every trial."""

LARGEST_SPACE = 200
"""Searched hyperparameters: samplers take a time that grows with them, and no search has trials for so many."""

MOST_STEPS = 1_000_000
"""From 0 to the further end of a range, in its steps.

Optuna takes a number for one of the range where it is within 1e-8 steps of a multiple, which a float of 16 digits
misses beyond some ten million.
"""

SMALLEST_NUMBER, LARGEST_NUMBER = 1e-15, 1e15
"""Of a range: Optuna's tables hold whole numbers as floats, which hold all of them up to 9e15."""

CLOSEST = 1e-9
"""Width of a range beside its ends; samplers compute with the difference of two numbers, of 16 digits each."""

When = dict[str, list[Any]]


class ChoicesEntry(Section):
    """`{ choices = [...], when = ... }`, validated with its row as the context."""

    choices: list[Any] = Field(description="The values.")
    when: When | None = Field(None, description="{ parent = [values with which this is searched] }.")

    @model_validator(mode="after")
    def _fit_row(self, info: ValidationInfo) -> Self:
        row = cast(Hyperparameter, info.context)
        if len(self.choices) > LARGEST_LIST:
            most = f"{len(self.choices):,} values are too many to choose from: at most {LARGEST_LIST:,}"
            raise make_error([f"space.{row.name}: {most}"])
        wrong = [fault for value in self.choices if (fault := row.find_fault(value))]
        if not self.choices:
            wrong.append(f"the list is empty: list values of {row.bounds}")
        refuse(f"space.{row.name}: {fault}" for fault in wrong)
        values = [row.cast(value) for value in self.choices]
        repeated = dict.fromkeys(value for value in values if values.count(value) > 1)
        refuse(f"space.{row.name}: {format_toml(value)} is listed more than once: list it once" for value in repeated)
        return self


class RangeEntry(Section):
    """`{ low = ..., high = ... }`, validated with its row as the context."""

    low: Any = Field(description="The smallest value.")
    high: Any = Field(description="The largest value.")
    log: bool = Field(False, description="Sample the logarithm: true for what spans orders of magnitude.")
    step: Any = Field(None, description="The distance between values; any value by default.")
    when: When | None = Field(None, description="{ parent = [values with which this is searched] }.")

    @model_validator(mode="after")
    def _fit_row(self, info: ValidationInfo) -> Self:
        row = cast(Hyperparameter, info.context)
        field = f"space.{row.name}"
        ends = (("low", self.low), ("high", self.high))
        refuse(f"{field}.{key}: {fault}" for key, end in ends if (fault := row.find_fault(end)))
        faults = []
        if self.low >= self.high:
            faults.append(f"{field}.low: {self.low!r} is not below high = {self.high!r}: exchange or change them")
        faults += [
            f"{field}.{key}: {end!r} cannot be sampled: 0, or from {SMALLEST_NUMBER:g} to {LARGEST_NUMBER:g}"
            for key, end in ends
            if end and not SMALLEST_NUMBER <= abs(end) <= LARGEST_NUMBER
        ]
        if 0 < self.high - self.low < CLOSEST * max(abs(self.low), abs(self.high)) and row.kind is float:
            faults.append(f"{field}.low: {self.low!r} is too close to high = {self.high!r} to sample: change one")
        if self.log and self.low <= 0:
            faults.append(f"{field}.low: {self.low!r} has no logarithm: above 0, or without log = true")
        refuse([*faults, *(f"{field}.step: {fault}" for fault in self._find_step_faults(row))])
        return self

    def _find_step_faults(self, row: Hyperparameter) -> Iterator[str]:
        step, whole = self.step, row.kind is int
        if step is None:
            return
        if isinstance(step, bool) or not isinstance(step, int if whole else (int, float)) or not math.isfinite(step):
            yield f"{format_toml(step)} is not a {'whole number' if whole else 'number'}: the distance between values"
        elif step <= 0:
            yield f"{step!r} is out of bounds: above 0"
        elif self.log:
            yield "cannot go with log = true: drop one of them"
        elif max(abs(self.low), abs(self.high)) > MOST_STEPS * step:
            yield f"{step!r} is too small for low = {self.low!r} and high = {self.high!r}: take a larger one, or none"
        elif self.low < self.high and (span := to_fraction(self.high) - to_fraction(self.low)) % to_fraction(step):
            last = to_fraction(self.low) + span // to_fraction(step) * to_fraction(step)
            near = f"high = {cast_number(row, last)!r}" if last > self.low else f"at most {cast_number(row, span)!r}"
            yield f"{step!r} does not lead from low = {self.low!r} to high = {self.high!r}: {near} would fit"


def parse_space(raw: Mapping[str, Any], table: HyperparameterTable) -> dict[str, Dimension]:
    """Return `[space]` as dimensions.

    Raises:
        ValidationError: with every fault.
    """
    if len(raw) > LARGEST_SPACE:
        raise make_error([f"space: {len(raw):,} hyperparameters are too many to search: at most {LARGEST_SPACE}"])
    space: dict[str, Dimension] = {}
    faults: list[str] = []
    for name, entry in raw.items():
        row = table.get(name)
        if row is None:
            faults.append(f"space.{name}: {describe_absent(name, table)}")
            continue
        try:
            space[name] = _parse_dimension(row, entry, table)
        except ValidationError as invalid:
            faults += list_faults(invalid, f"space.{name}")
    broken = raw.keys() - space.keys()
    faults += [fault for name in space for fault in _find_condition_faults(name, space, broken, table)]
    refuse(faults or _find_cycle_faults(space))
    return space


def describe_absent(name: str, table: HyperparameterTable) -> str:
    """Return why `name`, which is not in the table, is refused."""
    return "is not for this model: drop it" if name in TRAINING_NAMES else describe_unknown(name, table)


def find_unused(
    fixed: Mapping[str, Value], space: Mapping[str, Dimension], table: HyperparameterTable, own_model: bool
) -> Iterator[str]:
    """Yield a fault for each hyperparameter that does nothing in any trial, as `beta_1` where the optimizer is sgd.

    One that is fixed to its default is none: a file may write all of them out. A model of the user's own may read a row
    as it likes, so that only what the file itself chooses counts there.
    """
    defaults = table.fill_defaults(fixed)
    for name in (*fixed, *space):
        parent, values = table[name].used_with or ("", ())
        if not parent or (own_model and parent not in fixed and parent not in space):
            continue
        rest = {other: value for other, value in fixed.items() if other != name}
        if name in fixed and table.fill_defaults(rest).get(name) == fixed[name]:
            continue
        dimension = space.get(parent)
        possible = list(dimension.list_points()) if dimension else [defaults[parent]]
        if name in space and parent in (when := space[name].when or {}):
            possible = list(when[parent])
        if not set(possible) & set(values):
            section, shown = "space" if name in space else "fixed", " or ".join(map(format_toml, possible))
            others = join_words([format_toml(value) for value in values], "or")
            yield f"{section}.{name}: does nothing where {parent} is {shown}: drop it, or take {parent} = {others}"


def find_frozen(weights: str | None, fixed: Mapping[str, Value], space: Mapping[str, Dimension]) -> Iterator[str]:
    """Yield a fault where a trial would leave all layers of an application at random weights, and train its head alone.

    Args:
        weights: of `[model]`.
        fixed: `[fixed]`.
        space: `[space]`.
    """
    if weights != NO_WEIGHTS:
        return
    why = 'with weights = "none" the head alone would be trained, on layers with random weights: '
    if fixed.get("trainable") == 0:
        yield f'fixed.trainable: 0 is too small: {why}take more, or weights = "imagenet"'
    if "trainable" in space and space["trainable"].contains(0.0):
        yield f'space.trainable: has the value 0: {why}begin above 0, or take weights = "imagenet"'


def order_names(space: Mapping[str, Dimension]) -> tuple[str, ...]:
    """Return the names, parents before children, else in the order of the file; those in a cycle are left out."""
    done: list[str] = []
    waiting = list(space)
    while waiting:
        ready = next((name for name in waiting if set(space[name].when or ()) <= set(done)), None)
        if ready is None:
            break
        done.append(ready)
        waiting.remove(ready)
    return tuple(done)


def is_active(space: Mapping[str, Dimension], name: str, params: Mapping[str, Value]) -> bool:
    """Return whether a trial with `params` has the searched hyperparameter `name`: all its ancestors let it."""
    if not space[name].when:
        return True
    return all(
        parent in params and params[parent] in values
        for ancestor in list_with_parents(space, [name])
        for parent, values in (space[ancestor].when or {}).items()
    )


def list_grid(space: Mapping[str, Dimension]) -> list[dict[str, Value]]:
    """Return every combination once, the last dimension of the file fastest, without what is inactive in it."""
    combinations = itertools.product(*(dimension.list_points() for dimension in space.values()))
    if not _is_conditional(space):
        return [dict(zip(space, values, strict=True)) for values in combinations]
    points: dict[tuple[tuple[str, Value], ...], dict[str, Value]] = {}
    for values in combinations:
        full = dict(zip(space, values, strict=True))
        point = {name: value for name, value in full.items() if is_active(space, name, full)}
        points.setdefault(tuple(point.items()), point)
    return list(points.values())


def count_grid(space: Mapping[str, Dimension]) -> int:
    """Return how many points `list_grid` lists."""
    return len(list_grid(space)) if _is_conditional(space) else _count_combinations(space)


def _is_conditional(space: Mapping[str, Dimension]) -> bool:
    return any(dimension.when for dimension in space.values())


def _count_combinations(space: Mapping[str, Dimension]) -> int:
    return math.prod(dimension.size or 1 for dimension in space.values())


def find_grid_faults(space: Mapping[str, Dimension]) -> Iterator[str]:
    """Yield the reasons why `space` is no grid."""
    if not space:
        yield "space: is empty, which is no grid: list values of a hyperparameter, or choose another sampler"
    for name, dimension in space.items():
        if dimension.size is None:
            yield f"space.{name}.step: missing: a grid needs the step of a range, or a list of values"
    if _count_combinations(space) > LARGEST_GRID:
        yield f"space: over {LARGEST_GRID} combinations are too many for a grid: widen steps or drop values"


def dump_space(space: Mapping[str, Dimension]) -> list[dict[str, Any]]:
    """Return a list for `load_space`, since Postgres keeps the order of nothing else."""
    return [{"name": name, **dump_dimension(dimension)} for name, dimension in space.items()]


def load_space(stored: list[dict[str, Any]], table: HyperparameterTable) -> dict[str, Dimension]:
    """Return the space that `dump_space` wrote."""
    return {entry["name"]: load_dimension(entry, table) for entry in stored}


def _parse_dimension(row: Hyperparameter, entry: object, table: HyperparameterTable) -> Dimension:
    if isinstance(entry, list):
        entry = {"choices": entry}
    if not isinstance(entry, dict):
        example = "[true, false]" if row.kind is bool else f'["{row.choices[0]}", ...]' if row.choices else "[...]"
        numeric = " or { low = ..., high = ... }" if row.kind in (int, float) else ""
        wrong = f"{format_toml(entry)} is one value: list several, {example}{numeric}, or move it to [fixed]"
        raise make_error([f"space.{row.name}: {wrong}"])
    if "choices" in entry:
        listed = ChoicesEntry.model_validate(entry, context=row)
        return make_choices(row, listed.choices, cast_conditions(listed.when, table))
    if row.kind in (bool, str):
        raise make_error([f"space.{row.name}: a range needs a number: list values of {row.bounds}"])
    ends = RangeEntry.model_validate(entry, context=row)
    return make_range(row, ends.low, ends.high, ends.log, ends.step, cast_conditions(ends.when, table))


def _find_condition_faults(
    name: str, space: Mapping[str, Dimension], broken: set[str], table: HyperparameterTable
) -> Iterator[str]:
    when = space[name].when
    if when is not None and not when:
        yield f"space.{name}.when: is empty: name a parent and its values, or drop it"
    for parent, values in (when or {}).items():
        field = f"space.{name}.when.{parent}"
        if parent in broken:
            continue
        if parent not in space:
            others = [other for other in space if other != name]
            yield f"{field}: " + (
                describe_unknown(parent, others or table)
                if parent not in table
                else "is not searched: add it to [space]"
            )
            continue
        dimension = space[parent]
        if not isinstance(dimension, Choices):
            yield f"{field}: {parent} is a range: a parent must be a list of choices"
            continue
        if not values:
            yield f"{field}: the list is empty: some of {dimension}"
        for value in values:
            if not any(value == choice and type(value) is type(choice) for choice in dimension.values):
                yield f"{field}: {format_toml(value)} is not a value of {parent}: some of {dimension}"


def _find_cycle_faults(space: Mapping[str, Dimension]) -> Iterator[str]:
    stuck = [name for name in space if name not in order_names(space)]
    for name in stuck:
        parents = ", ".join(parent for parent in space[name].when or () if parent in stuck)
        yield f"space.{name}.when: goes in a circle through {parents}: drop one of the conditions"
