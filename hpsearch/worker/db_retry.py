"""Transactions that are repeated while the database is unreachable, so that an outage does not cost a training."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from hpsearch.errors import UnreachableError
from hpsearch.storage.database import Connection, Database
from hpsearch.worker.timing import Timing

T = TypeVar("T")


class StopRequest:
    """The request, by a signal, that the worker leave as soon as its trials are safe."""

    def __init__(self) -> None:
        self.requested = False


@dataclass(frozen=True)
class DatabaseRetry:
    """Repeats work until the database answers; reports an outage once through `note`.

    It gives up where the database's limits do, once the worker was told to stop.
    """

    database: Database
    note: Callable[[str], None]
    timing: Timing

    def transact(self, work: Callable[[Connection], T]) -> T:
        """Run `work` as `Database.transact` does, until the database answers.

        Raises:
            UnreachableError: the worker was told to stop meanwhile.
        """
        return self.retry(lambda: self.database.transact(work))

    def execute(self, work: Callable[[Connection], T]) -> T:
        """Run `work` as `Database.execute` does, until the database answers.

        Raises:
            UnreachableError: the worker was told to stop meanwhile.
        """
        return self.retry(lambda: self.database.execute(work))

    def retry(self, work: Callable[[], T]) -> T:
        """Call `work` until it raises no UnreachableError.

        Raises:
            UnreachableError: the worker was told to stop meanwhile.
        """
        reported = False
        while True:
            try:
                return work()
            except UnreachableError as error:
                if self.database.limits.left == 0:
                    raise
                if not reported:
                    self.note(f"{error}; waiting for it")
                    reported = True
                time.sleep(self.timing.retry)
