"""What JAX has compiled, kept in a directory of this host for other processes: JAX's persistent compilation cache.

JAX reads and writes the entries, under a key of the computation, the device, all options and its own version. What it
cannot read, such as half an entry, it compiles. It can also keep to a size, but then it reads the whole directory for
each entry, and writes none any more once a process was killed between two files of its own: see `sweep`.
"""

import grp
import logging
import os
import pwd
import stat
import time
import warnings
from contextlib import suppress
from pathlib import Path

import jax

log = logging.getLogger(__name__)

MOST_BYTES = 2**30

MOST_SECONDS = 30 * 86400.0
"""After which an entry is compiled anew, whatever JAX could still read of it."""

SWEEP_SECONDS = 600.0
"""Between two looks at the size."""


class _Cache:
    """Where entries are kept, None for nowhere, and when the next look at their size is due."""

    directory: Path | None = None
    due = 0.0


def keep_compiled(directory: Path) -> None:
    """Have JAX take from `directory` what another process has compiled, and keep there what this one compiles.

    Nothing is changed where the user has named a directory (JAX_COMPILATION_CACHE_DIR), or where `directory` cannot be
    written to or is not this user's alone: what lies in it is run.
    """
    if jax.config.jax_compilation_cache_dir:
        return
    if not _is_private(directory):
        log.info("compiled code is not kept: %s is not writable for this user alone", directory)
        return
    warnings.filterwarnings("ignore", "Error (reading|writing) persistent compilation cache entry")
    jax.config.update("jax_compilation_cache_dir", str(directory))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)  # the smallest too: there are a dozen a trial
    _Cache.directory = directory


def sweep_if_due() -> None:
    """Remove entries where they have become too many, at most every ten minutes."""
    if _Cache.directory is not None and time.monotonic() >= _Cache.due:
        _Cache.due = time.monotonic() + SWEEP_SECONDS
        sweep(_Cache.directory)


def sweep(directory: Path, most_bytes: int = MOST_BYTES) -> None:
    """Remove what was written too long ago, then what was not used for the longest time until `most_bytes` are left."""
    kept, oldest = [], time.time() - MOST_SECONDS
    for path in directory.rglob("*"):
        with suppress(OSError):  # another process sweeps too
            status = path.lstat()
            if not stat.S_ISREG(status.st_mode):
                continue
            if status.st_mtime < oldest:
                path.unlink()
            else:
                kept.append((max(status.st_atime, status.st_mtime), status.st_size, path))
    size = sum(entry[1] for entry in kept)
    for _, entry_size, path in sorted(kept):
        if size <= most_bytes:
            break
        with suppress(OSError):
            path.unlink()
        size -= entry_size


def _is_private(directory: Path) -> bool:
    """Return whether the directory, made where it is not there, can be written to, and by nobody else.

    Nor can another user put one of his own in its place.
    """
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        status, above = directory.stat(), directory.resolve().parent.stat()
    except OSError:
        return False
    is_ours = status.st_uid == os.geteuid() and not _may_others_write(status)
    is_sticky = bool(above.st_mode & stat.S_ISVTX)
    is_fixed = above.st_uid in (0, os.geteuid()) and (is_sticky or not _may_others_write(above))
    return is_ours and is_fixed and os.access(directory, os.W_OK | os.X_OK)


def _may_others_write(status: os.stat_result) -> bool:
    by_group = status.st_mode & stat.S_IWGRP and not _is_own_group(status.st_gid)
    return bool(status.st_mode & stat.S_IWOTH or by_group)


def _is_own_group(gid: int) -> bool:
    """Return whether a group is this user's alone, as where each user has one; directories are often its to write."""
    try:
        group, user = grp.getgrgid(gid), pwd.getpwuid(os.geteuid())
    except KeyError:
        return False
    return group.gr_name == user.pw_name and set(group.gr_mem) <= {user.pw_name}
