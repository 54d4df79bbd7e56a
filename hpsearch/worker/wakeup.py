"""A bell that wakes a thread waiting on file descriptors, rung from another thread or a signal handler."""

import contextlib
import os


class WakeupPipe:
    """Readable once rung, until cleared."""

    def __init__(self) -> None:
        self._ear, self._bell = os.pipe()
        os.set_blocking(self._ear, False)
        os.set_blocking(self._bell, False)
        self._closed = False

    def fileno(self) -> int:
        """What `multiprocessing.connection.wait` waits on."""
        return self._ear

    def ring(self) -> None:
        """Wake whoever waits; nobody, once closed."""
        if not self._closed:
            with contextlib.suppress(BlockingIOError):
                os.write(self._bell, b"!")

    def clear(self) -> None:
        """Forget past rings."""
        with contextlib.suppress(BlockingIOError):
            while os.read(self._ear, 1024):
                pass

    def close(self) -> None:
        """Give the descriptors back."""
        self._closed = True
        os.close(self._ear)
        os.close(self._bell)
