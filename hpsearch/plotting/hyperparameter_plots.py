"""The plots of a study as charts: what each level of a searched hyperparameter does."""

import math
import textwrap
from collections.abc import Callable, Iterable, Sequence
from typing import Literal

import numpy as np

from hpsearch.analysis.effects import Effect, Level
from hpsearch.analysis.statistics import Estimate, estimate_mean
from hpsearch.metrics import EpochMetrics
from hpsearch.outcomes import TrialState
from hpsearch.plotting import chart
from hpsearch.plotting.chart import BLANK, COLOURS, LINES, MARKERS, Axis, Chart, Panel, Series
from hpsearch.plotting.trial_plots import ACCURACY, LOSS
from hpsearch.storage.results import Trial

MAX_SINGLE_CURVES = 12
"""Trials whose curves are drawn one by one behind their mean."""
MAX_POINTS = 300
"""Trials above which their points are left out."""
TITLE_WIDTH = 34
"""Letters of a line above a panel of curves."""
MAX_COLUMNS = 4
"""Levels side by side."""

METRIC_TITLES = {"val_accuracy": "validation accuracy (fraction of 1)", "val_loss": "validation loss (nats)"}
TRAIN, VALIDATION = COLOURS[1], COLOURS[0]

Quantity = Literal["value", "seconds", "gap"]
Figure = Callable[[EpochMetrics], float]


def select_representatives(level: Level, trials: Iterable[Trial]) -> list[Trial]:
    """The trials of a level that stand for it: the complete ones, or all that finished an epoch where none is."""
    numbers = set(level.trials)
    found = [trial for trial in trials if trial.number in numbers and trial.epochs]
    return [trial for trial in found if trial.state == "complete"] or found


def plot_curves(effect: Effect, trials: Sequence[Trial]) -> Chart:
    """Training and validation accuracy and loss by epoch, a pair of panels for each level that finished an epoch.

    A line is the mean over the trials of `compared` that came to the epoch, with its 95% interval. Faint lines are
    single trials' validation, where there are few.
    """
    groups = [(level, found) for level in effect.levels if (found := select_representatives(level, trials))]
    epochs = [epoch for _, found in groups for trial in found for epoch in trial.epochs]
    accuracy = _axis(ACCURACY, [figure for each in epochs for figure in (each.train_accuracy, each.val_accuracy)], 100)
    # What diverged has losses beside which no other could be seen.
    loss = _axis(LOSS, [figure for each in epochs for figure in (each.train_loss, each.val_loss)], 99)
    rows = math.ceil(len(groups) / MAX_COLUMNS)
    columns = math.ceil(len(groups) / max(1, rows)) or 1  # as even as it gets: five are three and two
    panels: list[Panel] = []
    for start in range(0, len(groups), columns):
        batch = groups[start : start + columns]
        gap = [BLANK] * (columns - len(batch))
        panels += [_curve(_titled(level, found), found, "accuracy", accuracy) for level, found in batch] + gap
        panels += [_curve("", found, "loss", loss) for _, found in batch] + gap
    return Chart(tuple(panels), columns, width=240 if columns > 1 else 420, height=190)


def _titled(level: Level, found: Sequence[Trial]) -> str:
    incomplete = "" if found[0].state == "complete" else ", none complete"
    return "\n".join(textwrap.wrap(f"{level.label} (n = {len(found)}{incomplete})", TITLE_WIDTH))


def _axis(title: str, values: Sequence[float], percentile: float) -> Axis:
    finite = np.array(values)[np.isfinite(values)]
    ends = (
        chart.find_axis_ends([float(finite.min()), float(np.percentile(finite, percentile))]) if finite.size else None
    )
    return Axis(title, low=ends[0], high=ends[1]) if ends else Axis(title)


def _curve(title: str, found: Sequence[Trial], what: Literal["accuracy", "loss"], y: Axis) -> Panel:
    marks = []
    if 1 < len(found) <= MAX_SINGLE_CURVES:
        marks.append(_single(found, _epoch, _figure(f"val_{what}"), VALIDATION))
    for part, label, line, marker, colour in (
        ("train", "training", "dashed", "circle", TRAIN),
        ("val", "validation", "solid", "square", VALIDATION),
    ):
        means = average_by_epoch(found, _figure(f"{part}_{what}"))
        marks.append(
            Series(
                tuple(float(epoch) for epoch in means),
                tuple(each.mean for each in means.values()),
                label,
                line,
                marker if len(means) < 20 else None,
                colour,
                tuple(each.mean - (each.half or 0) for each in means.values()),
                tuple(each.mean + (each.half or 0) for each in means.values()),
                hover=tuple(f"{label}, epoch {epoch}: {format_estimate(each)}" for epoch, each in means.items()),
            )
        )
    return Panel(title, Axis("epoch", whole=True), y, tuple(marks))


def _figure(name: str) -> Figure:
    return lambda epoch: float(getattr(epoch, name))


def _epoch(trial: Trial) -> list[float]:
    return [float(epoch.epoch) for epoch in trial.epochs]


def sum_seconds(trial: Trial) -> list[float]:
    """Seconds of training and validating up to the end of each epoch."""
    return [float(total) for total in np.cumsum([epoch.seconds for epoch in trial.epochs])]


def average_by_epoch(found: Iterable[Trial], figure: Figure) -> dict[int, Estimate]:
    """The mean of a figure at each epoch, over the trials that have it."""
    values: dict[int, list[float]] = {}
    for trial in found:
        for epoch in trial.epochs:
            values.setdefault(epoch.epoch, []).append(figure(epoch))
    means = {epoch: estimate_mean(values[epoch]) for epoch in sorted(values)}
    return {epoch: mean for epoch, mean in means.items() if mean is not None}


def _single(found: Iterable[Trial], across: Callable[[Trial], list[float]], figure: Figure, colour: str) -> Series:
    """Every trial's own line, in one series with gaps."""
    x: list[float] = []
    y: list[float] = []
    hover: list[str] = []
    for trial in found:
        x += [*across(trial), float("nan")]
        y += [*(figure(epoch) for epoch in trial.epochs), float("nan")]
        hover += [f"trial {trial.number}, epoch {epoch.epoch}: {figure(epoch):.4g}" for epoch in trial.epochs] + [""]
    return Series(tuple(x), tuple(y), colour=colour, faint=True, hover=tuple(hover))


def plot_accuracy_by_time(effect: Effect, trials: Sequence[Trial]) -> Chart:
    """Validation accuracy against the seconds trained, a line a level: means over its trials at each epoch."""
    marks: list[Series] = []
    groups = [(level, found) for level in effect.levels if (found := select_representatives(level, trials))]
    if sum(len(found) for _, found in groups) <= MAX_SINGLE_CURVES * 3:
        for place, (_, found) in enumerate(groups):
            marks.append(_single(found, sum_seconds, _figure("val_accuracy"), _styled(place)[0]))
    for place, (level, found) in enumerate(groups):
        colour, line, marker = _styled(place)
        heights = average_by_epoch(found, _figure("val_accuracy"))
        times = _mean_times(found)
        at = [epoch for epoch in heights if epoch in times]
        hover = [
            f"{level.label}, epoch {epoch}: {format_estimate(heights[epoch])} after {times[epoch]:.3g} s"
            for epoch in at
        ]
        x, y = (tuple(times[epoch] for epoch in at), tuple(heights[epoch].mean for epoch in at))
        marks.append(Series(x, y, level.label, line, marker, colour, hover=tuple(hover)))
    x_axis, y_axis = Axis("training and validating so far (seconds)"), Axis(METRIC_TITLES["val_accuracy"])
    return Chart((Panel(effect.name, x_axis, y_axis, tuple(marks)),), width=620, height=330)


def _mean_times(found: Iterable[Trial]) -> dict[int, float]:
    times: dict[int, list[float]] = {}
    for trial in found:
        for epoch, seconds in zip(trial.epochs, sum_seconds(trial), strict=True):
            times.setdefault(epoch.epoch, []).append(seconds)
    return {epoch: float(np.mean(values)) for epoch, values in times.items()}


def _styled(place: int) -> tuple[str, str, str]:
    """Colour, line and marker of the level at `place`."""
    return COLOURS[place % len(COLOURS)], LINES[place % len(LINES)], MARKERS[place % len(MARKERS)]


def plot_effects(compared_: Sequence[Effect], quantity: Quantity, title: str, trials: Sequence[Trial] = ()) -> Chart:
    """Each level's mean with its 95% interval, a panel a hyperparameter; behind them the values of `trials`, if few."""
    values = {trial.number: trial.value for trial in trials if trial.state == "complete" and trial.value is not None}
    values = values if len(values) <= MAX_POINTS else {}
    x = _ends(compared_, quantity, title, values.values())
    panels = [_effect(effect, quantity, x, values) for effect in compared_]
    most = max((len(effect.levels) for effect in compared_), default=1)
    columns = min(3, max(1, len(panels)))
    return Chart(tuple(panels), columns, width=260 if columns > 1 else 520, height=60 + 26 * max(2, most))


def _ends(compared_: Sequence[Effect], quantity: Quantity, title: str, values: Iterable[float]) -> Axis:
    """One axis for all panels, on which every mean is: the interval of two trials may reach far beyond."""
    means = [each for effect in compared_ for level in effect.levels if (each := getattr(level, quantity))]
    inner = chart.find_axis_ends([*(each.mean for each in means), *values], 0.03)
    if inner is None:
        return Axis(title)
    room = (inner[1] - inner[0]) / 2
    low = min((each.mean - (each.half or 0) for each in means), default=inner[0])
    high = max((each.mean + (each.half or 0) for each in means), default=inner[1])
    ends = min(inner[0], max(low, inner[0] - room)), max(inner[1], min(high, inner[1] + room))
    if quantity != "gap":
        ends = max(0.0, ends[0]), min(1.0, ends[1]) if title == METRIC_TITLES["val_accuracy"] else ends[1]
    margin = (ends[1] - ends[0]) * 0.02
    return Axis(title, low=ends[0] - margin, high=ends[1] + margin)


def _effect(effect: Effect, quantity: Quantity, x_axis: Axis, values: dict[int, float]) -> Panel:
    marks: list[Series] = []
    points = [(values[n], row - 0.25) for row, level in enumerate(effect.levels) for n in level.trials if n in values]
    if points:
        hover = tuple(f"trial {n}" for level in effect.levels for n in level.trials if n in values)
        x, y = zip(*points, strict=True)
        marks.append(Series(x, y, None, None, "circle", COLOURS[7], faint=True, hover=hover))
    there = [(row, level.label, each) for row, level in enumerate(effect.levels) if (each := getattr(level, quantity))]
    marks.append(
        Series(
            tuple(each.mean for _, _, each in there),
            tuple(float(row) for row, _, _ in there),
            None,
            None,
            "diamond",
            low=tuple(each.mean - (each.half or 0) for _, _, each in there),
            high=tuple(each.mean + (each.half or 0) for _, _, each in there),
            sideways=True,
            hover=tuple(f"{label}: {format_estimate(each)}" for _, label, each in there),
        )
    )
    names = [f"{level.label} ({each.n if (each := getattr(level, quantity)) else 0})" for level in effect.levels]
    return Panel(effect.name, x_axis, chart.make_row_axis(names), tuple(marks))


def plot_rate(effect: Effect) -> Chart:
    """How many epochs and how many seconds a level's trials took to given validation accuracies: medians.

    Accuracies to which fewer came than half of the complete trials are left out: those are medians of other trials.
    """
    panels = []
    for what, title in (("epoch", "epochs (median)"), ("seconds", "seconds of training (median)")):
        marks = []
        for place, level in enumerate(effect.levels):
            enough = (level.endings[TrialState.COMPLETE] or len(level.trials)) / 2
            there = [each for each in level.reached if getattr(each, what) is not None and each.trials >= enough]
            if not there:
                continue
            colour, line, marker = _styled(place)
            x, y = tuple(reach.accuracy for reach in there), tuple(float(getattr(reach, what)) for reach in there)
            hover = [f"{level.label}: {reach.trials} trials reached {reach.accuracy:.0%}" for reach in there]
            marks.append(Series(x, y, level.label, line, marker, colour, hover=tuple(hover)))
        panels.append(
            Panel(effect.name, Axis("validation accuracy reached (fraction of 1)"), Axis(title), tuple(marks))
        )
    return Chart(tuple(panels), 2, width=330, height=240)


def format_estimate(each: Estimate) -> str:
    """`0.712 ± 0.013 (n = 5)`."""
    half = f" ± {each.half:.2g}" if each.half is not None else ""
    return f"{each.mean:.4g}{half} (n = {each.n})"
