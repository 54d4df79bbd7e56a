"""Decoded images on this host: made once, by one process, whole or not at all, for all others to read.

`images/KEY/` in the cache directory has the pixels, the digests and a manifest. It is written as `KEY.partial` by the
process that holds the lock on `KEY.lock`, and renamed. The kernel drops the lock with its holder, so what a dead
process left is known by its lock being free.
"""

import errno
import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from hpsearch import settings
from hpsearch.errors import NotFoundError
from hpsearch.formatting import format_count
from hpsearch.training.images.listings import describe, format_path
from hpsearch.training.images.stores import DIGEST_BYTES, ImageStore, ImageWriter

Progress = Callable[[int, int], None]
"""Called with how many images are done, and of how many; often, and also while another process does them."""

PIXELS, DIGESTS, MANIFEST = "pixels", "digests", "manifest.json"
LOCK_SECONDS = 0.2
"""Between two attempts to get a lock: the caller is to hear of the wait, and flock itself would block."""


class Pixels(Protocol):
    """Images that are not in the cache yet."""

    count: int

    @property
    def key(self) -> str:
        """Equal for equal images, and otherwise different."""

    def measure(self) -> tuple[int, int, int]:
        """Return height, width and channels of every image.

        Raises:
            NotFoundError: they cannot be read.
        """

    def write(self, writer: ImageWriter, progress: Progress) -> None:
        """Write all images.

        Raises:
            NotFoundError: some cannot be read.
        """


def fetch(pixels: Pixels, progress: Progress) -> tuple[ImageStore, npt.NDArray[np.bytes_]]:
    """Return the images and the SHA-256 of each (n,), made if they are not there or are damaged.

    Raises:
        NotFoundError: they cannot be read, or the cache cannot be written.
    """
    root = settings.find_cache_dir() / "images"
    directory = root / pixels.key
    try:
        root.mkdir(parents=True, exist_ok=True)
        entry = _open(directory, pixels.count)
        if entry is None:
            with hold_lock(root / f"{pixels.key}.lock", lambda: progress(0, pixels.count)):
                entry = _open(directory, pixels.count) or _make(directory, pixels, progress)
        with suppress(OSError):  # the cache may be read-only
            os.utime(directory / MANIFEST)  # when the set was last used, for whoever needs its space
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        advice = "free some space there" if full else "make it writable"
        raise NotFoundError(
            f"{format_path(root)}: the decoded images cannot be kept there ({describe(error)}): {advice}, or name "
            "another cache directory in XDG_CACHE_HOME"
        ) from None
    return entry


def _open(directory: Path, count: int) -> tuple[ImageStore, npt.NDArray[np.bytes_]] | None:
    """Return what is in the cache; None where it is not there, or not whole."""
    try:
        manifest = json.loads((directory / MANIFEST).read_bytes())
        height, width, channels = map(int, manifest["shape"])
        digests = (directory / DIGESTS).read_bytes()
        store = ImageStore(directory / PIXELS, (count, height, width, channels))
        size = (directory / PIXELS).stat().st_size
    except (FileNotFoundError, ValueError, TypeError, LookupError, OverflowError, RecursionError):
        return None
    if min(height, width, channels) < 1 or size != count * height * width * channels:
        return None
    if len(digests) != count * DIGEST_BYTES or hashlib.sha256(digests).hexdigest() != manifest.get("digests"):
        return None
    return store, np.frombuffer(digests, f"S{DIGEST_BYTES}")


def _make(directory: Path, pixels: Pixels, progress: Progress) -> tuple[ImageStore, npt.NDArray[np.bytes_]]:
    """Make the images and rename them into place; the lock on them is held."""
    _remove_abandoned(directory.parent)
    partial = directory.with_suffix(".partial")
    for path in (partial, directory):
        if path.exists():
            shutil.rmtree(path)
    shape = (pixels.count, *pixels.measure())
    _require_space(directory.parent, int(np.prod(shape, dtype=object)) + pixels.count * DIGEST_BYTES)
    partial.mkdir()
    try:
        writer = ImageWriter(partial / PIXELS, shape)
        pixels.write(writer, progress)
        writer.close()
        digests = writer.digests.tobytes()
        _write(partial / DIGESTS, digests)
        manifest = {"shape": shape[1:], "digests": hashlib.sha256(digests).hexdigest()}
        _write(partial / MANIFEST, json.dumps(manifest).encode())
        partial.rename(directory)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    entry = _open(directory, pixels.count)
    assert entry is not None
    return entry


def _write(path: Path, content: bytes) -> None:
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _require_space(root: Path, needed: int) -> None:
    free = shutil.disk_usage(root).free
    if needed > free:
        raise NotFoundError(
            f"{format_path(root)}: the decoded images need {needed / 1e9:.1f} GB there, and {free / 1e9:.1f} GB are "
            "free: make room, choose a smaller data.image_size, or name another cache directory in XDG_CACHE_HOME"
            f"{_describe_sets(root)}"
        )


def _describe_sets(root: Path) -> str:
    """Return how much all images in the cache take, and which were longest not used; nothing where there are none."""
    sets = sorted((manifest.stat().st_mtime, manifest.parent) for manifest in root.glob(f"*/{MANIFEST}"))
    if not sets:
        return ""
    sizes = [sum(file.stat().st_size for file in directory.iterdir()) for _, directory in sets]
    used, oldest = sets[0]
    return (
        f" ({format_count(len(sets), 'set')} of {sum(sizes) / 1e9:.1f} GB there; longest unused: {oldest.name},"
        f" {sizes[0] / 1e9:.1f} GB, since {time.strftime('%Y-%m-%d', time.localtime(used))})"
    )


def _remove_abandoned(root: Path) -> None:
    """Remove what processes that are dead left half written."""
    for partial in root.glob("*.partial"):
        with partial.with_suffix(".lock").open("ab") as lock:
            if _take(lock.fileno()):
                shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def hold_lock(path: Path, wait: Callable[[], None]) -> Iterator[None]:
    """Hold the file at `path` alone; `wait` is called again and again while another process holds it."""
    with path.open("ab") as file:
        while not _take(file.fileno()):
            wait()
            time.sleep(LOCK_SECONDS)
        yield


def _take(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
