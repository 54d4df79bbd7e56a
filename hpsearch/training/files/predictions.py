"""What a model predicts for the test images, in a file from the trainer to the evaluation."""

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt


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
    """Write the file, an `.npz` without pickles.

    Raises:
        OSError: it cannot be written.
    """
    with path.open("wb") as file:
        np.savez(
            file,
            probabilities=predictions.probabilities.astype(np.float32),
            labels=predictions.labels.astype(np.int64),
            classes=np.array(predictions.classes),
        )


def load(path: Path) -> Predictions | None:
    """Read what `save` wrote; return None where the file is damaged.

    Raises:
        OSError: it cannot be read.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            probabilities, labels, classes = file["probabilities"], file["labels"], file["classes"]
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    if probabilities.shape != (len(labels), len(classes)):
        return None
    return Predictions(probabilities, labels, tuple(classes.tolist()))
