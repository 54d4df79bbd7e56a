"""Read what goes on now: every study with its speed, and the workers with the trials they hold."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, text

from hpsearch.outcomes import StudyStatus, TrialState
from hpsearch.storage import attempts, results, studies
from hpsearch.storage.database import read_clock
from hpsearch.storage.results import Summary
from hpsearch.storage.studies import Study, UnreadableStudy

ENDED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAILED)


@dataclass(frozen=True)
class StudySpeed:
    """A study and how fast it goes: trials ended in the last hour, or since it was set running where that is less.

    Trials that no worker ever held do not count: another program told them, or they ended while they waited.
    Both figures are None while it is not running; there is no estimate before a trial has ended.
    """

    summary: Summary
    trials_per_hour: float | None
    estimated_end: datetime | None


@dataclass(frozen=True)
class WorkerStatus:
    """A worker that has not left, with a trial that it holds: one with several trials comes once for each.

    `job` is the batch engine's. `epoch` is the last one the trial has finished, of `epochs`, None where its study
    cannot be read. `gone`: not seen for the length of a lease.
    """

    worker: str
    host: str
    device: str
    job: str | None
    study: str | None
    trial: int | None
    epoch: int | None
    epochs: int | None
    doing: str | None
    seen_seconds_ago: float
    gone: bool


@dataclass(frozen=True)
class Overview:
    """The studies by priority, and the workers by host; `now` is the server's clock.

    `unreadable` are studies that this version cannot read.
    """

    now: datetime
    studies: tuple[StudySpeed, ...]
    workers: tuple[WorkerStatus, ...]
    unreadable: tuple[UnreadableStudy, ...] = ()


def read(connection: Connection, name: str | None = None) -> Overview:
    """Return all studies, or the one of that name, and all workers.

    Raises:
        NotFoundError: there is no such study.
    """
    rows = studies.list_all(connection) if name is None else [studies.find_row(connection, name)]
    shown = [study for study in rows if isinstance(study, Study)]
    speeds = tuple(_measure_speed(connection, results.summarize(connection, study)) for study in shown)
    unreadable = tuple(study for study in rows if isinstance(study, UnreadableStudy))
    return Overview(read_clock(connection), speeds, tuple(_list_workers(connection)), unreadable)


def count_slots(connection: Connection) -> int:
    """Return how many trials the live workers train at once: as many as each holds now, or one."""
    query = """
        select coalesce(sum(greatest(1, (select count(*) from hpsearch.attempts a
                                          where a.worker_id = w.worker_id and a.ended_at is null))), 0)
          from hpsearch.workers w
         where w.ended_at is null and w.seen_at > clock_timestamp() - make_interval(secs => :lease)
    """
    return int(connection.execute(text(query), {"lease": attempts.LEASE_SECONDS}).scalar_one())


def make_document(overview: Overview) -> dict[str, Any]:
    """Return what `hpsearch status --json` prints; what is absent or not finite is None."""
    described: dict[str, Any] = results.keep_finite(
        {
            "studies": [
                *(_describe(speed) for speed in overview.studies),
                *(_describe_unreadable(study) for study in overview.unreadable),
            ],
            "workers": [asdict(worker) for worker in overview.workers],
        }
    )
    return described


def _describe(speed: StudySpeed) -> Mapping[str, Any]:
    summary, end = speed.summary, speed.estimated_end
    return {
        "name": summary.study.name,
        "status": summary.status,
        "reason": summary.study.reason,
        "priority": summary.study.priority,
        "metric": summary.study.spec.study.metric,
        "direction": summary.study.spec.direction,
        "trials": summary.study.spec.budget.trials,
        "counts": dict(summary.counts),
        "best": summary.best,
        "trials_per_hour": speed.trials_per_hour,
        "estimated_end": end.isoformat(timespec="seconds") if end else None,
        "unreadable": None,
    }


def _describe_unreadable(study: UnreadableStudy) -> Mapping[str, Any]:
    known = {"name": study.name, "status": study.status, "reason": study.reason, "priority": study.priority}
    unknown = ("metric", "direction", "trials", "counts", "best", "trials_per_hour", "estimated_end")
    return {**known, **dict.fromkeys(unknown), "unreadable": study.obstacle}


def _measure_speed(connection: Connection, summary: Summary) -> StudySpeed:
    if summary.status is not StudyStatus.RUNNING:
        return StudySpeed(summary, None, None)
    row = connection.execute(
        text("""
            select clock_timestamp() as now,
                   extract(epoch from clock_timestamp() - w.since)::float / 3600 as hours,
                   extract(epoch from h.ran + (clock_timestamp() - h.running_since))::float / 3600 as spent,
                   (select count(*) from trials t
                     where t.study_id = h.study_id and t.datetime_complete >= w.since at time zone 'utc'
                       and exists (select 1 from hpsearch.attempts a where a.trial_id = t.trial_id)) as ended
              from hpsearch.studies h,
                   lateral (select greatest(h.running_since, clock_timestamp() - interval '1 hour') as since) w
             where h.study_id = :study_id
        """),
        {"study_id": summary.study.study_id},
    ).one()
    speed = row.ended / row.hours if row.hours > 0 else 0.0
    budget, counts = summary.study.spec.budget, summary.counts
    left = budget.trials - sum(counts[state] for state in ENDED)
    ends = [left / speed] if speed else []
    if budget.hours is not None:
        ends.append(budget.hours - row.spent)
    return StudySpeed(summary, speed, _add_hours(row.now, min(ends)) if ends else None)


def _add_hours(now: datetime, hours: float) -> datetime | None:
    try:
        return now + timedelta(hours=max(0.0, hours))
    except OverflowError:  # at this speed not in the time of any calendar
        return None


def _list_workers(connection: Connection) -> list[WorkerStatus]:
    # One that is gone is listed for a day, for somebody to notice; and while a trial is in its name.
    rows = connection.execute(
        text("""
            select w.worker_id, w.host, w.device, w.job, s.study_name, t.number as trial,
                   case when t.number is not null
                        then (select coalesce(max(epoch), 0) from hpsearch.epochs e where e.trial_id = t.trial_id)
                    end as epoch,
                   case when h.spec #>> '{budget,epochs}' ~ '^[0-9]{1,9}$'
                        then (h.spec #>> '{budget,epochs}')::int end as epochs, w.doing,
                   extract(epoch from clock_timestamp() - w.seen_at)::float as ago,
                   w.seen_at < clock_timestamp() - make_interval(secs => :lease) as gone
              from hpsearch.workers w
              left join (hpsearch.attempts a
                         join trials t on t.trial_id = a.trial_id and t.state = 'RUNNING'
                         join studies s on s.study_id = t.study_id
                         join hpsearch.studies h on h.study_id = t.study_id)
                     on a.worker_id = w.worker_id and a.ended_at is null
             where w.ended_at is null
               and (t.trial_id is not null or w.seen_at > clock_timestamp() - interval '1 day')
             order by gone, w.host, w.device, w.started_at, s.study_name, t.number
        """),
        {"lease": attempts.LEASE_SECONDS},
    )
    return [WorkerStatus(*row) for row in rows]
