"""What the dashboard's notes say that is computed, in Markdown; a person's own words stand below it."""

import re
from collections.abc import Iterable, Mapping

from hpsearch import outcomes
from hpsearch.analysis.narrative import Narrative
from hpsearch.formatting import format_params
from hpsearch.markdown import escape, escape_lines
from hpsearch.spec.sections import DATASETS
from hpsearch.storage.results import Summary, Trial

BEST = 20
"""Trials with a computed note."""

LINE = "*Above this line: computed at each visit. Below it: what somebody wrote.*"
"""Stands between the two in what is served; by it, what is handed in is taken apart again."""

EVALUATION = "This study tests another's best configurations: `hpsearch evaluate` shows what came of it."


def join_note(computed: str, written: str) -> str:
    """A note as it is served."""
    return f"{computed}\n\n---\n\n{LINE}\n\n{written}"


def extract_written(served: str) -> str:
    """A person's part of a note that was served, and edited since; all of it where the line is gone."""
    _, line, below = served.partition(LINE)
    return re.sub(r"\A(\r?\n)+", "", below) if line else served


def write_study_note(summary: Summary, found: Narrative | None) -> str:
    """The question, how far the search is, and the answer so far; None where the study is no search."""
    stored = summary.study
    counts = ", ".join(f"{count} {state}" for state, count in summary.counts.items() if count)
    ended = sum(summary.counts[state] for state in ("complete", "pruned", "failed"))
    of = f"{ended} of {stored.spec.budget.trials} trials ended" + (f" ({counts})" if counts else "")
    status = f"**{summary.status}**" + (f" ({escape(stored.reason)})" if stored.reason else "")
    parts = [escape_lines(stored.spec.study.description), f"{status}, {of}"]
    if found is None:
        return "\n\n".join([*filter(None, parts), EVALUATION])
    parts.append(_list((*found.answer, *found.cost, *found.gap)))
    parts += ["Be careful:", _list(found.caveats)] if found.caveats else []
    return "\n\n".join(part for part in parts if part)


def _list(lines: Iterable[str]) -> str:
    return "\n".join(f"* {escape(line)}" for line in lines)


def write_trial_notes(summary: Summary, trials: Iterable[Trial]) -> Mapping[int, str]:
    """By number, the notes of the best `BEST` trials: rank, value, hyperparameters, and the classes confused most."""
    spec = summary.study.spec
    sign = -1 if spec.direction == "maximize" else 1
    complete = [
        (sign * trial.value, trial) for trial in trials if trial.state == "complete" and trial.value is not None
    ]
    ranked = [trial for _, trial in sorted(complete, key=lambda pair: (pair[0], pair[1].number))]
    classes = DATASETS[spec.data.name].classes
    notes = {}
    for rank, trial in enumerate(ranked[:BEST], start=1):
        parts = [
            f"**Number {rank} of {len(ranked)} complete trials**: {_value(trial, spec.study.metric)}",
            _params(trial),
        ]
        pairs = outcomes.find_confused_pairs(trial.confusion, classes) if trial.confusion else ()
        if pairs:
            parts.append(f"Confused most: {escape(', '.join(map(str, pairs)))}")
        notes[trial.number] = "\n\n".join(parts)
    return notes


def _value(trial: Trial, metric: str) -> str:
    return f"{escape(metric)} {trial.value:.4f} at epoch {trial.best_epoch} of {len(trial.epochs)}"


def _params(trial: Trial) -> str:
    return escape(format_params(trial.params))
