"""A study's spec as Optuna's distributions, sampler and pruner, and what these suggest and decide.

A sampler and a pruner are made anew for every call, from the spec, the trial's number and the stored trials, so that
every worker comes to the same result.
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
    """Return Optuna's distribution of a searched hyperparameter."""
    if isinstance(dimension, Choices):
        return CategoricalDistribution(dimension.values)
    if dimension.integer:
        step = int(dimension.step) if dimension.step else 1
        return IntDistribution(int(dimension.low), int(dimension.high), log=dimension.log, step=step)
    return FloatDistribution(dimension.low, dimension.high, log=dimension.log, step=dimension.step)


def derive_training_seed(study_seed: int, number: int, evaluation: int = 0, ablation: int = 0) -> int:
    """Return the 32-bit seed of trial `number`'s training, the same on whichever worker runs it.

    `evaluation` and `ablation` as in the spec: each of a study has seeds of its own.
    """
    entropy = [study_seed, number, evaluation, *([ablation] if ablation else [])]
    return int(np.random.SeedSequence(entropy).generate_state(1)[0])


def choose_training_seed(spec: StudySpec, number: int) -> int:
    """Return the seed of trial `number`'s training; all configurations of an ablation have the same ones."""
    place = spec.count_earlier(number) if spec.ablation else number
    return derive_training_seed(spec.study.seed, place, spec.evaluation, spec.ablation)


def suggest(
    spec: StudySpec, storage: ReadOnlyStorage, trial_id: int, number: int
) -> tuple[dict[str, Any], TrialWrites]:
    """Sample the parameters of a running trial; those it has already stay as they are.

    `storage` was refreshed after the trial was created. Returns the parameters, and what is to be written behind the
    attempt's fence.
    """
    # Without the pruner: under Hyperband, Optuna would show the sampler the trials of one bracket only, and which
    # bracket that is depends on the process.
    sampler = make_sampler(spec, number)
    storage.share_spaces(sampler)
    study = optuna.Study(str(storage.study_id), storage, sampler, pruners.NopPruner())
    storage.take_writes()  # of another trial, whose sampler or pruner failed half-way
    storage.number_sequence_by(number)
    trial = optuna.trial.Trial(study, trial_id)
    chosen: dict[str, Any] = {}
    for name in spec.searched:
        if spec.is_active(name, chosen):
            chosen[name] = trial._suggest(name, make_distribution(spec.space[name]))
    return chosen, storage.take_writes()


def decide(
    spec: StudySpec, storage: ReadOnlyStorage, trial_id: int, epoch: int, value: float
) -> tuple[bool, Mapping[str, Any]]:
    """Return whether the pruner ends the trial after `epoch`, and the attributes that it wants stored with it.

    `storage` was refreshed, and does not have that epoch yet; where it has, from an earlier attempt, the first value
    counts. `value` is the study's metric of the epoch.
    """
    study = optuna.Study(str(storage.study_id), storage, samplers.RandomSampler(), make_pruner(spec))
    trial = storage.get_trial(trial_id)
    trial.intermediate_values = {epoch: value, **trial.intermediate_values}
    verdict = study.pruner.prune(study, trial)
    return bool(verdict), storage.take_writes().attributes


def make_sampler(spec: StudySpec, number: int) -> samplers.BaseSampler:
    """Return Optuna's sampler for trial `number`.

    Every trial has a seed of its own, lest two workers draw the same point; only the quasi-random sequence is one for
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
    """Return Optuna's pruner; its resource is the epoch, counted from 1 to the study's epochs."""
    factories: Mapping[str, Callable[..., pruners.BasePruner]] = {
        "median": pruners.MedianPruner,
        "percentile": pruners.PercentilePruner,
        "asha": pruners.SuccessiveHalvingPruner,
        "hyperband": lambda **options: pruners.HyperbandPruner(max_resource=spec.budget.epochs, **options),
        "none": pruners.NopPruner,
    }
    return factories[spec.pruner.name](**spec.pruner.options)
