"""The answer to a study: what was found in figures and in sentences; every page, command and call shows this one."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from hpsearch.analysis import findings, narrative
from hpsearch.analysis.anova.level_differences import LevelDifference
from hpsearch.analysis.findings import ComparedLevels, Findings
from hpsearch.analysis.importance import Importance
from hpsearch.analysis.narrative import Narrative
from hpsearch.storage.results import Summary, Trial, keep_finite

REMEMBERED = 16
"""Studies whose findings are kept, so that the same trials are analyzed once in a process."""


@dataclass(frozen=True)
class Answer:
    """What a study found, and the sentences about it.

    `ablation` is the table of its ablation as plain values, None while there is none; `price` has the most `trials` and
    `epochs`, and the `seconds` (None where unknown) of one that would settle what is open, None where nothing is.
    """

    summary: Summary
    findings: Findings
    sentences: Narrative
    ablation: Mapping[str, Any] | None = None
    price: Mapping[str, Any] | None = None

    @property
    def importance(self) -> Importance:
        """Return what matters."""
        return self.findings.importance

    @property
    def comparisons(self) -> tuple[ComparedLevels, ...]:
        """Return what each searched hyperparameter does."""
        return self.findings.comparisons


@dataclass(frozen=True)
class _Request:
    """What to analyze; equal to another one of the same content."""

    digest: str
    summary: Summary = field(compare=False)
    trials: Sequence[Trial] = field(compare=False)


def answer_study(summary: Summary, trials: Sequence[Trial]) -> Answer:
    """Return the answer that the trials of a study give, from what `results.read` returns.

    The analysis takes seconds; it is done once for the same trials.
    """
    found = _analyze(_Request(_digest(summary, trials), summary, trials))
    return Answer(summary, found, narrative.write_narrative(summary, found))


@lru_cache(maxsize=REMEMBERED)
def _analyze(request: _Request) -> Findings:
    return findings.analyze_study(request.summary, request.trials)


def _digest(summary: Summary, trials: Sequence[Trial]) -> str:
    """Return a digest of all that findings are computed from."""
    content = (
        summary.study.spec.to_json(),
        list(summary.study.spec.class_counts),
        summary.status,
        summary.best,
        [
            (
                *(trial.number, trial.state, trial.outcome, trial.value, trial.is_foreign, trial.params),
                [vars(epoch) for epoch in trial.epochs],
                [(attempt.host, attempt.device) for attempt in trial.history[-1:]],
            )
            for trial in trials
        ],
    )
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def make_document(answer: Answer) -> dict[str, Any]:
    """Return what `hpsearch answer --json` prints: amounts in the metric's unit, unrounded; None where unknown."""
    importance, spec = answer.importance, answer.summary.study.spec
    described: dict[str, Any] = {
        "study": spec.study.name,
        "metric": spec.study.metric,
        "importance": _describe_importance(importance) if importance.shares else None,
        "effects": [_describe_levels(each) for each in answer.comparisons],
        "best": _describe_best(answer),
        "open": list(answer.sentences.open),
        "price": answer.price,
        "ablation": answer.ablation,
    }
    cleaned: dict[str, Any] = keep_finite(described)
    return cleaned


def _describe_importance(importance: Importance) -> Mapping[str, Any]:
    return {
        "epoch": importance.epoch,
        "trials": importance.trials,
        "shares": [vars(share) for share in importance.shares],
        "interactions": [vars(pair) for pair in importance.interactions],
    }


def _describe_levels(compared: ComparedLevels) -> Mapping[str, Any]:
    return {
        "name": compared.name,
        "when": compared.when,
        "levels": compared.levels,
        "differences": [_describe_difference(each) for each in compared.differences],
    }


def _describe_difference(difference: LevelDifference) -> Mapping[str, Any]:
    return {
        "better": difference.better,
        "worse": difference.worse,
        "amount": difference.amount,
        "low": difference.low,
        "high": difference.high,
        "settled": difference.is_settled,
        "where": difference.where,
        "epoch": difference.epoch,
    }


def _describe_best(answer: Answer) -> Mapping[str, Any] | None:
    best = answer.findings.best
    return (
        {"number": best.number, "value": best.value, "epoch": best.best_epoch, "params": best.params} if best else None
    )
