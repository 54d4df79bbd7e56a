"""The metrics of predicted probabilities, of all images or of a weighted choice of them.

Means over classes are macro means over those that have an image. Of equal probabilities the class that comes first is
the one predicted, as `argmax` has it.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from hpsearch.metrics import TOP

SMALLEST_PROBABILITY = 1e-7
"""A probability below it counts as this large in the cross-entropy: Keras's epsilon."""

Probabilities = npt.NDArray[np.floating]
"""(images, classes)."""
Labels = npt.NDArray[np.int64]
"""(images,), counted from 0."""
Weights = npt.NDArray[np.floating]
"""(images,): how often each one counts."""
Scorer = Callable[[Weights], float]
"""Returns the metric of the images, so weighted."""


def compute_metric(metric: str, probabilities: Probabilities, labels: Labels) -> float:
    """Return the metric of predictions for images with these labels; NaN where a prediction is no number."""
    return make_scorer(metric, probabilities, labels)(np.ones(len(labels)))


def make_scorer(metric: str, probabilities: Probabilities, labels: Labels) -> Scorer:
    """Return a function of the images' weights; it is NaN where a prediction is no number."""
    if not np.isfinite(probabilities).all():
        return lambda _: np.nan
    return SCORERS[metric](probabilities, labels)


def compute_entropies(probabilities: Probabilities, labels: Labels) -> npt.NDArray[np.float64]:
    """Return each image's cross-entropy in nats; NaN where its prediction is no number."""
    right = np.take_along_axis(probabilities, labels[:, np.newaxis], axis=1)[:, 0].astype(np.float64)
    return np.asarray(-np.log(np.maximum(right, SMALLEST_PROBABILITY)))


def compute_recall(probabilities: Probabilities, labels: Labels) -> float:
    """Return the balanced accuracy, the mean over the classes of the share of their images that are right."""
    return _score_recall(probabilities, labels)(np.ones(len(labels)))


def _average(values: npt.NDArray[np.float64] | npt.NDArray[np.bool_]) -> Scorer:
    return lambda weights: float(weights @ values / weights.sum())


def _score_recall(probabilities: Probabilities, labels: Labels) -> Scorer:
    right, classes = probabilities.argmax(axis=1) == labels, probabilities.shape[1]

    def score(weights: Weights) -> float:
        images = np.bincount(labels, weights, classes)
        found = np.bincount(labels, weights * right, classes)
        return float((found[images > 0] / images[images > 0]).mean())

    return score


def _score_f1(probabilities: Probabilities, labels: Labels) -> Scorer:
    guesses, classes = probabilities.argmax(axis=1), probabilities.shape[1]
    right = guesses == labels

    def score(weights: Weights) -> float:
        images, guessed = (np.bincount(column, weights, classes) for column in (labels, guesses))
        found = np.bincount(labels, weights * right, classes)
        present = images > 0
        return float((2 * found[present] / (images + guessed)[present]).mean())

    return score


def _score_auroc(probabilities: Probabilities, labels: Labels) -> Scorer:
    """Score by Mann and Whitney's U of each class against the rest: the share of pairs in order, ties for a half."""
    orders = [np.argsort(column, kind="stable") for column in probabilities.T]
    # Images with the same probability are one step of the ranking.
    steps = [
        np.cumsum(np.diff(column[order], prepend=column[order[:1]]) > 0)
        for column, order in zip(probabilities.T, orders, strict=True)
    ]

    def score(weights: Weights) -> float:
        areas = []
        for number, (order, step) in enumerate(zip(orders, steps, strict=True)):
            own = labels[order] == number
            inside, outside = (np.bincount(step, weights[order] * which) for which in (own, ~own))
            pairs = inside.sum() * outside.sum()
            if pairs:
                areas.append(inside @ (np.cumsum(outside) - outside / 2) / pairs)
        return float(np.mean(areas)) if areas else np.nan

    return score


def _find_top(probabilities: Probabilities, labels: Labels) -> npt.NDArray[np.bool_]:
    """Return whether each image's class is among the `TOP` most probable ones."""
    right = np.take_along_axis(probabilities, labels[:, np.newaxis], axis=1)
    earlier = np.arange(probabilities.shape[1]) < labels[:, np.newaxis]
    ahead = (probabilities > right) | ((probabilities == right) & earlier)
    return np.asarray(ahead.sum(axis=1) < TOP)


SCORERS: Mapping[str, Callable[[Probabilities, Labels], Scorer]] = MappingProxyType(
    {
        "val_accuracy": lambda probabilities, labels: _average(probabilities.argmax(axis=1) == labels),
        "val_loss": lambda probabilities, labels: _average(compute_entropies(probabilities, labels)),
        "val_f1": _score_f1,
        "val_balanced_accuracy": _score_recall,
        "val_auroc": _score_auroc,
        "val_top5_accuracy": lambda probabilities, labels: _average(_find_top(probabilities, labels)),
    }
)
"""How each of `metrics.METRICS` is computed."""
