"""The lease on a study's mirror: one process at a time writes to a receiver what is of that study."""

import os
import socket
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from hpsearch.errors import HpsearchError, NotFoundError
from hpsearch.storage.database import Database
from hpsearch.storage.studies import Study
from hpsearch.storage.tables import mirrors
from hpsearch.storage.tables.mirrors import LEASE_SECONDS, MirrorHold


class HeldElsewhereError(HpsearchError):
    """Another process writes to the same receiver now."""


class MirrorLease:
    """The lease of this process on a study's mirror, which is added to the database when it is first taken.

    `kind` and `destination` say where the mirror writes, without a secret.
    """

    def __init__(self, database: Database, study: Study, kind: str, destination: str) -> None:
        self._database = database
        self._study = study
        self._kind = kind
        self._destination = destination
        self._hold: MirrorHold | None = None
        self.others_wrote = True
        """Whether another process may have written since this one last had the lease."""

    @contextmanager
    def take(self) -> Iterator[MirrorHold]:
        """Have the lease as long as the block lasts: a thread renews it.

        Raises:
            HeldElsewhereError: another process has it.
            NotFoundError: the study was deleted.
            DatabaseError: the database does not answer, or refuses us.
        """
        hold = self._hold = self._hold or self._register()
        acquired = self._database.transact(lambda connection: mirrors.acquire(connection, hold))
        if acquired is None:
            raise self._make_deleted_error()
        if not acquired.is_taken:
            raise HeldElsewhereError(f"another hpsearch mirror ({acquired.before}) writes there now")
        self.others_wrote = acquired.before != hold.holder
        try:
            with _renew(self._database, hold):
                yield hold
        finally:
            self._release(hold)

    def _register(self) -> MirrorHold:
        mirror_id = self._database.transact(
            lambda connection: mirrors.find_or_add(connection, self._study.study_id, self._kind, self._destination)
        )
        if mirror_id is None:
            raise self._make_deleted_error()
        return MirrorHold(mirror_id, f"process {os.getpid()} on {socket.gethostname()}, {uuid.uuid4().hex[:8]}")

    def _make_deleted_error(self) -> NotFoundError:
        return NotFoundError(f"study {self._study.name} is no longer in the database")

    def _release(self, hold: MirrorHold) -> None:
        try:
            self._database.transact(lambda connection: mirrors.release(connection, hold))
        except HpsearchError:
            return  # it expires


def make_taken_over_error() -> HeldElsewhereError:
    """Return the error of a process whose lease expired while it wrote."""
    return HeldElsewhereError("another hpsearch mirror has taken over, because this one was not heard of")


@contextmanager
def _renew(database: Database, hold: MirrorHold) -> Iterator[None]:
    """Renew the hold, in a thread, as long as the block lasts."""
    over = threading.Event()

    def repeat() -> None:
        while not over.wait(LEASE_SECONDS / 3):
            try:
                if not database.transact(lambda connection: mirrors.renew(connection, hold)):
                    return
            except HpsearchError:  # the block's own calls say so
                continue

    thread = threading.Thread(target=repeat, name="mirror lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
