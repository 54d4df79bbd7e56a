"""The spec of a study: a study file, checked and frozen (the reference is docs/study-file.md)."""

import hashlib
import json
import operator
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType
from typing import Any

from hpsearch.formatting import format_toml
from hpsearch.metrics import METRICS, ClassCounts, Direction
from hpsearch.spec import search_space
from hpsearch.spec.code.archive import CodeReference
from hpsearch.spec.datasets import DataFacts
from hpsearch.spec.dimension import Dimension, normalize
from hpsearch.spec.hyperparameters import HyperparameterTable
from hpsearch.spec.own_rows import make_table
from hpsearch.spec.rows import Value
from hpsearch.spec.sections.data import DataSection
from hpsearch.spec.sections.model import ModelSection
from hpsearch.spec.sections.pruners import PRUNERS, PrunerConfig, choose_default_pruner
from hpsearch.spec.sections.samplers import SAMPLERS, SamplerConfig, TpeConfig, decide_groups
from hpsearch.spec.sections.study import BudgetSection, StudySection
from hpsearch.spec.validation import read_stored, read_stored_method, refuse, require_known

SECTIONS = (
    *("study", "budget", "data", "model", "fixed", "space", "sampler", "pruner", "baselines"),
    *("evaluation", "ablation", "code"),
)
"""The keys of a stored spec."""


@dataclass(frozen=True)
class StudySpec:
    """Everything a worker needs to know about a study; made by `loader` or `from_json`."""

    study: StudySection
    budget: BudgetSection
    data: DataSection
    model: ModelSection
    fixed: Mapping[str, Value]
    space: Mapping[str, Dimension]
    sampler: SamplerConfig
    pruner: PrunerConfig
    baselines: tuple[Mapping[str, Value], ...]
    """Each with every searched hyperparameter that is active in it."""
    evaluation: int = 0
    """Which evaluation of a study this is, counted from 1; 0 for a search, which is all that a study file describes."""
    ablation: int = 0
    """Which ablation of a study this is, likewise."""
    code: CodeReference | None = None
    """The user's own files, where the model or the data come from one."""
    facts: DataFacts | None = field(default=None, compare=False)
    """What the first worker recorded of the images; None before. No part of what a study file says."""

    @cached_property
    def table(self) -> HyperparameterTable:
        """The table of its hyperparameters."""
        return make_table(self.model, self.fixed, self.space)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the labels; empty where no worker has loaded the user's own images."""
        if self.facts is not None:
            return self.facts.classes
        return self.data.dataset.classes if self.data.dataset else ()

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of an image; zeros where no worker has loaded the user's own images."""
        if self.facts is not None:
            return self.facts.shape
        return self.data.dataset.shape if self.data.dataset else (0, 0, 0)

    @property
    def validation_images(self) -> int:
        """How many images validate; 0 where no worker has loaded the user's own images."""
        if self.facts is not None:
            return sum(self.facts.validation)
        return self.data.validation if isinstance(self.data.validation, int) else 0

    @property
    def class_counts(self) -> ClassCounts:
        """How many of the images on which the metric is measured each class has; none while nothing is known of them.

        Of a study that no worker has loaded, or that an older hpsearch trained, equal parts of the validation images.
        """
        if self.facts is not None:
            return self.facts.validation
        classes = len(self.classes) if self.validation_images else 0
        return (self.validation_images / classes,) * classes if classes else ()

    @property
    def direction(self) -> Direction:
        """Whether more or less of the metric is better."""
        return METRICS[self.study.metric].direction

    @property
    def listed(self) -> bool:
        """Whether every trial is written out, as a baseline: there is nothing to sample, but models to compare."""
        is_search = not (self.evaluation or self.ablation)
        return not is_search or (bool(self.baselines) and self.budget.trials <= len(self.baselines))

    @property
    def repeats(self) -> int:
        """How many trials each configuration of a grid, or of a list, has."""
        if not self.listed or self.evaluation or self.ablation:
            return self.budget.repeats
        listed = [dict(baseline) for baseline in self.baselines]
        return min(listed.count(baseline) for baseline in listed)

    @cached_property
    def searched(self) -> tuple[str, ...]:
        """The searched hyperparameters, parents before children."""
        return search_space.order_names(self.space)

    def list_unsearched(self) -> dict[str, Value | None]:
        """Return the values of all rows that are not searched; None where it follows one that is."""
        rest = {name: value for name, value in self.table.fill_defaults(self.fixed).items() if name not in self.space}
        return {name: None if self._follows(name) and name not in self.fixed else rest[name] for name in rest}

    def resolve_params(self, params: Mapping[str, Value]) -> dict[str, Value]:
        """Return a value for every row in a trial that sampled `params`; what is inactive in it takes its default."""
        sampled = {name: params[name] for name in params if self.is_active(name, params)}
        return self.table.fill_defaults({**self.fixed, **sampled})

    def is_active(self, name: str, params: Mapping[str, Value]) -> bool:
        """Return whether a trial with `params` (at least the ancestors of `name`) samples the searched `name`."""
        return search_space.is_active(self.space, name, params)

    def compares_after(self, epoch: int) -> bool:
        """Return whether the pruner compares trials after `epoch`."""
        return self.pruner.compares_after(epoch)

    def count_earlier(self, number: int) -> int:
        """Return how many listed trials before trial `number` have its parameters; `number` for one not listed."""
        if number >= len(self.baselines):
            return number
        return self.baselines[:number].count(self.baselines[number])

    def list_grid(self) -> list[dict[str, Value]]:
        """Return the points of a grid, all of them `repeats` times over."""
        return [dict(point) for _ in range(self.budget.repeats) for point in search_space.list_grid(self.space)]

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of what makes trials comparable; the same for whatever means the same."""
        meaning = json.dumps(self._meaning(), sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(meaning.encode()).hexdigest()

    def list_differences(self, file: "StudySpec") -> list[str]:
        """Return where the fingerprinted parts of this spec, the database's, differ from `file`'s; a line a key."""
        ours, theirs = self._leaves_beside(file), file._leaves_beside(self)
        keys = [*ours, *(key for key in theirs if key not in ours)]
        return [
            f"{key}: {self._describe(key, ours)} in the database, {file._describe(key, theirs)} in the file"
            for key in keys
            if json.dumps(ours.get(key)) != json.dumps(theirs.get(key))
        ]

    def to_json(self) -> dict[str, Any]:
        """Return plain values with every default resolved, for `from_json` of this version or a later one."""
        return {
            "study": self.study.model_dump(),
            "budget": self.budget.model_dump(),
            "data": self.data.model_dump(),
            "model": self.model.model_dump(),
            "fixed": dict(self.fixed),
            "space": search_space.dump_space(self.space),
            "sampler": {"name": self.sampler.name, "options": self.sampler.options},
            "pruner": {"name": self.pruner.name, "options": self.pruner.options},
            "baselines": [dict(baseline) for baseline in self.baselines],
            "evaluation": self.evaluation,
            "ablation": self.ablation,
            **({"code": self.code.to_json()} if self.code else {}),
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> "StudySpec":
        """Return the spec that `to_json` wrote, here or in an older version, whose absent keys take their defaults.

        Raises:
            ValueError: a newer version wrote it, and this one does not know all of it; or it is no spec at all, for
                which there are also KeyError, TypeError and AttributeError.
        """
        require_known(stored, SECTIONS)
        budget = read_stored(BudgetSection, stored.get("budget", {}))
        model = read_stored(ModelSection, stored.get("model", {}))
        table = make_table(model, stored.get("fixed", {}), {each["name"]: each for each in stored.get("space", [])})
        space = search_space.load_space(stored.get("space", []), table)
        sampler = read_stored_method(stored.get("sampler", {}), SAMPLERS, TpeConfig())
        spec = cls(
            read_stored(StudySection, stored["study"]),
            budget,
            read_stored(DataSection, stored.get("data", {})),
            model,
            load_values(stored.get("fixed", {}), table),
            MappingProxyType(space),
            decide_groups(sampler, space),
            read_stored_method(stored.get("pruner", {}), PRUNERS, choose_default_pruner(budget.epochs, sampler.name)),
            tuple(load_values(baseline, table) for baseline in stored.get("baselines", [])),
            operator.index(stored.get("evaluation", 0)),
            operator.index(stored.get("ablation", 0)),
            CodeReference.from_json(stored["code"]) if "code" in stored else None,
        )
        refuse(f"space.{name}: its parents are no choices" for name in set(space) - set(spec.searched))
        return spec

    def __reduce__(self) -> tuple[Any, ...]:
        # Read-only mappings do not pickle; a worker may hand a spec to another process all the same.
        return _restore, (self.to_json(), self.facts)

    def _follows(self, name: str) -> bool:
        """Return whether the default of `name` is the value of a searched hyperparameter."""
        row = self.table[name]
        if row.default_from is None or row.default_from not in self.space:
            return False
        parent = self.space[row.default_from]
        return row.default is None or any(parent.contains(value) for value in row.defaults_by)

    def _meaning(self) -> dict[str, Any]:
        meant = self.data.model_dump()
        if self.data.train_limit == self.data.remaining:
            del meant["train_limit"]
        if self.data.name or not self.data.image_size:
            del meant["resize"]  # nothing is resized
        data = {
            **meant,
            "evaluation": self.evaluation or None,
            "ablation": self.ablation or None,
        }
        code = {"code": {"sha256": self.code.sha256}} if self.code else {}
        return {
            **code,
            "study": {"metric": self.study.metric, "seed": self.study.seed},
            "budget": {"epochs": self.budget.epochs},
            "data": {key: value for key, value in data.items() if value is not None},
            **({} if self.model == ModelSection() else {"model": self._mean_model()}),
            "fixed": {name: value for name, value in self.fixed.items() if self._departs(name)},
            "space": {name: normalize(dimension) for name, dimension in self.space.items()},
        }

    def _mean_model(self) -> dict[str, Any]:
        return {key: value for key, value in self.model.model_dump().items() if value not in (None, True)}

    def _departs(self, name: str) -> bool:
        """Return whether `name` would have another value if it were not fixed."""
        rest = {other: value for other, value in self.fixed.items() if other != name}
        return self._follows(name) or self.table.fill_defaults(rest).get(name) != self.fixed[name]

    def _leaves_beside(self, other: "StudySpec") -> dict[str, Any]:
        meaning = self._meaning()
        meaning.pop("code", None)  # what differs in it is compared file by file, by whoever has the files
        # One line says that a hyperparameter is searched in one of the two only.
        meaning["space"] = {
            name: dimension if name in other.space else True for name, dimension in meaning["space"].items()
        }
        return dict(_leaves(meaning))

    def _describe(self, key: str, leaves: Mapping[str, Any]) -> str:
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
            return f"as {self.table[name].default_from}"
        if name not in self.table or self.table[name].default is None:
            return "absent"
        return f"{format_toml(self.table.fill_defaults(self.fixed)[name])} (the default)"


def load_values(stored: Mapping[str, Value], table: HyperparameterTable) -> Mapping[str, Value]:
    """Return stored values of hyperparameters as `freeze` does.

    Raises:
        KeyError: one is not in the table.
        ValidationError: one is out of its bounds.
    """
    refuse(f"{name}: {fault}" for name, value in stored.items() if (fault := table[name].find_fault(value)))
    return freeze(stored, table)


def freeze(values: Mapping[str, Value], table: HyperparameterTable) -> Mapping[str, Value]:
    """Return a read-only copy in the types of the table."""
    return MappingProxyType(table.cast(values))


def _restore(stored: Mapping[str, Any], facts: DataFacts | None) -> StudySpec:
    return replace(StudySpec.from_json(stored), facts=facts)


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
