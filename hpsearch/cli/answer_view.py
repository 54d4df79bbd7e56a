"""The answer to a study on a screen: the question, what matters, what to use, and what is open."""

import textwrap
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from hpsearch.analysis.anova.level_differences import Where, compare_best_level
from hpsearch.analysis.level_sentences import name_subject
from hpsearch.cli.console import print_answer_line, print_table
from hpsearch.formatting import format_bounds, format_count, format_share, name_unit

if TYPE_CHECKING:
    from hpsearch.analysis.anova.level_differences import LevelDifference
    from hpsearch.analysis.answer import Answer
    from hpsearch.analysis.findings import ComparedLevels
    from hpsearch.analysis.importance import Interaction, Share

BAR = 12
"""Characters of a share of 1."""
MAX_ROWS = 10
"""Hyperparameters with a row of their own, the most important ones."""
MAX_SENTENCES = 12
"""Sentences on levels, where these come from a grid's means."""
MAX_OTHERS = 3
"""Levels that the best one is compared with, in a cell."""
WIDTH = 110
"""Characters of a line of text."""


def print_answer(answer: "Answer") -> None:
    """Print an answer on stdout; at most about a screen."""
    _print_lines(_describe_question(answer))
    if answer.importance.differences and not answer.findings.is_exact:
        _print_modelled(answer)
    else:
        _print_measured(answer)
    _print_lines([*answer.sentences.best, *answer.sentences.ablation, *answer.sentences.open])


def print_in_sentences(answer: "Answer") -> None:
    """Print an answer on stdout for somebody who sees one for the first time: nothing but sentences."""
    _print_lines(_describe_question(answer))
    for sentence in answer.sentences.answer:
        _print_lines(["", sentence])


def _describe_question(answer: "Answer") -> Iterator[str]:
    """Yield the question, and how far the study is."""
    summary = answer.summary
    spec, states = summary.study.spec, summary.describe_counts()
    question = " ".join(spec.study.description.split())
    yield f"{spec.study.name}{f': {question}' if question else ''}"
    trials = format_count(spec.budget.trials, "trial")
    yield f"{summary.status}: {summary.ended:,} of {trials} ended ({states or 'none yet'})"


def _print_modelled(answer: "Answer") -> None:
    """Print what a search's model says: a row for each hyperparameter."""
    importance, epochs = answer.importance, answer.summary.study.spec.budget.epochs
    comparisons = _sort_comparisons(answer)
    shares = {share.name: _draw_share(share) for share in importance.shares}
    rows = [
        (
            name_subject(compared.name, compared.when),
            shares.get(compared.name, "not known"),
            *_compare(compared, answer),
        )
        for compared in comparisons[:MAX_ROWS]
    ]
    rows += [(" × ".join(pair.names), _draw_share(pair), "", "", "") for pair in importance.interactions]
    unit = name_unit(answer.findings.metric)
    columns = (f"better than, by {unit}", f"not settled against, by {unit}")
    print_table(("hyperparameter", "share of the variance", "best", *columns), rows)
    more = comparisons[MAX_ROWS:]
    lines = [f"and {format_count(len(more), 'hyperparameter')} that matter less: the report has them"] if more else []
    at = f"at epoch {importance.epoch} of {epochs}" if importance.epoch < epochs else "at the end of training"
    lines.append(
        f"From {format_count(importance.trials, 'trial')} {at}; in brackets 95% intervals. Best among good "
        "configurations: everything else as in the best tenth of the space."
    )
    # The statements stand in the table.
    _print_lines([*lines, *(line for line in answer.sentences.matters if line not in importance.statements)])


def _draw_share(share: "Share | Interaction") -> str:
    bar = "█" * round(BAR * share.share)
    return f"{format_share(share.share, share.low, share.high)} {bar}".rstrip()


def _sort_comparisons(answer: "Answer") -> list["ComparedLevels"]:
    """Return what each hyperparameter does, the most important one first where that is known."""
    order = {share.name: place for place, share in enumerate(answer.importance.shares)}
    return sorted(answer.comparisons, key=lambda compared: order.get(compared.name, len(order)))


def _compare(compared: "ComparedLevels", answer: "Answer") -> tuple[str, str, str]:
    """Return the best level among good configurations, those that it is better than, and the others."""
    last = max((each.epoch for each in compared.differences if each.is_settled), default=answer.importance.epoch)
    pairs = [each for each in compared.differences if each.where is Where.GOOD and each.epoch == last]
    if not pairs:
        return "", "", ""
    best, metric = compare_best_level(pairs), answer.findings.metric
    label = best.label if last == answer.importance.epoch else f"{best.label} (at the end)"
    return label, _list_others(best.settled, best.label, metric), _list_others(best.open, best.label, metric)


def _list_others(pairs: "Sequence[LevelDifference]", best: str, metric: str) -> str:
    """Return the other levels, each with how much better the best one is."""
    others = [f"{pair.name_other(best)} {format_bounds(*pair.orient(best), metric)}" for pair in pairs]
    more = [f"{len(others) - MAX_OTHERS} more"] if len(others) > MAX_OTHERS else []
    return ", ".join([*others[:MAX_OTHERS], *more])


def _print_measured(answer: "Answer") -> None:
    """Print what a grid's measured means say, and what little there is of a study that has just begun."""
    lines = [*answer.sentences.matters, *answer.sentences.levels]
    _print_lines(lines[:MAX_SENTENCES])
    if len(lines) > MAX_SENTENCES:
        _print_lines([f"and {format_count(len(lines) - MAX_SENTENCES, 'more sentence')}: the report has them"])


def _print_lines(lines: "Sequence[str] | Iterator[str]") -> None:
    for line in lines:
        for part in textwrap.wrap(line, WIDTH, subsequent_indent="  ") or [""]:
            print_answer_line(part)
