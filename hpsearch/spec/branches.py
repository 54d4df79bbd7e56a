"""The branches of a search space: every combination of optimizer and layers that its trials can have.

The trainer imports this with the protocol, so it imports no pydantic.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hpsearch.formatting import format_toml
from hpsearch.spec.dimension import Choices, Dimension, Range, list_with_parents
from hpsearch.spec.hyperparameters import TRAINING_NAMES
from hpsearch.spec.models import list_models
from hpsearch.spec.rows import Value

if TYPE_CHECKING:
    from hpsearch.spec.study_spec import StudySpec

MAX_COMBINATIONS = 100
"""Of the axes of a user's own model; a built-in one has fewer axes."""

RATES = 5
"""Learning rates of a branch, from one end of its range to the other."""


@dataclass(frozen=True)
class Branch:
    """One combination of the axes.

    `values` holds every row of the table; what is no axis is as in the base configuration, where the space allows it.
    `rates` are learning rates that a trial of the branch can have.
    """

    values: Mapping[str, Value]
    rates: tuple[float, ...]

    def format_name(self, axes: Sequence[str]) -> str:
        """Return the name of the branch: `optimizer=adam activation=relu batch_norm=true`."""
        values = ((axis, self.values[axis]) for axis in axes if axis in self.values)
        words = (f"{axis}={value if isinstance(value, str) else format_toml(value)}" for axis, value in values)
        return " ".join(words) or "the only branch"

    def list_values(self, axes: Sequence[str]) -> tuple[Value | None, ...]:
        """Return its values on `axes`; None where an axis is inactive and has no default."""
        return tuple(self.values.get(axis) for axis in axes)

    def count_differences(self, other: Mapping[str, Value], axes: Sequence[str]) -> int:
        """Return on how many axes it differs from `other`, which holds every row of the table."""
        return sum(self.values.get(axis) != other.get(axis) for axis in axes)


def list_axes(spec: "StudySpec") -> tuple[str, ...]:
    """Return the optimizer, and the hyperparameters that change the layers.

    Of a user's model that is each of its own that is searched among choices.
    """
    if spec.model.name is not None:
        model = list_models()[spec.model.name]
        return ("optimizer", *model.axes, *(name for name in model.depths if name in spec.space))
    own = (name for name, dimension in spec.space.items() if isinstance(dimension, Choices))
    return ("optimizer", *(name for name in own if name not in TRAINING_NAMES))


def choose_base(spec: "StudySpec") -> dict[str, Value]:
    """Return every row of the table for the first baseline, else for the defaults, or a value in the space."""
    return spec.resolve_params(choose_base_params(spec))


def list_branches(spec: "StudySpec") -> tuple[Branch, ...]:
    """Return every combination of the axes that a trial can have, once; what is not searched has its one value.

    Of a user's model with over MAX_COMBINATIONS of them only those that differ from the base on one axis, and on what
    decides whether that is active.
    """
    by_axes: dict[tuple[Value | None, ...], Branch] = {}
    axes = list_axes(spec)
    preferred = choose_base_params(spec)
    open_names = [list_with_parents(spec.space, axes)]
    if math.prod(spec.space[name].size or 1 for name in open_names[0]) > MAX_COMBINATIONS and spec.model.build:
        open_names = [list_with_parents(spec.space, [axis]) for axis in axes]
    for names in open_names:
        for params in _combine(spec, preferred, list(spec.searched), names, {}):
            branch = Branch(spec.resolve_params(params), _list_rates(spec, params))
            by_axes.setdefault(branch.list_values(axes), branch)
    return tuple(by_axes.values())


def select_one_each(
    branches: Sequence[Branch], axes: Sequence[str], base: Mapping[str, Value], every_axis: Sequence[str]
) -> tuple[Branch, ...]:
    """Return a branch for each combination of `axes`: the one that is on `every_axis` most like `base`."""
    chosen: dict[tuple[Value | None, ...], Branch] = {}
    for branch in sorted(branches, key=lambda branch: branch.count_differences(base, every_axis)):
        chosen.setdefault(branch.list_values(axes), branch)
    return tuple(branch for branch in branches if branch in chosen.values())


def choose_base_params(spec: "StudySpec") -> dict[str, Value]:
    """Return the searched ones of `choose_base`, those that are active in it."""
    if spec.baselines:
        return dict(spec.baselines[0])
    return next(_combine(spec, {}, list(spec.searched), frozenset(), {}))


def _combine(
    spec: "StudySpec", preferred: Mapping[str, Value], names: list[str], open_: frozenset[str], chosen: dict[str, Value]
) -> Iterator[dict[str, Value]]:
    """Yield the params of trials: `open_` names take all their values, the others the preferred or a typical one."""
    if not names:
        yield chosen
        return
    name, *rest = names
    if not spec.is_active(name, chosen):
        yield from _combine(spec, preferred, rest, open_, chosen)
        return
    first = choose_value(spec, name, preferred.get(name), chosen)
    values: tuple[Value, ...] = (first,)
    if name in open_:
        # The file's order for the axes; the others begin with the preferred value, since `list_branches` keeps the
        # first branch of a combination.
        points = _list_points(spec, name)
        values = points if name in list_axes(spec) else (first, *(value for value in points if value != first))
    for value in values:
        yield from _combine(spec, preferred, rest, open_, {**chosen, name: value})


def _list_points(spec: "StudySpec", name: str) -> tuple[Value, ...]:
    """Return the values of an axis that are tried: all of them, or of a number of layers the ends."""
    dimension = spec.space[name]
    if spec.model.name is None or name not in list_models()[spec.model.name].depths:
        return dimension.list_points()
    points = dimension.values if isinstance(dimension, Choices) else (dimension.low, dimension.high)
    return tuple(dict.fromkeys((min(points), max(points))))


def choose_value(spec: "StudySpec", name: str, preferred: Value | None, chosen: Mapping[str, Value]) -> Value:
    """Return `preferred`, else the default beside the parameters `chosen`, else the first choice or a range's middle.

    The first of them that the space has.
    """
    return _choose_value(
        spec.space[name],
        spec.table.fill_defaults({**spec.fixed, **chosen}).get(name) if preferred is None else preferred,
    )


def _choose_value(dimension: Dimension, preferred: Value | None) -> Value:
    """Return `preferred` where the dimension has it, else the first choice or the middle of the range."""
    if preferred is not None and dimension.contains(preferred):
        return preferred
    if isinstance(dimension, Choices):
        return dimension.values[0]
    if dimension.step:
        return dimension.list_points()[(dimension.size or 1) // 2]
    middle = _interpolate(dimension, 0.5)
    return round(middle) if dimension.integer else middle


def _interpolate(dimension: Range, share: float) -> float:
    low, high = dimension.low, dimension.high
    return float(low * (high / low) ** share if dimension.log else low + (high - low) * share)


def _list_rates(spec: "StudySpec", params: Mapping[str, Value]) -> tuple[float, ...]:
    dimension = spec.space.get("learning_rate")
    if dimension is None or not spec.is_active("learning_rate", params):
        return (float(spec.resolve_params(params)["learning_rate"]),)
    if isinstance(dimension, Range) and not dimension.step:
        return tuple(_interpolate(dimension, i / (RATES - 1)) for i in range(RATES))
    points = [float(point) for point in dimension.list_points()]
    if len(points) <= RATES:
        return tuple(points)
    return tuple(points[round(i * (len(points) - 1) / (RATES - 1))] for i in range(RATES))
