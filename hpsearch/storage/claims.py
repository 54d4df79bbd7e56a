"""Who gets which trial next: adopt an orphaned one, take a waiting one, or create a new one within the budget.

A running trial is orphaned where no attempt at it is open, or where the lease of the open one has expired.

The locks, in the order in which a transaction takes those it needs; it keeps them until it ends:

1. the advisory lock on the study (`studies.lock`): a claim, the end of a complete trial, pause, resume, stop, retry and
   deletion of the study;
2. Optuna's row of the study, which Optuna itself locks to number a new trial (also in `studies.lock`);
3. the row of `hpsearch.studies`: shared by a release, exclusively by whoever changes the status or deletes the study;
4. the row of `hpsearch.attempts`, and with it the trial's in Optuna's table (`attempts.FENCE`).

An epoch and a renewal take the last only, so that they never wait for a claim. Two paths come to the third from the
fourth: recording the data's fingerprint, and a claim that gives a trial up and so finishes the study. Where one meets a
release or a deletion, Postgres sees the deadlock and `Database.transact` runs one of them again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, text

from hpsearch.outcomes import AttemptEnd, StudyStatus, TrialOutcome
from hpsearch.storage import attempts, optuna_tables, studies, trials, workers
from hpsearch.storage.artifacts import plots, table
from hpsearch.storage.attempts import Attempt
from hpsearch.storage.studies import Study, UnreadableStudy
from hpsearch.storage.workers import WorkerIdentity

EXPIRED = f"clock_timestamp() > greatest(a.held_until, pg_postmaster_start_time() + {attempts.LEASE})"
"""Counted from the server's start where that is later: nobody could renew while it was down."""

ORPHANS = """
select t.trial_id, t.number, a.number as attempt
  from trials t left join hpsearch.attempts a on a.trial_id = t.trial_id and a.ended_at is null
 where t.study_id = :study_id and t.state = 'RUNNING' and (a.trial_id is null or {expired})
 order by t.trial_id
"""
"""The orphaned trials of a study; `attempt` is the one whose lease has expired."""

CLOSE_EXPIRED = f"""
update hpsearch.attempts a set ended_at = clock_timestamp(), why = '{AttemptEnd.LOST}'
 where trial_id = :trial_id and number = :number and ended_at is null and {{expired}}
"""
"""Close an attempt whose lease has expired. Asked again here: the holder may have renewed while this waited."""

SPENT = f"""
select count(*) from hpsearch.attempts
 where trial_id = :trial_id
   and (why in ('{AttemptEnd.CRASHED}', '{AttemptEnd.STALLED}') or (why = '{AttemptEnd.LOST}' and epochs = 0))
"""
"""The attempts that count against `[budget] attempts`: a preemption does not, nor a loss after a finished epoch."""

OPEN = f"""
with {workers.DOING}
insert into hpsearch.attempts (trial_id, number, study_id, worker_id, host, device, held_until, checkpoint)
select :trial_id, coalesce(max(number), 0) + 1, :study_id, :worker_id, :host, :device,
       clock_timestamp() + {attempts.LEASE},
       (array_agg(checkpoint order by number desc) filter (where checkpoint is not null))[1]
  from hpsearch.attempts where trial_id = :trial_id
returning number, checkpoint,
          exists (select 1 from hpsearch.attempts
                   where trial_id = :trial_id and why = '{AttemptEnd.OUT_OF_MEMORY}') as short_of_memory
"""
"""Open the next attempt at a trial: one number more, and the checkpoint of the last attempt that had one."""

ENDED_OUTSIDE = (
    "from hpsearch.attempts a join trials t using (trial_id) where a.ended_at is null and t.state <> 'RUNNING'"
)
"""The open attempts at trials that were ended from outside."""

STOPPED = f"""
select study_id from hpsearch.studies s
 where status = '{StudyStatus.STOPPED}'
   and exists (select 1 from trials t where t.study_id = s.study_id and t.state = 'RUNNING')
"""
"""The stopped studies with running trials."""

UNRENEWED = f"""
select exists (
    select 1 from trials t left join hpsearch.attempts a on a.trial_id = t.trial_id and a.ended_at is null
     where t.study_id = any(:study_ids) and t.state = 'RUNNING'
       and (a.trial_id is null or a.held_until <= cast(:since as timestamptz) + {attempts.LEASE}))
"""
"""Whether a running trial of some studies is held by nobody, or by a worker that has not renewed its lease since."""


def claim_trial(
    connection: Connection, study_id: int, worker: WorkerIdentity, lease: float = attempts.LEASE_SECONDS
) -> Attempt | None:
    """Open an attempt at a trial of this study: an orphaned one, else a waiting one, else a new one within the budget.

    One transaction under the study's lock, so that the budget is exact with any number of workers. Finishes a study
    whose search is over. `lease` is in seconds. Returns None where there is nothing to train.

    Raises:
        NotFoundError: the study was deleted.
        UnreadableStudyError: a newer hpsearch has rewritten it.
    """
    studies.lock(connection, study_id)
    study = studies.read(connection, study_id)
    if study.status is not StudyStatus.RUNNING:
        return None
    while (orphan := _find_orphan(connection, study_id, lease)) is not None:
        if _count_spent(connection, orphan.trial_id) < study.spec.budget.attempts:
            return _open(connection, study, orphan.trial_id, orphan.number, worker, lease)
        _give_up(connection, study, orphan.trial_id)
    progress = studies.update_status(connection, study)
    if progress.closed is not None or progress.changes_status(study):
        return None
    if progress.waiting and (waiting := optuna_tables.start_waiting(connection, study_id)):
        return _open(connection, study, *waiting, worker, lease)
    if progress.total < study.spec.budget.trials:
        trial_id = optuna_tables.create(connection, study_id, progress.total)
        return _open(connection, study, trial_id, progress.total, worker, lease)
    return None


def are_renewed(
    connection: Connection, study_ids: Sequence[int], since: datetime, lease: float = attempts.LEASE_SECONDS
) -> bool:
    """Return whether each running trial of the studies is held by a worker that has renewed its lease since then."""
    arguments = {"study_ids": list(study_ids), "since": since, "lease": lease}
    return not connection.scalar(text(UNRENEWED), arguments)


@dataclass(frozen=True)
class _Orphan:
    trial_id: int
    number: int


def _find_orphan(connection: Connection, study_id: int, lease: float) -> _Orphan | None:
    """Return an orphaned trial; a lease that has expired is closed on the way."""
    rows = connection.execute(text(ORPHANS.format(expired=EXPIRED)), {"study_id": study_id, "lease": lease}).all()
    for row in rows:
        if row.attempt is None or _expire(connection, row.trial_id, row.attempt, lease):
            return _Orphan(row.trial_id, row.number)
    return None


def _expire(connection: Connection, trial_id: int, number: int, lease: float) -> bool:
    arguments = {"trial_id": trial_id, "number": number, "lease": lease}
    return connection.execute(text(CLOSE_EXPIRED.format(expired=EXPIRED)), arguments).rowcount == 1


def _count_spent(connection: Connection, trial_id: int) -> int:
    return int(connection.execute(text(SPENT), {"trial_id": trial_id}).scalar_one())


def _give_up(connection: Connection, study: Study, trial_id: int) -> None:
    """End a trial that has no attempts left as its last attempt ended, or as crashed."""
    ends = connection.scalars(
        text("select why from hpsearch.attempts where trial_id = :trial_id order by number"),
        {"trial_id": trial_id},
    ).all()
    last = str(ends[-1]) if ends else AttemptEnd.LOST
    outcome = TrialOutcome(last) if last in set(TrialOutcome) else TrialOutcome.CRASHED
    detail = f"given up after {len(ends)} attempts: {', '.join(str(end) for end in ends)}"
    trials.end(connection, study, trial_id, outcome, {"detail": detail})
    plots.attach_plots(connection, trial_id)


def end_abandoned(connection: Connection, lease: float = attempts.LEASE_SECONDS) -> int:
    """End what no worker would, and return how many trials that ended.

    These are the open attempts at trials that were ended from outside, and the orphaned trials of stopped studies, such
    as that of a worker that died.
    """
    _close_ended_outside(connection)
    study_ids = connection.scalars(text(f"{STOPPED} order by study_id")).all()
    return sum(end_orphans(connection, study_id, lease) for study_id in study_ids)


def has_abandoned(connection: Connection) -> bool:
    """Return whether there may be something for `end_abandoned`; a single statement."""
    return bool(connection.scalar(text(f"select exists (select 1 {ENDED_OUTSIDE}) or exists ({STOPPED})")))


def _close_ended_outside(connection: Connection) -> None:
    trial_ids = connection.scalars(
        text(
            f"update hpsearch.attempts set ended_at = clock_timestamp(), why = '{AttemptEnd.LOST}' "
            f"where ended_at is null and trial_id in (select trial_id {ENDED_OUTSIDE}) returning trial_id"
        )
    ).all()
    for trial_id in trial_ids:
        table.remove_checkpoints(connection, trial_id)


def end_orphans(connection: Connection, study_id: int, lease: float = attempts.LEASE_SECONDS) -> int:
    """End every orphaned trial of a stopped study as pruned, and return how many there were.

    Those of a study that cannot be read are left to a worker that can, since their values are those of a metric.

    Raises:
        NotFoundError: the study was deleted.
    """
    studies.lock(connection, study_id)
    study = studies.read_row(connection, study_id)
    if isinstance(study, UnreadableStudy):
        return 0
    ended = 0
    while study.status is StudyStatus.STOPPED and (orphan := _find_orphan(connection, study_id, lease)) is not None:
        trials.end(connection, study, orphan.trial_id, TrialOutcome.PRUNED, {"detail": attempts.STOPPED})
        plots.attach_plots(connection, orphan.trial_id)
        ended += 1
    return ended


def _open(
    connection: Connection, study: Study, trial_id: int, trial_number: int, worker: WorkerIdentity, lease: float
) -> Attempt:
    row = connection.execute(
        text(OPEN),
        {
            "trial_id": trial_id,
            "study_id": study.study_id,
            "worker_id": worker.worker_id,
            "host": worker.host,
            "device": worker.device,
            "lease": lease,
            "what": f"{study.name} trial {trial_number}",
        },
    ).one()
    epochs = trials.read_epochs(connection, trial_id) if row.number > 1 else ()
    return Attempt(study, trial_id, trial_number, row.number, row.checkpoint, epochs, row.short_of_memory)
