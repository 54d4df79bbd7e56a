"""The list of workers: who is there, on which device, doing what."""

from dataclasses import dataclass

from sqlalchemy import Connection, text

DOING = """
doing as (
    update hpsearch.workers set doing = :what, seen_at = clock_timestamp() where worker_id = :worker_id
)
"""
"""A part of a statement that says what a worker does from now on."""


@dataclass(frozen=True)
class WorkerIdentity:
    """The worker that claims: its id in `hpsearch.workers`, host and device."""

    worker_id: str
    host: str
    device: str


def enrol(connection: Connection, holder: WorkerIdentity, pid: int) -> None:
    """Enter a worker in the list."""
    connection.execute(
        text("insert into hpsearch.workers (worker_id, host, pid, device) values (:worker_id, :host, :pid, :device)"),
        {**vars(holder), "pid": pid},
    )


def renew(connection: Connection, worker_id: str) -> None:
    """The worker gives a sign of life."""
    connection.execute(
        text("update hpsearch.workers set seen_at = clock_timestamp() where worker_id = :worker_id"),
        {"worker_id": worker_id},
    )


def leave(connection: Connection, worker_id: str) -> None:
    """The worker is gone."""
    connection.execute(
        text(
            "update hpsearch.workers set ended_at = clock_timestamp(), seen_at = clock_timestamp(), doing = null "
            "where worker_id = :worker_id"
        ),
        {"worker_id": worker_id},
    )


def set_idle(connection: Connection, worker_id: str) -> None:
    """The worker does nothing now."""
    connection.execute(text(f"with {DOING} select 1"), {"worker_id": worker_id, "what": None})
