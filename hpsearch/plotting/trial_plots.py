"""PNG pictures of one trial; matplotlib is imported when the first is drawn."""

import threading
from collections.abc import Sequence

from hpsearch.metrics import METRICS, EpochMetrics, Metric
from hpsearch.outcomes import Confusion
from hpsearch.plotting import confusion_matrix
from hpsearch.plotting.chart import COLOURS, Axis, Chart, Panel, Series
from hpsearch.plotting.confusion_matrix import ConfusionMatrix

ACCURACY = "accuracy (fraction of 1)"
LOSS = "loss (cross-entropy, nats)"

MAX_MARKERS = 20
"""Epochs of a curve that have a marker each."""

_drawing = threading.Lock()  # matplotlib is not thread-safe, and a worker with slots has several threads


def draw_confusion_matrix(counts: Confusion, classes: Sequence[str], images: str) -> bytes:
    """Return the chart of a classes × classes matrix as PNG; `images` is `validation` or `test`."""
    matrix = ConfusionMatrix(f"{images} images at the best epoch", (), counts)
    return _render_png(confusion_matrix.plot_matrices([matrix], classes))


def draw_learning_curves(epochs: Sequence[EpochMetrics], images: str, metric: str) -> bytes:
    """Return accuracy and loss by epoch as PNG, of the training images and of the others, which `images` names.

    Beside them `metric`, the study's, where it is neither.
    """
    panels = [_plot_figure(epochs, name, title, images) for name, title in (("accuracy", ACCURACY), ("loss", LOSS))]
    if METRICS[metric].is_own:
        panels.append(_plot_metric(epochs, METRICS[metric], images))
    return _render_png(Chart(tuple(panels), columns=len(panels), width=320, height=220))


def _plot_metric(epochs: Sequence[EpochMetrics], metric: Metric, images: str) -> Panel:
    values = tuple(epoch.value(metric.name) for epoch in epochs)
    marker = "square" if len(epochs) <= MAX_MARKERS or images == "test" else None
    series = Series(tuple(float(epoch.epoch) for epoch in epochs), values, images, "solid", marker, COLOURS[0])
    return Panel("", Axis("epoch", whole=True), Axis(f"{metric.quantity} ({metric.unit})"), (series,))


def _plot_figure(epochs: Sequence[EpochMetrics], name: str, title: str, images: str) -> Panel:
    steps = tuple(float(epoch.epoch) for epoch in epochs)
    # The test images are measured once, and a single point makes no line.
    has_markers = len(epochs) <= MAX_MARKERS or images == "test"

    def read(part: str) -> tuple[float, ...]:
        return tuple(float(getattr(epoch, f"{part}_{name}")) for epoch in epochs)

    training = Series(steps, read("train"), "training", "dashed", "circle" if has_markers else None, COLOURS[1])
    other = Series(steps, read("val"), images, "solid", "square" if has_markers else None, COLOURS[0])
    return Panel("", Axis("epoch", whole=True), Axis(title), (training, other))


def _render_png(chart: Chart) -> bytes:
    from hpsearch.plotting import matplotlib_renderer

    with _drawing:
        return matplotlib_renderer.render_png(chart)
