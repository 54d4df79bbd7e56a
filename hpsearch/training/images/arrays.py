"""Images in arrays, as keras.datasets have them: in a `.npz` file, or as a function returns them.

Arrays are gone through in blocks, so that a file larger than the memory can be read.
"""

import hashlib
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from hpsearch.errors import NotFoundError
from hpsearch.formatting import join_words
from hpsearch.training.images.listings import Part, describe, format_path

ARRAY_NAMES: Mapping[Part, tuple[str, str]] = {
    Part.TRAINING: ("x_train", "y_train"),
    Part.VALIDATION: ("x_val", "y_val"),
    Part.TEST: ("x_test", "y_test"),
}
"""Images and labels."""

BLOCK_BYTES = 16 * 2**20
"""About how much of an array is in memory at a time."""


class Array(Protocol):
    """An array that is read in blocks, wherever it lies."""

    @property
    def shape(self) -> tuple[int, ...]:
        """As numpy's."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """As numpy's."""

    def read_blocks(self) -> Iterator[npt.NDArray[Any]]:
        """Yield all of it, some of the first axis at a time."""


@dataclass(frozen=True, eq=False)
class ArrayParts:
    """Images and labels of each part."""

    place: str
    """The file or function that they are of."""
    arrays: Mapping[Part, tuple[Array, Array]]

    def __post_init__(self) -> None:
        for part, (images, labels) in self.arrays.items():
            if not images.shape or not labels.shape or not images.shape[0]:
                raise NotFoundError(f"{self.name(part)} holds no images")
            if images.shape[0] != labels.shape[0]:
                x, y = ARRAY_NAMES[part]
                raise NotFoundError(
                    f"{self.place}: {x} has {images.shape[0]:,} images, and {y} {labels.shape[0]:,} labels"
                )

    def name(self, part: Part, labels: bool = False) -> str:
        """Return what to call the images or labels of a part in an error."""
        return f"{self.place}: {ARRAY_NAMES[part][labels]}"


@dataclass(frozen=True, eq=False)
class MemoryArray:
    """An array in memory."""

    array: npt.NDArray[Any]

    @property
    def shape(self) -> tuple[int, ...]:
        """As numpy's."""
        return self.array.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """As numpy's."""
        return self.array.dtype

    def read_blocks(self) -> Iterator[npt.NDArray[Any]]:
        """Yield all of it, some of the first axis at a time."""
        count = _count_rows(self)
        for start in range(0, len(self.array), count):
            yield self.array[start : start + count]


@dataclass(frozen=True, eq=False)
class FileArray:
    """An array in a `.npz` file."""

    file: Path
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran_order: bool

    def read_blocks(self) -> Iterator[npt.NDArray[Any]]:
        """Yield all of it, some of the first axis at a time.

        Raises:
            NotFoundError: it ends early, or has another checksum.
        """
        with _explain(self.file), zipfile.ZipFile(self.file) as archive, archive.open(f"{self.name}.npy") as stream:
            if self.fortran_order:  # there are no rows to read one by one
                yield np.lib.format.read_array(stream, allow_pickle=False)
                return
            _read_header(stream)
            count = _count_rows(self)
            for start in range(0, self.shape[0], count):
                shape = min(count, self.shape[0] - start), *self.shape[1:]
                size = int(np.prod(shape, dtype=np.int64)) * self.dtype.itemsize
                content = stream.read(size)
                if len(content) < size:
                    raise EOFError(f"{self.name} ends early")
                yield np.frombuffer(content, self.dtype).reshape(shape)
            if stream.read(1):  # at the end, where the checksum is compared
                raise EOFError(f"{self.name} is longer than its header says")


def open_npz(file: Path) -> ArrayParts:
    """Return the arrays of a `.npz` file; pickled objects in it are not read.

    Raises:
        NotFoundError: it is none, is damaged, or lacks an array.
    """
    with _explain(file), zipfile.ZipFile(file) as archive:
        names = {name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")}
        chosen = _choose_parts(names, file)
        arrays = {}
        for name in (name for pair in chosen.values() for name in pair):
            with archive.open(f"{name}.npy") as stream:
                shape, fortran_order, dtype = _read_header(stream)
            if dtype.hasobject:
                raise NotFoundError(f"{format_path(file)}: {name} holds pickled objects, which are not read")
            arrays[name] = FileArray(file, name, shape, dtype, fortran_order)
    return ArrayParts(format_path(file), {part: (arrays[x], arrays[y]) for part, (x, y) in chosen.items()})


def unpack_loaded(loaded: Any, place: str) -> ArrayParts:
    """Return the arrays of what a function returned, `(x_train, y_train), (x_test, y_test)`.

    Raises:
        NotFoundError: it is something else; the line begins with `place`.
    """
    try:
        (x_train, y_train), (x_test, y_test) = loaded
    except (TypeError, ValueError):
        raise NotFoundError(
            f"{place} returned {type(loaded).__name__}: return (x_train, y_train), (x_test, y_test), four arrays"
        ) from None
    pairs = {Part.TRAINING: (x_train, y_train), Part.TEST: (x_test, y_test)}
    arrays = {}
    for part, pair in pairs.items():
        images, labels = (
            _open_array(values, f"{place}: {name}") for values, name in zip(pair, ARRAY_NAMES[part], strict=True)
        )
        arrays[part] = images, labels
    return ArrayParts(place, arrays)


def digest_arrays(parts: ArrayParts) -> str:
    """Return the SHA-256 of all arrays."""
    digest = hashlib.sha256()
    for part, arrays in parts.arrays.items():
        for array in arrays:
            digest.update(f"{part} {array.shape} {array.dtype.str}\n".encode())
            for block in array.read_blocks():
                digest.update(np.ascontiguousarray(block).data)
    return digest.hexdigest()


def digest_file(file: Path) -> str:
    """Return the SHA-256 of a file.

    Raises:
        NotFoundError: it cannot be read.
    """
    with _explain(file), file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextmanager
def _explain(file: Path) -> Iterator[None]:
    """Raise a NotFoundError that names the file where it cannot be read."""
    try:
        yield
    except OSError as error:
        raise NotFoundError(f"{format_path(file)} cannot be read: {describe(error)}") from None
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError, RuntimeError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise NotFoundError(f"{format_path(file)} is no whole .npz file: {reason}") from None


def _open_array(values: object, name: str) -> MemoryArray:
    try:
        array = np.asarray(values)
    except ValueError:  # lists of different lengths
        array = np.empty(0, object)
    if array.dtype.hasobject:
        raise NotFoundError(f"{name} is {type(values).__name__} and no array of numbers")
    return MemoryArray(array)


def _choose_parts(names: set[str], file: Path) -> Mapping[Part, tuple[str, str]]:
    chosen = {part: pair for part, pair in ARRAY_NAMES.items() if part != Part.VALIDATION or names & set(pair)}
    missing = [name for pair in chosen.values() for name in pair if name not in names]
    if missing:
        among = f"it has {join_words(sorted(map(format_path, names)))}" if names else "it has no arrays"
        raise NotFoundError(f"{format_path(file)} lacks {join_words(missing)}: {among}")
    return chosen


def _read_header(stream: Any) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(stream)
    if version == (2, 0):
        return np.lib.format.read_array_header_2_0(stream)
    raise ValueError("an array is of records")


def _count_rows(array: Array) -> int:
    row = int(np.prod(array.shape[1:], dtype=np.int64)) * array.dtype.itemsize
    return max(1, BLOCK_BYTES // max(1, row))
