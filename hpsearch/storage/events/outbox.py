"""The table `hpsearch.webhook_events`: what a webhook is told of a study, in order, and what it has accepted.

An event is stored with its number before it is posted, and marked after the webhook accepted it: whoever is killed in
between posts it again, the same and before all later ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, text

from hpsearch.storage.tables.mirrors import LEASE, LEASE_SECONDS, MirrorHold

KEEP = f"""
update hpsearch.mirrors set held_until = {LEASE} where mirror_id = :mirror_id and holder = :holder returning mirror_id
"""
"""Renews a hold, and locks it until the transaction ends; empty where another process has taken over."""

MARK = f"""
with held as ({KEEP}),
     marked as (update hpsearch.webhook_events e set delivered_at = clock_timestamp() from held
                 where e.mirror_id = held.mirror_id and e.sequence = :sequence)
select count(*) from held
"""


@dataclass(frozen=True)
class StoredEvent:
    """An event as it is posted: its number, counted from 1 for each webhook, what it is, and the JSON."""

    sequence: int
    key: str
    body: str


def read_keys(connection: Connection, mirror_id: int) -> frozenset[str]:
    """Return the keys of all events that are stored."""
    query = "select key from hpsearch.webhook_events where mirror_id = :mirror_id"
    return frozenset(connection.scalars(text(query), {"mirror_id": mirror_id}))


def read_pending(connection: Connection, mirror_id: int) -> Sequence[StoredEvent]:
    """Return, in order, the events that the webhook has not accepted, as far as is known."""
    query = (
        "select sequence, key, body from hpsearch.webhook_events "
        "where mirror_id = :mirror_id and delivered_at is null order by sequence"
    )
    return [StoredEvent(*row) for row in connection.execute(text(query), {"mirror_id": mirror_id})]


def find_next_sequence(connection: Connection, hold: MirrorHold) -> int | None:
    """Return the next event's number, nobody else's until the transaction ends; None where the hold is lost."""
    if connection.scalar(text(KEEP), {**vars(hold), "seconds": LEASE_SECONDS}) is None:
        return None
    query = "select coalesce(max(sequence), 0) + 1 from hpsearch.webhook_events where mirror_id = :mirror_id"
    return int(connection.execute(text(query), {"mirror_id": hold.mirror_id}).scalar_one())


def store(connection: Connection, mirror_id: int, events: Sequence[StoredEvent]) -> None:
    """Store events; the caller has the numbers from `find_next_sequence`, in the same transaction."""
    connection.execute(
        text(
            "insert into hpsearch.webhook_events (mirror_id, sequence, key, body) "
            "values (:mirror_id, :sequence, :key, :body)"
        ),
        [{"mirror_id": mirror_id, **vars(event)} for event in events],
    )


def mark_delivered(connection: Connection, hold: MirrorHold, sequence: int) -> bool:
    """Store that the webhook accepted an event; return False, having stored nothing, where the hold is lost."""
    arguments = {**vars(hold), "sequence": sequence, "seconds": LEASE_SECONDS}
    return bool(connection.execute(text(MARK), arguments).scalar_one())
