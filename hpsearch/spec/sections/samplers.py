"""`[sampler]`: a config for each of Optuna's samplers that a study can name.

Defaults are Optuna 5's where no comment says why not. Bounds are there to catch a typing error before it becomes a
worker that computes forever.
"""

import importlib.util
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from hpsearch.spec.dimension import Dimension
from hpsearch.spec.validation import MethodConfig, index_by_name, make_error

INT32 = 2**31 - 1
"""The largest integer of Postgres."""

Trials = Annotated[int, Field(ge=0, le=INT32)]


class SamplerConfig(MethodConfig):
    """How the hyperparameters of a trial are chosen."""


class TpeConfig(SamplerConfig):
    """Tree-structured Parzen estimator."""

    name: Literal["tpe"] = "tpe"
    n_startup_trials: Trials = Field(10, description="Random trials before the model.")
    n_ei_candidates: int = Field(24, ge=1, le=100_000, description="Candidates drawn for a suggestion.")
    multivariate: bool = Field(True, description="Model the hyperparameters together.")
    # Without groups the multivariate model leaves conditional hyperparameters to chance.
    group: bool | None = Field(
        None, description="Model conditional groups together; true where the space is conditional."
    )
    constant_liar: bool = Field(True, description="Keep away from what other workers are trying.")

    @model_validator(mode="after")
    def _require_multivariate(self) -> Self:
        if self.group and not self.multivariate:
            raise make_error(["sampler.group: needs multivariate = true: set that or drop group"])
        return self


class RandomConfig(SamplerConfig):
    """Independent random values."""

    name: Literal["random"] = "random"


class GridConfig(SamplerConfig):
    """Every combination of the space; see `search_space.list_grid`."""

    name: Literal["grid"] = "grid"


class QmcConfig(SamplerConfig):
    """A quasi-random sequence."""

    name: Literal["qmc"] = "qmc"
    qmc_type: Literal["sobol", "halton"] = Field("sobol", description="The sequence: sobol or halton.")
    scramble: bool = Field(False, description="Randomize the sequence.")


class CmaEsConfig(SamplerConfig):
    """Covariance matrix adaptation evolution strategy."""

    name: Literal["cmaes"] = "cmaes"
    n_startup_trials: Trials = Field(1, description="Random trials before the model.")
    popsize: int | None = Field(None, ge=2, le=100_000, description="Trials a generation; from the space by default.")
    consider_pruned_trials: bool = Field(False, description="Learn from pruned trials too.")
    use_separable_cma: bool = Field(False, description="A diagonal covariance.")
    with_margin: bool = Field(False, description="A lower bound on the spread of discrete hyperparameters.")
    lr_adapt: bool = Field(False, description="Adapt the rate of the update.")

    @model_validator(mode="after")
    def _exclude_variants(self) -> Self:
        chosen = [key for key in ("lr_adapt", "use_separable_cma", "with_margin") if getattr(self, key)]
        if len(chosen) > 1:
            raise make_error([f"sampler.{chosen[1]}: cannot go with {chosen[0]}: keep one of {', '.join(chosen)}"])
        return self


class GpConfig(SamplerConfig):
    """Gaussian process."""

    name: Literal["gp"] = "gp"
    n_startup_trials: int = Field(10, ge=1, le=INT32, description="Random trials before the model.")
    deterministic_objective: bool = Field(False, description="Take the metric for free of noise.")


AnySampler = TpeConfig | RandomConfig | GridConfig | QmcConfig | CmaEsConfig | GpConfig

SAMPLERS: Mapping[str, type[SamplerConfig]] = MappingProxyType(
    index_by_name(TpeConfig, RandomConfig, GridConfig, QmcConfig, CmaEsConfig, GpConfig)
)
PACKAGES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"gp": ("torch", "scipy"), "cmaes": ("cmaes",), "qmc": ("scipy",)}
)
"""What Optuna imports for a sampler without depending on it."""


def find_missing_packages(sampler: SamplerConfig) -> Iterator[str]:
    """Yield a fault where a package that the sampler needs is not installed."""
    missing = [package for package in PACKAGES.get(sampler.name, ()) if importlib.util.find_spec(package) is None]
    if missing:
        yield (
            f"sampler.name: {sampler.name} needs the package{'s' * (len(missing) > 1)} "
            f"{' and '.join(missing)}: pip install {' '.join(missing)}"
        )


def decide_groups(sampler: SamplerConfig, space: Mapping[str, Dimension]) -> SamplerConfig:
    """Return the sampler; a TPE that leaves `group` open has it where the space is conditional."""
    if not isinstance(sampler, TpeConfig) or sampler.group is not None:
        return sampler
    conditional = any(dimension.when for dimension in space.values())
    return sampler.model_copy(update={"group": conditional and sampler.multivariate})
