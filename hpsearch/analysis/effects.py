"""What each searched hyperparameter does: its levels side by side, and the differences between them."""

import math
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

from hpsearch import devices
from hpsearch.analysis import bins, statistics
from hpsearch.analysis.statistics import Difference, Estimate
from hpsearch.formatting import ACCURACY, format_params, format_value, join_words
from hpsearch.metrics import METRICS, ClassCounts, Direction, compute_shares
from hpsearch.outcomes import TrialOutcome, TrialState
from hpsearch.spec import search_space
from hpsearch.spec.rows import Value
from hpsearch.spec.study_spec import StudySpec
from hpsearch.storage.results import Trial

Ending = TrialState | TrialOutcome
"""How a trial ended, as far as the analysis tells endings apart."""
INFEASIBLE = tuple(outcome for outcome in TrialOutcome if outcome.is_infeasible)
GUESSES = tuple(outcome for outcome in TrialOutcome if outcome.counts_as_guess)
ENDINGS: tuple[Ending, ...] = (TrialState.COMPLETE, TrialState.PRUNED, *INFEASIBLE, TrialState.FAILED)

MAX_CONFIGURATIONS = 24
"""A grid of more points is compared by hyperparameter only."""
MAX_MILESTONES = 4

Quantity = Literal["value", "seconds", "gap"]
"""A figure of `TrialFacts`, and its estimate in `Level`."""


@dataclass(frozen=True)
class Reach:
    """How soon trials reached a validation accuracy: `trials` of the level did, complete or not.

    `epoch` and `seconds` (of training and validating, summed over the epochs so far) are medians of those that did,
    None where none did.
    """

    accuracy: float
    trials: int
    epoch: float | None
    seconds: float | None


@dataclass(frozen=True)
class Level:
    """One value of a searched hyperparameter, a bin of its range, or a whole configuration.

    `trials` are the numbers of those that began, and `endings` counts the ended ones for each of `ENDINGS`. `points`
    are the values that are compared, by the trial's number (see `find_value`), and `value` is their mean. `seconds` is
    an epoch's: the median over each trial's epochs but the first, which compiles the model, then the mean over all
    trials. `gap` is the generalization gap, training accuracy less validation accuracy at the last epoch of complete
    trials; training accuracy is measured with dropout on, while the weights change.
    """

    label: str
    trials: tuple[int, ...]
    points: Mapping[int, float]
    endings: Mapping[Ending, int]
    value: Estimate | None
    seconds: Estimate | None
    gap: Estimate | None
    reached: tuple[Reach, ...]


@dataclass(frozen=True)
class Effect:
    """A hyperparameter's levels, in the order of the file or ascending, and every pair of them.

    Only trials in which it was active: `when` says when that is (None: always). The differences of `values` are in the
    metric's unit, of `seconds` in seconds per epoch and of `gaps` in fractions of 1; in these two less is better.
    """

    name: str
    when: str | None
    levels: tuple[Level, ...]
    values: tuple[Difference, ...]
    seconds: tuple[Difference, ...]
    gaps: tuple[Difference, ...]

    def find_level(self, label: str) -> Level:
        """Return the level of that label."""
        return next(level for level in self.levels if level.label == label)


@dataclass(frozen=True)
class TrialFacts:
    """What is compared of one trial; None where it has none. `reached`: (epoch, seconds) by accuracy.

    `value` is what `find_value` returns. `device` is the kind of the last one it trained on: which of a host's GPUs it
    was makes no difference.
    """

    number: int
    ending: Ending | None
    params: Mapping[str, Value]
    value: float | None
    seconds: float | None
    gap: float | None
    reached: Mapping[float, tuple[int, float]]
    device: str | None

    @property
    def complete(self) -> bool:
        """Whether the trial is complete and has a value."""
        return self.ending is TrialState.COMPLETE and self.value is not None


def choose_milestones(trials: Iterable[Trial], counts: ClassCounts) -> tuple[float, ...]:
    """Return round validation accuracies up to the best one reached, ascending.

    They are the highest tens of points above the share of the commonest class, at most `MAX_MILESTONES`. Where the best
    is past the middle of a ten, that five too.
    """
    best = max(
        (epoch.val_accuracy for trial in trials for epoch in trial.epochs if epoch.finite and epoch.validated),
        default=0.0,
    )
    chance = max(compute_shares(counts), default=0.0)
    fives = math.floor(best * 20 + 1e-9)
    steps = sorted({fives, *range(0, fives + 1, 2)})
    return tuple(step / 20 for step in steps if step / 20 > chance + 1e-9)[-MAX_MILESTONES:]


def collect_facts(spec: StudySpec, trials: Iterable[Trial], accuracies: Sequence[float]) -> list[TrialFacts]:
    """Return what is compared of each trial that has begun here; `accuracies` are the milestones, ascending."""
    begun = (trial for trial in trials if trial.state != TrialState.WAITING and not trial.is_foreign)
    return [_collect(spec, trial, accuracies) for trial in begun]


def find_value(spec: StudySpec, trial: Trial) -> float | None:
    """Return the value with which a trial takes part in a comparison; None where it takes none.

    That of a complete trial is its best epoch's. One that ended at chance has its best epoch's too, a loss at most that
    of a guess, which one that diverged has: else a few losses without bounds would decide a level's mean.
    """
    value = trial.value if trial.value is not None and math.isfinite(trial.value) else None
    if trial.outcome is None or not trial.outcome.counts_as_guess:
        return value if trial.state == TrialState.COMPLETE else None
    guess = METRICS[spec.study.metric].guess(spec.class_counts)
    if value is None or trial.outcome is TrialOutcome.DIVERGED:
        return guess
    return min(value, guess) if spec.direction is Direction.MINIMIZE else value


def _collect(spec: StudySpec, trial: Trial, accuracies: Sequence[float]) -> TrialFacts:
    value, epochs = find_value(spec, trial), trial.epochs
    complete = trial.state == TrialState.COMPLETE and value is not None
    gap = epochs[-1].train_accuracy - epochs[-1].val_accuracy if complete and epochs else math.nan
    later = [epoch.seconds for epoch in epochs[1:]]
    return TrialFacts(
        trial.number,
        find_ending(trial),
        trial.params,
        value,
        median(later) if later else None,
        gap if math.isfinite(gap) else None,  # a model of the user's own may report no training accuracy
        _find_reached(trial, accuracies),
        _name_device(trial),
    )


def _name_device(trial: Trial) -> str | None:
    if not trial.history:
        return None
    last = trial.history[-1]
    return devices.parse_gpu_name(last.device) or f"{last.device} of {last.host}"


def find_ending(trial: Trial) -> Ending | None:
    """Return which of `ENDINGS` a trial came to; None while it has not ended."""
    state = TrialState(trial.state)
    if state in {TrialState.RUNNING, TrialState.WAITING}:
        return None
    return TrialOutcome(trial.outcome) if trial.outcome in INFEASIBLE else state


def _find_reached(trial: Trial, accuracies: Sequence[float]) -> dict[float, tuple[int, float]]:
    """Return the first epoch at which each accuracy was reached, and the seconds until its end."""
    reached: dict[float, tuple[int, float]] = {}
    missing, seconds = list(accuracies), 0.0
    for epoch in trial.epochs:
        seconds += epoch.seconds
        while missing and epoch.val_accuracy >= missing[0]:
            reached[missing.pop(0)] = epoch.epoch, seconds
    return reached


def measure_effects(spec: StudySpec, facts: Sequence[TrialFacts], accuracies: Sequence[float]) -> tuple[Effect, ...]:
    """Return the effect of each searched hyperparameter, parents before children.

    A list of configurations has none: its hyperparameters vary together.
    """
    if spec.listed:
        return ()
    return tuple(_measure_effect(spec, name, facts, accuracies) for name in spec.searched)


def _measure_effect(spec: StudySpec, name: str, facts: Sequence[TrialFacts], accuracies: Sequence[float]) -> Effect:
    dimension = spec.space[name]
    active = [trial for trial in facts if name in trial.params]
    levels = bins.make_bins(dimension, [trial.params[name] for trial in active if trial.ending])
    groups = {level.label: [trial for trial in active if level.contains(trial.params[name])] for level in levels}
    when = " and ".join(
        f"{parent} {join_words([format_value(value) for value in values], 'or')}"
        for parent, values in (dimension.when or {}).items()
    )
    return _compare_groups(spec, name, when or None, groups, accuracies)


def compare_configurations(spec: StudySpec, facts: Sequence[TrialFacts], accuracies: Sequence[float]) -> Effect | None:
    """Return the points of a small grid side by side, or of a list.

    None where another effect says the same, or there are too many. A study that searches nothing has one configuration:
    the base model.
    """
    points = _list_configurations(spec)
    if not points or len(points) > MAX_CONFIGURATIONS:
        return None
    labels = [format_params(point) for point in points]
    if len(set(labels)) < len(labels):
        labels = [", ".join(f"{name} {value}" for name, value in point.items()) for point in points]
    groups = {
        label: [trial for trial in facts if trial.params == point] for label, point in zip(labels, points, strict=True)
    }
    return _compare_groups(spec, "configuration", None, groups, accuracies)


def _list_configurations(spec: StudySpec) -> list[dict[str, Value]]:
    if spec.listed:
        points: list[dict[str, Value]] = []
        for baseline in spec.baselines:
            points += [dict(baseline)] if dict(baseline) not in points else []
        return points
    if spec.space and (spec.sampler.name != "grid" or len(spec.space) == 1):
        return []
    return search_space.list_grid(spec.space)


def _compare_groups(
    spec: StudySpec,
    name: str,
    when: str | None,
    groups: Mapping[str, Sequence[TrialFacts]],
    accuracies: Sequence[float],
) -> Effect:
    """Return the effect whose levels are these groups of trials, by label."""
    grid = spec.sampler.name == "grid"
    repeated = not grid or spec.repeats > 1
    value, accuracy = (METRICS[name].compute_resolution(spec.class_counts) for name in (spec.study.metric, ACCURACY))

    def compare(quantity: Quantity, direction: Direction, resolution: float) -> tuple[Difference, ...]:
        cells = {label: _group_by_setting(trials, name if grid else None, quantity) for label, trials in groups.items()}
        return statistics.compare_levels(cells, direction, repeated, resolution)

    return Effect(
        name,
        when,
        tuple(_summarize_level(label, trials, accuracies) for label, trials in groups.items()),
        compare("value", spec.direction, value),
        compare("seconds", Direction.MINIMIZE, 0.0),
        compare("gap", Direction.MINIMIZE, accuracy),
    )


def _group_by_setting(
    trials: Sequence[TrialFacts], name: str | None, quantity: Quantity
) -> dict[Hashable, list[float]]:
    """Return the trials' figures by setting: the other hyperparameters' values in a grid, else one setting (None)."""
    cells: dict[Hashable, list[float]] = defaultdict(list)
    for trial in trials:
        figure: float | None = getattr(trial, quantity)
        if figure is not None and math.isfinite(figure):
            varied = name is not None and name in trial.params
            setting = frozenset((key, value) for key, value in trial.params.items() if key != name) if varied else None
            cells[setting].append(figure)
    return cells


def _summarize_level(label: str, trials: Sequence[TrialFacts], accuracies: Sequence[float]) -> Level:
    endings = [trial.ending for trial in trials]
    return Level(
        label,
        tuple(trial.number for trial in trials),
        {trial.number: trial.value for trial in trials if trial.value is not None},
        {ending: endings.count(ending) for ending in ENDINGS},
        statistics.estimate_mean(trial.value for trial in trials),
        statistics.estimate_mean(trial.seconds for trial in trials),
        statistics.estimate_mean(trial.gap for trial in trials),
        tuple(_summarize_reach(accuracy, trials) for accuracy in accuracies),
    )


def _summarize_reach(accuracy: float, trials: Sequence[TrialFacts]) -> Reach:
    reached = [trial.reached[accuracy] for trial in trials if accuracy in trial.reached]
    if not reached:
        return Reach(accuracy, 0, None, None)
    return Reach(
        accuracy,
        len(reached),
        median(epoch for epoch, _ in reached),
        median(seconds for _, seconds in reached),
    )
