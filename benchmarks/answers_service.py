"""The service's answer to what matters in a study, as the benchmark reads it: the one place that calls the analysis."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from answers_truth import Where

from hpsearch.analysis.answer import answer_study, make_document
from hpsearch.storage.results import Summary, Trial


@dataclass(frozen=True)
class StatedShare:
    """A hyperparameter's share of the variance, and its 95% interval."""

    share: float
    low: float
    high: float


@dataclass(frozen=True)
class Claim:
    """What is said of two levels of a hyperparameter: by how much one is better, with the 95% interval of that."""

    name: str
    better: str
    worse: str
    low: float
    high: float
    settled: bool
    where: Where
    epoch: int


@dataclass(frozen=True)
class Answer:
    """Shares by hyperparameter, none where they cannot be known, and at which epoch; `levels` by hyperparameter."""

    epoch: int | None
    shares: Mapping[str, StatedShare]
    levels: Mapping[str, Sequence[str]]
    claims: Sequence[Claim]


def answer(summary: Summary, trials: Sequence[Trial]) -> Answer:
    """Ask the service."""
    document = compute_document(summary, trials)
    shown = document["importance"] or {"epoch": None, "shares": []}
    return Answer(
        shown["epoch"],
        {row["name"]: StatedShare(row["share"], row["low"], row["high"]) for row in shown["shares"]},
        {effect["name"]: [_label(level) for level in effect["levels"]] for effect in document["effects"]},
        [_claim(effect["name"], row) for effect in document["effects"] for row in effect["differences"]],
    )


def compute_document(summary: Summary, trials: Sequence[Trial]) -> Mapping[str, Any]:
    """Return what `hpsearch answer --json` prints."""
    return make_document(answer_study(summary, trials))


def _label(level: Any) -> str:
    return str(level["label"] if isinstance(level, Mapping) else level)


def _claim(name: str, row: Mapping[str, Any]) -> Claim:
    """Read one of an effect's differences."""
    ends = float(row["low"]), float(row["high"])
    return Claim(name, row["better"], row["worse"], *ends, bool(row["settled"]), row["where"], int(row["epoch"]))
