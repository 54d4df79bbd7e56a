"""Stores what the trainer of an attempt prints, while it trains and when the attempt ends."""

import logging
import threading
from collections.abc import Callable
from types import TracebackType

from hpsearch.errors import DatabaseError, first_line
from hpsearch.storage.artifacts import output
from hpsearch.storage.artifacts.output import Output
from hpsearch.storage.attempts import Attempt, LostError
from hpsearch.storage.database import Database
from hpsearch.worker.output.output_pipe import OutputPipe

log = logging.getLogger(__name__)


class OutputRecorder:
    """Stores the output of one attempt from a thread of its own, so that no epoch waits for it.

    That is every `interval` seconds where something new came; `store_last` is for whoever closes the attempt, just
    before. Nothing is stored of an attempt that was lost. What an outage kept from being stored is there the next time.
    """

    def __init__(
        self, database: Database, attempt: Attempt, pipe: OutputPipe, note: Callable[[str], None], interval: float
    ) -> None:
        self._database, self._attempt, self._pipe, self._note = database, attempt, pipe, note
        self._interval = interval
        self._earlier: Output | None = None
        self._stored = 0
        self._attached = False
        self._lock = threading.Lock()
        self._leave = threading.Event()
        self._thread = threading.Thread(target=self._store_until_left, name="stored output", daemon=True)

    def __enter__(self) -> "OutputRecorder":
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._leave.set()
        self._thread.join()

    def store(self) -> None:
        """Store what there is, unless nothing came since the last time.

        Raises:
            LostError: the attempt was closed.
            UnreachableError: the database is unreachable.
        """
        with self._lock:
            received = self._pipe.received
            if received == self._stored:
                return
            if self._earlier is None:
                self._earlier = self._database.execute(lambda c: output.read_earlier(c, self._attempt))
            printed = self._earlier.append(self._pipe.read())
            self._database.execute(lambda c: output.store(c, self._attempt, printed, attach=not self._attached))
            self._stored, self._attached = received, True

    def store_last(self) -> None:
        """Store what there is, just before the attempt is closed; raises what `store` does.

        An output that cannot be stored for another reason costs neither the trial nor the attempt.
        """
        try:
            self.store()
        except (DatabaseError, LostError):
            raise
        except Exception as error:  # noqa: BLE001 - whatever the driver raises
            self._note(f"what trial {self._attempt.trial_number} printed cannot be stored ({first_line(error)})")

    def _store_until_left(self) -> None:
        while not self._leave.wait(self._interval):
            try:
                self.store()
            except LostError:
                return
            except Exception as error:  # noqa: BLE001 - the next time, or the attempt's end, stores it
                log.debug("no output stored: %s", error)
