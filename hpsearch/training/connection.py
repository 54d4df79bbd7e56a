"""The trainer's end of the pipe to the supervisor; the conversation is that of protocol.py."""

import os
import queue
import threading
import time
from multiprocessing.connection import Connection
from typing import Any

from hpsearch.training.protocol import BatchProgress, DataProgress, FromTrainer, GoOn, Job, Stop

PROGRESS_SECONDS = 1.0
"""The least time between two messages about what is under way."""


class SupervisorConnection:
    """The connection to the supervisor.

    A thread of its own receives the messages, so that a Stop is seen in the middle of an epoch. When the pipe closes,
    it ends the process at once, whatever that is doing.
    """

    def __init__(self, pipe: "Connection[Any, Any]") -> None:
        self._pipe = pipe
        self._sending = threading.Lock()
        self._inbox: queue.SimpleQueue[object] = queue.SimpleQueue()
        self._last_progress = time.monotonic()
        threading.Thread(target=self._receive, name="supervisor", daemon=True).start()

    def _receive(self) -> None:
        try:
            while True:
                self._inbox.put(self._pipe.recv())
        except (EOFError, OSError):
            os._exit(0)  # the supervisor is gone, and nobody else can use what is being computed
        finally:
            os._exit(1)  # without this thread the process would not notice the end of its supervisor

    def send(self, message: FromTrainer) -> None:
        """Send `message`, from any thread; end the process where the supervisor is gone."""
        try:
            with self._sending:
                self._pipe.send(message)
        except OSError:
            os._exit(0)

    def wait_for_job(self) -> Job:
        """Return the next job, dropping any GoOn or Stop before it: those were sent while the last job ended."""
        while not isinstance(message := self._inbox.get(), Job):
            pass
        return message

    def wait_for_answer(self) -> Stop | None:
        """Return the answer to what was just sent: a Stop, or None to go on."""
        while not isinstance(message := self._inbox.get(), GoOn | Stop):
            pass
        return message if isinstance(message, Stop) else None

    def report_progress(self, progress: BatchProgress | DataProgress) -> Stop | None:
        """Send `progress`, at most one a second; return a Stop that has come unasked."""
        now = time.monotonic()
        if now - self._last_progress >= PROGRESS_SECONDS:
            self._last_progress = now
            self.send(progress)
        try:
            message = self._inbox.get_nowait()
        except queue.Empty:
            return None
        return message if isinstance(message, Stop) else None
