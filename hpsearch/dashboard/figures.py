"""A study's plots for the dashboard, which has none of its own for these: each fills a card of its study page."""

from collections.abc import Iterator, Sequence

import plotly.graph_objects as go

from hpsearch.analysis.effects import Effect
from hpsearch.metrics import EpochMetrics
from hpsearch.plotting import hyperparameter_plots, plotly_renderer
from hpsearch.plotting.chart import COLOURS, MARKERS, Axis, Chart, Panel, Series
from hpsearch.spec.dimension import Choices
from hpsearch.spec.study_spec import StudySpec
from hpsearch.storage.results import Trial

ACCURACY = "mean accuracy (fraction of 1)<br>solid: validation, dotted: training"


def make_figures(spec: StudySpec, effects: Sequence[Effect], trials: Sequence[Trial]) -> dict[str, str]:
    """Plotly figures as JSON, by an id: curves by each hyperparameter, and accuracy against time by each choice."""
    drawn = {}
    for effect in effects:
        marks = tuple(_curves(effect, trials))
        if not any(mark.x for mark in marks):
            continue
        curves = plotly_renderer.make_figure(Chart((Panel("", Axis("epoch", whole=True), Axis(), marks),)))
        drawn[f"curves-{effect.name}"] = _card(f"Learning curves by {effect.name}", curves, ACCURACY)
        if isinstance(spec.space.get(effect.name), Choices):
            time = plotly_renderer.make_figure(hyperparameter_plots.plot_accuracy_by_time(effect, trials))
            drawn[f"time-{effect.name}"] = _card(f"Accuracy against training time, by {effect.name}", time)
    return {name: str(figure.to_json()) for name, figure in drawn.items()}


def _curves(effect: Effect, trials: Sequence[Trial]) -> Iterator[Series]:
    """Means by epoch over the trials that stand for each level, all levels in one pair of axes."""
    for place, level in enumerate(effect.levels):
        found = hyperparameter_plots.select_representatives(level, trials)
        incomplete = "" if any(trial.state == "complete" for trial in found) else ", none complete"
        colour, marker = COLOURS[place % len(COLOURS)], MARKERS[place % len(MARKERS)]
        for figure, what, line in ((_validation, "validation", "solid"), (_training, "training", "dotted")):
            means = hyperparameter_plots.average_by_epoch(found, figure)
            hover = tuple(
                f"{level.label}, {what}, epoch {epoch}: {hyperparameter_plots.format_estimate(mean)}"
                for epoch, mean in means.items()
            )
            label = f"{level.label} ({len(found)}{incomplete})" if found and line == "solid" else None
            y = tuple(mean.mean for mean in means.values())
            yield Series(tuple(map(float, means)), y, label, line, marker, colour, hover=hover)


def _validation(epoch: EpochMetrics) -> float:
    return epoch.val_accuracy


def _training(epoch: EpochMetrics) -> float:
    return epoch.train_accuracy


def _card(title: str, figure: go.Figure, y: str | None = None) -> go.Figure:
    """The figure as high as its card, with a title like the dashboard's; it stays zoomed when the page is renewed."""
    heading = {"text": f"<b>{title}</b>", "x": 0.02, "xanchor": "left", "font": {"size": 19}}
    figure.update_layout(title=heading, height=None, margin_t=64, uirevision="true")
    figure.update_annotations(text="")  # the panel's title, which the heading says
    if y is not None:
        figure.update_yaxes(title_text=y)
    return figure
