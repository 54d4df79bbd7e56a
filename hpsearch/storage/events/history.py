"""Read what has happened to a study: its start, complete trials, workers that were lost, changes of its status."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, text

from hpsearch.metrics import Direction
from hpsearch.outcomes import OVER, AttemptEnd, TrialState
from hpsearch.storage import attempts, claims, results, studies
from hpsearch.storage.results import Summary
from hpsearch.storage.tables import mirrors, trial_params, trial_values

CHANGES = """
select change_id, status, reason, changed_at from hpsearch.status_changes
 where study_id = :study_id order by change_id
"""

HOLDS = """
select t.number as trial, a.number as attempt, a.worker_id as worker, a.host, a.device, w.job, {time} as at,
       a.ended_at is null as is_open
  from hpsearch.attempts a join trials t using (trial_id) left join hpsearch.workers w using (worker_id)
 where a.study_id = :study_id
"""

LOST = f"""
{HOLDS.format(time="a.held_until")}
   and (a.why = '{AttemptEnd.LOST}' and a.held_until <= a.ended_at
        or a.ended_at is null and t.state = 'RUNNING' and {{expired}})
 order by a.held_until, t.number
"""
"""The holds whose lease ran out. One that was open then is lost, too, where its trial was ended from outside."""

FIRST = HOLDS.format(time="a.opened_at") + " order by a.opened_at, t.number limit 1"

COMPLETE = f"""
select trial_id, c.number, c.value, c.is_foreign,
       coalesce(t.datetime_complete at time zone 'utc', clock_timestamp()) as at
  from ({trial_values.COMPLETE}) c join trials t using (trial_id)
 where c.value is not null order by at, c.number
"""


@dataclass(frozen=True)
class StatusRecord:
    """A change of a study's status; `reason` is None where a person asked for it, or its trials are used up."""

    change_id: int
    status: str
    reason: str | None
    at: datetime

    @property
    def is_end(self) -> bool:
        """Whether the study took no more trials from then on."""
        return self.status in OVER


@dataclass(frozen=True)
class TrialHold:
    """A worker's hold on a trial: when it began, or of one that was lost when its lease ran out."""

    trial: int
    attempt: int
    worker: str
    host: str
    device: str
    job: str | None
    at: datetime
    is_open: bool
    """Whether no other worker has the trial yet."""


@dataclass(frozen=True)
class CompleteTrial:
    """A complete trial that has a value."""

    trial_id: int
    number: int
    value: float
    is_foreign: bool
    """Whether another program told it."""
    at: datetime


@dataclass(frozen=True)
class StudyHistory:
    """All that has happened to a study, each tuple in the order of time."""

    summary: Summary
    created_at: datetime
    first: TrialHold | None
    complete: tuple[CompleteTrial, ...]
    lost: tuple[TrialHold, ...]
    changes: tuple[StatusRecord, ...]
    improvements: tuple[CompleteTrial, ...]
    """Those of the complete trials that were better than all before them."""
    params: Mapping[int, Mapping[str, Any]]
    """Their parameters, by the trial's id."""

    @property
    def direction(self) -> Direction:
        """Return whether more or less is better."""
        return self.summary.study.spec.direction

    @property
    def is_over(self) -> bool:
        """Whether nothing more is to come: a stopped study's trials have ended, too."""
        over = self.summary.study.status in OVER
        return over and not self.summary.counts[TrialState.RUNNING]


def read(connection: Connection, study_id: int, lease: float = attempts.LEASE_SECONDS) -> StudyHistory:
    """Return what has happened to a study; one whose last worker left before it could store that is finished here.

    Raises:
        NotFoundError: it was deleted.
        UnreadableStudyError: a newer hpsearch made it.
    """
    summary = results.summarize(connection, studies.read(connection, study_id))
    if summary.status is not summary.study.status:
        studies.lock(connection, study_id)
        studies.update_status(connection, studies.read(connection, study_id))
    # Each statement sees what was committed before it: the end is read first, so that all before it is seen as well.
    arguments = {"study_id": study_id, "lease": lease}
    changes = connection.execute(text(CHANGES), arguments).all()
    summary = results.summarize(connection, studies.read(connection, study_id))
    lost = connection.execute(text(LOST.format(expired=claims.EXPIRED)), arguments).all()
    complete = [CompleteTrial(*row) for row in connection.execute(text(COMPLETE), arguments)]
    improvements = tuple(_list_improvements(complete, summary.study.spec.direction))
    first = connection.execute(text(FIRST), arguments).one_or_none()
    return StudyHistory(
        summary,
        mirrors.read_created_at(connection, study_id),
        _make_hold(first) if first else None,
        tuple(complete),
        tuple(map(_make_hold, lost)),
        tuple(StatusRecord(*row) for row in changes),
        improvements,
        trial_params.read(connection, [trial.trial_id for trial in improvements]),
    )


def _list_improvements(trials: Sequence[CompleteTrial], direction: Direction) -> Iterator[CompleteTrial]:
    best: CompleteTrial | None = None
    for trial in trials:
        if best is None or direction.sign * trial.value > direction.sign * best.value:
            yield trial
            best = trial


def _make_hold(row: Row[tuple[object, ...]]) -> TrialHold:
    return TrialHold(**row._mapping)
