"""Private temporary directories, which are removed for a process that was killed by the next one that looks.

A directory is locked by the process that made it for as long as that lives. Process ids would not do: they are used
again, and those of another container mean nothing here.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PREFIX = "hpsearch-run-"


@contextmanager
def make_directory(kind: str) -> Iterator[Path]:
    """Make a directory of mode 0700 in TMPDIR, with `kind` in its name, and remove it after the block."""
    path, lock = _make_locked(kind)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(lock)


def sweep() -> None:
    """Remove this user's directories in TMPDIR whose processes are gone."""
    with suppress(OSError):  # where there is no TMPDIR, there is nothing in it
        for path in list(Path(tempfile.gettempdir()).glob(f"{PREFIX}*")):
            with suppress(OSError):
                _remove_unlocked(path)


def _make_locked(kind: str) -> tuple[Path, int]:
    while True:
        path = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{kind}-"))
        with suppress(FileNotFoundError):
            lock = _open(path)
            with suppress(OSError):  # a file system without locks, where `sweep` removes nothing
                fcntl.flock(lock, fcntl.LOCK_EX)
            if path.exists():
                return path, lock
            os.close(lock)  # swept before it was locked


def _remove_unlocked(path: Path) -> None:
    """Remove a directory.

    Raises:
        OSError: it is in use, or no directory.
    """
    lock = _open(path)
    try:
        if os.fstat(lock).st_uid == os.geteuid():
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path, ignore_errors=True)
    finally:
        os.close(lock)


def _open(path: Path) -> int:
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
