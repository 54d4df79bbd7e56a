"""What a model predicts for the test images, in a file from the trainer to the evaluation."""

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, eq=False)
class Predictions:
    """`probabilities` (images, classes), the true `labels` (images,) as indices into the names in `classes`.

    In the model's own precision: rounded, two classes might tie that did not.
    """

    probabilities: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    classes: tuple[str, ...]


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
