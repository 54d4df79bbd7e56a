"""A study's images: loaded, split into training, validation and test images, and identified by a fingerprint."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from hpsearch.errors import NotFoundError
from hpsearch.spec.datasets import DataFacts, Dataset, list_datasets
from hpsearch.training import backends
from hpsearch.training.images import streaming
from hpsearch.training.images.cache import Progress
from hpsearch.training.images.downloads import StoppedError
from hpsearch.training.images.own_images import OwnImages, read_own_images
from hpsearch.training.images.parts import ArraySource, ImagePart, Labels, RawImages
from hpsearch.training.images.splits import split_stratified
from hpsearch.training.protocol import DataPrepared
from hpsearch.training.requests import DataRequest


@dataclass(frozen=True)
class PixelStatistics:
    """Mean and standard deviation of each channel's pixels, in 0..255."""

    mean: tuple[float, ...]
    deviation: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class TrainingInputs:
    """What training reads of a dataset: arrays on the device, or parts that are streamed to it."""

    x_train: Any
    y_train: Any
    x_val: Any

    @property
    def training(self) -> tuple[Any, Any]:
        """Images and labels."""
        return self.x_train, self.y_train


@dataclass(frozen=True, eq=False)
class ImageArrays:
    """Images (n, height, width, channels) of 0..255 and labels (n,), in three parts that share no image.

    `fingerprint` is the SHA-256 of all that a search sees: training and validation images and labels. Where the data
    are for a test, the training images are both of these, the validation images are the test images, and `fingerprint`
    is the SHA-256 of all of them, "+", and that of the search.
    """

    x_train: ImagePart
    y_train: Labels
    x_val: ImagePart
    y_val: Labels
    x_test: ImagePart
    y_test: Labels
    classes: tuple[str, ...]
    fingerprint: str

    @cached_property
    def facts(self) -> DataFacts:
        """What is worth knowing of them without the images."""
        counts = (
            tuple(np.bincount(labels, minlength=len(self.classes)).tolist())
            for labels in (self.y_train, self.y_val, self.y_test)
        )
        height, width, channels = self.x_train.shape[1:]
        return DataFacts((height, width, channels), self.classes, *counts)

    @cached_property
    def inputs(self) -> TrainingInputs:
        """Its images on the device, for as long as the dataset is kept, where they fit there."""
        if self.x_train.nbytes + self.x_val.nbytes > streaming.find_resident_limit():
            return TrainingInputs(self.x_train, self.y_train, self.x_val)
        arrays = self.x_train[:], self.y_train, self.x_val[:]
        return TrainingInputs(*(backends.current.copy_to_device(array) for array in arrays))

    @cached_property
    def statistics(self) -> PixelStatistics:
        """Of the training images alone, so that nothing of the validation images leaks into training."""
        number, height, width, channels = self.x_train.shape
        total, squares = np.zeros((width * channels,), np.int64), np.zeros((width * channels,), np.int64)
        for piece in self.x_train.read_pieces():
            rows = piece.reshape(-1, width * channels)  # a sum over the first axis is several times as fast
            total += rows.sum(axis=0, dtype=np.int64)
            squares += np.square(rows, dtype=np.uint16).sum(axis=0, dtype=np.int64)
        n = number * height * width
        mean, square = (sums.reshape(width, channels).sum(axis=0) / n for sums in (total, squares))
        deviation = np.sqrt(np.maximum(square - mean**2, 1e-12))
        return PixelStatistics(tuple(mean.tolist()), tuple(deviation.tolist()))


_latest: dict[tuple[DataRequest, Path | None], ImageArrays] = {}
"""The last request's: a trainer serves one study for long, and two datasets at once would be memory for nothing."""


def forget() -> None:
    """Drop the images that `load` keeps."""
    _latest.clear()


def ignore_progress(done: int, total: int) -> None:
    """Tell nobody how far the loading is."""


def load(data: DataRequest, code: Path | None = None, progress: Progress = ignore_progress) -> ImageArrays:
    """Return the images of a study, the same on every host; those of the last request are kept.

    Of a built-in dataset the validation images are a stratified hold-out of the training set, drawn by `data.seed`;
    `data.train_limit` then keeps a stratified part of the rest; the test images are the dataset's own. Of a user's own
    images see `split_images`.

    Args:
        data: which images.
        code: the directory with the study's own files, where it has any.
        progress: called with how many images are decoded, and of how many; an exception that it raises ends that.

    Raises:
        NotFoundError: the images are nowhere to be had, are damaged or too few, or no dataset has such a name.
        UsageError: a built-in dataset has fewer images than `data` asks for.
    """
    if (data, code) not in _latest:
        forget()
        _latest[data, code] = _load_built_in(data) if data.name else _load_own(data, code, progress)
    return _latest[data, code]


def summarize(data: DataRequest, code: Path | None, progress: Progress) -> DataPrepared:
    """Return what there is to know of a study's images; they are decoded and in the cache afterwards.

    Raises:
        NotFoundError: as for `load`.
    """
    if data.name:
        images = load(data)
        return DataPrepared(images.facts, sum(part.nbytes for part in (images.x_train, images.x_val, images.x_test)))
    own = read_own_images(data, code, progress)
    facts, store = _arrange(own, data).facts, own.images.images
    size = int(np.prod(store.shape, dtype=np.int64))
    return DataPrepared(facts, size, str(store.path.parent), dict(own.images.passed_over), own.find_duplicates())


def _load_own(data: DataRequest, code: Path | None, progress: Progress) -> ImageArrays:
    return _arrange(read_own_images(data, code, progress), data)


def _arrange(own: OwnImages, data: DataRequest) -> ImageArrays:
    def take(indices: Labels) -> tuple[ImagePart, Labels]:
        return ImagePart(own.images.images, indices), own.images.labels[indices]

    split, classes = own.split, own.images.classes
    searched = own.compute_fingerprint(split.training, split.validation)
    if not data.test:
        return ImageArrays(*take(split.training), *take(split.validation), *take(split.test), classes, searched)
    known, tested = np.sort(np.concatenate([split.training, split.validation])), take(split.test)
    fingerprint = f"{own.compute_fingerprint(split.training, split.validation, split.test)}+{searched}"
    return ImageArrays(*take(known), *tested, *tested, classes, fingerprint)


def _load_built_in(data: DataRequest) -> ImageArrays:
    datasets = list_datasets()
    if data.name is None or data.name not in datasets or not isinstance(data.validation, int):
        raise NotFoundError(f"no dataset is called {data.title!r}: there are {', '.join(datasets)}")
    x, y, x_test, y_test, classes = _read(datasets[data.name])
    rest, validation = split_stratified(y, np.arange(len(y)), data.validation, data.seed, f"validation of {data.name}")
    if data.train_limit is not None and data.train_limit != len(rest):
        _, rest = split_stratified(y, rest, data.train_limit, data.seed, f"train_limit of {data.name}")
    source = ArraySource(x)
    parts = ImagePart(source, rest), y[rest], ImagePart(source, validation), y[validation]
    tested = ImagePart(ArraySource(x_test), np.arange(len(y_test))), y_test
    searched = _fingerprint(*parts)
    if not data.test:
        return ImageArrays(*parts, *tested, classes, searched)
    known = np.concatenate([rest, validation])
    fingerprint = f"{_fingerprint(*parts, *tested)}+{searched}"
    return ImageArrays(ImagePart(source, known), y[known], *tested, *tested, classes, fingerprint)


def _read(dataset: Dataset) -> RawImages:
    """Return all images. That they cannot be read, for whatever reason, is this host's fault and not the study's."""
    try:
        images: RawImages = dataset.read()
    except (NotFoundError, MemoryError, StoppedError):
        raise
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise NotFoundError(f"{dataset.name} cannot be read on this host: {reason}") from error
    return images


def _fingerprint(*parts: ImagePart | Labels) -> str:
    digest = hashlib.sha256()
    for part in parts:
        dtype, pieces = ("|u1", part.read_pieces()) if isinstance(part, ImagePart) else (part.dtype.str, [part])
        digest.update(f"{part.shape}{dtype}".encode())
        for piece in pieces:
            digest.update(np.ascontiguousarray(piece).data)
    return digest.hexdigest()
