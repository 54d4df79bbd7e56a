"""The study file as one model: what each key means, may be, and is by default, and the rules across sections.

A rule across sections stands in the validator of the last field that it needs and reads the others where these are
valid, so that a user learns of all faults at once.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from hpsearch.formatting import format_toml, join_words
from hpsearch.spec import search_space
from hpsearch.spec.baselines import parse_baselines
from hpsearch.spec.datasets import Dataset, list_datasets
from hpsearch.spec.dimension import Dimension
from hpsearch.spec.hyperparameters import TABLE
from hpsearch.spec.pruners import PRUNERS, AnyPruner, choose_default_pruner
from hpsearch.spec.rows import Value
from hpsearch.spec.samplers import INT32, SAMPLERS, AnySampler, SamplerConfig, TpeConfig, find_missing_packages
from hpsearch.spec.validation import (
    Section,
    add_default_name,
    describe_error,
    describe_unknown,
    make_error,
    refuse,
)

Count = Annotated[int, Field(ge=1, le=INT32)]
Real = Annotated[float, Field(allow_inf_nan=False)]

DEFAULT_DATASET = "cifar10"

SECTIONS = ("study", "budget", "data", "fixed", "space", "sampler", "pruner", "baseline")
"""In the order of the documentation."""


class StudySection(Section):
    """`[study]`."""

    name: str = Field(description="A name for the study (or give --name).")
    description: str = Field("", description="The question the study asks.")
    seed: int = Field(0, ge=0, le=2**32 - 1, description="Seed of the split, the sampler and every training.")
    priority: int = Field(0, ge=-INT32, le=INT32, description="Workers serve the running study with the highest.")
    metric: Literal["val_accuracy", "val_loss"] = Field(
        "val_accuracy", description="What to optimize: val_accuracy (highest) or val_loss (lowest)."
    )
    keep_models: int = Field(5, ge=0, le=INT32, description="How many of the best trials keep their model.")

    @field_validator("name")
    @classmethod
    def _require_printable(cls, name: str) -> str:
        if not name.strip():
            raise ValueError("is empty: give the study a name")
        # 512 is the width of Optuna's column.
        if len(name) > 512:
            raise ValueError(f"is too long: {len(name)} characters, at most 512")
        if not name.isprintable():
            raise ValueError("is not printable: leave out line breaks and control characters")
        return name

    @field_validator("description")
    @classmethod
    def _require_storable(cls, description: str) -> str:
        if "\0" in description:
            raise ValueError("holds a null character: Postgres keeps any text but that")
        if any("\ud800" <= character <= "\udfff" for character in description):
            raise ValueError("is not UTF-8: write it in that")
        return description


class BudgetSection(Section):
    """`[budget]`."""

    trials: Count = Field(
        100, description="Trials to end, exactly, over all workers; a grid: its points; an empty [space]: 1."
    )
    epochs: Count = Field(30, description="Epochs a trial trains for.")
    # A million hours: beyond it the end of the study is no date Postgres knows.
    hours: Real | None = Field(None, gt=0, le=1e6, description="Hours since the start, pauses excluded.")
    target: Real | None = Field(None, description="The study ends when a trial reaches this value of the metric.")
    failures: Count = Field(5, description="Errors in a row that pause the study.")
    attempts: Count = Field(3, description="Attempts at a trial whose worker or trainer dies.")
    patience: Count = Field(2, description="Epochs at chance after which a trial with epochs left is ended.")
    early_stopping: Count | None = Field(
        None, description="Epochs without a better value after which a trial is complete."
    )
    repeats: Count = Field(1, description="Trainings of each point of a grid, each with a seed of its own.")


def _describe_holdouts() -> str:
    others = [dataset for dataset in list_datasets().values() if dataset.name != DEFAULT_DATASET]
    return ", ".join(f"for {dataset.name} {dataset.validation}" for dataset in others)


class DataSection(Section):
    """`[data]`."""

    name: str = Field(DEFAULT_DATASET, description=f"The dataset: {join_words(list(list_datasets()), 'or')}.")
    train_limit: Count | None = Field(None, description="Train on this many images only; all by default.")
    validation: Count = Field(
        list_datasets()[DEFAULT_DATASET].validation,
        description=f"Images held out of the training set, stratified; {_describe_holdouts()} by default.",
    )

    @property
    def remaining(self) -> int:
        """Images left to train on."""
        return self._dataset.images - self.validation

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the dataset's classes."""
        return self._dataset.classes

    @property
    def _dataset(self) -> Dataset:
        return list_datasets()[self.name]

    @field_validator("name")
    @classmethod
    def _require_known(cls, name: str) -> str:
        if name not in list_datasets():
            raise ValueError(f"is unknown: one of {join_words([repr(known) for known in list_datasets()], 'or')}")
        return name

    @model_validator(mode="before")
    @classmethod
    def _default_validation(cls, raw: dict[str, Any]) -> dict[str, Any]:
        name = raw.get("name", DEFAULT_DATASET)
        dataset = list_datasets().get(name) if isinstance(name, str) else None
        return {"validation": dataset.validation, **raw} if dataset else raw

    @model_validator(mode="after")
    def _fit_dataset(self) -> Self:
        # Each part of a stratified split needs an image of every class.
        images, classes = self._dataset.images, len(self.classes)
        if not classes <= self.validation <= images - classes:
            raise make_error(
                [
                    f"data.validation: {self.validation} of the {images} images of {self.name} cannot be held out: "
                    f"from {classes} to {images - classes}"
                ]
            )
        if self.train_limit is not None and not classes <= self.train_limit <= self.remaining:
            raise make_error(
                [
                    f"data.train_limit: {self.train_limit} is out of bounds: from {classes} to "
                    f"{self.remaining}, what {self.validation} validation images leave of {images}"
                ]
            )
        return self


def _parse_fixed(raw: Mapping[str, Any]) -> dict[str, Value]:
    faults = {
        name: TABLE[name].find_fault(value) if name in TABLE else describe_unknown(name, TABLE)
        for name, value in raw.items()
    }
    refuse(f"fixed.{name}: {fault}" for name, fault in faults.items() if fault)
    return {name: TABLE[name].cast(value) for name, value in raw.items()}


class StudyFile(BaseModel):
    """A study file; see `list_study_faults` for what is wrong with it.

    The fields are in the order in which their rules need one another.
    """

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    study: StudySection
    data: DataSection
    fixed: Annotated[Mapping[str, Value], PlainValidator(_parse_fixed)]
    space: Annotated[Mapping[str, Dimension], PlainValidator(search_space.parse_space)]
    sampler: AnySampler = Field(discriminator="name")
    budget: BudgetSection
    pruner: AnyPruner = Field(discriminator="name")
    baseline: tuple[Mapping[str, Value], ...]

    @model_validator(mode="before")
    @classmethod
    def _add_absent_sections(cls, raw: Mapping[str, Any]) -> dict[str, Any]:
        return {**{name: {} for name in SECTIONS}, "baseline": [], **raw}

    @field_validator("space")
    @classmethod
    def _exclude_fixed(cls, space: Mapping[str, Dimension], info: ValidationInfo) -> Mapping[str, Dimension]:
        both = [name for name in info.data.get("fixed", ()) if name in space]
        refuse(f"fixed.{name}: is searched too: keep it in [fixed] or in [space]" for name in both)
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
        return budget.model_copy(update={"trials": len(search_space.list_grid(space)) * budget.repeats})

    @field_validator("pruner", mode="before")
    @classmethod
    def _default_pruner(cls, raw: Mapping[str, Any], info: ValidationInfo) -> Mapping[str, Any]:
        budget, sampler = info.data.get("budget"), info.data.get("sampler")
        usual = choose_default_pruner(budget.epochs if budget else 1, sampler.name if sampler else "")
        return add_default_name(raw, "pruner", PRUNERS, usual)

    @field_validator("baseline", mode="plain")
    @classmethod
    def _parse_baselines(cls, raw: object, info: ValidationInfo) -> tuple[Mapping[str, Value], ...]:
        fixed, space, budget, sampler = (info.data.get(name) for name in ("fixed", "space", "budget", "sampler"))
        if fixed is None or space is None:
            return ()
        baselines = parse_baselines(raw, fixed, space)
        if baselines and sampler and sampler.name == "grid":
            raise make_error(
                ["baseline: a grid tries its own points only: drop [[baseline]] or choose another sampler"]
            )
        if budget and len(baselines) > budget.trials:
            count = f"{len(baselines)} do not fit into budget.trials = {budget.trials}"
            raise make_error([f"baseline: {count}: drop some or raise it"])
        return baselines

    @field_validator("study", "data", "fixed", "space", "sampler", "budget", "pruner", mode="before")
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
    low, high = (0.0, 1.0) if metric == "val_accuracy" else (0.0, math.inf)
    if target is not None and not low < target <= high:
        right = "a fraction above 0, at most 1, such as 0.8" if high == 1 else "above 0, such as 0.5"
        yield f"budget.target: {target!r} is no {metric} to reach: {right}"


def _find_grid_faults(budget: BudgetSection, space: Mapping[str, Dimension]) -> Iterator[str]:
    faults = list(search_space.find_grid_faults(space))
    yield from faults
    if faults:
        return
    points = len(search_space.list_grid(space))
    trials = points * budget.repeats
    if trials > search_space.LARGEST_GRID:
        yield f"budget.repeats: {points} points make {trials} trials, over {search_space.LARGEST_GRID}: repeat less"
    elif budget.trials > trials and "trials" in budget.model_fields_set:
        yield (
            f"budget.trials: {budget.trials} are more than the grid has: {points} points × {budget.repeats} repeats "
            f"make {trials}, the default"
        )
