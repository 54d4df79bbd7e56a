"""How right the answers are: each compared with what is true of its landscape, and the table of all."""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Literal, Protocol, get_args

from answers_service import Answer
from answers_truth import Where

from hpsearch.spec.dimension import Dimension

Stage = Literal["rung", "end"]
"""Which epoch is spoken of: the last one, or an earlier one."""
TITLES: Mapping[Stage, str] = {
    "rung": "Differences between levels, at the rung that every trial reached",
    "end": "Differences between levels, at the end of training",
}

LARGE = 0.03
"""A difference that matters to a user."""
CLEAR = 0.05
"""A lead of the first share over the second above which the first is expected to be named."""
TOLERANCE = 0.005
"""By how much a true share may lie outside its range: shares are shown in hundredths."""


@dataclass(frozen=True)
class Counts:
    """Of what is said about differences at one stage, in one reading.

    `covered` of `intervals` contain the truth; `claims` are the settled ones, `wrong` those of them whose sign is not
    the true one; `large` true differences are of `LARGE` and more, and `settled` of these are claimed rightly.
    """

    intervals: int = 0
    covered: int = 0
    claims: int = 0
    wrong: int = 0
    large: int = 0
    settled: int = 0


@dataclass(frozen=True)
class LandscapeScore:
    """Of one answer.

    `lead` is that of the true first share; `top` says whether the first share is the true one, False where none is
    `shown`. Both are None where nothing matters.
    """

    landscape: str
    lead: float | None
    top: bool | None
    shown: bool
    errors: Sequence[float]
    covered: Sequence[bool]
    counts: Mapping[tuple[Stage, Where], Counts]
    seconds: float


class Truth(Protocol):
    """What is true at an epoch: of a landscape (`answers_truth`), or on real training (`answers_grid`)."""

    @property
    def space(self) -> Mapping[str, Dimension]:
        """Return the search space."""

    @property
    def shares(self) -> Mapping[str, float] | None:
        """Return the share of each hyperparameter; None where nothing matters."""

    @property
    def lead(self) -> float:
        """Return how far the largest share is above the next."""

    def compare(self, name: str, better: str, worse: str, where: Where) -> float | None:
        """Return by how much one level is above another; None where no such configuration has the hyperparameter."""

    def list_levels(self, name: str) -> list[str]:
        """Return the labels of the levels that a search which tried everything would compare."""


Truths = Callable[[int], Truth]
"""Gives the truth at an epoch."""


def score_answer(
    landscape: str, answer: Answer, seconds: float, first_rung: int, epochs: int, truths: Truths
) -> LandscapeScore:
    """Hold one answer against the truth.

    Args:
        landscape: its name.
        answer: what the service says of a search over it.
        seconds: of CPU that the service took.
        first_rung: the epoch that is taken where the answer shows no importance.
        epochs: of the study.
        truths: what is true at each epoch.
    """
    rung = answer.epoch or first_rung
    shares, lead = truths(rung).shares, truths(rung).lead
    stages: dict[Stage, int] = {"rung": rung, "end": epochs} if rung < epochs else {"end": epochs}
    counts = {
        (stage, where): _count(answer, stage, where, epochs, epoch, truths)
        for stage, epoch in stages.items()
        for where in get_args(Where)
    }
    if shares is None:
        return LandscapeScore(landscape, None, None, bool(answer.shares), (), (), counts, seconds)
    errors = [abs(row.share - shares[name]) for name, row in answer.shares.items()]
    covered = [row.low - TOLERANCE <= shares[name] <= row.high + TOLERANCE for name, row in answer.shares.items()]
    top = _find_top({name: row.share for name, row in answer.shares.items()}) == _find_top(shares)
    return LandscapeScore(landscape, lead, top, bool(answer.shares), errors, covered, counts, seconds)


def _find_top(shares: Mapping[str, float]) -> str | None:
    return max(shares, key=shares.__getitem__, default=None)


def _count(answer: Answer, stage: Stage, where: Where, epochs: int, epoch: int, truths: Truths) -> Counts:
    """Count what is said of one stage in one reading; a claim is compared with the truth at its own epoch."""
    claims = [claim for claim in answer.claims if claim.where == where and (claim.epoch >= epochs) == (stage == "end")]
    amounts = [(claim, truths(claim.epoch).compare(claim.name, claim.better, claim.worse, where)) for claim in claims]
    known = [(claim, amount) for claim, amount in amounts if amount is not None]
    settled = [(claim, amount) for claim, amount in known if claim.settled]
    right = {(claim.name, claim.better, claim.worse) for claim, amount in settled if amount > 0}
    large = list(_list_large(answer, truths(epoch), where))
    return Counts(
        intervals=len(known),
        covered=sum(claim.low <= amount <= claim.high for claim, amount in known),
        claims=len(settled),
        wrong=sum(amount <= 0 for _, amount in settled),
        large=len(large),
        settled=sum(pair in right for pair in large),
    )


def _list_large(answer: Answer, truth: Truth, where: Where) -> Iterator[tuple[str, str, str]]:
    """Yield the hyperparameter, the better and the worse level of every true difference that matters to a user."""
    for name in truth.space:
        for pair in itertools.combinations(answer.levels.get(name) or truth.list_levels(name), 2):
            amount = truth.compare(name, *pair, where)
            if amount is not None and abs(amount) >= LARGE:
                yield (name, *(pair if amount > 0 else reversed(pair)))


def format_table(scores: Sequence[LandscapeScore]) -> str:
    """Return the tables in Markdown: a row a landscape, and one of all."""
    groups = [list(group) for _, group in itertools.groupby(scores, key=lambda score: score.landscape)]
    rows = [(group[0].landscape, group) for group in groups] + [("all", list(scores))]
    parts = ["Shares", _format_shares(rows)]
    for stage in get_args(Stage):
        parts += [TITLES[stage], _format_stage(rows, stage)]
    return "\n\n".join(parts)


Rows = Sequence[tuple[str, Sequence[LandscapeScore]]]


def _format_shares(rows: Rows) -> str:
    head = ("landscape", "true lead", "shown", "top-1 right", "error of a share", "shares covered", "CPU-s")
    return format_markdown(head, [(name, *_summarize_shares(name, group)) for name, group in rows])


def _summarize_shares(name: str, group: Sequence[LandscapeScore]) -> tuple[str, ...]:
    """Return the cells of a row; top-1 of all counts where the lead is clear."""
    leads = [score.lead for score in group if score.lead is not None]
    judged = [score for score in group if score.top is not None and (name != "all" or (score.lead or 0) >= CLEAR)]
    errors = [error for score in group for error in score.errors]
    covered = [inside for score in group for inside in score.covered]
    return (
        f"{mean(leads):.2f}" if leads and name != "all" else "–",
        _ratio(sum(score.shown for score in group), len(group)),
        _ratio(sum(bool(score.top) for score in judged), len(judged)),
        f"{mean(errors):.3f}" if errors else "–",
        _part(sum(covered), len(covered)),
        f"{mean(score.seconds for score in group):.1f}",
    )


def _format_stage(rows: Rows, stage: Stage) -> str:
    head: tuple[str, ...] = ("landscape",)
    for where in ("space", "good"):
        head += (f"{where}: covered", "≥ 3 points settled", "claims", "wrong sign")
    return format_markdown(head, [(name, *_summarize_stage(group, stage)) for name, group in rows])


def _summarize_stage(group: Sequence[LandscapeScore], stage: Stage) -> Iterator[str]:
    for where in get_args(Where):
        counts = [score.counts[stage, where] for score in group if (stage, where) in score.counts]
        yield _part(sum(count.covered for count in counts), sum(count.intervals for count in counts))
        yield _ratio(sum(count.settled for count in counts), sum(count.large for count in counts))
        yield str(sum(count.claims for count in counts))
        yield str(sum(count.wrong for count in counts))


def _ratio(part: int, whole: int) -> str:
    return f"{part}/{whole}" if whole else "–"


def _part(part: int, whole: int) -> str:
    return f"{part / whole:.2f}" if whole else "–"


def format_markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table, its first column of text and the others of numbers."""
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
