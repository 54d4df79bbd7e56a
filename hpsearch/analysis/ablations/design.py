"""What an ablation trains: the best configuration, each other level of one hyperparameter at a time, and a path to it.

The path leads from the base configuration (the study's first baseline, else the defaults) to the best one, one change
at a time (Fawcett and Hoos 2016). Theirs tries every change at every step; here the order is given, by what a model of
the search expects each change to bring, and the configurations along it are trained.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from hpsearch.errors import UnreadableStudyError
from hpsearch.spec import branches
from hpsearch.spec.dimension import Choices, Dimension, Range
from hpsearch.spec.rows import Value
from hpsearch.spec.study_spec import StudySpec
from hpsearch.storage import studies
from hpsearch.storage.ablations import AblationRow
from hpsearch.storage.studies import Study

Params = Mapping[str, Value]
Predict = Callable[[Sequence[Params]], Sequence[float]]
"""Returns what is expected of configurations, more being better."""
Levels = Mapping[str, Sequence[Value]]
"""Values to try, by hyperparameter."""

VALUES = 4
"""Values of a range, the best one's own part included, of which it stands for one."""
CENTRE_TRAININGS = 2
"""Trainings of the best configuration for each of another: every difference is to it, and so is as uncertain as it."""
DIGITS = 2
"""Significant digits of a value that is chosen from a range."""


@dataclass(frozen=True)
class LevelChange:
    """A configuration that differs from another in one hyperparameter, whose `value` it has.

    `configuration` is its index in `AblationDesign.configurations`. A choice may bring others with it, which are
    searched only where it is chosen.
    """

    name: str
    value: Value
    configuration: int


@dataclass(frozen=True)
class AblationDesign:
    """Configurations, the best one first, and what they are for.

    `trial` of the search has the best one. `levels` change it; `path` is one change after another from `base`, whose
    index is None where there is no path, to the best. `seeds` is how often each is trained.
    """

    trial: int
    seeds: int
    configurations: tuple[Params, ...]
    levels: tuple[LevelChange, ...]
    base: int | None
    path: tuple[LevelChange, ...]

    @property
    def schedule(self) -> tuple[int, ...]:
        """The configuration of each trial: all of them with one seed before any with the next, the best one twice."""
        others = range(1, len(self.configurations))
        return (*(0 for _ in range(CENTRE_TRAININGS)), *others) * self.seeds

    @property
    def round_size(self) -> int:
        """How many trials have a seed in common, but for the best configuration's second one."""
        return len(self.configurations) - 1 + CENTRE_TRAININGS

    def to_json(self) -> dict[str, Any]:
        """Return plain values for `from_json`."""
        return {**asdict(self), "configurations": [dict(params) for params in self.configurations]}

    @classmethod
    def from_json(cls, spec: StudySpec, stored: Mapping[str, Any]) -> "AblationDesign":
        """Return what `to_json` wrote of a study with this spec; JSON makes an int of 1.0."""

        def read_change(change: Mapping[str, Any]) -> LevelChange:
            name = change["name"]
            return LevelChange(name, spec.table[name].cast(change["value"]), change["configuration"])

        return cls(
            stored["trial"],
            stored["seeds"],
            tuple(spec.table.cast(each) for each in stored["configurations"]),
            tuple(map(read_change, stored["levels"])),
            stored["base"],
            tuple(map(read_change, stored["path"])),
        )


def read_design(study: Study, row: AblationRow) -> AblationDesign:
    """Return the stored design of an ablation; `study` is the ablated one or the one that trains it.

    Raises:
        UnreadableStudyError: a newer hpsearch stored it, in a form that this one does not know.
    """
    try:
        design = AblationDesign.from_json(study.spec, row.design)
        used = [design.base or 0, *(change.configuration for change in (*design.levels, *design.path))]
        if not set(used) <= set(range(len(design.configurations))) or design.seeds < 1:
            raise ValueError("an index without a configuration")
    except (AttributeError, KeyError, TypeError, ValueError):
        raise UnreadableStudyError(f"the design of ablation {row.number} was {studies.UNREADABLE}") from None
    return design


def make_design(
    spec: StudySpec, trial: int, best: Params, seeds: int, levels: Levels | None = None, predict: Predict | None = None
) -> AblationDesign:
    """Return the ablation around a configuration.

    Args:
        spec: of the search.
        trial: the number of the trial that has the configuration.
        best: its parameters.
        seeds: trainings of each configuration.
        levels: what to try, where that is given; then there is no path.
        predict: orders the path; without it, it has the order of the study file.
    """
    base = branches.choose_base_params(spec)
    tried = _choose_levels(spec, best, base) if levels is None else levels
    configurations: list[Params] = [dict(best)]

    def add(params: Params) -> int:
        if params not in configurations:
            configurations.append(params)
        return configurations.index(params)

    changes = []
    for name, values in tried.items():
        for value in dict.fromkeys(values):
            if value != best[name]:
                changes.append(LevelChange(name, value, add(_complete(spec, {**best, name: value}, base))))
    if levels is not None or not _list_differences(best, base):
        return AblationDesign(trial, seeds, tuple(configurations), tuple(changes), None, ())
    start = add(_complete(spec, base, base))
    path = [LevelChange(name, best[name], add(params)) for name, params in _walk(spec, base, best, predict)]
    return AblationDesign(trial, seeds, tuple(configurations), tuple(changes), start, tuple(path))


def _choose_levels(spec: StudySpec, best: Params, base: Params) -> dict[str, Sequence[Value]]:
    return {name: _list_values(spec.space[name], value, base.get(name)) for name, value in best.items()}


def _list_values(dimension: Dimension, best: Value, base: Value | None) -> Sequence[Value]:
    """Return the values to try: every other choice, or `VALUES` spread over a range.

    The best one stands for the value of these next to it, and so does the base's, which the path needs.
    """
    if isinstance(dimension, Choices):
        return dimension.values
    kept: list[Value] = [best, *([base] if base is not None and base != best else [])]
    points = _spread(dimension)
    for value in kept:
        if points:
            points.remove(min(points, key=lambda point: abs(_position(dimension, point) - _position(dimension, value))))
    return sorted({*points, *kept[1:]})


def _spread(dimension: Range) -> list[Value]:
    """Return values over a range on its scale: all, where these are few.

    Of a logarithmic range, whose ends are orders of magnitude away, the middles of equal parts; of another from end to
    end.
    """
    if dimension.size is not None and dimension.size <= VALUES:
        return list(dimension.list_points())
    indices = range(VALUES)
    places = [(i + 0.5) / VALUES for i in indices] if dimension.log else [i / (VALUES - 1) for i in indices]
    return list(dict.fromkeys(_place(dimension, place) for place in places))


def _place(dimension: Range, place: float) -> Value:
    """Return the value at a place from 0 to 1, as a trial could get it, in few digits."""
    if dimension.size is not None:
        return dimension.list_points()[round(place * (dimension.size - 1))]
    low, high = dimension.low, dimension.high
    value = low * (high / low) ** place if dimension.log else low + (high - low) * place
    if dimension.integer:
        return min(max(round(value), int(low)), int(high))
    rounded = float(f"{value:.{DIGITS}g}")
    return rounded if low <= rounded <= high else float(value)


def _position(dimension: Range, value: Value) -> float:
    return math.log(float(value)) if dimension.log else float(value)


def _complete(spec: StudySpec, given: Params, base: Params) -> dict[str, Value]:
    """Return the active ones of `given`, and a value of `base`, or a typical one, for what they let be searched."""
    chosen: dict[str, Value] = {}
    for name in spec.searched:
        if spec.is_active(name, chosen):
            preferred = given.get(name, base.get(name))
            chosen[name] = given[name] if name in given else branches.choose_value(spec, name, preferred, chosen)
    return {name: chosen[name] for name in spec.space if name in chosen}


def _list_differences(best: Params, base: Params) -> list[str]:
    """Return what is searched in both with different values; a choice of them brings what only one of them has."""
    return [name for name in best if name in base and base[name] != best[name]]


def _walk(spec: StudySpec, base: Params, best: Params, predict: Predict | None) -> list[tuple[str, Params]]:
    """Return one change after another from the base to the best: that of which most is expected of those left."""
    left, changed = _list_differences(best, base), dict(base)
    steps: list[tuple[str, Params]] = []
    while left:
        tried = [_complete(spec, {**best, **changed, name: best[name]}, base) for name in left]
        gains = list(predict(tried)) if predict else [0.0] * len(left)
        chosen = gains.index(max(gains))
        name = left.pop(chosen)
        steps.append((name, tried[chosen]))
        changed[name] = best[name]
    return steps
