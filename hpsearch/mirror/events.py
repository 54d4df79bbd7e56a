"""Which events a study has, in their order: always the same ones, whenever the database is asked and by whom."""

import json
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from hpsearch.formatting import format_count, format_params, make_printable
from hpsearch.outcomes import FOREIGN, StudyStatus
from hpsearch.storage.attempts import LEASE_SECONDS
from hpsearch.storage.events.history import CompleteTrial, StatusRecord, StudyHistory, TrialHold
from hpsearch.storage.results import keep_finite

TEXT_LENGTH = 3000
"""Characters of an event's text before it is escaped; Slack cuts a message at 40,000 and wants about 4,000."""


class EventKind(StrEnum):
    """What an event is of."""

    STARTED = "started"
    BEST = "best"
    PAUSED = "paused"
    WORKER_GONE = "worker_gone"
    FINISHED = "finished"


@dataclass(frozen=True)
class StudyEvent:
    """Something that happened to a study. `key` is no other event's of it; `text` is plain, for a reader."""

    kind: EventKind
    key: str
    at: datetime
    text: str
    details: Mapping[str, Any]
    is_last: bool = False
    """Whether nothing more is to come, so that the answer belongs to it."""


def list_events(history: StudyHistory, known: Collection[str]) -> Sequence[StudyEvent]:
    """Return a study's events but for those whose keys are `known`, by time, the end of the study last."""
    events = [
        *_list_starts(history),
        *_list_improvements(history, known),
        *(_describe_loss(history, hold) for hold in history.lost),
        *_list_changes(history),
    ]
    order = list(EventKind)
    new = (event for event in events if event.key not in known)
    return sorted(new, key=lambda event: (event.is_last, event.at, order.index(event.kind)))


def add_answer(event: StudyEvent, sentences: Sequence[str]) -> StudyEvent:
    """Return the last event with the answer to the study."""
    lines, length = [event.text], len(event.text)
    for place, sentence in enumerate(sentences):
        length += len(sentence) + len("\n• ")
        if length > TEXT_LENGTH:
            lines.append(f"and {format_count(len(sentences) - place, 'more sentence')}: hpsearch answer prints them")
            break
        lines.append(f"• {sentence}")
    details = {**event.details, "answer": list(sentences)}
    return StudyEvent(event.kind, event.key, event.at, "\n".join(lines), details, is_last=True)


def write_body(event: StudyEvent, study: str, study_key: str, sequence: int) -> str:
    """Return the JSON that is posted, all of it ASCII.

    Args:
        event: what happened.
        study: the study's name.
        study_key: what identifies the study among those of all databases.
        sequence: the event's number, counted from 1 for each webhook.
    """
    at = event.at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    payload = {
        "event": event.kind.value,
        "id": f"{study_key}-{event.key}",
        "sequence": sequence,
        "study": study,
        "time": at,
        "text": _escape(event.text),
        "details": keep_finite(event.details),
    }
    return json.dumps(payload, allow_nan=False, default=str)


def _escape(text: str) -> str:
    """Return a text without what Slack takes for a link, a mention or an entity.

    As https://docs.slack.dev/messaging/formatting-message-text says; Mattermost reads it alike.
    """
    lines = "\n".join(make_printable(line) for line in text.split("\n"))
    return lines.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _list_starts(history: StudyHistory) -> Iterator[StudyEvent]:
    """Yield that a worker took the first trial."""
    if history.first is None:
        return
    spec, first = history.summary.study.spec, history.first
    details = {
        "metric": spec.study.metric,
        "direction": spec.direction.value,
        "trials": spec.budget.trials,
        "epochs": spec.budget.epochs,
        **_list_places(first),
    }
    size = f"{format_count(spec.budget.trials, 'trial')} of at most {format_count(spec.budget.epochs, 'epoch')}"
    text = (
        f"{spec.study.name} has started: {size}, to {spec.direction.value} {spec.study.metric}; "
        f"trial {first.trial} is the first one, on {_name_place(first)}"
    )
    yield StudyEvent(EventKind.STARTED, "started", first.at, text, details)


def _list_improvements(history: StudyHistory, known: Collection[str]) -> Iterator[StudyEvent]:
    """Yield each trial that is better than all that ended before it, and than all that are known.

    The values of an evaluation are of the test images, by which no trial is chosen: it has none.
    """
    if history.summary.study.spec.evaluation:
        return
    sign = history.direction.sign
    told = [sign * trial.value for trial in history.complete if _name_improvement(trial) in known]
    for before, trial in zip((None, *history.improvements), history.improvements, strict=False):
        if sign * trial.value > max(told, default=-math.inf):
            yield _describe_improvement(history, trial, before)


def _name_improvement(trial: CompleteTrial) -> str:
    return f"best-{trial.number}"


def _describe_improvement(history: StudyHistory, trial: CompleteTrial, before: CompleteTrial | None) -> StudyEvent:
    metric, params = history.summary.study.spec.study.metric, history.params.get(trial.trial_id, {})
    details = {
        "metric": metric,
        "direction": history.direction.value,
        "trial": trial.number,
        "value": trial.value,
        "params": params,
        "told_by": FOREIGN if trial.is_foreign else None,
        "previous": None if before is None else {"trial": before.number, "value": before.value},
    }
    rest = f", after {before.value:.4f} of trial {before.number}" if before else ""
    foreign = f" ({FOREIGN})" if trial.is_foreign else ""
    text = (
        f"{history.summary.study.name}: trial {trial.number}{foreign} is the best so far, {metric} "
        f"{trial.value:.4f}{rest}: {format_params(params)}"
    )
    return StudyEvent(EventKind.BEST, _name_improvement(trial), trial.at, text, details)


def _describe_loss(history: StudyHistory, hold: TrialHold) -> StudyEvent:
    text = (
        f"{history.summary.study.name}: worker {hold.worker} on {_name_place(hold)} was not seen for "
        f"{LEASE_SECONDS:.0f} s while it had trial {hold.trial}, which the next free worker takes over"
    )
    return StudyEvent(EventKind.WORKER_GONE, f"gone-{hold.trial}-{hold.attempt}", hold.at, text, {**_list_places(hold)})


def _list_places(hold: TrialHold) -> Mapping[str, Any]:
    return {
        "trial": hold.trial,
        "attempt": hold.attempt,
        "worker": hold.worker,
        "host": hold.host,
        "device": hold.device,
        "job": hold.job,
    }


def _name_place(hold: TrialHold) -> str:
    return f"{hold.host}, {hold.device}{f', {hold.job}' if hold.job else ''}"


def _list_changes(history: StudyHistory) -> Iterator[StudyEvent]:
    """Yield each pause, and each end; the present end once no trial is running any more."""
    name = history.summary.study.name
    for change in history.changes:
        if change.status == StudyStatus.PAUSED:
            text = f"{name} was paused: {change.reason}" if change.reason else f"{name} was paused by a person"
            details = {"reason": change.reason}
            yield StudyEvent(EventKind.PAUSED, f"paused-{change.change_id}", change.at, text, details)
        elif change.is_end and change is not history.changes[-1]:
            text = f"{name} was {change.status}, and went on"
            yield _make_end(change, text, {"status": change.status, "reason": change.reason, "answer": []})
        elif change.is_end and history.is_over:
            yield _describe_end(history, change)


def _describe_end(history: StudyHistory, change: StatusRecord) -> StudyEvent:
    summary, spec = history.summary, history.summary.study.spec
    best = None if spec.evaluation else summary.best  # no trial is chosen by the test images
    details = {
        "status": change.status,
        "reason": change.reason,
        "metric": spec.study.metric,
        "direction": spec.direction.value,
        "trials": spec.budget.trials,
        "counts": dict(summary.counts),
        "best": best and {"trial": best["number"], "value": best["value"], "params": best["params"]},
    }
    reason = f" ({change.reason})" if change.reason else ""
    text = (
        f"{summary.study.name} is {change.status}{reason}: {summary.ended:,} of "
        f"{format_count(spec.budget.trials, 'trial')} ended ({summary.describe_counts() or 'none began'})"
    )
    return _make_end(change, text, details, is_last=True)


def _make_end(change: StatusRecord, text: str, details: Mapping[str, Any], *, is_last: bool = False) -> StudyEvent:
    return StudyEvent(EventKind.FINISHED, f"finished-{change.change_id}", change.at, text, details, is_last)
