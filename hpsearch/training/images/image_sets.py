"""A user's own images, read from folders, files or a function: all of them, or an error that names what is wrong."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hpsearch import settings
from hpsearch.errors import NotFoundError
from hpsearch.training.images import cache
from hpsearch.training.images.cache import Progress
from hpsearch.training.images.class_folders import list_class_folders
from hpsearch.training.images.file_pixels import FilePixels
from hpsearch.training.images.listings import Listing, describe, format_path
from hpsearch.training.images.stores import ImageStore
from hpsearch.training.protocol import DataRequest


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
    """Return the user's images.

    Args:
        request: has a path, or a function to load.
        code: the directory with the study's own files.
        progress: see `cache.Progress`; an exception that it raises ends the reading.

    Raises:
        NotFoundError: the data are not there, or something in them cannot be used; the line names it.
    """
    if request.path is None:
        raise NotImplementedError
    path = _find(request.path)
    if not path.is_dir():
        raise NotFoundError(f"{format_path(path)} is neither a folder nor a .csv or .npz file")
    listing = list_class_folders(path)
    pixels = FilePixels(listing, request.image_size, request.resize, progress)
    return _assemble(listing, *cache.fetch(pixels, progress))


def _assemble(listing: Listing, images: ImageStore, digests: npt.NDArray[np.bytes_]) -> ImageSet:
    names = [file.group for file in listing.files]
    groups = None
    if any(name is not None for name in names):
        groups = np.unique([str(name) for name in names], return_inverse=True)[1].astype(np.int64)
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


def _find(path: str) -> Path:
    """Return where the data are on this host.

    Raises:
        NotFoundError: they are not there.
    """
    place = Path(path).expanduser()
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
    return place
