"""Garbage collection: files that belong to nothing any more, and what deleted rows left in stores outside Postgres."""

import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from sqlalchemy import Connection, text

from hpsearch.errors import StoreError
from hpsearch.storage.database import Database

if TYPE_CHECKING:  # it brings Optuna and boto3 in, and most studies keep their files in Postgres
    from hpsearch.storage.artifacts.stores import StudyStore

CLEANUP_SECONDS = 3600.0
"""How often a worker collects garbage."""

CLEANUP_LOCK = 0x68707377
"""The key of the advisory lock under which one of all workers collects garbage ("hpsw"); the others do not wait."""

GRACE = "interval '1 hour'"
"""For so long a file may belong to nothing, because its writer is about to say to what."""

UNUSED_CHECKPOINTS = """
    key like 'checkpoint/%' and not exists (
        select 1 from hpsearch.attempts a join trials t using (trial_id)
         where a.trial_id = f.trial_id and a.checkpoint = f.key and t.state = 'RUNNING')
"""
"""The checkpoints that no running trial goes on from."""

UNUSED_RESULTS = """
    (key like 'model/%' or key like 'predictions/%') and not exists (
        select 1 from trials t where t.trial_id = f.trial_id and t.state = 'COMPLETE')
"""
"""The models and predictions of trials that are not complete."""

DETACHED_ARTIFACTS = """
    trial_id is null and key not like '%/%'
        and not exists (select 1 from trial_system_attributes where key = 'artifacts:' || f.key)
        and not exists (select 1 from study_system_attributes where key = 'artifacts:' || f.key)
"""
"""The files that Optuna, or its dashboard, attached to a trial or study that is gone."""

LEFTOVERS = f"""
select leftover_id, key from hpsearch.leftovers
 where artifacts = :artifacts and (not removed or left_at < clock_timestamp() - {GRACE}) order by leftover_id
"""
"""What deleted rows left in a store; `key` is null where the whole study went."""

FORGET_REMOVED = f"""
delete from hpsearch.leftovers
 where leftover_id = any(:ids) and (removed or left_at < clock_timestamp() - {GRACE})
"""
"""Forget the leftovers that were removed for the second time, or when nobody could be writing them any more."""


class ArtifactCleanup:
    """Collects garbage at a worker's start and then every `interval` seconds; the worker's slots share it."""

    def __init__(self, database: Database, interval: float = CLEANUP_SECONDS) -> None:
        self._database = database
        self._interval = interval
        self._due = time.monotonic()
        self._lock = threading.Lock()

    def run_if_due(self) -> None:
        """Collect garbage where it is time to.

        Raises:
            UnreachableError: the database does not answer.
        """
        with self._lock:
            if time.monotonic() < self._due:
                return
            self._due = time.monotonic() + self._interval
        collect_garbage(self._database)


def collect_garbage(database: Database) -> None:
    """Remove what belongs to nothing any more; where another worker is at it, leave that to it."""
    database.transact(_delete_unused)
    urls = database.transact(
        lambda connection: connection.scalars(text("select distinct artifacts from hpsearch.leftovers")).all()
    )
    for url in urls:
        from hpsearch.storage.artifacts import stores

        try:
            remove_leftovers(database, stores.open_store(url))
        except StoreError:
            continue  # a place that this host does not see; another one may


def _delete_unused(connection: Connection) -> None:
    if not connection.scalar(text("select pg_try_advisory_xact_lock(:key)"), {"key": CLEANUP_LOCK}):
        return
    for unused in (UNUSED_CHECKPOINTS, UNUSED_RESULTS, DETACHED_ARTIFACTS):
        connection.execute(
            text(f"delete from hpsearch.files f where created_at < clock_timestamp() - {GRACE} and {unused}")
        )


def remove_leftovers(database: Database, store: "StudyStore") -> None:
    """Remove from a study's store what no row names any more.

    A file is removed twice, the second time when nobody can still be writing it: a worker that was given up while it
    wrote may go on later.

    Raises:
        StoreError: the store cannot be reached from here; what is left stays known.
    """
    leftovers = database.transact(lambda connection: _list_leftovers(connection, store.url))
    if not leftovers:
        return
    store.verify()
    if any(key is None for _, key in leftovers):
        store.clear()
        database.transact(lambda connection: _forget(connection, store.url))
        return
    for _, key in leftovers:
        assert key is not None
        store.remove(key)
    database.transact(lambda connection: _mark_removed(connection, [leftover_id for leftover_id, _ in leftovers]))


def _list_leftovers(connection: Connection, url: str) -> Sequence[tuple[int, str | None]]:
    return [(row.leftover_id, row.key) for row in connection.execute(text(LEFTOVERS), {"artifacts": url})]


def _forget(connection: Connection, url: str) -> None:
    connection.execute(text("delete from hpsearch.leftovers where artifacts = :artifacts"), {"artifacts": url})


def _mark_removed(connection: Connection, leftover_ids: Sequence[int]) -> None:
    connection.execute(text(FORGET_REMOVED), {"ids": leftover_ids})
    connection.execute(
        text("update hpsearch.leftovers set removed = true where leftover_id = any(:ids)"), {"ids": leftover_ids}
    )
