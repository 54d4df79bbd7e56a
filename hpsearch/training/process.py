"""The trainer process: `python -m hpsearch.training.process FD`.

FD is the inherited end of a `multiprocessing.Pipe()`; the conversation is that of protocol.py. The process lives as
long as the pipe: it ignores SIGINT and SIGTERM (a terminal's Ctrl-C reaches the whole group, and the supervisor wants
a checkpoint first), and is gone the moment the supervisor is.
"""

import os
import queue
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any

from hpsearch.training.protocol import BatchProgress, Check, FromTrainer, GoOn, Stop, Train

PROGRESS_EVERY = 1.0  # seconds


class SupervisorLine:
    """The trainer's end of the pipe.

    A thread of its own takes in what comes, so that a Stop is seen in the middle of an epoch, and the pipe's end in
    the middle of anything.
    """

    def __init__(self, connection: "Connection[Any, Any]") -> None:
        self._connection = connection
        self._inbox: queue.SimpleQueue[object] = queue.SimpleQueue()
        self._progress = time.monotonic()
        threading.Thread(target=self._listen, name="supervisor", daemon=True).start()

    def _listen(self) -> None:
        try:
            while True:
                self._inbox.put(self._connection.recv())
        except (EOFError, OSError):
            os._exit(0)  # the supervisor is gone, and with it everybody who could use what is being computed
        finally:
            os._exit(1)  # deaf, and so of no use

    def send(self, message: FromTrainer) -> None:
        """Says `message`; does not return where nobody listens any more."""
        try:
            self._connection.send(message)
        except OSError:
            os._exit(0)

    def job(self) -> Train | Check:
        """The next job. A GoOn or Stop that comes first crossed the last job's end on its way: it is dropped."""
        while not isinstance(message := self._inbox.get(), Train | Check):
            pass
        return message

    def answer(self) -> Stop | None:
        """Waits for the answer to what was just sent: a Stop, or None to go on."""
        while not isinstance(message := self._inbox.get(), GoOn | Stop):
            pass
        return message if isinstance(message, Stop) else None

    def progress(self, epoch: int, batch: int, batches: int) -> Stop | None:
        """Says how far the epoch is, at most once a second; returns a Stop that has come unasked."""
        now = time.monotonic()
        if now - self._progress >= PROGRESS_EVERY:
            self._progress = now
            self.send(BatchProgress(epoch, batch, batches))
        try:
            message = self._inbox.get_nowait()
        except queue.Empty:
            return None
        return message if isinstance(message, Stop) else None


@contextmanager
def silence_stderr() -> Iterator[None]:
    """Keeps back what is written to stderr, by C code too, and shows it only where something goes wrong.

    Frameworks greet with lines about the machine that no setting turns off, on every start.
    """
    kept = os.dup(2)
    with tempfile.TemporaryFile() as said:
        os.dup2(said.fileno(), 2)
        try:
            yield
        except BaseException:
            said.seek(0)
            os.write(kept, said.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def main() -> None:
    """Serves the supervisor until it hangs up."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    os.dup2(2, 1)  # stdout is the worker's, for its machine-readable output
    line = SupervisorLine(Connection(int(sys.argv[1])))
    with silence_stderr():
        # Only now, because it takes seconds in which the supervisor may die.
        from hpsearch.training import serve

        ready = serve.describe_process()
    line.send(ready)
    serve.serve(line)


if __name__ == "__main__":
    main()
