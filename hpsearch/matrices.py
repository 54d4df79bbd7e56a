"""Confusion matrices side by side: the best trial's, and those of the configurations that can be compared."""

import textwrap
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from hpsearch import chart, confusion
from hpsearch.chart import Chart, Heatmap, Panel
from hpsearch.effects import Effect
from hpsearch.label import shown
from hpsearch.outcome import Confusion
from hpsearch.results import Trial

MOST = 8
"""Matrices side by side."""
PAIRS = 5
"""Pairs of classes that are named for each."""


@dataclass(frozen=True)
class Matrix:
    """The validation images of `trials` by class and by what they were taken for, summed over the trials."""

    label: str
    trials: tuple[int, ...]
    counts: Confusion

    @property
    def accuracy(self) -> float:
        """The part of the images that was taken for what they are."""
        counts = np.array(self.counts)
        return float(np.trace(counts) / max(1, counts.sum()))

    def worst(self, classes: Sequence[str]) -> tuple[confusion.Pair, ...]:
        """The pairs of classes that are confused most."""
        return confusion.worst(self.counts, classes, PAIRS)


def of(trial: Trial) -> Matrix | None:
    """One trial's; None where it has none."""
    if trial.confusion is None:
        return None
    return Matrix(f"trial {trial.number}", (trial.number,), trial.confusion)


def configurations(trials: Iterable[Trial]) -> list[Matrix]:
    """One for each set of hyperparameters among the complete trials, the sum of its trials'; none where too many."""
    groups: dict[str, list[Trial]] = defaultdict(list)
    tried = [trial for trial in trials if trial.state == "complete" and trial.confusion is not None]
    differing = [name for name in _names(tried) if len({trial.params.get(name) for trial in tried}) > 1]
    for trial in tried:
        groups[shown({name: trial.params[name] for name in differing if name in trial.params})].append(trial)
        if len(groups) > MOST:
            return []
    return [_sum(label, group) for label, group in groups.items()] if len(groups) > 1 else []


def levels(effect: Effect, trials: Iterable[Trial], best: str) -> list[Matrix]:
    """The best complete trial's of each level; `best` is `maximize` or `minimize`."""
    sign = 1 if best == "maximize" else -1
    by_number = {trial.number: trial for trial in trials if trial.state == "complete" and trial.confusion is not None}
    found = []
    for level in effect.levels:
        tried = [by_number[n] for n in level.trials if n in by_number]
        if tried:
            top = max(tried, key=lambda trial: (sign * (trial.value or 0.0), -trial.number))
            found.append(_sum(f"{effect.name} {level.label}: trial {top.number}", [top]))
    return found[:MOST]


def _names(trials: Iterable[Trial]) -> list[str]:
    return list(dict.fromkeys(name for trial in trials for name in trial.params))


def _sum(label: str, group: Sequence[Trial]) -> Matrix:
    counts = np.sum([np.array(trial.confusion) for trial in group], axis=0)
    return Matrix(label, tuple(trial.number for trial in group), tuple(tuple(int(n) for n in row) for row in counts))


def plot(found: Sequence[Matrix], classes: Sequence[str]) -> Chart:
    """A panel a matrix: rows are the true classes, columns what they were taken for; counts and percent of the row."""
    columns = 1 if len(found) == 1 else 2
    panels = tuple(_panel(matrix, classes) for matrix in found)
    return Chart(panels, columns, width=480, height=420)


def _panel(matrix: Matrix, classes: Sequence[str]) -> Panel:
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
    x, y = chart.columns(classes, "taken for"), chart.rows(classes, "true class")
    return Panel("\n".join(title), x, y, (heat,))


def _cell(count: int, share: float) -> str:
    return f"{count}\n{share:.0%}" if count else "0"
