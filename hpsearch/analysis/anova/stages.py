"""The epochs at which the trials of a study are compared, and the value of each trial there."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from hpsearch.metrics import METRICS, find_best_epoch
from hpsearch.outcomes import TrialOutcome, TrialState
from hpsearch.spec.study_spec import StudySpec
from hpsearch.storage.results import Trial

COMPARED = frozenset({TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING})
STAGE_SHARE = 0.95
"""The fraction of the trials that must have reached an epoch to be compared there."""
LEFT = 0.75
"""The largest fraction of a stage's trials that reach the next one, unless that is the last epoch."""


@dataclass(frozen=True)
class Stage:
    """An epoch, the trials that reached it, and the best value of each until then.

    The one that `choose_stage` chooses is the latest that all trials reached, but for a few. Without a pruner that is
    the last epoch. With one it is the first rung: the trials that got further are few and much alike, because the
    pruner selected them. `values` are larger for better, whatever the metric's direction; a trial that diverged, then
    or later, counts as the worst (`-inf`), one that ended at chance has what its epochs reached, one that ran out of
    memory or failed does not count.
    """

    epoch: int
    trials: tuple[Trial, ...]
    values: tuple[float, ...]


def choose_stage(spec: StudySpec, trials: Sequence[Trial]) -> Stage:
    """Return the epoch at which the trials are compared; one completed by early stopping has reached every epoch.

    Trials that still run count where they have come to it: the pruner let them, so that without them the others would
    look worse than their configurations are.
    """
    lengths = sorted(_list_ended(spec, trials), reverse=True)
    epoch = lengths[math.ceil(STAGE_SHARE * len(lengths)) - 1] if lengths else spec.budget.epochs
    return _make_stage(spec, trials, epoch)


def list_later_stages(spec: StudySpec, trials: Sequence[Trial], first: Stage) -> tuple[Stage, ...]:
    """Return the stages after the first one, up to the last epoch: where the pruner has ended many trials.

    Those are the rungs of successive halving, whatever their brackets, and some epochs of a pruner that ends trials at
    any: each the last one that all trials reached of which only `LEFT` get further. None where the first is the last.
    """
    last = spec.budget.epochs
    lengths = _list_ended(spec, trials)
    counts = [sum(length >= epoch for length in lengths) for epoch in range(last + 1)]
    epochs = [first.epoch]
    for epoch in range(first.epoch + 1, last):
        if counts[epoch + 1] < counts[epoch] and counts[epoch + 1] <= LEFT * counts[epochs[-1]]:
            epochs.append(epoch)
    later = [*epochs[1:], last] if first.epoch < last else []
    return tuple(_make_stage(spec, trials, epoch) for epoch in later)


def _make_stage(spec: StudySpec, trials: Sequence[Trial], epoch: int) -> Stage:
    compared = [trial for trial in trials if _count_reached(trial, spec) >= epoch]
    return Stage(epoch, tuple(compared), tuple(_find_value(trial, epoch, spec) for trial in compared))


def _list_ended(spec: StudySpec, trials: Sequence[Trial]) -> list[int]:
    """Return the last epoch at which each ended trial that counts has a value."""
    reached = (_count_reached(trial, spec) for trial in trials if trial.state is not TrialState.RUNNING)
    return [epoch for epoch in reached if epoch]


def _count_reached(trial: Trial, spec: StudySpec) -> int:
    """Return the last epoch at which a trial has a value; 0 for one that does not count."""
    if trial.outcome is TrialOutcome.OUT_OF_MEMORY or trial.state not in COMPARED or trial.is_foreign:
        return 0
    if trial.state == TrialState.COMPLETE or (trial.outcome and trial.outcome.counts_as_guess):
        return spec.budget.epochs
    return len(trial.epochs)


def _find_value(trial: Trial, epoch: int, spec: StudySpec) -> float:
    """Return the best finite value until `epoch`, larger for better; one that diverged has none at any epoch."""
    if trial.outcome is TrialOutcome.DIVERGED:
        return -math.inf
    sign = spec.direction.sign
    if trial.state == TrialState.COMPLETE and epoch >= spec.budget.epochs and trial.value is not None:
        return sign * trial.value
    epochs = trial.epochs[:epoch]
    best = find_best_epoch(list(epochs), spec.study.metric)
    return -math.inf if best is None or epochs[-1].diverged else sign * best.value(spec.study.metric)


def find_floor(spec: StudySpec) -> float:
    """Return the value at or below which a trial is no better than one that guesses, larger being better."""
    if not spec.class_counts:
        return -math.inf
    return spec.direction.sign * METRICS[spec.study.metric].bound(spec.class_counts)


def find_limits(spec: StudySpec) -> tuple[float, float]:
    """Return the smallest and the largest value that there is, larger being better."""
    ends = (0.0, spec.direction.sign * METRICS[spec.study.metric].end)
    return min(ends), max(ends)
