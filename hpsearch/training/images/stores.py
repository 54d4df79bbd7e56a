"""Images of one size in a file, one after another: written once by many threads, read by many processes."""

import hashlib
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Shape = tuple[int, int, int, int]
"""Number, height, width and channels."""

DIGEST_BYTES = 32


class ImageStore:
    """Images in a file, read by their indices from any thread.

    They are read, not mapped, so that the pages the host caches, one copy for all processes, are not counted as the
    memory of each. The file stays open, and readable, also where it is replaced. A pickled store is opened anew.
    """

    dtype = np.dtype(np.uint8)

    def __init__(self, path: Path, shape: Shape) -> None:
        """Open the file.

        Raises:
            OSError: it cannot be opened.
        """
        self.path, self.shape = path, shape
        self._file = path.open("rb", buffering=0)

    def __len__(self) -> int:
        return self.shape[0]

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.path, self.shape)

    def read(self, indices: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.uint8]:
        """Return the images at `indices` (k,), in that order: (k, height, width, channels).

        Raises:
            IndexError: there is no such image.
            OSError: the file cannot be read, or ends early.
        """
        indices = np.asarray(indices, np.int64)
        if len(indices) and not (indices.min() >= 0 and indices.max() < len(self)):
            raise IndexError(f"from 0 to {len(self) - 1}, not from {indices.min()} to {indices.max()}")
        images = np.empty((len(indices), *self.shape[1:]), np.uint8)
        size = math.prod(self.shape[1:])
        rows = images.reshape(len(indices), size)
        # Neighbours in the file are read at once.
        starts = np.flatnonzero(np.diff(indices, prepend=-2) != 1).tolist()
        for start, end in zip(starts, [*starts, len(indices)][1:], strict=True):
            self._read_into(rows[start:end].reshape(-1), int(indices[start]) * size)
        return images

    def _read_into(self, buffer: npt.NDArray[np.uint8], offset: int) -> None:
        view = memoryview(buffer.data)
        while view:
            count = os.preadv(self._file.fileno(), [view], offset)
            if not count:
                raise OSError(f"{self.path} is shorter than it was when it was opened")
            view, offset = view[count:], offset + count


class ImageWriter:
    """Writes the images of a new store, in any order, from many threads."""

    def __init__(self, path: Path, shape: Shape) -> None:
        """Create the file."""
        self.shape = shape
        self.digests: npt.NDArray[np.uint8] = np.zeros((shape[0], DIGEST_BYTES), np.uint8)
        """SHA-256 of each image's pixels."""
        self._file = path.open("xb", buffering=0)

    def write(self, index: int, image: npt.NDArray[np.uint8]) -> None:
        """Write one image (height, width, channels).

        Raises:
            OSError: there is no space left.
        """
        assert image.shape == self.shape[1:]
        pixels = image.tobytes()
        self.digests[index] = np.frombuffer(hashlib.sha256(pixels).digest(), np.uint8)
        view, offset = memoryview(pixels), index * len(pixels)
        while view:
            count = os.pwrite(self._file.fileno(), view, offset)
            view, offset = view[count:], offset + count

    def close(self) -> None:
        """Close the file once all of it is on the disk."""
        os.fsync(self._file.fileno())
        self._file.close()


def count_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
