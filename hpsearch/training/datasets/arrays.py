"""Datasets: loading them, and the split into training, validation and test images."""

import hashlib
import logging
import math
import socket
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import keras
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from hpsearch import settings
from hpsearch.errors import NotFoundError, UsageError
from hpsearch.training import backends
from hpsearch.training.datasets import cifar10
from hpsearch.training.datasets.cifar10 import Images, Labels
from hpsearch.training.protocol import DataRequest

# The archive and checksum that keras.datasets.cifar10 uses.
ORIGIN = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
SHA256 = "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"
TIMEOUT = 60.0  # seconds without a byte, after which the download is given up

log = logging.getLogger(__name__)

Raw = tuple[Images, Labels, Images, Labels, tuple[str, ...]]


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
    """The images of a study, the same on every host.

    The validation images are a stratified hold-out of the training set, drawn by `data.seed`; `data.train_limit`
    then keeps a stratified part of the rest. The test images are the dataset's own.

    Raises:
        NotFoundError: the dataset is nowhere to be had, is damaged, or has no such name.
        UsageError: it has fewer images than `data` asks for.
    """
    if data.name not in SOURCES:
        raise NotFoundError(f"no dataset is called {data.name!r}: there are {', '.join(SOURCES)}")
    x, y, x_test, y_test, classes = _read(data.name)
    rest, validation = _part(y, np.arange(len(y)), data.validation, data.seed, f"validation of {data.name}")
    if data.train_limit is not None and data.train_limit != len(rest):
        _, rest = _part(y, rest, data.train_limit, data.seed, f"train_limit of {data.name}")
    parts = x[rest], y[rest], x[validation], y[validation]
    searched, tested = _fingerprint(*parts), (x_test, y_test)
    if not data.test:
        return ImageArrays(*parts, *tested, classes, searched)
    known = np.concatenate([rest, validation])
    fingerprint = f"{_fingerprint(*parts, *tested)}+{searched}"
    return ImageArrays(x[known], y[known], *tested, *tested, classes, fingerprint)


def _read(name: str) -> Raw:
    """All images. That they cannot be read, for whatever reason, is this host's fault and not the study's."""
    try:
        return SOURCES[name]()
    except (NotFoundError, MemoryError):
        raise
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise NotFoundError(f"{name} cannot be read on this host: {reason}") from error


def _part(y: Labels, among: Labels, count: int, seed: int, what: str) -> tuple[Labels, Labels]:
    """Splits the indices `among` into (all others, `count`), both stratified by label."""
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


def _digits() -> Raw:
    """scikit-learn's 1,797 handwritten digits, 8x8 of 0..16, as 32x32 pixels in three equal channels."""
    digits = load_digits()
    grey = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    x = np.repeat(grey.repeat(4, axis=1).repeat(4, axis=2)[..., np.newaxis], 3, axis=3)
    y = digits.target.astype(np.int64)
    train, test = _part(y, np.arange(len(y)), 360, 0, "test")  # fixed: 1,437 and 360
    return x[train], y[train], x[test], y[test], tuple(str(name) for name in digits.target_names)


def fetch_cifar10() -> Path:
    """Where CIFAR-10 is on this host, for `cifar10.read`; downloaded now where it was not there.

    Raises:
        NotFoundError: it is neither here nor to be had.
    """
    return cifar10.find_source() or _download()


def _cifar10() -> Raw:
    return cifar10.read(fetch_cifar10())


def _download() -> Path:
    """Fetches CIFAR-10 into the cache; it appears there whole, with the right checksum, or not at all."""
    cache = settings.find_cache_dir()
    previous = socket.getdefaulttimeout()
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".download-", dir=cache) as directory:
            log.info("downloading CIFAR-10 (163 MiB) from %s", ORIGIN)
            socket.setdefaulttimeout(TIMEOUT)
            file = keras.utils.get_file(
                cifar10.ARCHIVE,
                ORIGIN,
                file_hash=SHA256,
                hash_algorithm="sha256",
                cache_dir=directory,
                cache_subdir="",
            )
            return Path(file).replace(cache / cifar10.ARCHIVE)
    except Exception as error:  # noqa: BLE001 get_file raises bare Exception for what goes wrong on the way
        looked = " nor in ".join(str(place) for place in cifar10.list_places())
        reason = " ".join(str(error).split()) or type(error).__name__
        raise NotFoundError(
            f"CIFAR-10 is not in {looked}, and cannot be downloaded ({reason}): put {cifar10.ARCHIVE} or "
            f"{cifar10.DIRECTORY} into a directory and name that in HPSEARCH_DATA_DIR"
        ) from None
    finally:
        socket.setdefaulttimeout(previous)


SOURCES: Mapping[str, Callable[[], Raw]] = {"cifar10": _cifar10, "digits": _digits}
