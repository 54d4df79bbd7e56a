"""What each searched hyperparameter does: its levels side by side, and the differences between them."""

import math
import re
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from hpsearch.analysis import bins, statistics
from hpsearch.analysis.statistics import Difference, Estimate
from hpsearch.formatting import format_params, format_value, join_words
from hpsearch.outcomes import TrialOutcome
from hpsearch.spec import search_space
from hpsearch.spec.hyperparameters import Value
from hpsearch.spec.study_spec import StudySpec
from hpsearch.storage.results import Trial

ENDINGS = ("complete", "pruned", "diverged", "out of memory", "failed")
INFEASIBLE: Mapping[str, str] = {outcome: outcome.label for outcome in TrialOutcome if outcome.is_infeasible}

MOST_CONFIGURATIONS = 24
"""A grid of more points is told by hyperparameter only."""

MILESTONES = 4


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

    `trials` are the numbers of those that began, and `endings` counts the ended ones for each of `ENDINGS`. `value` is
    that of the best epoch, over complete trials. `seconds` is an epoch's: the median over each trial's epochs but the
    first, which compiles the model, then the mean over all trials. `gap` is training accuracy less validation accuracy
    at the last epoch of complete trials; training accuracy is measured with dropout on, while the weights change.
    """

    label: str
    trials: tuple[int, ...]
    endings: Mapping[str, int]
    value: Estimate | None
    seconds: Estimate | None
    gap: Estimate | None
    reached: tuple[Reach, ...]


@dataclass(frozen=True)
class Effect:
    """A hyperparameter's levels, in the order of the file or ascending, and every pair of them.

    Only trials in which it was active: `when` says when that is (None: always). The differences of `values` are in the
    metric's unit, of `seconds` in seconds an epoch and of `gaps` in fractions of 1; in these two less is better.
    """

    name: str
    when: str | None
    levels: tuple[Level, ...]
    values: tuple[Difference, ...]
    seconds: tuple[Difference, ...]
    gaps: tuple[Difference, ...]

    def level(self, label: str) -> Level:
        """The level of that label."""
        return next(level for level in self.levels if level.label == label)


@dataclass(frozen=True)
class TrialFacts:
    """What is compared of one trial; None where it has none. `reached`: (epoch, seconds) by accuracy.

    `device` is the kind of the last one it trained on: which of a host's GPUs it was makes no difference.
    """

    number: int
    ended: str | None
    params: Mapping[str, Value]
    value: float | None
    seconds: float | None
    gap: float | None
    reached: Mapping[float, tuple[int, float]]
    device: str | None


def choose_milestones(trials: Iterable[Trial], classes: int) -> tuple[float, ...]:
    """Round validation accuracies up to the best one reached: the highest tens of points above chance, ascending.

    Where the best is past the middle of a ten, that five too.
    """
    best = max(
        (epoch.val_accuracy for trial in trials for epoch in trial.epochs if epoch.finite and epoch.validated),
        default=0.0,
    )
    fives = math.floor(best * 20 + 1e-9)
    steps = sorted({fives, *range(0, fives + 1, 2)})
    return tuple(step / 20 for step in steps if step / 20 > 1 / classes + 1e-9)[-MILESTONES:]


def collect_facts(trials: Iterable[Trial], accuracies: Sequence[float]) -> list[TrialFacts]:
    """The trials that have begun."""
    return [_facts(trial, accuracies) for trial in trials if trial.state != "waiting"]


def _facts(trial: Trial, accuracies: Sequence[float]) -> TrialFacts:
    complete = trial.state == "complete" and trial.value is not None and math.isfinite(trial.value)
    epochs = trial.epochs
    gap = epochs[-1].train_accuracy - epochs[-1].val_accuracy if complete and epochs else None
    later = [epoch.seconds for epoch in epochs[1:]]
    return TrialFacts(
        trial.number,
        name_ending(trial),
        trial.params,
        trial.value if complete else None,
        median(later) if later else None,
        gap,
        _reached(trial, accuracies),
        _device(trial),
    )


def _device(trial: Trial) -> str | None:
    if not trial.history:
        return None
    last = trial.history[-1]
    gpu = re.fullmatch(r"GPU \d+ \((.*)\)", last.device)
    return gpu[1] if gpu else f"{last.device} of {last.host}"


def name_ending(trial: Trial) -> str | None:
    """Which of `ENDINGS`; None while it has not ended."""
    if trial.state in {"running", "waiting"}:
        return None
    return INFEASIBLE.get(trial.outcome or "", trial.state)


def _reached(trial: Trial, accuracies: Sequence[float]) -> dict[float, tuple[int, float]]:
    reached: dict[float, tuple[int, float]] = {}
    missing, seconds = list(accuracies), 0.0
    for epoch in trial.epochs:
        seconds += epoch.seconds
        while missing and epoch.val_accuracy >= missing[0]:
            reached[missing.pop(0)] = epoch.epoch, seconds
    return reached


def measure_effects(spec: StudySpec, found: Sequence[TrialFacts], accuracies: Sequence[float]) -> tuple[Effect, ...]:
    """Each searched hyperparameter, parents before children; none of a list of configurations, which share partners."""
    if spec.listed:
        return ()
    return tuple(_effect(spec, name, found, accuracies) for name in spec.searched)


def compare_configurations(spec: StudySpec, found: Sequence[TrialFacts], accuracies: Sequence[float]) -> Effect | None:
    """The points of a small grid side by side, or of a list.

    None where another effect says the same, or there are too many. A study that searches nothing has one configuration:
    the base model.
    """
    points = _points(spec)
    if not points or len(points) > MOST_CONFIGURATIONS:
        return None
    labels = [format_params(point) for point in points]
    if len(set(labels)) < len(labels):
        labels = [", ".join(f"{name} {value}" for name, value in point.items()) for point in points]
    groups = {
        label: [each for each in found if each.params == point] for label, point in zip(labels, points, strict=True)
    }
    return _compared(spec, "configuration", None, groups, accuracies)


def _points(spec: StudySpec) -> list[dict[str, Value]]:
    if spec.listed:
        points: list[dict[str, Value]] = []
        for baseline in spec.baselines:
            points += [dict(baseline)] if dict(baseline) not in points else []
        return points
    if spec.space and (spec.sampler.name != "grid" or len(spec.space) == 1):
        return []
    return search_space.list_grid(spec.space)


def _effect(spec: StudySpec, name: str, found: Sequence[TrialFacts], accuracies: Sequence[float]) -> Effect:
    dimension = spec.space[name]
    active = [each for each in found if name in each.params]
    each_bin = bins.make_bins(dimension, [each.params[name] for each in active if each.ended])
    groups = {one.label: [each for each in active if one.holds(each.params[name])] for one in each_bin}
    when = " and ".join(
        f"{parent} {join_words([format_value(value) for value in values], 'or')}"
        for parent, values in (dimension.when or {}).items()
    )
    return _compared(spec, name, when or None, groups, accuracies)


def _compared(
    spec: StudySpec,
    name: str,
    when: str | None,
    groups: Mapping[str, Sequence[TrialFacts]],
    accuracies: Sequence[float],
) -> Effect:
    # An accuracy is a multiple of one image.
    image = 1 / spec.data.validation
    resolution = image if spec.study.metric == "val_accuracy" else 0.0
    grid = spec.sampler.name == "grid"
    repeated = not grid or spec.repeats > 1

    def pairs(what: str, maximize: bool, resolution: float) -> tuple[Difference, ...]:
        cells = {label: _cells(group, name if grid else None, what) for label, group in groups.items()}
        return statistics.compare_levels(cells, maximize, repeated, resolution)

    return Effect(
        name,
        when,
        tuple(_level(label, group, accuracies) for label, group in groups.items()),
        pairs("value", spec.direction == "maximize", resolution),
        pairs("seconds", False, 0.0),
        pairs("gap", False, image),
    )


def _cells(group: Sequence[TrialFacts], name: str | None, what: str) -> dict[Hashable, list[float]]:
    """The group's figures by setting: everything in a grid but `name`; one setting where there is no grid."""
    cells: dict[Hashable, list[float]] = defaultdict(list)
    for each in group:
        figure = getattr(each, what)
        if figure is not None and math.isfinite(figure):
            apart = name is not None and name in each.params
            at = frozenset((key, value) for key, value in each.params.items() if key != name) if apart else None
            cells[at].append(figure)
    return cells


def _level(label: str, group: Sequence[TrialFacts], accuracies: Sequence[float]) -> Level:
    ended = [each.ended for each in group]
    return Level(
        label,
        tuple(each.number for each in group),
        {kind: ended.count(kind) for kind in ENDINGS},
        statistics.estimate(each.value for each in group),
        statistics.estimate(each.seconds for each in group),
        statistics.estimate(each.gap for each in group),
        tuple(_reach(accuracy, group) for accuracy in accuracies),
    )


def _reach(accuracy: float, group: Sequence[TrialFacts]) -> Reach:
    reached = [each.reached[accuracy] for each in group if accuracy in each.reached]
    if not reached:
        return Reach(accuracy, 0, None, None)
    return Reach(
        accuracy,
        len(reached),
        median(epoch for epoch, _ in reached),
        median(seconds for _, seconds in reached),
    )
