"""A study's figures for the dashboard: learning curves and the metric against time by each hyperparameter.

The dashboard has no plots of its own for these; each of ours fills a card of its study page.
"""

from collections.abc import Iterator, Sequence

import plotly.graph_objects as go

from hpsearch.analysis.effects import Effect
from hpsearch.formatting import capitalize
from hpsearch.metrics import METRICS, Metric
from hpsearch.outcomes import TrialState
from hpsearch.plotting import hyperparameter_plots, plotly_renderer
from hpsearch.plotting.chart import COLOURS, MARKERS, Axis, Chart, Panel, Series
from hpsearch.spec.dimension import Choices
from hpsearch.spec.study_spec import StudySpec
from hpsearch.storage.results import Trial

LINE_STYLES = ("solid", "dotted")
"""Of the validation images, and of the training images where the metric is measured on them too."""


def make_figures(spec: StudySpec, effects: Sequence[Effect], trials: Sequence[Trial]) -> dict[str, str]:
    """Return plotly figures as JSON, by an id: the metric by epoch, and by time for what is a choice."""
    figures, metric = {}, METRICS[spec.study.metric]
    for effect in effects:
        series = tuple(_make_curves(effect, trials, metric.name))
        if not any(curve.x for curve in series):
            continue
        curves = plotly_renderer.make_figure(Chart((Panel("", Axis("epoch", whole=True), Axis(), series),)))
        figures[f"curves-{effect.name}"] = _make_card(
            f"Learning curves by {effect.name}", curves, _describe_curves(metric)
        )
        if isinstance(spec.space.get(effect.name), Choices):
            title = capitalize(metric.title)
            by_time = plotly_renderer.make_figure(hyperparameter_plots.plot_metric_by_time(effect, trials, metric.name))
            figures[f"time-{effect.name}"] = _make_card(f"{title} against training time, by {effect.name}", by_time)
    return {name: str(figure.to_json()) for name, figure in figures.items()}


def _describe_curves(metric: Metric) -> str:
    """Return the title of the curves' y axis."""
    if metric.is_own:
        return f"mean {metric.axis_title}"
    return f"mean {metric.quantity} ({metric.unit})<br>solid: validation, dotted: training"


def _make_curves(effect: Effect, trials: Sequence[Trial], metric: str) -> Iterator[Series]:
    """Yield means by epoch over the trials that represent each level, all levels in one pair of axes."""
    for index, level in enumerate(effect.levels):
        selected = hyperparameter_plots.select_representatives(level, trials)
        incomplete = "" if any(trial.state == TrialState.COMPLETE for trial in selected) else ", none complete"
        colour, marker = COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)]
        for (figure, name), line in zip(hyperparameter_plots.list_metric_figures(metric), LINE_STYLES, strict=False):
            means = hyperparameter_plots.average_by_epoch(selected, figure)
            hover = tuple(
                f"{level.label}, {name}, epoch {epoch}: {hyperparameter_plots.format_estimate(mean)}"
                for epoch, mean in means.items()
            )
            label = f"{level.label} ({len(selected)}{incomplete})" if selected and line == "solid" else None
            y = tuple(mean.mean for mean in means.values())
            yield Series(tuple(map(float, means)), y, label, line, marker, colour, hover=hover)


def _make_card(title: str, figure: go.Figure, y_title: str | None = None) -> go.Figure:
    """Return the figure as high as its card, with a title like the dashboard's; a zoom survives a page's update."""
    heading = {"text": f"<b>{title}</b>", "x": 0.02, "xanchor": "left", "font": {"size": 19}}
    figure.update_layout(title=heading, height=None, margin_t=64, uirevision="true")
    figure.update_annotations(text="")  # the panel's title, which the heading repeats
    if y_title is not None:
        figure.update_yaxes(title_text=y_title)
    return figure
