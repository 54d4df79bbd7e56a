"""The tables `hpsearch.mirrors` and `hpsearch.mirrored_runs`: what a tracker has of a study, and who writes to it."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import Connection, text

from hpsearch.errors import NotFoundError

LEASE_SECONDS = 30.0
"""How long a mirror is held after its last renewal; who was killed in a pass keeps others waiting for so long."""

LEASE = "clock_timestamp() + make_interval(secs => :seconds)"

ACQUIRE = f"""
with before as (select holder, held_until from hpsearch.mirrors where mirror_id = :mirror_id for update),
     taken as (
    update hpsearch.mirrors m set holder = :holder, held_until = {LEASE} from before b
     where m.mirror_id = :mirror_id
       and (b.holder = :holder or b.held_until is null or b.held_until < clock_timestamp())
    returning 1)
select holder, (select count(*) from taken) = 1 as is_taken from before
"""

STORE_RUN = f"""
with held as (
    update hpsearch.mirrors set held_until = {LEASE} where mirror_id = :mirror_id and holder = :holder
    returning mirror_id
), stored as (
    insert into hpsearch.mirrored_runs (mirror_id, trial, run_id, epochs, described)
    select mirror_id, :trial, :run_id, :epochs, :described from held
    on conflict (mirror_id, coalesce(trial, -1))
    do update set run_id = excluded.run_id, epochs = excluded.epochs, described = excluded.described
)
select count(*) from held
"""


@dataclass(frozen=True)
class MirrorHold:
    """A process's hold on a mirror: while it lasts, nobody else writes to that tracker what is of that study."""

    mirror_id: int
    holder: str


@dataclass(frozen=True)
class RunMark:
    """What a tracker has of a run for certain: its id there, how many epochs, and a digest of all else."""

    run_id: str
    epochs: int = 0
    described: str | None = None


@dataclass(frozen=True)
class Acquisition:
    """Whether a mirror was taken, and who had it `before`: of one that was not taken, who has it."""

    is_taken: bool
    before: str | None


def find_or_add(connection: Connection, study_id: int, tracker: str, destination: str) -> int | None:
    """Return the id of a study's mirror; None where the study was deleted. `destination` has no secret in it."""
    values = {"study_id": study_id, "tracker": tracker, "destination": destination}
    connection.execute(
        text(
            "insert into hpsearch.mirrors (study_id, tracker, destination) "
            "select study_id, :tracker, :destination from hpsearch.studies where study_id = :study_id for key share "
            "on conflict do nothing"
        ),
        values,
    )
    query = (
        "select mirror_id from hpsearch.mirrors "
        "where study_id = :study_id and tracker = :tracker and destination = :destination"
    )
    mirror_id: int | None = connection.scalar(text(query), values)
    return mirror_id


def acquire(connection: Connection, hold: MirrorHold, seconds: float = LEASE_SECONDS) -> Acquisition | None:
    """Take the mirror where nobody has it, or keep it; None where it was deleted, with its study."""
    row = connection.execute(text(ACQUIRE), {**vars(hold), "seconds": seconds}).one_or_none()
    return None if row is None else Acquisition(row.is_taken, row.holder)


def renew(connection: Connection, hold: MirrorHold, seconds: float = LEASE_SECONDS) -> bool:
    """Hold the mirror for another `seconds`; return whether it still was this one's."""
    query = f"update hpsearch.mirrors set held_until = {LEASE} where mirror_id = :mirror_id and holder = :holder"
    return bool(connection.execute(text(query), {**vars(hold), "seconds": seconds}).rowcount)


def release(connection: Connection, hold: MirrorHold) -> None:
    """Let others have the mirror; it is remembered who had it last."""
    query = "update hpsearch.mirrors set held_until = null where mirror_id = :mirror_id and holder = :holder"
    connection.execute(text(query), vars(hold))


def read_marks(connection: Connection, mirror_id: int) -> Mapping[int | None, RunMark]:
    """Return the mark of each run by the trial's number; None is the study's own run."""
    query = "select trial, run_id, epochs, described from hpsearch.mirrored_runs where mirror_id = :mirror_id"
    rows = connection.execute(text(query), {"mirror_id": mirror_id})
    return {row.trial: RunMark(row.run_id, row.epochs, row.described) for row in rows}


def store_mark(connection: Connection, hold: MirrorHold, trial: int | None, mark: RunMark) -> bool:
    """Store what the tracker has of a run; return False, having stored nothing, where another one took the mirror."""
    arguments = {**vars(hold), "trial": trial, **vars(mark), "seconds": LEASE_SECONDS}
    return bool(connection.execute(text(STORE_RUN), arguments).scalar_one())


def forget_runs(connection: Connection, mirror_id: int) -> None:
    """Delete all marks, of a tracker that has none of the runs any more."""
    connection.execute(
        text("delete from hpsearch.mirrored_runs where mirror_id = :mirror_id"), {"mirror_id": mirror_id}
    )


def read_created_at(connection: Connection, study_id: int) -> datetime:
    """Return when the study was created.

    Raises:
        NotFoundError: it was deleted, since another statement of the transaction has read it.
    """
    query = "select created_at from hpsearch.studies where study_id = :study_id"
    created_at: datetime | None = connection.scalar(text(query), {"study_id": study_id})
    if created_at is None:
        raise NotFoundError("the study is no longer in the database")
    return created_at.astimezone(UTC)


def read_epoch_times(connection: Connection, study_id: int) -> Mapping[int, Mapping[int, datetime]]:
    """Return when each epoch was stored, by the trial's number and the epoch."""
    times: dict[int, dict[int, datetime]] = defaultdict(dict)
    rows = connection.execute(
        text(
            "select t.number, e.epoch, e.recorded_at from hpsearch.epochs e join trials t using (trial_id) "
            "where t.study_id = :study_id"
        ),
        {"study_id": study_id},
    )
    for row in rows:
        times[row.number][row.epoch] = row.recorded_at
    return times
