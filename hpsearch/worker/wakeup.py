"""A self-pipe: it wakes a thread that waits on file descriptors, from another thread or a signal handler."""

import contextlib
import os


class WakeupPipe:
    """A pipe to oneself, readable from `wake` until `clear`."""

    def __init__(self) -> None:
        self._read_end, self._write_end = os.pipe()
        os.set_blocking(self._read_end, False)
        os.set_blocking(self._write_end, False)
        self._closed = False

    def fileno(self) -> int:
        """Return the descriptor that `multiprocessing.connection.wait` waits on."""
        return self._read_end

    def wake(self) -> None:
        """Wake the thread that waits; do nothing once closed."""
        if not self._closed:
            with contextlib.suppress(BlockingIOError):  # the pipe is full, and so readable
                os.write(self._write_end, b"!")

    def clear(self) -> None:
        """Read what was written, so that the next wait blocks."""
        with contextlib.suppress(BlockingIOError):
            while os.read(self._read_end, 1024):
                pass

    def close(self) -> None:
        """Close both ends."""
        self._closed = True
        os.close(self._read_end)
        os.close(self._write_end)
