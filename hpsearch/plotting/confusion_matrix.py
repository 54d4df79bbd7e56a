"""Confusion matrices: of one trial, summed by configuration, of each level's best trial, and their chart."""

import textwrap
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from hpsearch import outcomes
from hpsearch.analysis.effects import Effect
from hpsearch.formatting import format_params
from hpsearch.metrics import Direction
from hpsearch.outcomes import ConfusedPair, Confusion, TrialState
from hpsearch.plotting import chart
from hpsearch.plotting.chart import Chart, Heatmap, Panel
from hpsearch.storage.results import Trial

NAMED_PAIRS = 5
"""Pairs of classes that are named for each matrix."""
MAX_MATRICES = 8
"""Matrices side by side."""
TITLE_WIDTH = 64
"""Letters of a line above a matrix."""


@dataclass(frozen=True)
class ConfusionMatrix:
    """Images by true class (rows) and predicted class (columns), summed over the models of `trials`.

    `counts` is square, classes × classes.
    """

    label: str
    trials: tuple[int, ...]
    counts: Confusion

    @property
    def accuracy(self) -> float:
        """Return the fraction of the images whose predicted class is the true one."""
        counts = np.array(self.counts)
        return float(np.trace(counts) / max(1, counts.sum()))

    def find_confused_pairs(self, classes: Sequence[str]) -> tuple[ConfusedPair, ...]:
        """Return the `NAMED_PAIRS` pairs of classes that are confused most, the worst first."""
        return outcomes.find_confused_pairs(self.counts, classes, NAMED_PAIRS)


def make_trial_matrix(trial: Trial) -> ConfusionMatrix | None:
    """Return the matrix of a trial's best epoch; None where it finished no epoch."""
    if trial.confusion is None:
        return None
    return ConfusionMatrix(f"trial {trial.number}", (trial.number,), trial.confusion)


def sum_by_configuration(trials: Iterable[Trial]) -> list[ConfusionMatrix]:
    """Return a matrix for each configuration of the complete trials, summed over its trials.

    Empty where there are fewer than two configurations, or more than `MAX_MATRICES`. A label names only the
    hyperparameters in which the configurations differ.
    """
    groups: dict[str, list[Trial]] = defaultdict(list)
    complete = _select_complete(trials)
    names = dict.fromkeys(name for trial in complete for name in trial.params)
    differing = [name for name in names if len({trial.params.get(name) for trial in complete}) > 1]
    for trial in complete:
        groups[format_params({name: trial.params[name] for name in differing if name in trial.params})].append(trial)
        if len(groups) > MAX_MATRICES:
            return []
    return [_sum(label, group) for label, group in groups.items()] if len(groups) > 1 else []


def select_by_level(effect: Effect, trials: Iterable[Trial], direction: Direction) -> list[ConfusionMatrix]:
    """Return the matrix of the best complete trial of each of the first `MAX_MATRICES` levels that have one."""
    by_number = {trial.number: trial for trial in _select_complete(trials)}
    matrices = []
    for level in effect.levels:
        tried = [by_number[number] for number in level.trials if number in by_number]
        if tried:
            best = max(tried, key=lambda trial: (direction.sign * (trial.value or 0.0), -trial.number))
            matrices.append(_sum(f"{effect.name} {level.label}: trial {best.number}", [best]))
    return matrices[:MAX_MATRICES]


def _select_complete(trials: Iterable[Trial]) -> list[Trial]:
    return [trial for trial in trials if trial.state == TrialState.COMPLETE and trial.confusion is not None]


def _sum(label: str, trials: Sequence[Trial]) -> ConfusionMatrix:
    counts = np.sum([np.array(trial.confusion) for trial in trials], axis=0)
    return ConfusionMatrix(label, tuple(trial.number for trial in trials), tuple(map(tuple, counts.tolist())))


def plot_matrices(matrices: Sequence[ConfusionMatrix], classes: Sequence[str]) -> Chart:
    """Return a chart with a panel for each matrix: counts and percent of the row, shaded by the percent.

    Of many classes those that are confused most, the same ones in each panel; the titles say so.
    """
    columns = 1 if len(matrices) == 1 else 2
    shown = outcomes.find_confused_classes([matrix.counts for matrix in matrices])
    panels = tuple(_panel(matrix, classes, shown) for matrix in matrices)
    return Chart(panels, columns, width=480, height=420)


def _panel(matrix: ConfusionMatrix, classes: Sequence[str], shown: Sequence[int]) -> Panel:
    counts = np.array(matrix.counts)
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.zeros(counts.shape), where=totals > 0)
    trials = f", sum of {len(matrix.trials)} trials" if len(matrix.trials) > 1 else ""
    title = [
        *textwrap.wrap(matrix.label, TITLE_WIDTH),
        f"{matrix.accuracy:.1%} of {counts.sum():,} images correct{trials}",
    ]
    if len(shown) < len(classes):
        title.append(f"the {len(shown)} of {len(classes)} classes with the most errors")
    cells = np.ix_(shown, shown)
    rows = list(zip(counts[cells].tolist(), shares[cells].tolist(), strict=True))
    names, totals = [classes[label] for label in shown], totals[list(shown)]
    texts = tuple(tuple(_cell(count, share) for count, share in zip(*row, strict=True)) for row in rows)
    hover = tuple(
        tuple(
            f"{count} of {int(totals[i, 0])} images of {names[i]} predicted as {names[j]} ({share:.1%})"
            for j, (count, share) in enumerate(zip(*row, strict=True))
        )
        for i, row in enumerate(rows)
    )
    heatmap = Heatmap(tuple(tuple(row) for row in shares[cells].tolist()), texts, hover)
    x, y = chart.make_column_axis(names, "predicted class"), chart.make_row_axis(names, "true class")
    return Panel("\n".join(title), x, y, (heatmap,))


def _cell(count: int, share: float) -> str:
    return f"{count}\n{share:.0%}" if count else "0"
