"""A confusion matrix, and its picture."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hpsearch import outcomes
from hpsearch.outcomes import Confusion
from hpsearch.plotting import chart
from hpsearch.plotting.chart import Chart, Heatmap, Panel

PAIRS = 5
"""Pairs of classes that are named for each."""


@dataclass(frozen=True)
class ConfusionMatrix:
    """Images by class and by what the models of `trials` took them for, summed over the trials."""

    label: str
    trials: tuple[int, ...]
    counts: Confusion

    @property
    def accuracy(self) -> float:
        """The part of the images that was taken for what they are."""
        counts = np.array(self.counts)
        return float(np.trace(counts) / max(1, counts.sum()))

    def worst(self, classes: Sequence[str]) -> tuple[outcomes.ConfusedPair, ...]:
        """The pairs of classes that are confused most."""
        return outcomes.find_confused_pairs(self.counts, classes, PAIRS)


def plot_matrices(found: Sequence[ConfusionMatrix], classes: Sequence[str]) -> Chart:
    """A panel a matrix: rows are the true classes, columns what they were taken for; counts and percent of the row."""
    columns = 1 if len(found) == 1 else 2
    panels = tuple(_panel(matrix, classes) for matrix in found)
    return Chart(panels, columns, width=480, height=420)


def _panel(matrix: ConfusionMatrix, classes: Sequence[str]) -> Panel:
    counts = np.array(matrix.counts)
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.zeros(counts.shape), where=totals > 0)
    trials = f", sum of {len(matrix.trials)} trials" if len(matrix.trials) > 1 else ""
    title = [*textwrap.wrap(matrix.label, 64), f"{matrix.accuracy:.1%} of {counts.sum():,} images right{trials}"]
    cells = list(zip(counts.tolist(), shares.tolist(), strict=True))
    texts = tuple(tuple(_cell(n, share) for n, share in zip(*row, strict=True)) for row in cells)
    hover = tuple(
        tuple(
            f"{n} of {int(totals[i, 0])} images of {classes[i]} taken for {classes[j]} ({share:.1%})"
            for j, (n, share) in enumerate(zip(*row, strict=True))
        )
        for i, row in enumerate(cells)
    )
    heat = Heatmap(tuple(tuple(row) for row in shares.tolist()), texts, hover)
    x, y = chart.make_column_axis(classes, "taken for"), chart.make_row_axis(classes, "true class")
    return Panel("\n".join(title), x, y, (heat,))


def _cell(count: int, share: float) -> str:
    return f"{count}\n{share:.0%}" if count else "0"
