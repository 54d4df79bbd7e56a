"""PNG pictures of one trial; matplotlib is imported when the first is drawn."""

import threading
from collections.abc import Sequence

from hpsearch.metrics import EpochMetrics
from hpsearch.outcomes import Confusion
from hpsearch.plotting import confusion_matrix
from hpsearch.plotting.chart import COLOURS, Axis, Chart, Panel, Series
from hpsearch.plotting.confusion_matrix import ConfusionMatrix

ACCURACY = "accuracy (fraction of 1)"
LOSS = "loss (cross-entropy, nats)"

MAX_MARKERS = 20
"""Epochs that a marker each does not crowd."""

_drawing = threading.Lock()  # matplotlib is not made for threads, and a worker with slots has several


def draw_confusion_matrix(counts: Confusion, classes: Sequence[str], images: str) -> bytes:
    """Images by true class (rows) and by what they were taken for (columns); `images`: `validation` or `test`."""
    return _png(
        confusion_matrix.plot_matrices([ConfusionMatrix(f"{images} images at the best epoch", (), counts)], classes)
    )


def draw_learning_curves(epochs: Sequence[EpochMetrics], images: str) -> bytes:
    """Accuracy and loss by epoch, of the training images and of the others; `images` says which those are."""
    panels = tuple(_panel(epochs, figure, title, images) for figure, title in (("accuracy", ACCURACY), ("loss", LOSS)))
    return _png(Chart(panels, columns=2, width=320, height=220))


def _panel(epochs: Sequence[EpochMetrics], figure: str, title: str, images: str) -> Panel:
    steps = tuple(float(epoch.epoch) for epoch in epochs)
    marker = len(epochs) <= MAX_MARKERS or images == "test"  # those are looked at once, and one point makes no line

    def values(part: str) -> tuple[float, ...]:
        return tuple(float(getattr(epoch, f"{part}_{figure}")) for epoch in epochs)

    training = Series(steps, values("train"), "training", "dashed", "circle" if marker else None, COLOURS[1])
    other = Series(steps, values("val"), images, "solid", "square" if marker else None, COLOURS[0])
    return Panel("", Axis("epoch", whole=True), Axis(title), (training, other))


def _png(drawn: Chart) -> bytes:
    from hpsearch.plotting import matplotlib_renderer

    with _drawing:
        return matplotlib_renderer.render_png(drawn)
