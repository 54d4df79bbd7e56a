"""`[pruner]`: a config for each of Optuna's pruners that a study can name, and the default one.

Defaults are Optuna 5's where no comment says why not.
"""

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Literal

from pydantic import Field

from hpsearch.spec.sections.samplers import INT32
from hpsearch.spec.validation import MethodConfig, index_by_name

Count = Annotated[int, Field(ge=1, le=INT32)]
Trials = Annotated[int, Field(ge=0, le=INT32)]
Steps = Annotated[int, Field(ge=0, le=INT32)]
Real = Annotated[float, Field(allow_inf_nan=False)]
Factor = Annotated[int, Field(ge=2, le=1_000)]

REDUCTION, RUNGS = 3, 3
"""Of the default pruner: one of so many trials goes on at a rung; how many rungs there are at most."""


class PrunerConfig(MethodConfig):
    """Which trials end early."""

    def compares_after(self, epoch: int) -> bool:
        """Return whether Optuna's pruner compares trials after `epoch`, counted from 1; at others none is pruned."""
        raise NotImplementedError


class IntervalConfig(PrunerConfig):
    """A pruner that compares trials at the first epoch of each interval."""

    n_startup_trials: Trials = Field(5, description="Complete trials before any is pruned.")
    n_warmup_steps: Steps = Field(0, description="No trial is pruned before this epoch.")
    interval_steps: Count = Field(1, description="Epochs between two looks.")
    n_min_trials: Count = Field(1, description="Complete trials that must have reached the epoch.")

    def compares_after(self, epoch: int) -> bool:
        """Return whether an interval begins at `epoch`."""
        since = epoch - self.n_warmup_steps
        # Optuna looks at the first epoch that is reported in each interval, and counts intervals from epoch 0.
        return since >= 0 and (since % self.interval_steps == 0 or epoch == 1)


class MedianConfig(IntervalConfig):
    """Prune what is worse than the median."""

    name: Literal["median"] = "median"


class PercentileConfig(IntervalConfig):
    """Prune what is worse than a percentile."""

    name: Literal["percentile"] = "percentile"
    percentile: Real = Field(ge=0, le=100, description="Percent of the trials to keep at each look, such as 60.0.")


class AshaConfig(PrunerConfig):
    """Asynchronous successive halving."""

    name: Literal["asha"] = "asha"
    # Optuna guesses "auto" from the trials a process has seen, which differs by worker.
    min_resource: Count = Field(1, description="Epochs before the first rung.")
    reduction_factor: Factor = Field(4, description="One of so many goes on at each rung.")
    min_early_stopping_rate: int = Field(0, ge=0, le=30, description="Rungs to skip.")
    bootstrap_count: Trials = Field(0, description="Trials a rung must have seen to let one pass.")

    def compares_after(self, epoch: int) -> bool:
        """Return whether the epoch is a rung."""
        first = self.min_resource * self.reduction_factor**self.min_early_stopping_rate
        return _is_rung(epoch, first, self.reduction_factor)


class HyperbandConfig(PrunerConfig):
    """Successive halving in several brackets."""

    name: Literal["hyperband"] = "hyperband"
    min_resource: Count = Field(1, description="Epochs before the first rung of the first bracket.")
    reduction_factor: Factor = Field(3, description="One of so many goes on at each rung.")
    bootstrap_count: Trials = Field(0, description="Trials a rung must have seen to let one pass.")

    def compares_after(self, epoch: int) -> bool:
        """Return whether the epoch is a rung of the bracket with the most rungs."""
        return _is_rung(epoch, self.min_resource, self.reduction_factor)


class NoPrunerConfig(PrunerConfig):
    """Prune nothing."""

    name: Literal["none"] = "none"

    def compares_after(self, epoch: int) -> bool:
        """Return False."""
        return False


AnyPruner = MedianConfig | PercentileConfig | AshaConfig | HyperbandConfig | NoPrunerConfig

PRUNERS: Mapping[str, type[PrunerConfig]] = MappingProxyType(
    index_by_name(MedianConfig, PercentileConfig, AshaConfig, HyperbandConfig, NoPrunerConfig)
)


def choose_default_pruner(epochs: int, sampler: str) -> PrunerConfig:
    """Return the pruner of a study that names none: ASHA with rungs at a 27th, a ninth and a third of the epochs.

    After Li et al. 2020 (arXiv:1810.05934), which reduces by 4; by 3, as in Hyperband, a good trial that learns slowly
    is lost less often. The first rung is rounded up, so that no rung lies shortly before the last epoch, where there
    is nothing left to save: at 1 and 3 of 8 epochs, at 2, 6 and 18 of 30. docs/performance.md has measurements.

    A grid has none: it is there to compare all of its points, at full length.
    """
    if sampler == "grid":
        return NoPrunerConfig()
    return AshaConfig(min_resource=math.ceil(epochs / REDUCTION**RUNGS), reduction_factor=REDUCTION)


def _is_rung(epoch: int, rung: int, factor: int) -> bool:
    while rung < epoch:
        rung *= factor
    return rung == epoch
