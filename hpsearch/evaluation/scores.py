"""What predictions for the test images come to: accuracies with intervals, class by class, confusion matrices."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from hpsearch.analysis.statistics import compute_wilson_interval, estimate_mean
from hpsearch.training.predictions import Predictions


@dataclass(frozen=True)
class Spread:
    """A fraction of 1 over models that differ in their seed only: mean, standard deviation, and the mean's interval.

    The interval is Student's, cut off at 0 and 1. With one model there is neither deviation nor interval.
    """

    models: int
    mean: float
    std: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class ClassFigures:
    """Fractions of 1 for one class; 0 where undefined, such as the precision of a class never predicted."""

    name: str
    precision: float
    recall: float
    f1: float
    images: int


@dataclass(frozen=True)
class ClassSpread:
    """The same over models."""

    name: str
    precision: Spread
    recall: Spread
    f1: Spread
    images: int


@dataclass(frozen=True)
class Score:
    """One classifier on the test images.

    `low` and `high` are Wilson's interval of its accuracy, for the finite number of images. `confusion[i][j]` says how
    many images of class i were taken for class j.
    """

    accuracy: float
    low: float
    high: float
    confusion: tuple[tuple[int, ...], ...]
    classes: tuple[ClassFigures, ...]


def compute_spread(values: Sequence[float]) -> Spread:
    """Of at least one value."""
    found = estimate_mean(values)
    assert found is not None
    if found.half is None:
        return Spread(1, found.mean, None, None, None)
    low, high = max(0.0, found.mean - found.half), min(1.0, found.mean + found.half)
    return Spread(found.n, found.mean, float(np.std(values, ddof=1)), low, high)


def score_model(predictions: Predictions) -> Score:
    """Of one model."""
    return _score(predictions, predictions.probabilities)


def score_ensemble(models: Sequence[Predictions]) -> Score:
    """Of all of them as one, by the mean of their probabilities."""
    mean = np.mean([model.probabilities.astype(np.float64) for model in models], axis=0)
    return _score(models[0], mean)


def compute_class_spreads(scores: Sequence[Score]) -> tuple[ClassSpread, ...]:
    """Each class's figures over models of one configuration."""

    def over(values: Sequence[ClassFigures]) -> ClassSpread:
        precision, recall, f1 = (
            compute_spread([getattr(each, name) for each in values]) for name in ("precision", "recall", "f1")
        )
        return ClassSpread(values[0].name, precision, recall, f1, values[0].images)

    return tuple(over(values) for values in zip(*(score.classes for score in scores), strict=True))


def pool_confusion(scores: Sequence[Score]) -> tuple[tuple[int, ...], ...]:
    """The sum of confusion matrices."""
    return _rows(np.sum([score.confusion for score in scores], axis=0))


def _score(truth: Predictions, probabilities: npt.NDArray[np.floating]) -> Score:
    guesses, labels, every = probabilities.argmax(axis=1), truth.labels, range(len(truth.classes))
    columns = precision_recall_fscore_support(labels, guesses, labels=every, zero_division=0.0)
    figures = zip(truth.classes, *(column.tolist() for column in columns), strict=True)
    right = int((guesses == labels).sum())
    confusion = _rows(confusion_matrix(labels, guesses, labels=every))
    classes = tuple(ClassFigures(*each) for each in figures)
    return Score(right / len(labels), *compute_wilson_interval(right, len(labels)), confusion, classes)


def _rows(matrix: npt.NDArray[np.int64]) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(row) for row in matrix.tolist())
