"""The renewal thread: it keeps a worker's trials held while the worker waits for its trainers."""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from hpsearch.storage import attempts, workers
from hpsearch.storage.attempts import Attempt, LostError
from hpsearch.storage.database import Database
from hpsearch.worker.timing import Timing
from hpsearch.worker.wakeup import WakeupPipe

log = logging.getLogger(__name__)


@dataclass
class LeaseHold:
    """A held attempt and what its renewals have learnt: whether it was lost, and the status of its study."""

    held: Attempt
    alarm: WakeupPipe
    lost: bool = False
    status: str = "running"


class LeaseRenewal:
    """Renews what a worker holds every `timing.renewal` seconds, and shows the worker as alive.

    No database error ends it: it tries again, and an attempt that nobody adopted meanwhile is simply held on. News of
    an attempt ring the alarm that it was held with.
    """

    def __init__(self, database: Database, worker_id: str, timing: Timing) -> None:
        self._database = database
        self._timing = timing
        self._worker_id = worker_id
        self._holds: list[LeaseHold] = []
        self._leave = threading.Event()
        self._thread = threading.Thread(target=self._renew_until_left, name="lease", daemon=True)

    def __enter__(self) -> "LeaseRenewal":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._leave.set()
        self._thread.join()

    @contextmanager
    def hold(self, held: Attempt, alarm: WakeupPipe) -> Iterator[LeaseHold]:
        """Renew this attempt as long as the block lasts."""
        hold = LeaseHold(held, alarm)
        self._holds.append(hold)
        try:
            yield hold
        finally:
            self._holds.remove(hold)

    def _renew_until_left(self) -> None:
        while not self._leave.wait(self._timing.renewal):
            try:
                self._database.transact(lambda connection: workers.renew(connection, self._worker_id))
                for hold in list(self._holds):
                    self._renew(hold)
            except Exception as error:  # noqa: BLE001 - without renewals every trial here would be lost
                log.debug("no renewal: %s", error)

    def _renew(self, hold: LeaseHold) -> None:
        before = (hold.lost, hold.status)
        try:
            hold.status = self._database.transact(
                lambda connection: attempts.renew(connection, hold.held, self._timing.lease)
            )
        except LostError:
            hold.lost = True
        if (hold.lost, hold.status) != before:
            hold.alarm.ring()
