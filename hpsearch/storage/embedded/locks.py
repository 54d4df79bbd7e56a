"""Files locked with flock: the kernel drops a lock with its last holder, kill -9 or not: none goes stale."""

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path

POLL_SECONDS = 0.01


def open_own(path: Path) -> FileIO:
    """Return the file at `path`, open for reading and appending, made if need be; children do not inherit it.

    Raises:
        OSError: it cannot be opened.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    if os.geteuid() == 0:
        # root in another user's directory must not leave files that lock its owner out
        owner = path.parent.stat()
        os.fchown(descriptor, owner.st_uid, owner.st_gid)
    return FileIO(descriptor, "r+")


@contextmanager
def locked(path: Path, patience: float) -> Iterator[None]:
    """Hold the file at `path` alone, after waiting for whoever else does, for `patience` seconds at most.

    Raises:
        TimeoutError: somebody else has held it all the time.
    """
    deadline = time.monotonic() + patience
    with open_own(path) as file:
        while not take(file):
            if time.monotonic() > deadline:
                raise TimeoutError(errno.ETIMEDOUT, f"another process has held it for {patience:.0f} s", str(path))
            time.sleep(POLL_SECONDS)
        yield


def share(path: Path) -> FileIO:
    """Hold the file at `path` together with others, until the file returned is closed."""
    file = open_own(path)
    fcntl.flock(file, fcntl.LOCK_SH)
    return file


def take(file: FileIO) -> bool:
    """Try to hold the lock of this open file alone; return whether it does. If not, it holds none."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_free(path: Path) -> bool:
    """Return whether nobody holds the file at `path`."""
    with open_own(path) as file:
        return take(file)
