"""The sections of the study file but `[fixed]` and `[space]`: what each key means, may be, and is by default.

Defaults are those of the service's contract; a sampler's or pruner's are Optuna 5's where no comment says why
not.
"""

import importlib.util
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from hpsearch.spec.validation import Section, describe_unknown, known, read

INT32 = 2**31 - 1
"""What a Postgres integer holds."""

Count = Annotated[int, Field(ge=1, le=INT32)]
Real = Annotated[float, Field(allow_inf_nan=False)]


@dataclass(frozen=True)
class DatasetInfo:
    """How many images a dataset has to train and validate on, how many of them validate by default, and of what."""

    images: int
    validation: int
    classes: tuple[str, ...]


CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
DATASETS: Mapping[str, DatasetInfo] = MappingProxyType(
    {"cifar10": DatasetInfo(50_000, 5_000, CIFAR10), "digits": DatasetInfo(1_437, 300, tuple("0123456789"))}
)


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
    def _nameable(cls, name: str) -> str:
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
    def _storable(cls, description: str) -> str:
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
    patience: Count = Field(2, description="Epochs at chance after which a trial is ended as diverged.")
    early_stopping: Count | None = Field(
        None, description="Epochs without a better value after which a trial is complete."
    )
    repeats: Count = Field(1, description="Trainings of each point of a grid, each with a seed of its own.")


class DataSection(Section):
    """`[data]`."""

    name: Literal["cifar10", "digits"] = Field("cifar10", description="The dataset: cifar10 or digits.")
    train_limit: Count | None = Field(None, description="Train on this many images only; all by default.")
    validation: Count = Field(
        5_000, description="Images held out of the training set, stratified; for digits 300 by default."
    )

    @model_validator(mode="before")
    @classmethod
    def _hold_out(cls, raw: dict[str, Any]) -> dict[str, Any]:
        name = raw.get("name", "cifar10")
        dataset = DATASETS.get(name) if isinstance(name, str) else None
        return {"validation": dataset.validation, **raw} if dataset else raw

    @property
    def remaining(self) -> int:
        """Images left to train on."""
        return DATASETS[self.name].images - self.validation

    def faults(self) -> Iterator[str]:
        """Splits that cannot be: each part of a stratified split needs an image of every class."""
        dataset = DATASETS[self.name]
        classes = len(dataset.classes)
        most = dataset.images - classes
        if not classes <= self.validation <= most:
            yield (
                f"data.validation: {self.validation} of the {dataset.images} images of {self.name} cannot be "
                f"held out: from {classes} to {most}"
            )
        elif self.train_limit is not None and not classes <= self.train_limit <= self.remaining:
            yield (
                f"data.train_limit: {self.train_limit} is out of bounds: from {classes} to "
                f"{self.remaining}, what {self.validation} validation images leave of {dataset.images}"
            )


# Bounds above are there to catch a slip of the keyboard before it becomes a worker that computes for ever.
Trials = Annotated[int, Field(ge=0, le=INT32)]
Steps = Annotated[int, Field(ge=0, le=INT32)]
Factor = Annotated[int, Field(ge=2, le=1_000)]


class Tpe(Section):
    n_startup_trials: Trials = Field(10, description="Random trials before the model.")
    n_ei_candidates: int = Field(24, ge=1, le=100_000, description="Candidates drawn for a suggestion.")
    multivariate: bool = Field(True, description="Model the hyperparameters together.")
    # Without groups the multivariate model leaves conditional hyperparameters to chance.
    group: bool | None = Field(
        None, description="Model conditional groups together; true where the space is conditional."
    )
    constant_liar: bool = Field(True, description="Keep away from what other workers are trying.")


class Random(Section):
    pass


class Grid(Section):
    pass


class Qmc(Section):
    qmc_type: Literal["sobol", "halton"] = Field("sobol", description="The sequence: sobol or halton.")
    scramble: bool = Field(False, description="Randomize the sequence.")


class CmaEs(Section):
    n_startup_trials: Trials = Field(1, description="Random trials before the model.")
    popsize: int | None = Field(None, ge=2, le=100_000, description="Trials a generation; from the space by default.")
    consider_pruned_trials: bool = Field(False, description="Learn from pruned trials too.")
    use_separable_cma: bool = Field(False, description="A diagonal covariance.")
    with_margin: bool = Field(False, description="A lower bound on the spread of discrete hyperparameters.")
    lr_adapt: bool = Field(False, description="Adapt the rate of the update.")


class Gp(Section):
    n_startup_trials: int = Field(10, ge=1, le=INT32, description="Random trials before the model.")
    deterministic_objective: bool = Field(False, description="Take the metric for free of noise.")


class Pruner(Section):
    def compares(self, epoch: int) -> bool:
        """Whether Optuna's pruner compares trials after `epoch`, counted from 1; after the others none is pruned."""
        raise NotImplementedError


class Median(Pruner):
    n_startup_trials: Trials = Field(5, description="Complete trials before any is pruned.")
    n_warmup_steps: Steps = Field(0, description="No trial is pruned before this epoch.")
    interval_steps: Count = Field(1, description="Epochs between two looks.")
    n_min_trials: Count = Field(1, description="Complete trials that must have reached the epoch.")

    def compares(self, epoch: int) -> bool:
        since = epoch - self.n_warmup_steps
        # Optuna looks at the first epoch it is told of in each interval, and counts intervals from epoch 0.
        return since >= 0 and (since % self.interval_steps == 0 or epoch == 1)


class Percentile(Median):
    percentile: Real = Field(ge=0, le=100, description="Percent of the trials to keep at each look, such as 60.0.")


class Asha(Pruner):
    # Optuna guesses "auto" from the trials a process has seen, which differs by worker.
    min_resource: Count = Field(1, description="Epochs before the first rung.")
    reduction_factor: Factor = Field(4, description="One of so many goes on at each rung.")
    min_early_stopping_rate: int = Field(0, ge=0, le=30, description="Rungs to skip.")
    bootstrap_count: Trials = Field(0, description="Trials a rung must have seen to let one pass.")

    def compares(self, epoch: int) -> bool:
        first = self.min_resource * self.reduction_factor**self.min_early_stopping_rate
        return _is_rung(epoch, first, self.reduction_factor)


class Hyperband(Pruner):
    min_resource: Count = Field(1, description="Epochs before the first rung of the first bracket.")
    reduction_factor: Factor = Field(3, description="One of so many goes on at each rung.")
    bootstrap_count: Trials = Field(0, description="Trials a rung must have seen to let one pass.")

    def compares(self, epoch: int) -> bool:
        return _is_rung(epoch, self.min_resource, self.reduction_factor)  # of the bracket with the most rungs


class NoPruner(Pruner):
    def compares(self, epoch: int) -> bool:
        return False


def _is_rung(epoch: int, rung: int, factor: int) -> bool:
    while rung < epoch:
        rung *= factor
    return rung == epoch


SAMPLERS: Mapping[str, type[Section]] = MappingProxyType(
    {"tpe": Tpe, "random": Random, "grid": Grid, "qmc": Qmc, "cmaes": CmaEs, "gp": Gp}
)
PRUNERS: Mapping[str, type[Pruner]] = MappingProxyType(
    {"median": Median, "percentile": Percentile, "asha": Asha, "hyperband": Hyperband, "none": NoPruner}
)
PACKAGES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"gp": ("torch", "scipy"), "cmaes": ("cmaes",), "qmc": ("scipy",)}
)
"""What Optuna imports for a sampler without depending on it."""


@dataclass(frozen=True)
class Method:
    """A sampler or pruner by name, with every option that has a value."""

    name: str
    options: Mapping[str, Any]


DEFAULT_SAMPLER = Method("tpe", MappingProxyType({}))


REDUCTION, RUNGS = 3, 3
"""Of the default pruner: one of so many trials goes on at a rung; how many rungs there are at most."""


def choose_default_pruner(epochs: int, sampler: str) -> Method:
    """The pruner of a study that names none: ASHA with rungs at a 27th, a ninth and a third of the epochs.

    After Li et al. 2020 (arXiv:1810.05934), which reduces by 4; by 3, as in Hyperband, a good trial that learns slowly
    is lost less often. The first rung is rounded up, so that no rung lies shortly before the last epoch, where there
    is nothing left to save: at 1 and 3 of 8 epochs, at 2, 6 and 18 of 30. What it brings, docs/performance.md shows.

    A grid has none: it is there to compare all of its points, at full length.
    """
    if sampler == "grid":
        return Method("none", MappingProxyType({}))
    first = math.ceil(epochs / REDUCTION**RUNGS)
    return Method("asha", MappingProxyType({"min_resource": first, "reduction_factor": REDUCTION}))


def method(
    raw: Mapping[str, Any],
    field: str,
    models: Mapping[str, type[Section]],
    default: Method,
    faults: list[str],
) -> Method | None:
    """The sampler or pruner of section `field`; `default` where the section names none and sets nothing."""
    name, options = raw.get("name", default.name), {key: value for key, value in raw.items() if key != "name"}
    if not isinstance(name, str) or name not in models:
        faults.append(f"{field}.name: {name!r} is {describe_unknown(str(name), models)}")
        return None
    if "name" not in raw:
        options = {**default.options, **options}
    model = read(models[name], options, field, faults)
    return None if model is None else Method(name, _given(model))


def stored_method(stored: Mapping[str, Any], models: Mapping[str, type[Section]], default: Method) -> Method:
    """A method as `to_json` wrote it, which always names one; else `default`."""
    name, options = stored.get("name", default.name), stored.get("options", {} if stored else default.options)
    return Method(name, _given(known(models[name], options)))


def sampler_faults(sampler: Method) -> Iterator[str]:
    """Combinations that Optuna would refuse once the study runs, and packages it would miss."""
    options = sampler.options
    if options.get("group") and not options.get("multivariate"):
        yield "sampler.group: needs multivariate = true: set that or drop group"
    exclusive = [key for key in ("lr_adapt", "use_separable_cma", "with_margin") if options.get(key)]
    if len(exclusive) > 1:
        yield f"sampler.{exclusive[1]}: cannot go with {exclusive[0]}: keep one of {', '.join(exclusive)}"
    missing = [package for package in PACKAGES.get(sampler.name, ()) if importlib.util.find_spec(package) is None]
    if missing:
        yield (
            f"sampler.name: {sampler.name} needs the package{'s' * (len(missing) > 1)} "
            f"{' and '.join(missing)}: pip install {' '.join(missing)}"
        )


def target_faults(target: float | None, metric: str) -> Iterator[str]:
    """A target that no trial, or every trial, would reach."""
    low, high = (0.0, 1.0) if metric == "val_accuracy" else (0.0, math.inf)
    if target is not None and not low < target <= high:
        right = "a fraction above 0, at most 1, such as 0.8" if high == 1 else "above 0, such as 0.5"
        yield f"budget.target: {target!r} is no {metric} to reach: {right}"


def _given(model: Section) -> Mapping[str, Any]:
    return MappingProxyType({key: value for key, value in model if value is not None})
