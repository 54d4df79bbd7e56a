"""Transactions that wait for a database that is away: a trial's training is worth more than a minute's outage."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from sqlalchemy import Connection

from hpsearch.errors import UnreachableError
from hpsearch.storage.database import Database
from hpsearch.worker.timing import Timing

T = TypeVar("T")


class StopRequest:
    """Set from outside (a signal): leave as soon as the trial is safe."""

    def __init__(self) -> None:
        self.requested = False


@dataclass(frozen=True)
class DatabaseRetry:
    """Waits for `database`, says so once through `note`, and gives up soon after `stop` was requested."""

    database: Database
    stop: StopRequest
    note: Callable[[str], None]
    timing: Timing

    def transact(self, work: Callable[[Connection], T]) -> T:
        """As `Database.transact`, again and again while the database is away.

        Raises:
            UnreachableError: the worker was told to stop meanwhile.
        """
        return self.keep(lambda: self.database.transact(work))

    def execute(self, work: Callable[[Connection], T]) -> T:
        """As `Database.execute`, in the same way.

        Raises:
            UnreachableError: see `transact`.
        """
        return self.keep(lambda: self.database.execute(work))

    def keep(self, work: Callable[[], T]) -> T:
        """Do `work` until it is done.

        Raises:
            UnreachableError: see `transact`.
        """
        told, leave_at = False, None
        while True:
            try:
                return work()
            except UnreachableError as error:
                now = time.monotonic()
                if self.stop.requested and leave_at is None:
                    leave_at = now + self.timing.leave
                if leave_at is not None and now >= leave_at:
                    raise
                if not told:
                    self.note(f"{error}; waiting for it")
                    told = True
                time.sleep(self.timing.retry)
