"""PNG pictures of one trial, by matplotlib, which is imported when the first is drawn."""

import io
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from hpsearch.outcome import Confusion, EpochMetrics

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = 64
"""Of the palette: as good to the eye as all of them, at a quarter of the size."""

_drawing = threading.Lock()  # matplotlib is not made for threads, and a worker with slots has several


def confusion_matrix(matrix: Confusion, classes: Sequence[str], images: str) -> bytes:
    """Counts of images by true class (rows) and by what they were taken for (columns), shaded by share of the row.

    `images` says which: `validation` or `test`.
    """
    with _drawing:
        from matplotlib.figure import Figure

        counts = np.array(matrix)
        totals = counts.sum(axis=1, keepdims=True)
        shares = np.divide(counts, totals, out=np.zeros(counts.shape), where=totals > 0)
        figure = Figure(figsize=(6.4, 5.6), dpi=100)
        axes = figure.add_axes((0.2, 0.17, 0.78, 0.76))
        axes.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.0, aspect="auto")
        for row, column in np.ndindex(counts.shape):
            colour = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, str(counts[row, column]), ha="center", va="center", color=colour, fontsize=9)
        every = range(len(classes))
        axes.set_xticks(every, list(classes), rotation=40, ha="right")
        axes.set_yticks(every, list(classes))
        accuracy = np.trace(counts) / counts.sum()
        axes.set_title(f"{images} images, {accuracy:.1%} right; shaded by share of the row", fontsize=10)
        axes.set_xlabel("taken for")
        axes.set_ylabel("true class")
        return _png(figure)


def learning_curves(epochs: Sequence[EpochMetrics], images: str) -> bytes:
    """Accuracy and loss by epoch, of the training images and of the `images`: `validation`, or `test`."""
    with _drawing:
        from matplotlib.figure import Figure
        from matplotlib.ticker import MaxNLocator

        figure = Figure(figsize=(8.0, 3.4), dpi=100)
        steps = [epoch.epoch for epoch in epochs]
        for place, what, unit in ((0.08, "accuracy", "fraction of 1"), (0.58, "loss", "cross-entropy, nats")):
            axes = figure.add_axes((place, 0.16, 0.4, 0.72))
            for part, line, marker, shown in (("train", "--", "o", "training"), ("val", "-", "s", images)):
                values = [getattr(epoch, f"{part}_{what}") for epoch in epochs]
                axes.plot(steps, values, line, marker=marker, markersize=4, label=shown)
            axes.set_title(f"{what} ({unit})", fontsize=10)
            axes.set_xlabel("epoch")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.grid(alpha=0.3)
            axes.legend(fontsize=9)
        return _png(figure)


def _png(figure: "Figure") -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    image = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB").quantize(COLOURS)
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    return file.getvalue()
