"""The renewal thread: it renews the leases of a worker's attempts while the worker waits for its trainers."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from hpsearch.outcomes import StudyStatus
from hpsearch.storage import attempts, workers
from hpsearch.storage.attempts import Attempt, LostError
from hpsearch.storage.database import Database
from hpsearch.storage.driver import deadlines
from hpsearch.worker.timing import Timing
from hpsearch.worker.wakeup import WakeupPipe

log = logging.getLogger(__name__)


@dataclass
class Lease:
    """The lease of an open attempt, and what its last renewal returned: whether it was lost, and its study's status.

    `wakeup` is woken when either changes.
    """

    attempt: Attempt
    wakeup: WakeupPipe
    lost: bool = False
    study_status: StudyStatus = StudyStatus.RUNNING


class LeaseRenewal:
    """Renews a worker's leases every `timing.renewal` seconds, and shows the worker as alive.

    No error ends it, and none at one lease keeps it from the others: it tries again, and an attempt that nobody adopted
    meanwhile is simply renewed. No call may be silent for more than a quarter of a lease.
    """

    def __init__(self, database: Database, worker_id: str, timing: Timing) -> None:
        self._database = database
        self._timing = timing
        self._worker_id = worker_id
        self._leases: list[Lease] = []
        self._leave = threading.Event()
        self._thread = threading.Thread(target=self._renew_until_left, name="lease", daemon=True)

    def __enter__(self) -> "LeaseRenewal":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._leave.set()
        self._thread.join()

    @contextmanager
    def renew(self, attempt: Attempt, wakeup: WakeupPipe) -> Iterator[Lease]:
        """Renew the lease of this attempt as long as the block lasts."""
        lease = Lease(attempt, wakeup)
        self._leases.append(lease)
        try:
            yield lease
        finally:
            self._leases.remove(lease)

    def _renew_until_left(self) -> None:
        while not self._leave.wait(self._timing.renewal):
            with deadlines.allow(self._timing.lease / 4):
                # The leases first: they are what others wait for.
                for lease in list(self._leases):
                    self._try(partial(self._renew, lease))
                self._try(self._show_alive)

    def _try(self, renew: Callable[[], None]) -> None:
        try:
            renew()
        except Exception as error:  # noqa: BLE001 - without renewals every trial here would be lost
            log.debug("no renewal: %s", error)

    def _show_alive(self) -> None:
        self._database.transact(lambda connection: workers.renew(connection, self._worker_id))

    def _renew(self, lease: Lease) -> None:
        before = (lease.lost, lease.study_status)
        try:
            lease.study_status = self._database.transact(
                lambda connection: attempts.renew(connection, lease.attempt, self._timing.lease)
            )
        except LostError:
            lease.lost = True
        if (lease.lost, lease.study_status) != before:
            lease.wakeup.wake()
