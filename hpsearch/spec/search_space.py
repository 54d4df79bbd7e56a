"""The search space: a dimension for each searched hyperparameter, in the order of the file."""

import itertools
import math
from collections.abc import Iterator, Mapping
from typing import Any

from hpsearch.spec import dimension as dimensions
from hpsearch.spec.dimension import Choices, Dimension
from hpsearch.spec.hyperparameters import TABLE, Value
from hpsearch.spec.validation import describe_unknown, format_toml

LARGEST_GRID = 100_000
"""Trials; a grid is enumerated in memory and stored when the study starts."""


def parse(raw: Mapping[str, Any], faults: list[str]) -> dict[str, Dimension]:
    """`[space]` as dimensions; those with a fault are left out."""
    space: dict[str, Dimension] = {}
    for name, entry in raw.items():
        found: list[str] = []
        row = TABLE.get(name)
        if row is None:
            found.append(f"space.{name}: {describe_unknown(name, TABLE)}")
        else:
            dimension = dimensions.parse(row, entry, found)
            if dimension is not None and not found:
                space[name] = dimension
        faults += found
    broken = raw.keys() - space.keys()
    faults += [fault for name in space for fault in _when_faults(name, space, broken)]
    if not faults:
        faults += _cycle_faults(space)
    return space


def order_names(space: Mapping[str, Dimension]) -> tuple[str, ...]:
    """The names, parents before children, else in the order of the file; those in a cycle are left out."""
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
    """Whether a trial with `params` has the searched hyperparameter `name`: all its ancestors let it."""
    return all(
        parent in params and params[parent] in values and is_active(space, parent, params)
        for parent, values in (space[name].when or {}).items()
    )


def list_grid(space: Mapping[str, Dimension]) -> list[dict[str, Value]]:
    """Every combination once, the last dimension of the file fastest, without what is inactive in it."""
    points: dict[tuple[tuple[str, Value], ...], dict[str, Value]] = {}
    for values in itertools.product(*(dimension.points() for dimension in space.values())):
        full = dict(zip(space, values, strict=True))
        point = {name: value for name, value in full.items() if is_active(space, name, full)}
        points.setdefault(tuple(point.items()), point)
    return list(points.values())


def find_grid_faults(space: Mapping[str, Dimension]) -> Iterator[str]:
    """Why `space` is no grid."""
    if not space:
        yield "space: is empty, which is no grid: list values of a hyperparameter, or choose another sampler"
    for name, dimension in space.items():
        if dimension.size is None:
            yield f"space.{name}.step: missing: a grid needs the step of a range, or a list of values"
    size = math.prod(dimension.size or 1 for dimension in space.values())
    if size > LARGEST_GRID:
        yield f"space: over {LARGEST_GRID} combinations are too many for a grid: widen steps or drop values"


def to_json(space: Mapping[str, Dimension]) -> list[dict[str, Any]]:
    """A list, since Postgres keeps the order of nothing else."""
    return [{"name": name, **dimensions.to_json(dimension)} for name, dimension in space.items()]


def from_json(stored: list[dict[str, Any]]) -> dict[str, Dimension]:
    """What `to_json` wrote."""
    return {entry["name"]: dimensions.from_json(TABLE[entry["name"]], entry) for entry in stored}


def _when_faults(name: str, space: Mapping[str, Dimension], broken: set[str]) -> Iterator[str]:
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
                describe_unknown(parent, others or TABLE)
                if parent not in TABLE
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


def _cycle_faults(space: Mapping[str, Dimension]) -> Iterator[str]:
    stuck = [name for name in space if name not in order_names(space)]
    for name in stuck:
        parents = ", ".join(parent for parent in space[name].when or () if parent in stuck)
        yield f"space.{name}.when: goes in a circle through {parents}: drop one of the conditions"
