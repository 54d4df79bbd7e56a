"""The labels of arrays: (n,) or (n, 1) of whole numbers from 0, or one-hot."""

from typing import Any

import numpy as np
import numpy.typing as npt

from hpsearch.errors import NotFoundError
from hpsearch.formatting import format_count
from hpsearch.training.images.arrays import ARRAY_NAMES, Array, ArrayParts
from hpsearch.training.images.listings import Part, require_classes

Labels = npt.NDArray[np.int64]


def read_labels(parts: ArrayParts) -> tuple[Labels, npt.NDArray[np.int8], tuple[str, ...]]:
    """Return the label (n,) and the part (n,) of each image, part after part, and the classes `0`, `1`, ...

    Raises:
        NotFoundError: they are no labels, a class has no image, or a part has another class.
    """
    read = {part: _read(labels, parts.name(part, labels=True)) for part, (_, labels) in parts.arrays.items()}
    training, width = read[Part.TRAINING]
    classes = width or int(training.max()) + 1
    if classes > len(training):
        # Before anything is counted by class: a label may be any number.
        raise NotFoundError(
            f"{parts.name(Part.TRAINING, labels=True)} has labels up to {classes - 1}, but "
            f"{format_count(len(training), 'image')}: labels count from 0, without gaps"
        )
    for part, (labels, _) in read.items():
        if labels.max() >= classes:
            raise NotFoundError(
                f"{parts.name(part, labels=True)} has the label {labels.max()}, "
                f"which {ARRAY_NAMES[Part.TRAINING][1]} lacks"
            )
    labels = np.concatenate([labels for labels, _ in read.values()])
    which = np.concatenate([np.full(len(labels), part, np.int8) for part, (labels, _) in read.items()])
    names = tuple(map(str, range(classes)))
    require_classes(labels, which, names, parts.place)
    return labels, which, names


def _read(array: Array, name: str) -> tuple[Labels, int | None]:
    """Return labels (n,), and how many classes there are where they are one-hot."""
    if array.dtype.kind not in "uifb" or len(array.shape) not in (1, 2):
        raise NotFoundError(
            f"{name} has the shape {array.shape} and the type {array.dtype}: "
            "labels are whole numbers (n,) or (n, 1), or one-hot"
        )
    values: npt.NDArray[Any] = np.concatenate(list(array.read_blocks()))
    if values.ndim == 2 and values.shape[1] != 1:
        if not (((values == 0) | (values == 1)).all() and (values.sum(axis=1) == 1).all()):
            raise NotFoundError(f"{name} has the shape {array.shape}, but is not one-hot: a row has a single 1")
        return values.argmax(axis=1).astype(np.int64), values.shape[1]
    values = values.reshape(len(values))
    if not np.isfinite(values).all() or (values != np.rint(values)).any() or values.min() < 0:
        raise NotFoundError(f"{name} holds other labels than whole numbers from 0")
    return values.astype(np.int64), None
