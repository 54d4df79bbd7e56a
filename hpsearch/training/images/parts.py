"""Parts of a set of images: indices into an array or a file, so that no part is a copy."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Images = npt.NDArray[np.uint8]
"""(n, height, width, channels) of 0..255."""
Labels = npt.NDArray[np.int64]
"""(n,), counted from 0."""
RawImages = tuple[Images, Labels, Images, Labels, tuple[str, ...]]
"""Training images and labels, test images and labels, names of the classes."""

PIECE_BYTES = 16 * 2**20
"""About how much of a part is read at a time where all of it is gone through."""


class ImageSource(Protocol):
    """Images that are read by their indices, wherever they lie."""

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Number, height, width and channels."""

    def read(self, indices: Labels) -> Images:
        """Return the images at `indices` (k,), in that order: (k, height, width, channels)."""


@dataclass(frozen=True, eq=False)
class ArraySource:
    """Images in memory."""

    array: Images

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Number, height, width and channels."""
        number, height, width, channels = self.array.shape
        return number, height, width, channels

    def read(self, indices: Labels) -> Images:
        """Return a copy of the images at `indices`, in that order."""
        return self.array.take(indices, axis=0)


@dataclass(frozen=True, eq=False)
class ImagePart:
    """Some images of a source, in an order of their own. Slicing it reads: `part[:8]`, `part[rows]`, `part[:]`."""

    source: ImageSource
    indices: Labels
    """(n,) of the source's images."""

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Number, height, width and channels."""
        return len(self), *self.source.shape[1:]

    @property
    def nbytes(self) -> int:
        """The size of its images as an array."""
        return int(np.prod(self.shape, dtype=np.int64))

    def __getitem__(self, rows: "slice | npt.NDArray[np.integer[Any]]") -> Images:
        return self.source.read(self.indices[rows])

    def read_pieces(self) -> Iterator[Images]:
        """Yield all of its images in order, about PIECE_BYTES at a time."""
        count = max(1, PIECE_BYTES * len(self) // max(1, self.nbytes))
        for start in range(0, len(self), count):
            yield self[start : start + count]
