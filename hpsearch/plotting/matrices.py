"""Which confusion matrices stand side by side: the best trial's, and those of what can be compared."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np

from hpsearch.analysis.effects import Effect
from hpsearch.formatting import format_params
from hpsearch.plotting.confusion_matrix import ConfusionMatrix
from hpsearch.storage.results import Trial

MOST = 8
"""Matrices side by side."""


def make_matrix(trial: Trial) -> ConfusionMatrix | None:
    """One trial's; None where it has none."""
    if trial.confusion is None:
        return None
    return ConfusionMatrix(f"trial {trial.number}", (trial.number,), trial.confusion)


def sum_by_configuration(trials: Iterable[Trial]) -> list[ConfusionMatrix]:
    """One for each set of hyperparameters among the complete trials, the sum of its trials'; none where too many."""
    groups: dict[str, list[Trial]] = defaultdict(list)
    tried = [trial for trial in trials if trial.state == "complete" and trial.confusion is not None]
    differing = [name for name in _names(tried) if len({trial.params.get(name) for trial in tried}) > 1]
    for trial in tried:
        groups[format_params({name: trial.params[name] for name in differing if name in trial.params})].append(trial)
        if len(groups) > MOST:
            return []
    return [_sum(label, group) for label, group in groups.items()] if len(groups) > 1 else []


def select_by_level(effect: Effect, trials: Iterable[Trial], best: str) -> list[ConfusionMatrix]:
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


def _sum(label: str, group: Sequence[Trial]) -> ConfusionMatrix:
    counts = np.sum([np.array(trial.confusion) for trial in group], axis=0)
    return ConfusionMatrix(
        label, tuple(trial.number for trial in group), tuple(tuple(int(n) for n in row) for row in counts)
    )
