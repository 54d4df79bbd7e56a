"""How a model does on each class."""

from dataclasses import dataclass

import keras
import numpy as np
import numpy.typing as npt
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from hpsearch.training.cifar10 import Images, Labels


@dataclass(frozen=True)
class ClassFigures:
    """Fractions of 1 for one class; 0 where undefined, such as the precision of a class never predicted."""

    name: str
    precision: float
    recall: float
    f1: float
    images: int


@dataclass(frozen=True, eq=False)
class Evaluation:
    """`confusion[i, j]`: how many images of class i the model took for class j; shape (classes, classes)."""

    confusion: npt.NDArray[np.int64]
    classes: tuple[ClassFigures, ...]

    @property
    def accuracy(self) -> float:
        """Right answers, as a fraction of 1."""
        return float(np.trace(self.confusion) / self.confusion.sum())


def evaluate(
    model: keras.Model, images: Images, labels: Labels, names: tuple[str, ...], batch_size: int = 256
) -> Evaluation:
    """Lets `model` classify images (n, height, width, channels) of 0..255 with labels (n,).

    Raises:
        ValueError: there are no images.
    """
    guesses = model.predict(images, batch_size=batch_size, verbose=0).argmax(axis=1)
    every = range(len(names))
    columns = precision_recall_fscore_support(labels, guesses, labels=every, zero_division=0.0)
    rows = zip(names, *(column.tolist() for column in columns), strict=True)
    return Evaluation(confusion_matrix(labels, guesses, labels=every), tuple(ClassFigures(*row) for row in rows))
