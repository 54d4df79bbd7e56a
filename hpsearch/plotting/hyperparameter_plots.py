"""Charts of what each level of a searched hyperparameter does: curves, effects, cost, epochs to an accuracy."""

import math
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Literal

import numpy as np

from hpsearch.analysis.effects import Effect, Level, Quantity
from hpsearch.analysis.statistics import Estimate, estimate_mean
from hpsearch.metrics import METRICS, EpochMetrics
from hpsearch.outcomes import TrialState
from hpsearch.plotting import chart
from hpsearch.plotting.chart import BLANK, COLOURS, LINES, MARKERS, Axis, Chart, Panel, Series
from hpsearch.plotting.trial_plots import ACCURACY, LOSS
from hpsearch.storage.results import Trial

MAX_SINGLE_CURVES = 12
"""Trials whose curves are drawn one by one behind their mean."""
MAX_POINTS = 300
"""Trials above which their points are left out."""
MAX_MARKERS = 19
"""Epochs of a mean curve that have a marker each."""
TITLE_WIDTH = 34
"""Letters of a line above a panel of curves."""
MAX_COLUMNS = 4
"""Levels side by side."""

TRAIN, VALIDATION = COLOURS[1], COLOURS[0]

EpochFigure = Callable[[EpochMetrics], float]


def select_representatives(level: Level, trials: Iterable[Trial]) -> list[Trial]:
    """Return the trials of a level that stand for it: the complete ones, or all with an epoch where none is."""
    numbers = set(level.trials)
    trained = [trial for trial in trials if trial.number in numbers and trial.epochs]
    return [trial for trial in trained if trial.state == TrialState.COMPLETE] or trained


def _group_by_level(effect: Effect, trials: Sequence[Trial]) -> list[tuple[Level, list[Trial]]]:
    """Return the levels that have finished an epoch, each with the trials that stand for it."""
    groups = [(level, select_representatives(level, trials)) for level in effect.levels]
    return [(level, group) for level, group in groups if group]


def plot_curves(effect: Effect, trials: Sequence[Trial], metric: str) -> Chart:
    """Return training and validation accuracy and loss by epoch, panels below one another for each level with an epoch.

    Below them `metric`, the study's, on the validation images, where it is neither.

    A line is the mean over the trials of `select_representatives` that came to the epoch, with its 95% interval. Faint
    lines are single trials' validation, where there are at most `MAX_SINGLE_CURVES`.
    """
    groups = _group_by_level(effect, trials)
    epochs = [epoch for _, group in groups for trial in group for epoch in trial.epochs]
    accuracy = _make_axis(ACCURACY, [value for epoch in epochs for value in (epoch.train_accuracy, epoch.val_accuracy)])
    # The losses of trials that diverge would press all others to the bottom.
    loss = _make_axis(LOSS, [value for epoch in epochs for value in (epoch.train_loss, epoch.val_loss)], 99)
    own = _make_axis(METRICS[metric].axis_title, [_read("val_metric")(epoch) for epoch in epochs])
    rows = math.ceil(len(groups) / MAX_COLUMNS)
    columns = math.ceil(len(groups) / max(1, rows)) or 1  # as even as it gets: five are three and two
    panels: list[Panel] = []
    for start in range(0, len(groups), columns):
        batch = groups[start : start + columns]
        blanks = [BLANK] * (columns - len(batch))
        panels += [_plot_curve(_make_title(level, group), group, "accuracy", accuracy) for level, group in batch]
        panels += [*blanks, *(_plot_curve("", group, "loss", loss) for _, group in batch), *blanks]
        if METRICS[metric].is_own:
            panels += [*(_plot_curve("", group, "metric", own) for _, group in batch), *blanks]
    return Chart(tuple(panels), columns, width=240 if columns > 1 else 420, height=190)


def _make_title(level: Level, group: Sequence[Trial]) -> str:
    incomplete = "" if group[0].state == TrialState.COMPLETE else ", none complete"
    return "\n".join(textwrap.wrap(f"{level.label} (n = {len(group)}{incomplete})", TITLE_WIDTH))


def _make_axis(title: str, values: Sequence[float], percentile: float = 100) -> Axis:
    """Return an axis from the least of the finite values to that percentile of them."""
    finite = np.array(values)[np.isfinite(values)]
    if not finite.size:
        return Axis(title)
    low, high = chart.find_axis_ends([float(finite.min()), float(np.percentile(finite, percentile))]) or (None, None)
    return Axis(title, low=low, high=high)


def _plot_curve(title: str, group: Sequence[Trial], quantity: Literal["accuracy", "loss", "metric"], y: Axis) -> Panel:
    marks = []
    if 1 < len(group) <= MAX_SINGLE_CURVES:
        marks.append(_plot_single_curves(group, _list_epochs, _read(f"val_{quantity}"), VALIDATION))
    parts = (
        ("train", "training", "dashed", "circle", TRAIN),
        ("val", "validation", "solid", "square", VALIDATION),
    )
    for part, label, line, marker, colour in parts if quantity != "metric" else parts[1:]:
        means = average_by_epoch(group, _read(f"{part}_{quantity}"))
        marks.append(
            Series(
                tuple(map(float, means)),
                tuple(mean.mean for mean in means.values()),
                label,
                line,
                marker if len(means) <= MAX_MARKERS else None,
                colour,
                tuple(mean.low for mean in means.values()),
                tuple(mean.high for mean in means.values()),
                hover=tuple(f"{label}, epoch {epoch}: {format_estimate(mean)}" for epoch, mean in means.items()),
            )
        )
    return Panel(title, Axis("epoch", whole=True), y, tuple(marks))


def _read(name: str) -> EpochFigure:
    return lambda epoch: math.nan if (value := getattr(epoch, name)) is None else float(value)


def _list_epochs(trial: Trial) -> list[float]:
    return [float(epoch.epoch) for epoch in trial.epochs]


def sum_seconds(trial: Trial) -> list[float]:
    """Return the seconds of training and validating up to the end of each epoch."""
    return [float(total) for total in np.cumsum([epoch.seconds for epoch in trial.epochs])]


def average_by_epoch(trials: Iterable[Trial], figure: EpochFigure) -> dict[int, Estimate]:
    """Return the mean of a figure at each epoch, over the trials in which it is finite."""
    values: dict[int, list[float]] = {}
    for trial in trials:
        for epoch in trial.epochs:
            values.setdefault(epoch.epoch, []).append(figure(epoch))
    means = {epoch: estimate_mean(values[epoch]) for epoch in sorted(values)}
    return {epoch: mean for epoch, mean in means.items() if mean is not None}


def _plot_single_curves(
    trials: Iterable[Trial], list_x: Callable[[Trial], list[float]], figure: EpochFigure, colour: str
) -> Series:
    """Return every trial's own line, in one series with gaps between them."""
    x: list[float] = []
    y: list[float] = []
    hover: list[str] = []
    for trial in trials:
        x += [*list_x(trial), math.nan]
        y += [*(figure(epoch) for epoch in trial.epochs), math.nan]
        hover += [f"trial {trial.number}, epoch {epoch.epoch}: {figure(epoch):.4g}" for epoch in trial.epochs] + [""]
    return Series(tuple(x), tuple(y), colour=colour, faint=True, hover=tuple(hover))


def list_metric_figures(metric: str) -> list[tuple[EpochFigure, str]]:
    """Return what gives the metric of an epoch, on validation and, if it is known, training images."""
    figures: list[tuple[EpochFigure, str]] = [(lambda epoch: epoch.value(metric), "validation")]
    if not METRICS[metric].is_own:
        figures.append((_read(metric.replace("val_", "train_")), "training"))
    return figures


def plot_metric_by_time(effect: Effect, trials: Sequence[Trial], metric: str) -> Chart:
    """Return the metric against the seconds trained, a line a level: means over its trials at each epoch."""
    groups = _group_by_level(effect, trials)
    figure, _ = list_metric_figures(metric)[0]
    marks: list[Series] = []
    if sum(len(group) for _, group in groups) <= MAX_SINGLE_CURVES * 3:
        for place, (_, group) in enumerate(groups):
            marks.append(_plot_single_curves(group, sum_seconds, figure, _choose_style(place)[0]))
    for place, (level, group) in enumerate(groups):
        colour, line, marker = _choose_style(place)
        means, seconds = average_by_epoch(group, figure), _average_seconds(group)
        x, y = tuple(seconds[epoch] for epoch in means), tuple(mean.mean for mean in means.values())
        hover = (
            f"{level.label}, epoch {epoch}: {format_estimate(mean)} after {seconds[epoch]:.3g} s"
            for epoch, mean in means.items()
        )
        marks.append(Series(x, y, level.label, line, marker, colour, hover=tuple(hover)))
    x_axis, y_axis = Axis("training and validating so far (seconds)"), Axis(METRICS[metric].axis_title)
    return Chart((Panel(effect.name, x_axis, y_axis, tuple(marks)),), width=620, height=330)


def _average_seconds(trials: Iterable[Trial]) -> dict[int, float]:
    """Return the mean over the trials of the seconds up to the end of each epoch."""
    seconds: dict[int, list[float]] = {}
    for trial in trials:
        for epoch, total in zip(trial.epochs, sum_seconds(trial), strict=True):
            seconds.setdefault(epoch.epoch, []).append(total)
    return {epoch: float(np.mean(totals)) for epoch, totals in seconds.items()}


def _choose_style(place: int) -> tuple[str, str, str]:
    """Return colour, line and marker of the level at `place`."""
    return COLOURS[place % len(COLOURS)], LINES[place % len(LINES)], MARKERS[place % len(MARKERS)]


def plot_effects(effects: Sequence[Effect], quantity: Quantity, metric: str) -> Chart:
    """Return each level's mean with its 95% interval, a panel a hyperparameter.

    Args:
        effects: of the hyperparameters, or of whole configurations.
        quantity: what is drawn of each level.
        metric: what the study optimizes, in whose unit a `value` is; those of the trials are drawn behind the means.
    """
    values = collect_points(effects) if quantity == "value" else {}
    x = _make_quantity_axis(effects, quantity, metric, values.values())
    panels = [_plot_effect(effect, quantity, x, values) for effect in effects]
    most = max((len(effect.levels) for effect in effects), default=1)
    columns = min(3, max(1, len(panels)))
    return Chart(tuple(panels), columns, width=260 if columns > 1 else 520, height=60 + 26 * max(2, most))


def collect_points(effects: Iterable[Effect]) -> dict[int, float]:
    """Return the values of the levels' trials, by number; none where they are more than `MAX_POINTS`."""
    values = {number: value for effect in effects for level in effect.levels for number, value in level.points.items()}
    return values if len(values) <= MAX_POINTS else {}


def _get_estimates(effects: Iterable[Effect], quantity: Quantity) -> Iterator[tuple[int, Level, Estimate]]:
    """Yield the levels that have the quantity, each after its row in the effect's panel."""
    for effect in effects:
        for row, level in enumerate(effect.levels):
            estimate: Estimate | None = getattr(level, quantity)
            if estimate is not None:
                yield row, level, estimate


def _make_quantity_axis(effects: Sequence[Effect], quantity: Quantity, metric: str, values: Iterable[float]) -> Axis:
    """Return one axis for all panels that shows every mean and value, and of an interval as much as leaves space."""
    title = {
        "value": METRICS[metric].axis_title,
        "seconds": "seconds per epoch",
        "gap": "training − validation accuracy",
    }
    means = [estimate for _, _, estimate in _get_estimates(effects, quantity)]
    inner = chart.find_axis_ends([*(mean.mean for mean in means), *values], 0.03)
    if inner is None:
        return Axis(title[quantity])
    # The interval of two trials may reach far beyond everything else.
    reach = (inner[1] - inner[0]) / 2
    low = min((mean.low for mean in means), default=inner[0])
    high = max((mean.high for mean in means), default=inner[1])
    low, high = min(inner[0], max(low, inner[0] - reach)), max(inner[1], min(high, inner[1] + reach))
    if quantity != "gap":
        low = max(0.0, low)
    if quantity == "value" and METRICS[metric].is_fraction:
        high = min(1.0, high)
    margin = (high - low) * 0.02
    return Axis(title[quantity], low=low - margin, high=high + margin)


def _plot_effect(effect: Effect, quantity: Quantity, x_axis: Axis, values: Mapping[int, float]) -> Panel:
    marks: list[Series] = []
    points = [(row - 0.25, n) for row, level in enumerate(effect.levels) for n in level.trials if n in values]
    if points:
        x, y = tuple(values[number] for _, number in points), tuple(row for row, _ in points)
        hover = tuple(f"trial {number}" for _, number in points)
        marks.append(Series(x, y, None, None, "circle", COLOURS[7], faint=True, hover=hover))
    estimates = list(_get_estimates([effect], quantity))
    marks.append(
        Series(
            tuple(mean.mean for _, _, mean in estimates),
            tuple(float(row) for row, _, _ in estimates),
            None,
            None,
            "diamond",
            low=tuple(mean.low for _, _, mean in estimates),
            high=tuple(mean.high for _, _, mean in estimates),
            sideways=True,
            hover=tuple(f"{level.label}: {format_estimate(mean)}" for _, level, mean in estimates),
        )
    )
    counts = {row: mean.n for row, _, mean in estimates}
    names = [f"{level.label} ({counts.get(row, 0)})" for row, level in enumerate(effect.levels)]
    return Panel(effect.name, x_axis, chart.make_row_axis(names), tuple(marks))


def plot_rate(effect: Effect) -> Chart:
    """Return how many epochs and how many seconds a level's trials took to given validation accuracies: medians.

    Accuracies that fewer reached than half of the complete trials are left out: those are medians of other trials.
    """
    x_axis = Axis("validation accuracy reached (fraction of 1)")
    epochs: list[Series] = []
    seconds: list[Series] = []
    for place, level in enumerate(effect.levels):
        enough = (level.endings[TrialState.COMPLETE] or len(level.trials)) / 2
        points = [
            (reach.accuracy, float(reach.epoch), reach.seconds, f"{reach.trials} trials reached {reach.accuracy:.0%}")
            for reach in level.reached
            if reach.epoch is not None and reach.seconds is not None and reach.trials >= enough
        ]
        if points:
            accuracies, medians, totals, counts = zip(*points, strict=True)
            hover = tuple(f"{level.label}: {count}" for count in counts)
            colour, line, marker = _choose_style(place)
            epochs.append(Series(accuracies, medians, level.label, line, marker, colour, hover=hover))
            seconds.append(Series(accuracies, totals, level.label, line, marker, colour, hover=hover))
    panels = (
        Panel(effect.name, x_axis, Axis("epochs (median)"), tuple(epochs)),
        Panel(effect.name, x_axis, Axis("seconds of training (median)"), tuple(seconds)),
    )
    return Chart(panels, 2, width=330, height=240)


def format_estimate(estimate: Estimate) -> str:
    """Return `0.712 ± 0.013 (n = 5)`."""
    half = f" ± {estimate.half:.2g}" if estimate.half is not None else ""
    return f"{estimate.mean:.4g}{half} (n = {estimate.n})"
