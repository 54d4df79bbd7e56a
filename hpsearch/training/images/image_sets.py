"""A user's own images, read from folders, files or a function: all of them, or an error that names what is wrong."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hpsearch import settings
from hpsearch.errors import NotFoundError
from hpsearch.training.images import cache
from hpsearch.training.images.array_labels import read_labels
from hpsearch.training.images.array_pixels import ArrayPixels
from hpsearch.training.images.arrays import (
    ARRAY_NAMES,
    ArrayParts,
    digest_arrays,
    digest_file,
    open_npz,
    unpack_loaded,
)
from hpsearch.training.images.cache import Progress
from hpsearch.training.images.class_folders import list_class_folders
from hpsearch.training.images.csv_files import list_csv
from hpsearch.training.images.file_pixels import FilePixels
from hpsearch.training.images.listings import Listing, describe, format_path
from hpsearch.training.images.stores import ImageStore
from hpsearch.training.requests import DataRequest
from hpsearch.training.user.code import load_function


@dataclass(frozen=True, eq=False)
class ImageSet:
    """All images that the data have, in an order that is the same on every host."""

    images: ImageStore
    labels: npt.NDArray[np.int64]
    """(n,), counted from 0."""
    classes: tuple[str, ...]
    parts: npt.NDArray[np.int8]
    """(n,) of `Part`."""
    groups: npt.NDArray[np.int64] | None
    """(n,): images of one group stay on one side of a split."""
    digests: npt.NDArray[np.bytes_]
    """(n,) of 32 bytes: SHA-256 of each image's pixels."""
    names: Sequence[str]
    """(n,): what to call each image, as `roses/12.png` or `x_train[12]`."""
    passed_over: Mapping[str, int]
    """Why, and how many files."""


def read(request: DataRequest, code: Path | None, progress: Progress) -> ImageSet:
    """Return the user's images: class folders, a `.csv` or a `.npz` file, or what a function returns.

    Args:
        request: has a path, or a function to load.
        code: the directory with the function's file.
        progress: see `cache.Progress`; an exception that it raises ends the reading.

    Raises:
        NotFoundError: the data are not there, or something in them cannot be used; the line names it.
    """
    if request.path is None:
        parts = unpack_loaded(_load(code, str(request.load)), str(request.load))
        return _read_arrays(parts, digest_arrays(parts), request, progress)
    path = find_place(request.path)
    kind = path.suffix.lower()
    if path.is_dir():
        return _read_files(list_class_folders(path), request, progress)
    if kind == ".csv":
        return _read_files(list_csv(path), request, progress)
    if kind == ".npz":
        return _read_arrays(open_npz(path), digest_file(path), request, progress)
    raise NotFoundError(f"{format_path(path)} is neither a folder nor a .csv or .npz file")


def _load(code: Path | None, reference: str) -> object:
    if code is None:
        raise NotFoundError(f"{reference} is not on this host: start the study from its file")
    return load_function(code, reference)()


def _read_files(listing: Listing, request: DataRequest, progress: Progress) -> ImageSet:
    pixels = FilePixels(listing, request.image_size, request.resize, progress)
    images, digests = cache.fetch(pixels, progress)
    groups = None
    if any(file.group is not None for file in listing.files):
        groups = np.unique([str(file.group) for file in listing.files], return_inverse=True)[1].astype(np.int64)
    return ImageSet(
        images,
        np.array([file.label for file in listing.files], np.int64),
        listing.classes,
        np.array([file.part for file in listing.files], np.int8),
        groups,
        digests,
        [file.name for file in listing.files],
        listing.passed_over,
    )


def _read_arrays(parts: ArrayParts, content: str, request: DataRequest, progress: Progress) -> ImageSet:
    labels, which, classes = read_labels(parts)
    images, digests = cache.fetch(ArrayPixels(parts, content, request.image_size, request.resize), progress)
    names = [
        f"{ARRAY_NAMES[part][0]}[{row}]" for part, (array, _) in parts.arrays.items() for row in range(array.shape[0])
    ]
    return ImageSet(images, labels, classes, which, None, digests, names, {})


def find_place(path: str) -> Path:
    """Return where a file or folder of the user's is on this host: absolute, or below HPSEARCH_DATA_DIR.

    Raises:
        NotFoundError: it is not there.
    """
    place = settings.expand_home(path)
    if not place.is_absolute():
        directory = settings.find_data_dir()
        if directory is None:
            raise NotFoundError(
                f"{format_path(path)} is no absolute path: name the directory that has it in HPSEARCH_DATA_DIR"
            )
        place = directory / place
    try:
        place.stat()
    except OSError as error:
        raise NotFoundError(f"{format_path(place)} cannot be read: {describe(error)}") from None
    except ValueError as error:  # a null character
        raise NotFoundError(f"{format_path(place)} cannot be read: {error}") from None
    return place
