"""Who gets which trial next: adopt one that nobody holds, take a waiting one, or make a new one within the budget."""

from dataclasses import dataclass

from sqlalchemy import Connection, text

from hpsearch.outcomes import TrialOutcome
from hpsearch.storage import attempts, optuna_tables, studies, trials, workers
from hpsearch.storage.artifacts import plots, table
from hpsearch.storage.attempts import Attempt
from hpsearch.storage.studies import Study
from hpsearch.storage.workers import WorkerIdentity

EXPIRED = f"clock_timestamp() > greatest(a.held_until, pg_postmaster_start_time() + {attempts.LEASE})"
"""Counted from the server's start where that is later: nobody could renew while it was down."""

SPENT = "(a.why in ('crashed', 'stalled') or (a.why = 'lost' and a.epochs = 0))"
"""Attempts that count against `[budget] attempts`: a preemption does not, nor a loss after a finished epoch."""


ENDED = "from hpsearch.attempts a join trials t using (trial_id) where a.ended_at is null and t.state <> 'RUNNING'"
"""Attempts at trials that were ended from outside."""

STOPPED = """
select study_id from hpsearch.studies s
 where status = 'stopped' and exists (select 1 from trials t where t.study_id = s.study_id and t.state = 'RUNNING')
"""
"""Studies that were stopped and have trials yet."""


def take(
    connection: Connection, study_id: int, holder: WorkerIdentity, lease: float = attempts.LEASE_SECONDS
) -> Attempt | None:
    """Hold a trial of this study: one that nobody holds, else a waiting one, else a new one within the budget.

    One transaction under the study's lock, so that the budget is exact with any number of workers. Finishes a study
    whose search is over. None where there is nothing to do.
    """
    studies.lock(connection, study_id)
    stored = studies.read(connection, study_id)
    if stored.status != "running":
        return None
    while (orphan := _orphan(connection, study_id, lease)) is not None:
        if _spent(connection, orphan.trial_id) < stored.spec.budget.attempts:
            return _open(connection, stored, orphan.trial_id, orphan.number, holder, lease)
        _give_up(connection, stored, orphan.trial_id)
    survey = studies.settle(connection, stored)
    if survey.closed is not None or survey.settles(stored):
        return None
    if survey.waiting and (waiting := optuna_tables.start_next(connection, study_id)):
        return _open(connection, stored, *waiting, holder, lease)
    if survey.total < stored.spec.budget.trials:
        trial_id = optuna_tables.create(connection, study_id, survey.total)
        return _open(connection, stored, trial_id, survey.total, holder, lease)
    return None


@dataclass(frozen=True)
class _Orphan:
    trial_id: int
    number: int


def _orphan(connection: Connection, study_id: int, lease: float) -> _Orphan | None:
    """A running trial that nobody holds; a lease that has run out is closed on the way."""
    rows = connection.execute(
        text(f"""
            select t.trial_id, t.number, a.number as attempt
              from trials t left join hpsearch.attempts a on a.trial_id = t.trial_id and a.ended_at is null
             where t.study_id = :study_id and t.state = 'RUNNING' and (a.trial_id is null or {EXPIRED})
             order by t.trial_id
        """),
        {"study_id": study_id, "lease": lease},
    ).all()
    for row in rows:
        if row.attempt is None or _expire(connection, row.trial_id, row.attempt, lease):
            return _Orphan(row.trial_id, row.number)
    return None


def _expire(connection: Connection, trial_id: int, number: int, lease: float) -> bool:
    # Asked again in the update: the holder may have renewed while this waited for its row.
    closed = connection.execute(
        text(f"""
            update hpsearch.attempts a set ended_at = clock_timestamp(), why = 'lost'
             where trial_id = :trial_id and number = :number and ended_at is null and {EXPIRED}
        """),
        {"trial_id": trial_id, "number": number, "lease": lease},
    )
    return closed.rowcount == 1


def _spent(connection: Connection, trial_id: int) -> int:
    query = f"select count(*) from hpsearch.attempts a where trial_id = :trial_id and {SPENT}"
    return int(connection.execute(text(query), {"trial_id": trial_id}).scalar_one())


def _give_up(connection: Connection, stored: Study, trial_id: int) -> None:
    whys = connection.scalars(
        text("select why from hpsearch.attempts where trial_id = :trial_id order by number"),
        {"trial_id": trial_id},
    ).all()
    last = str(whys[-1]) if whys else "lost"
    ending = TrialOutcome(last) if last in set(TrialOutcome) else TrialOutcome.CRASHED
    detail = f"given up after {len(whys)} attempts: {', '.join(str(why) for why in whys)}"
    trials.write(connection, stored, trial_id, ending, {"detail": detail})
    plots.announce(connection, trial_id)


def sweep(connection: Connection, lease: float = attempts.LEASE_SECONDS) -> int:
    """End what no worker would; how many trials it ended.

    The attempts at trials that were ended from outside, and what no worker holds of stopped studies, such as the trial
    of a worker that died.
    """
    _close_ended(connection)
    stopped = connection.scalars(text(f"{STOPPED} order by study_id")).all()
    return sum(end_unheld(connection, study_id, lease) for study_id in stopped)


def needs_sweep(connection: Connection) -> bool:
    """Whether there may be something to sweep; a single statement."""
    return bool(connection.scalar(text(f"select exists (select 1 {ENDED}) or exists ({STOPPED})")))


def _close_ended(connection: Connection) -> None:
    ended = connection.scalars(
        text(
            "update hpsearch.attempts set ended_at = clock_timestamp(), why = 'lost' "
            f"where ended_at is null and trial_id in (select trial_id {ENDED}) returning trial_id"
        )
    ).all()
    for trial_id in ended:
        table.remove_checkpoints(connection, trial_id)


def end_unheld(connection: Connection, study_id: int, lease: float = attempts.LEASE_SECONDS) -> int:
    """End as pruned every running trial of a stopped study that nobody holds; how many there were."""
    studies.lock(connection, study_id)
    stored = studies.read(connection, study_id)
    ended = 0
    while stored.status == "stopped" and (orphan := _orphan(connection, study_id, lease)) is not None:
        trials.write(connection, stored, orphan.trial_id, TrialOutcome.PRUNED, {"detail": attempts.STOPPED})
        plots.announce(connection, orphan.trial_id)
        ended += 1
    return ended


def _open(
    connection: Connection, stored: Study, trial_id: int, trial_number: int, holder: WorkerIdentity, lease: float
) -> Attempt:
    opened = connection.execute(
        text(f"""
            with {workers.DOING}
            insert into hpsearch.attempts (trial_id, number, study_id, worker_id, host, device, held_until, checkpoint)
            select :trial_id, coalesce(max(number), 0) + 1, :study_id, :worker_id, :host, :device,
                   clock_timestamp() + {attempts.LEASE},
                   (array_agg(checkpoint order by number desc) filter (where checkpoint is not null))[1]
              from hpsearch.attempts where trial_id = :trial_id
            returning number, checkpoint,
                      exists (select 1 from hpsearch.attempts
                               where trial_id = :trial_id and why = 'out_of_memory') as short_of_memory
        """),
        {
            "trial_id": trial_id,
            "study_id": stored.study_id,
            "worker_id": holder.worker_id,
            "host": holder.host,
            "device": holder.device,
            "lease": lease,
            "what": f"{stored.name} trial {trial_number}",
        },
    ).one()
    epochs = trials.read_epochs(connection, trial_id) if opened.number > 1 else ()
    return Attempt(stored, trial_id, trial_number, opened.number, opened.checkpoint, epochs, opened.short_of_memory)
