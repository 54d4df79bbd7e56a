"""What a model predicts for the test images, in a file from the trainer to the evaluation."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hpsearch.training.files import sealed_arrays

ROUNDING = 1e-3
"""By how much a softmax may miss the range of a probability."""


@dataclass(frozen=True, eq=False)
class Predictions:
    """`probabilities` (images, classes), the true `labels` (images,) as indices into the names in `classes`.

    In the model's own precision: rounded, two classes might tie that did not.
    """

    probabilities: npt.NDArray[np.floating]
    labels: npt.NDArray[np.int64]
    classes: tuple[str, ...]


def average_predictions(models: Sequence[Predictions]) -> Predictions:
    """Return the mean of the models' probabilities for the same images."""
    mean = np.mean([model.probabilities.astype(np.float64) for model in models], axis=0)
    return replace(models[0], probabilities=mean)


def save(predictions: Predictions, path: Path) -> None:
    """Write the file whole or not at all.

    Raises:
        OSError: it cannot be written.
    """
    arrays: dict[str, npt.NDArray[Any]] = {
        "probabilities": predictions.probabilities.astype(np.float32),
        "labels": predictions.labels.astype(np.int64),
        "classes": np.array(predictions.classes),
    }
    sealed_arrays.save(arrays, path)


def load(path: Path) -> Predictions | None:
    """Read what `save` wrote; return None where the file is damaged, or holds no predictions.

    Raises:
        OSError: it cannot be read.
    """
    arrays = sealed_arrays.load(path)
    if arrays is None or arrays.keys() != {"probabilities", "labels", "classes"}:
        return None
    probabilities, labels, classes = arrays["probabilities"], arrays["labels"], arrays["classes"]
    kinds = probabilities.dtype == np.float32 and labels.dtype == np.int64 and classes.dtype.kind == "U"
    if not kinds or labels.ndim != 1 or classes.ndim != 1 or probabilities.shape != (len(labels), len(classes)):
        return None
    if not ((labels >= 0) & (labels < len(classes))).all():
        return None
    if not ((probabilities >= -ROUNDING) & (probabilities <= 1 + ROUNDING)).all():  # nor where one is no number
        return None
    return Predictions(probabilities, labels, tuple(classes.tolist()))
