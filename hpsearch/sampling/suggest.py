"""The search: a study's spec as Optuna's distributions, sampler and pruner.

A sampler and a pruner are made anew for every question, from the spec, the trial's number and the history, so that any
worker gives the answer any other would.
"""

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import optuna
from optuna import pruners, samplers
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from hpsearch.sampling.readonly_storage import ReadOnlyStorage
from hpsearch.spec.dimension import Choices, Dimension
from hpsearch.spec.study_spec import StudySpec
from hpsearch.storage.optuna_tables import TrialWrites

optuna.logging.set_verbosity(optuna.logging.ERROR)
warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)


def make_distribution(dimension: Dimension) -> BaseDistribution:
    """Optuna's form of one searched hyperparameter."""
    if isinstance(dimension, Choices):
        return CategoricalDistribution(dimension.values)
    if dimension.integer:
        step = int(dimension.step) if dimension.step else 1
        return IntDistribution(int(dimension.low), int(dimension.high), log=dimension.log, step=step)
    return FloatDistribution(dimension.low, dimension.high, log=dimension.log, step=dimension.step)


def derive_training_seed(study_seed: int, number: int, evaluation: int = 0) -> int:
    """The seed of trial `number`'s training, 32 bits, the same on whichever worker runs it.

    `evaluation` as in the spec: each evaluation of a study has seeds of its own.
    """
    return int(np.random.SeedSequence([study_seed, number, evaluation]).generate_state(1)[0])


def suggest(
    spec: StudySpec, history: ReadOnlyStorage, trial_id: int, number: int
) -> tuple[dict[str, Any], TrialWrites]:
    """Sample the parameters of a running trial; those it has already stay as they are.

    `history` was refreshed after the trial was made. Comes back with what is to be written under the attempt's fence.
    """
    # Without the pruner: under Hyperband, Optuna would show the sampler the trials of one bracket only, and which
    # bracket that is depends on the process.
    sampler = make_sampler(spec, number)
    history.lend_spaces(sampler)
    study = optuna.Study(str(history.study_id), history, sampler, pruners.NopPruner())
    history.take_writes()  # of another trial, whose sampler or pruner failed half-way
    history.number_sequence_by(number)
    asked = optuna.trial.Trial(study, trial_id)
    chosen: dict[str, Any] = {}
    for name in spec.searched:
        if spec.is_active(name, chosen):
            chosen[name] = asked._suggest(name, make_distribution(spec.space[name]))
    return chosen, history.take_writes()


def decide(
    spec: StudySpec, history: ReadOnlyStorage, trial_id: int, epoch: int, value: float
) -> tuple[bool, Mapping[str, Any]]:
    """Whether the pruner ends the trial after `epoch`, and the attributes it wants kept with it.

    `history` was refreshed, and does not have that epoch yet; where it has, from an earlier attempt, the first value
    counts.
    """
    study = optuna.Study(str(history.study_id), history, samplers.RandomSampler(), make_pruner(spec))
    trial = history.get_trial(trial_id)
    trial.intermediate_values = {epoch: value, **trial.intermediate_values}
    verdict = study.pruner.prune(study, trial)
    return bool(verdict), history.take_writes().attributes


def make_sampler(spec: StudySpec, number: int) -> samplers.BaseSampler:
    """Optuna's sampler for trial `number`.

    A seed of its own for every trial, lest two workers draw the same point; the quasi-random sequence alone is one for
    the whole study.
    """
    options = dict(spec.sampler.options)
    seed = derive_training_seed(spec.study.seed + 1, number)
    if spec.sampler.name == "tpe":
        return samplers.TPESampler(**options, seed=seed)
    if spec.sampler.name == "qmc":
        return samplers.QMCSampler(
            **options,
            seed=spec.study.seed,
            independent_sampler=samplers.RandomSampler(seed=seed),
            warn_independent_sampling=False,
        )
    if spec.sampler.name == "cmaes":
        return samplers.CmaEsSampler(**options, seed=seed, warn_independent_sampling=False)
    if spec.sampler.name == "gp":
        return samplers.GPSampler(**options, seed=seed, warn_independent_sampling=False)
    # A grid is enumerated when the study starts: what is sampled is only what an enqueued point left open.
    return samplers.RandomSampler(seed=seed)


def make_pruner(spec: StudySpec) -> pruners.BasePruner:
    """Optuna's pruner; its resource is the epoch, counted from 1 to the study's epochs."""
    factories: Mapping[str, Callable[..., pruners.BasePruner]] = {
        "median": pruners.MedianPruner,
        "percentile": pruners.PercentilePruner,
        "asha": pruners.SuccessiveHalvingPruner,
        "hyperband": lambda **options: pruners.HyperbandPruner(max_resource=spec.budget.epochs, **options),
        "none": pruners.NopPruner,
    }
    return factories[spec.pruner.name](**spec.pruner.options)
