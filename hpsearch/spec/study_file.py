"""The study file as one model: what each key means, may be, and is by default, and the rules across sections.

A rule across sections stands in the validator of the last field that it needs and reads the others where these are
valid, so that a user learns of all faults at once.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from hpsearch.formatting import format_toml
from hpsearch.metrics import METRICS
from hpsearch.spec import search_space
from hpsearch.spec.baselines import parse_baselines
from hpsearch.spec.dimension import Dimension
from hpsearch.spec.hyperparameters import HyperparameterTable
from hpsearch.spec.own_rows import make_table
from hpsearch.spec.rows import Value
from hpsearch.spec.sections.data import DataSection
from hpsearch.spec.sections.model import ModelSection
from hpsearch.spec.sections.pruners import PRUNERS, AnyPruner, choose_default_pruner
from hpsearch.spec.sections.samplers import SAMPLERS, AnySampler, SamplerConfig, TpeConfig, find_missing_packages
from hpsearch.spec.sections.study import BudgetSection, StudySection
from hpsearch.spec.validation import (
    add_default_name,
    describe_error,
    describe_unknown,
    make_error,
    refuse,
)

SECTIONS = ("study", "budget", "data", "model", "fixed", "space", "sampler", "pruner", "baseline")
"""In the order of the documentation."""


def _parse_fixed(raw: Mapping[str, Any], table: HyperparameterTable) -> dict[str, Value]:
    faults = {
        name: table[name].find_fault(value) if name in table else search_space.describe_absent(name, table)
        for name, value in raw.items()
    }
    refuse(f"fixed.{name}: {fault}" for name, fault in faults.items() if fault)
    return {name: table[name].cast(value) for name, value in raw.items()}


class StudyFile(BaseModel):
    """A study file; see `list_study_faults` for what is wrong with it.

    The fields are in the order in which their rules need one another.
    """

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    study: StudySection
    data: DataSection
    model: ModelSection
    fixed: Mapping[str, Value]
    space: Mapping[str, Dimension]
    sampler: AnySampler = Field(discriminator="name")
    budget: BudgetSection
    pruner: AnyPruner = Field(discriminator="name")
    baseline: tuple[Mapping[str, Value], ...]

    @model_validator(mode="before")
    @classmethod
    def _add_absent_sections(cls, raw: Mapping[str, Any]) -> dict[str, Any]:
        return {**{name: {} for name in SECTIONS}, "baseline": [], **raw}

    @field_validator("fixed", mode="plain")
    @classmethod
    def _parse_fixed(cls, raw: Mapping[str, Any], info: ValidationInfo) -> Mapping[str, Value]:
        model = info.data.get("model")
        return _parse_fixed(raw, make_table(model, fixed=raw)) if model else {}

    @field_validator("space", mode="plain")
    @classmethod
    def _parse_space(cls, raw: Mapping[str, Any], info: ValidationInfo) -> Mapping[str, Dimension]:
        model = info.data.get("model")
        if model is None:
            return {}
        space = search_space.parse_space(raw, make_table(model, space=raw))
        fixed = info.data.get("fixed")
        if fixed is None:
            return space
        both = [name for name in fixed if name in space]
        refuse(f"fixed.{name}: is searched too: keep it in [fixed] or in [space]" for name in both)
        table = make_table(model, fixed, space)
        refuse(search_space.find_unused(fixed, space, table, own_model=model.build is not None))
        refuse(search_space.find_frozen(model.weights, fixed, space))
        return space

    @field_validator("sampler", mode="before")
    @classmethod
    def _default_sampler(cls, raw: Mapping[str, Any]) -> Mapping[str, Any]:
        return add_default_name(raw, "sampler", SAMPLERS, TpeConfig())

    @field_validator("sampler")
    @classmethod
    def _require_packages(cls, sampler: SamplerConfig) -> SamplerConfig:
        refuse(find_missing_packages(sampler))
        return sampler

    @field_validator("budget", mode="before")
    @classmethod
    def _train_base_model_once(cls, raw: Mapping[str, Any], info: ValidationInfo) -> Mapping[str, Any]:
        empty = "sampler" in info.data and not info.data.get("space", True)
        return {"trials": 1, **raw} if empty else raw

    @field_validator("budget")
    @classmethod
    def _fit_budget(cls, budget: BudgetSection, info: ValidationInfo) -> BudgetSection:
        study, space, sampler = (info.data.get(name) for name in ("study", "space", "sampler"))
        faults = list(_find_target_faults(budget.target, study.metric)) if study else []
        if space is not None and sampler:
            if sampler.name == "grid":
                faults += _find_grid_faults(budget, space)
            elif budget.repeats > 1:
                faults.append('budget.repeats: needs a grid: drop it, or set sampler.name = "grid"')
        refuse(faults)
        if space is None or not sampler or sampler.name != "grid" or "trials" in budget.model_fields_set:
            return budget
        return budget.model_copy(update={"trials": search_space.count_grid(space) * budget.repeats})

    @field_validator("pruner", mode="before")
    @classmethod
    def _default_pruner(cls, raw: Mapping[str, Any], info: ValidationInfo) -> Mapping[str, Any]:
        budget, sampler = info.data.get("budget"), info.data.get("sampler")
        usual = choose_default_pruner(budget.epochs if budget else 1, sampler.name if sampler else "")
        return add_default_name(raw, "pruner", PRUNERS, usual)

    @field_validator("baseline", mode="plain")
    @classmethod
    def _parse_baselines(cls, raw: object, info: ValidationInfo) -> tuple[Mapping[str, Value], ...]:
        model, fixed, space, budget, sampler = (
            info.data.get(name) for name in ("model", "fixed", "space", "budget", "sampler")
        )
        if model is None or fixed is None or space is None:
            return ()
        baselines = parse_baselines(raw, fixed, space, make_table(model, fixed, space))
        if baselines and sampler and sampler.name == "grid":
            raise make_error(
                ["baseline: a grid tries its own points only: drop [[baseline]] or choose another sampler"]
            )
        if budget and len(baselines) > budget.trials:
            count = f"{len(baselines)} do not fit into budget.trials = {budget.trials}"
            raise make_error([f"baseline: {count}: drop some or raise it"])
        return baselines

    @field_validator("study", "data", "model", "fixed", "space", "sampler", "budget", "pruner", mode="before")
    @classmethod
    def _require_table(cls, raw: object, info: ValidationInfo) -> object:
        if not isinstance(raw, Mapping):
            field = info.field_name
            raise make_error([f"{field}: {format_toml(raw)} is not a table: write [{field}] above its keys"])
        return raw


def list_study_faults(invalid: ValidationError) -> list[str]:
    """Return what is wrong with a `StudyFile`, a line a fault, unknown sections first."""
    unknown, faults = [], []
    for error in invalid.errors(include_url=False):
        section = str(error["loc"][0])
        if error["type"] == "extra_forbidden":
            unknown.append(f"{section}: {describe_unknown(section, SECTIONS)}")
        else:
            faults.append(describe_error(error, section))
    return unknown + faults


def _find_target_faults(target: float | None, metric: str) -> Iterator[str]:
    """Yield a fault where no trial, or every trial, would reach the target."""
    low, high = 0.0, METRICS[metric].end
    if target is not None and not low < target <= high:
        right = "a fraction above 0, at most 1, such as 0.8" if high == 1 else "above 0, such as 0.5"
        yield f"budget.target: {target!r} is no {metric} to reach: {right}"


def _find_grid_faults(budget: BudgetSection, space: Mapping[str, Dimension]) -> Iterator[str]:
    faults = list(search_space.find_grid_faults(space))
    yield from faults
    if faults:
        return
    points = search_space.count_grid(space)
    trials = points * budget.repeats
    if trials > search_space.LARGEST_GRID:
        yield f"budget.repeats: {points} points make {trials} trials, over {search_space.LARGEST_GRID}: repeat less"
    elif budget.trials > trials and "trials" in budget.model_fields_set:
        yield (
            f"budget.trials: {budget.trials} are more than the grid has: {points} points × {budget.repeats} repeats "
            f"make {trials}, the default"
        )
