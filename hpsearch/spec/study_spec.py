"""The spec of a study: a TOML file, checked and frozen (the reference is docs/study-file.md)."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

from hpsearch.errors import StudyFileError
from hpsearch.metrics import METRICS, Direction
from hpsearch.spec import baselines as firsts
from hpsearch.spec import loader
from hpsearch.spec import search_space as spaces
from hpsearch.spec.dimension import Choices, Dimension, Range, canonical
from hpsearch.spec.hyperparameters import TABLE, Value, fill_defaults
from hpsearch.spec.sections import (
    DEFAULT_SAMPLER,
    PRUNERS,
    SAMPLERS,
    BudgetSection,
    DataSection,
    Method,
    StudySection,
    choose_default_pruner,
    method,
    sampler_faults,
    stored_method,
    target_faults,
)
from hpsearch.spec.validation import describe_unknown, escape_controls, format_toml, known, read, table

__all__ = [
    "DEFAULT",
    "QUICKSTART",
    "Choices",
    "Dimension",
    "Range",
    "StudySpec",
    "from_dict",
    "from_toml",
    "load",
]

DEFAULT = Path(__file__).parent / "studies" / "cifar10-cnn.toml"
"""The study of `hpsearch start-study` without a file."""
QUICKSTART = Path(__file__).parent / "studies" / "quickstart.toml"
"""The study of `hpsearch quickstart`."""

SECTIONS = ("study", "budget", "data", "fixed", "space", "sampler", "pruner", "baseline")


@dataclass(frozen=True)
class StudySpec:
    """Everything a worker needs to know about a study; made by `load`, `from_toml`, `from_dict` or `from_json`."""

    study: StudySection
    budget: BudgetSection
    data: DataSection
    fixed: Mapping[str, Value]
    space: Mapping[str, Dimension]
    sampler: Method
    pruner: Method
    baselines: tuple[Mapping[str, Value], ...]
    """Each with every searched hyperparameter that is active in it."""
    evaluation: int = 0
    """Which evaluation of a study this is, counted from 1; 0 for a search, which is all that a study file describes."""

    @property
    def direction(self) -> Direction:
        """`maximize` or `minimize`."""
        return METRICS[self.study.metric]

    @property
    def listed(self) -> bool:
        """Whether every trial is written out, as a baseline: there is nothing to sample, but models to compare."""
        return bool(self.evaluation) or (bool(self.baselines) and self.budget.trials <= len(self.baselines))

    @property
    def repeats(self) -> int:
        """How many trials each configuration of a grid, or of a list, has."""
        if not self.listed or self.evaluation:
            return self.budget.repeats
        listed = [dict(baseline) for baseline in self.baselines]
        return min(listed.count(each) for each in listed)

    @cached_property
    def searched(self) -> tuple[str, ...]:
        """The searched hyperparameters, parents before children."""
        return spaces.order_names(self.space)

    def fixed_values(self) -> dict[str, Value | None]:
        """Every row of the table that is not searched; None where it follows one that is."""
        rest = {name: value for name, value in fill_defaults(self.fixed).items() if name not in self.space}
        return {name: None if self._follows(name) and name not in self.fixed else rest[name] for name in rest}

    def hyperparameters(self, params: Mapping[str, Value]) -> dict[str, Value]:
        """The whole table for a trial that sampled `params`; what is inactive in it takes its default."""
        sampled = {name: params[name] for name in params if self.active(name, params)}
        return fill_defaults({**self.fixed, **sampled})

    def active(self, name: str, params: Mapping[str, Value]) -> bool:
        """Whether a trial with `params` (at least the ancestors of `name`) samples the searched `name`."""
        return spaces.is_active(self.space, name, params)

    def compares_after(self, epoch: int) -> bool:
        """Whether the pruner compares trials after `epoch`."""
        return PRUNERS[self.pruner.name](**self.pruner.options).compares(epoch)

    def grid(self) -> list[dict[str, Value]]:
        """The points of a grid, all of them `repeats` times over."""
        return [dict(point) for _ in range(self.budget.repeats) for point in spaces.list_grid(self.space)]

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of what makes trials comparable; the same for whatever means the same."""
        said = json.dumps(self._meaning(), sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(said.encode()).hexdigest()

    def differences(self, file: "StudySpec") -> list[str]:
        """Where the fingerprinted parts of this spec, the database's, differ from those of `file`; a line a key."""
        ours, theirs = self._leaves_beside(file), file._leaves_beside(self)
        keys = [*ours, *(key for key in theirs if key not in ours)]
        return [
            f"{key}: {self._said(key, ours)} in the database, {file._said(key, theirs)} in the file"
            for key in keys
            if json.dumps(ours.get(key)) != json.dumps(theirs.get(key))
        ]

    def to_json(self) -> dict[str, Any]:
        """Plain values with every default resolved, for `from_json` of this version or a later one."""
        return {
            "study": self.study.model_dump(),
            "budget": self.budget.model_dump(),
            "data": self.data.model_dump(),
            "fixed": dict(self.fixed),
            "space": spaces.to_json(self.space),
            "sampler": {"name": self.sampler.name, "options": dict(self.sampler.options)},
            "pruner": {"name": self.pruner.name, "options": dict(self.pruner.options)},
            "baselines": [dict(baseline) for baseline in self.baselines],
            "evaluation": self.evaluation,
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> "StudySpec":
        """What `to_json` wrote, here or in an older version, whose absent keys take their defaults."""
        budget = known(BudgetSection, stored.get("budget", {}))
        space = spaces.from_json(stored.get("space", []))
        sampler = stored_method(stored.get("sampler", {}), SAMPLERS, DEFAULT_SAMPLER)
        return cls(
            known(StudySection, stored["study"]),
            budget,
            known(DataSection, stored.get("data", {})),
            _frozen(stored.get("fixed", {})),
            MappingProxyType(space),
            _grouped(sampler, space),
            stored_method(stored.get("pruner", {}), PRUNERS, choose_default_pruner(budget.epochs, sampler.name)),
            tuple(_frozen(baseline) for baseline in stored.get("baselines", [])),
            stored.get("evaluation", 0),
        )

    def __reduce__(self) -> tuple[Any, ...]:
        # Read-only mappings do not pickle; a worker may hand a spec to another process all the same.
        return StudySpec.from_json, (self.to_json(),)

    def _follows(self, name: str) -> bool:
        """Whether the default of `name` is the value of a searched hyperparameter."""
        return TABLE[name].default is None and TABLE[name].default_from in self.space

    def _meaning(self) -> dict[str, Any]:
        everything = self.data.remaining
        limit = None if self.data.train_limit == everything else self.data.train_limit
        data = {
            "name": self.data.name,
            "train_limit": limit,
            "validation": self.data.validation,
            "evaluation": self.evaluation or None,
        }
        return {
            "study": {"metric": self.study.metric, "seed": self.study.seed},
            "budget": {"epochs": self.budget.epochs},
            "data": {key: value for key, value in data.items() if value is not None},
            "fixed": {name: value for name, value in self.fixed.items() if self._departs(name)},
            "space": {name: canonical(dimension) for name, dimension in self.space.items()},
        }

    def _departs(self, name: str) -> bool:
        """Whether `name` would have another value if it were not fixed."""
        rest = {other: value for other, value in self.fixed.items() if other != name}
        return self._follows(name) or fill_defaults(rest)[name] != self.fixed[name]

    def _leaves_beside(self, other: "StudySpec") -> dict[str, Any]:
        meaning = self._meaning()
        # One line says that a hyperparameter is searched in one of the two only.
        meaning["space"] = {name: said if name in other.space else True for name, said in meaning["space"].items()}
        return dict(_leaves(meaning))

    def _said(self, key: str, leaves: Mapping[str, Any]) -> str:
        section, name, *rest = key.split(".")
        if section == "space" and not rest:
            return str(self.space[name]) if name in self.space else "not searched"
        if key in leaves:
            return format_toml(leaves[key])
        if section != "fixed":
            return "absent"
        if name in self.space:
            return "searched"
        if self._follows(name):
            return f"as {TABLE[name].default_from}"
        return f"{format_toml(fill_defaults(self.fixed)[name])} (the default)"


def load(
    path: Path | None, overrides: Sequence[str] = (), name: str | None = None, trials: int | None = None
) -> StudySpec:
    """The study of the file at `path` (None: the default study).

    Args:
        overrides: `key=value`, the key dotted as in TOML; the value is TOML, else a string.
        name: replaces `study.name`.
        trials: replaces `budget.trials`.

    Raises:
        StudyFileError: with every fault, a line each.
    """
    path = path or DEFAULT
    return from_toml(loader.read(path), overrides, name, trials, source=str(path))


def from_toml(
    text: str,
    overrides: Sequence[str] = (),
    name: str | None = None,
    trials: int | None = None,
    source: str = "the study file",
) -> StudySpec:
    """The study that `text` describes; otherwise as `load`."""
    return from_dict(loader.parse(text, source), overrides, name, trials)


def from_dict(
    raw: Mapping[str, Any], overrides: Sequence[str] = (), name: str | None = None, trials: int | None = None
) -> StudySpec:
    """The study that `raw`, shaped as the TOML file, describes; otherwise as `load`."""
    faults: list[str] = []
    merged = loader.override(raw, overrides, {"study.name": name, "budget.trials": trials}, faults)
    faults += [f"{section}: {describe_unknown(section, SECTIONS)}" for section in merged if section not in SECTIONS]
    spec = _read(merged, faults)
    if spec is None or faults:
        raise StudyFileError([escape_controls(fault) for fault in faults])
    return spec


def _read(raw: Mapping[str, Any], faults: list[str]) -> StudySpec | None:
    study = read(StudySection, table(raw, "study", faults), "study", faults)
    data = read(DataSection, table(raw, "data", faults), "data", faults)
    kept, searched = table(raw, "fixed", faults), table(raw, "space", faults)
    fixed = _fixed(kept, faults)
    faults += [f"fixed.{name}: is searched too: keep it in [fixed] or in [space]" for name in kept if name in searched]
    before = len(faults)
    space = spaces.parse(searched, faults)
    sound = len(faults) == before
    sampler = method(table(raw, "sampler", faults), "sampler", SAMPLERS, DEFAULT_SAMPLER, faults)
    budget = _budget(table(raw, "budget", faults), space if sound else None, sampler, faults)
    usual = choose_default_pruner(budget.epochs if budget else 1, sampler.name if sampler else DEFAULT_SAMPLER.name)
    pruner = method(table(raw, "pruner", faults), "pruner", PRUNERS, usual, faults)
    if data:
        faults += data.faults()
    if sampler:
        faults += sampler_faults(sampler)
    if study and budget:
        faults += target_faults(budget.target, study.metric)
    baselines = firsts.parse(raw.get("baseline", []), fixed, space, faults) if sound else []
    faults += firsts.check(len(baselines), budget, sampler)
    if study is None or budget is None or data is None or sampler is None or pruner is None:
        return None
    return StudySpec(
        study,
        budget,
        data,
        _frozen(fixed),
        MappingProxyType(space),
        _grouped(sampler, space),
        pruner,
        tuple(_frozen(baseline) for baseline in baselines),
    )


def _fixed(raw: Mapping[str, Any], faults: list[str]) -> dict[str, Value]:
    values: dict[str, Value] = {}
    for name, value in raw.items():
        fault = TABLE[name].fault(value) if name in TABLE else describe_unknown(name, TABLE)
        if fault is None:
            values[name] = TABLE[name].cast(value)
        else:
            faults.append(f"fixed.{name}: {fault}")
    return values


def _budget(
    raw: Mapping[str, Any], space: Mapping[str, Dimension] | None, sampler: Method | None, faults: list[str]
) -> BudgetSection | None:
    """`[budget]` with the default of `trials` that fits; `space` is None where it has faults of its own."""
    if space is None or sampler is None:
        return read(BudgetSection, raw, "budget", faults)
    if sampler.name != "grid":
        budget = read(BudgetSection, raw if space else {"trials": 1, **raw}, "budget", faults)
        if budget and budget.repeats > 1:
            faults.append('budget.repeats: needs a grid: drop it, or set sampler.name = "grid"')
        return budget
    broken = list(spaces.find_grid_faults(space))
    faults += broken
    budget = read(BudgetSection, raw, "budget", faults)
    if broken or not budget:
        return budget
    points = len(spaces.list_grid(space))
    whole = points * budget.repeats
    if whole > spaces.LARGEST_GRID:
        faults.append(f"budget.repeats: {points} points make {whole} trials, over {spaces.LARGEST_GRID}: repeat less")
    elif budget.trials > whole and "trials" in raw:
        faults.append(
            f"budget.trials: {budget.trials} are more than the grid has: {points} points × {budget.repeats} repeats "
            f"make {whole}, the default"
        )
    return budget if "trials" in raw else budget.model_copy(update={"trials": whole})


def _grouped(sampler: Method, space: Mapping[str, Dimension]) -> Method:
    """TPE with its groups decided; see `sections.Tpe`."""
    if sampler.name != "tpe" or "group" in sampler.options:
        return sampler
    conditional = any(dimension.when for dimension in space.values())
    group = conditional and sampler.options["multivariate"]
    return Method(sampler.name, MappingProxyType({**sampler.options, "group": group}))


def _frozen(values: Mapping[str, Value]) -> Mapping[str, Value]:
    """A read-only copy in the types of the table, which a journey through JSON may have bent."""
    return MappingProxyType({name: TABLE[name].cast(value) for name, value in values.items()})


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
