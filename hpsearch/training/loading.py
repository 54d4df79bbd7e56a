"""A study's images: loaded, split into training, validation and test images, and identified by a fingerprint."""

import hashlib
import math
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.model_selection import train_test_split

from hpsearch.errors import NotFoundError, UsageError
from hpsearch.spec.datasets import Dataset, list_datasets
from hpsearch.training import backends
from hpsearch.training.protocol import DataRequest

Images = npt.NDArray[np.uint8]
"""(n, height, width, channels) of 0..255."""
Labels = npt.NDArray[np.int64]
"""(n,), counted from 0."""
RawImages = tuple[Images, Labels, Images, Labels, tuple[str, ...]]
"""Training images and labels, test images and labels, names of the classes."""


@dataclass(frozen=True)
class PixelStatistics:
    """Mean and standard deviation of each channel's pixels, in 0..255."""

    mean: tuple[float, ...]
    deviation: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class DeviceArrays:
    """What training reads of a dataset, where the device reads it."""

    x_train: Any
    y_train: Any
    x_val: Any

    @property
    def training(self) -> tuple[Any, Any]:
        """Images and labels."""
        return self.x_train, self.y_train


@dataclass(frozen=True, eq=False)
class ImageArrays:
    """Images (n, 32, 32, 3) of 0..255 and labels (n,), in three parts that share no image.

    `fingerprint` is the SHA-256 of all that a search sees: training and validation images and labels. Where the data
    are for a test, the training images are both of these, the validation images are the test images, and `fingerprint`
    is the SHA-256 of all of them, "+", and that of the search.
    """

    x_train: Images
    y_train: Labels
    x_val: Images
    y_val: Labels
    x_test: Images
    y_test: Labels
    classes: tuple[str, ...]
    fingerprint: str

    @cached_property
    def resident(self) -> DeviceArrays:
        """Its images on the device, for as long as the dataset is kept."""
        return DeviceArrays(
            *(backends.current.copy_to_device(array) for array in (self.x_train, self.y_train, self.x_val))
        )

    @cached_property
    def statistics(self) -> PixelStatistics:
        """Of the training images alone, so that nothing of the validation images leaks into training."""
        n, total, squares = math.prod(self.x_train.shape[:-1]), np.zeros(3), np.zeros(3)
        for start in range(0, len(self.x_train), 1024):  # all at once would be eight times the images' memory
            part = self.x_train[start : start + 1024].astype(np.float64)
            total += part.sum(axis=(0, 1, 2))
            squares += (part**2).sum(axis=(0, 1, 2))
        mean = total / n
        deviation = np.sqrt(np.maximum(squares / n - mean**2, 1e-12))
        return PixelStatistics(tuple(mean.tolist()), tuple(deviation.tolist()))


@lru_cache(maxsize=1)  # a trainer serves one study for long; two datasets at once would be memory for nothing
def load(data: DataRequest) -> ImageArrays:
    """Return the images of a study, the same on every host.

    The validation images are a stratified hold-out of the training set, drawn by `data.seed`; `data.train_limit`
    then keeps a stratified part of the rest. The test images are the dataset's own.

    Raises:
        NotFoundError: the dataset is nowhere to be had, is damaged, or has no such name.
        UsageError: it has fewer images than `data` asks for.
    """
    datasets = list_datasets()
    if data.name not in datasets:
        raise NotFoundError(f"no dataset is called {data.name!r}: there are {', '.join(datasets)}")
    x, y, x_test, y_test, classes = _read(datasets[data.name])
    rest, validation = split_stratified(y, np.arange(len(y)), data.validation, data.seed, f"validation of {data.name}")
    if data.train_limit is not None and data.train_limit != len(rest):
        _, rest = split_stratified(y, rest, data.train_limit, data.seed, f"train_limit of {data.name}")
    parts = x[rest], y[rest], x[validation], y[validation]
    searched, tested = _fingerprint(*parts), (x_test, y_test)
    if not data.test:
        return ImageArrays(*parts, *tested, classes, searched)
    known = np.concatenate([rest, validation])
    fingerprint = f"{_fingerprint(*parts, *tested)}+{searched}"
    return ImageArrays(x[known], y[known], *tested, *tested, classes, fingerprint)


def _read(dataset: Dataset) -> RawImages:
    """Return all images. That they cannot be read, for whatever reason, is this host's fault and not the study's."""
    try:
        images: RawImages = dataset.read()
    except (NotFoundError, MemoryError):
        raise
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise NotFoundError(f"{dataset.name} cannot be read on this host: {reason}") from error
    return images


def split_stratified(y: Labels, among: Labels, count: int, seed: int, what: str) -> tuple[Labels, Labels]:
    """Split the indices `among` into (all others, `count`), both stratified by label.

    Raises:
        UsageError: a part would have no image of some class; `what` names the part.
    """
    classes = len(np.unique(y))
    most = len(among) - classes  # every class needs an image on either side
    if not classes <= count <= most:
        raise UsageError(f"{what}: {count:,} is not from {classes} to {most:,} (there are {len(among):,} images)")
    others, part = train_test_split(among, test_size=count, stratify=y[among], random_state=seed)
    return others, part


def _fingerprint(*arrays: Images | Labels) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.shape}{array.dtype.str}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
