"""The computed notes of the dashboard, in Markdown, above what a person wrote in the same note."""

import re
from collections.abc import Iterable, Mapping

from hpsearch import outcomes
from hpsearch.analysis import findings
from hpsearch.analysis.answer import Answer
from hpsearch.formatting import format_count, format_params
from hpsearch.markdown import escape, escape_lines
from hpsearch.outcomes import FOREIGN
from hpsearch.storage import studies
from hpsearch.storage.results import Summary, Trial

MAX_TRIAL_NOTES = 20
"""Trials with a computed note, the best ones."""

SEPARATOR = "*Above this line: computed at each visit. Below it: what somebody wrote.*"
"""Stands between the two parts in a note that is served; a note that is sent back is split there."""

PENDING = "*The answer is being computed: reload the page in a moment.*"

EVALUATION_REMARK = "This study tests another's best configurations: `hpsearch evaluate` shows the result."


FOREIGN_NOTE = f"**{FOREIGN.capitalize()}**: nobody trained it here, so that it is compared with no other trial."

UNREADABLE_NOTE = f"**Unreadable**: {studies.UNREADABLE}. Its trials are shown as Optuna has them."


def join_note(computed: str, written: str) -> str:
    """Return a note as it is served."""
    return f"{computed}\n\n---\n\n{SEPARATOR}\n\n{written}"


def extract_written(served: str) -> str:
    """Return a person's part of a note that was served, and edited since; all of it where the separator is gone."""
    _, separator, below = served.partition(SEPARATOR)
    return re.sub(r"\A(\r?\n)+", "", below) if separator else served


def write_study_note(summary: Summary, answer: Answer | None) -> str:
    """Write a study's note: the question, how far the search is, and the last answer; None while there is none."""
    if answer is None:
        return _join_parts(*_describe_progress(summary), PENDING)
    sentences = answer.sentences
    found = _list((*sentences.answer, *sentences.cost, *sentences.gap))
    limits = ("Caveats:", _list(sentences.caveats)) if sentences.caveats else ()
    missing = summary.ended - answer.summary.ended
    late = (f"*Not yet in it: {format_count(missing, 'trial')}.*",) if missing > 0 else ()
    return _join_parts(*_describe_progress(summary), found, *late, *limits)


def write_evaluation_note(summary: Summary) -> str:
    """Write the note of an evaluation, whose values are of the test images: how far it is."""
    return _join_parts(*_describe_progress(summary), EVALUATION_REMARK)


def _describe_progress(summary: Summary) -> tuple[str, str]:
    """Return the question, and how far the search is."""
    study, states = summary.study, summary.describe_counts()
    progress = f"{summary.ended} of {study.spec.budget.trials} trials ended" + (f" ({states})" if states else "")
    status = f"**{summary.status}**" + (f" ({escape(study.reason)})" if study.reason else "")
    return escape_lines(study.spec.study.description), f"{status}, {progress}"


def _join_parts(*parts: str) -> str:
    return "\n\n".join(part for part in parts if part)


def _list(lines: Iterable[str]) -> str:
    return "\n".join(f"* {escape(line)}" for line in lines)


def write_trial_notes(summary: Summary, trials: Iterable[Trial]) -> Mapping[int, str]:
    """Write the notes of the best trials, by number: rank, value, hyperparameters, and the classes confused most.

    Trials that another program told have one that says so.
    """
    spec, trials = summary.study.spec, list(trials)
    ranked = findings.rank_trials(spec, trials)
    classes = spec.classes
    notes = {trial.number: FOREIGN_NOTE for trial in trials if trial.is_foreign}
    for rank, trial in enumerate(ranked[:MAX_TRIAL_NOTES], start=1):
        value = f"{escape(spec.study.metric)} {trial.value:.4f} at epoch {trial.best_epoch} of {len(trial.epochs)}"
        parts = [f"**Number {rank} of {len(ranked)} complete trials**: {value}", escape(format_params(trial.params))]
        pairs = outcomes.find_confused_pairs(trial.confusion, classes) if trial.confusion else ()
        if pairs:
            parts.append(f"Confused most: {escape(', '.join(map(str, pairs)))}")
        notes[trial.number] = "\n\n".join(parts)
    return notes
