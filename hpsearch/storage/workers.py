"""The workers: on which host and device, doing what, and when each was seen last."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, text

DOING = """
doing as (
    update hpsearch.workers set doing = :what, seen_at = clock_timestamp() where worker_id = :worker_id
)
"""
"""A part of a statement: what a worker does from now on, as `:what`."""


@dataclass(frozen=True)
class WorkerIdentity:
    """A worker that claims trials: its id in `hpsearch.workers`, host, device, and the job of a batch engine."""

    worker_id: str
    host: str
    device: str
    job: str | None = None


def register(connection: Connection, worker: WorkerIdentity, pid: int) -> None:
    """Add a worker, as the process `pid` of its host."""
    connection.execute(
        text(
            "insert into hpsearch.workers (worker_id, host, pid, device, job) "
            "values (:worker_id, :host, :pid, :device, :job)"
        ),
        {**vars(worker), "pid": pid},
    )


def renew(connection: Connection, worker_id: str) -> None:
    """Store that the worker was seen now."""
    connection.execute(
        text("update hpsearch.workers set seen_at = clock_timestamp() where worker_id = :worker_id"),
        {"worker_id": worker_id},
    )


def unregister(connection: Connection, worker_id: str) -> None:
    """Store that the worker has left."""
    connection.execute(
        text(
            "update hpsearch.workers set ended_at = clock_timestamp(), seen_at = clock_timestamp(), doing = null "
            "where worker_id = :worker_id"
        ),
        {"worker_id": worker_id},
    )


def set_idle(connection: Connection, worker_id: str) -> datetime:
    """Store that the worker trains nothing now, and return the server's time."""
    query = text(f"with {DOING} select clock_timestamp()")
    idle_since: datetime = connection.execute(query, {"worker_id": worker_id, "what": None}).scalar_one()
    return idle_since
