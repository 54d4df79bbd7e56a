"""The pipe that a trainer prints into, and the thread that reads it."""

import fcntl
import os
import threading
from multiprocessing.connection import wait

from hpsearch.storage.artifacts.output import Output
from hpsearch.worker.output.printed_text import PrintedText
from hpsearch.worker.wakeup import WakeupPipe


class OutputPipe:
    """Takes what a process writes to `write_end`, as soon as it comes, and keeps the end of it.

    The thread does nothing else: a process that prints waits for no database. What was in the pipe when the process
    died is read too.
    """

    def __init__(self) -> None:
        self._read_end, self.write_end = os.pipe()
        os.set_blocking(self._read_end, False)
        self._capacity = fcntl.fcntl(self._read_end, fcntl.F_GETPIPE_SZ)
        self._closing = WakeupPipe()
        self._lock = threading.Lock()
        self._text = PrintedText()
        self._received = 0
        self._ended = False
        self._thread = threading.Thread(target=self._empty, name="output", daemon=True)
        self._thread.start()

    def close_write_end(self) -> None:
        """Close our copy of the end that the process, started meanwhile, writes to."""
        os.close(self.write_end)

    @property
    def received(self) -> int:
        """How many bytes were printed since `clear`: another number where there is something new to read."""
        with self._lock:
            self._read_pipe()
            return self._received

    def read(self) -> Output:
        """Return what was printed since `clear`, to the last byte."""
        with self._lock:
            self._read_pipe()
            return self._text.read()

    def read_last_line(self) -> str:
        """Return the last line that is not blank, without what surrounds it; empty where there is none."""
        lines = self.read().content.decode().strip().splitlines()
        return lines[-1].strip() if lines else ""

    def clear(self) -> None:
        """Forget what was printed so far."""
        with self._lock:
            self._read_pipe()
            self._text, self._received = PrintedText(), 0

    def close(self) -> None:
        """End the thread, and close our end; what was read stays."""
        self._closing.wake()
        self._thread.join()
        with self._lock:
            self._read_pipe()
            self._ended = True
            os.close(self._read_end)
        self._closing.close()

    def _empty(self) -> None:
        closing = self._closing.fileno()
        while closing not in wait([self._read_end, closing]):
            with self._lock:
                self._read_pipe()
            if self._ended:
                return

    def _read_pipe(self) -> None:
        """Read what is in the pipe, which is never more than its capacity."""
        if self._ended:
            return
        try:
            data = os.read(self._read_end, self._capacity)
        except BlockingIOError:
            return
        self._ended = not data
        self._received += len(data)
        self._text.add(data)
