"""The whole answer to a study: what its trials say, what its ablation found, and what is open with its price."""

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from hpsearch.analysis.answer import Answer, answer_study
from hpsearch.errors import HpsearchError
from hpsearch.evaluation import ablation as ablations
from hpsearch.evaluation.ablation import Ablation, AblationPrice, AblationResult
from hpsearch.formatting import capitalize, format_count
from hpsearch.outcomes import StudyStatus
from hpsearch.storage import results
from hpsearch.storage.database import Connection
from hpsearch.storage.results import Summary, Trial


@dataclass(frozen=True)
class AnswerSource:
    """What an answer is written from, all read in one transaction; `price` is that of a first ablation."""

    summary: Summary
    trials: Sequence[Trial]
    ablation: Ablation | None
    result: AblationResult | None
    price: AblationPrice | None


def read_answer_source(connection: Connection, name: str) -> AnswerSource:
    """Read what a study is answered from.

    Raises:
        NotFoundError: there is no such study.
    """
    summary, trials = results.read(connection, name)
    ablation = ablations.find_ablation(connection, summary.study)
    result = ablations.read_result(connection, ablation) if ablation else None
    price = None if ablation else _find_price(connection, summary, trials)
    return AnswerSource(summary, trials, ablation, result, price)


def answer(source: AnswerSource) -> Answer:
    """Return the answer to a study; this may take seconds, so it is not done in the transaction."""
    found = answer_study(source.summary, source.trials)
    if source.result is not None:
        ablated = tuple(f"{capitalize(line)}." for line in source.result.summarize())
        left = () if _settles(source.result, found) else found.sentences.open
        sentences = replace(found.sentences, ablation=ablated, open=left)
        return replace(found, sentences=sentences, ablation=source.result.table.to_json())
    if not found.sentences.open:
        return found
    sentences = replace(found.sentences, open=(*found.sentences.open, *_describe_price(source)))
    price = vars(source.price) if source.price else None
    return replace(found, sentences=sentences, price=price)


def _settles(result: AblationResult, found: Answer) -> bool:
    """Return whether an ablation is around the best trial and compares all that is searched there."""
    table, best = result.table, found.findings.best
    compared = {level.name for level in table.levels if level.verdict is not None}
    return best is not None and best.number == table.trial and compared >= set(table.params)


def _find_price(connection: Connection, summary: Summary, trials: Sequence[Trial]) -> AblationPrice | None:
    try:
        return ablations.price_ablation(connection, summary, trials)
    except HpsearchError:  # it is no search, or there is nothing to ablate yet
        return None


def _describe_price(source: AnswerSource) -> Iterator[str]:
    """Yield what compares at the end of training what is open, and what it takes; or how far it is."""
    if source.ablation is not None:
        summary = source.ablation.summary
        trials = format_count(summary.study.spec.budget.trials, "trial")
        yield (
            f"{summary.study.name}, which compares levels around trial {source.ablation.design.trial} at the end of "
            f"training, has ended {summary.ended:,} of {trials}."
        )
    elif source.price is not None:
        command = f"hpsearch ablate {shlex.quote(source.summary.study.name)}"
        when = "Once the search has ended, " if source.summary.status is StudyStatus.RUNNING else ""
        yield f"{when}{command} compares them at the end of training: at most {source.price.describe()}."
