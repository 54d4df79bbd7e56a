"""The tables of the benchmark of answers on real training."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TypeVar, get_args

import answers_scores
from answers_grid import GridTruth
from answers_scores import format_markdown
from answers_service import StatedShare
from answers_truth import Where
from training_judged import JudgedSearches

LEAST_INTERACTION = 0.02
"""Of the variance, at either epoch; smaller interactions are left out."""

Key = TypeVar("Key")


def format_tables(judged: Sequence[JudgedSearches]) -> str:
    """Return all tables in Markdown: the shares and the levels of each data set, then how right the answers are."""
    parts = []
    for data in judged:
        parts += [f"{data.name}: shares of the variance", _format_shares(data)]
        parts += [f"{data.name}: how far each level is below the best one, in points", _format_levels(data)]
    parts.append(answers_scores.format_table([score for data in judged for score in data.score()]))
    wrong = [line for data in judged for line in _list_wrong(data)]
    return "\n\n".join([*parts, "Claims of the wrong sign", "\n".join(wrong) or "None."])


def _format_shares(data: JudgedSearches) -> str:
    """Return the true shares at the first rung and at the end, and what is said of each search."""
    truths = data.truth(data.rung), data.truth(data.epochs)
    first = truths[0]
    said = [
        f"search {search.seed}" + ("" if answer.epoch in (None, data.rung) else f", epoch {answer.epoch}")
        for search, answer in zip(data.searches, data.answers, strict=True)
    ]
    rows = [
        [name, *(_format_true(truth.shares, truth.share_errors, name) for truth in truths)]
        + [_format_stated(answer.shares.get(name)) for answer in data.answers]
        for name in sorted(first.space, key=lambda name: -first.shares[name])
    ]
    for pair in sorted(first.interactions, key=lambda pair: -first.interactions[pair]):
        if max(truth.interactions[pair] for truth in truths) >= LEAST_INTERACTION:
            true = [_format_true(truth.interactions, truth.interaction_errors, pair) for truth in truths]
            rows.append([" × ".join(pair), *true, *([""] * len(said))])
    return format_markdown(["", f"true, epoch {data.rung}", f"true, epoch {data.epochs}", *said], rows)


def _format_levels(data: JudgedSearches) -> str:
    """Return every level's distance to the best of its hyperparameter, by epoch and reading."""
    epochs = data.rung, data.epochs
    readings = [(data.truth(epoch), where) for epoch in epochs for where in get_args(Where)]
    titles = {"space": "over the space", "good": "among good ones"}
    head = ["", *(f"epoch {epoch}, {titles[where]}" for epoch in epochs for where in get_args(Where))]
    rows = []
    for name in data.truth(data.rung).space:
        columns = [_measure_levels(truth, name, where) for truth, where in readings]
        rows += [[f"{name}: {label}", *(column[label] for column in columns)] for label in columns[0]]
    return format_markdown(head, rows)


def _measure_levels(truth: GridTruth, name: str, where: Where) -> dict[str, str]:
    labels = truth.list_levels(name)
    best = max(labels, key=lambda label: truth.compare(name, label, labels[0], where))
    return {
        label: "best"
        if label == best
        else _format_points(truth.compare(name, best, label, where), truth.measure_error(name, best, label, where))
        for label in labels
    }


def _list_wrong(data: JudgedSearches) -> Iterator[str]:
    for search, answer in zip(data.searches, data.answers, strict=True):
        for claim in answer.claims:
            said = claim.name, claim.better, claim.worse, claim.where
            truth = data.truth(claim.epoch)
            if claim.settled and (amount := truth.compare(*said)) <= 0:
                yield (
                    f"- {data.name}, search {search.seed}, epoch {claim.epoch}, {claim.where}: {claim.name} "
                    f"{claim.better} above {claim.worse} by {100 * claim.low:.1f} to {100 * claim.high:.1f}; "
                    f"true: {_format_points(amount, truth.measure_error(*said))}"
                )


def _format_true(shares: Mapping[Key, float], errors: Mapping[Key, float], key: Key) -> str:
    return f"{shares[key]:.2f} ± {errors[key]:.2f}"


def _format_stated(share: StatedShare | None) -> str:
    return f"{share.share:.2f} ({share.low:.2f} to {share.high:.2f})" if share else "–"


def _format_points(amount: float, error: float) -> str:
    return f"{100 * amount:.1f} ± {100 * error:.1f}"
