"""The study's metric on the test images, where it is not the accuracy, with intervals."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hpsearch.analysis.statistics import compute_wilson_interval
from hpsearch.evaluation.spreads import Spread, compute_spread
from hpsearch.metrics import METRICS
from hpsearch.training.files.predictions import Predictions, average_predictions
from hpsearch.training.scoring import make_scorer

DRAWS = 1_000
"""Resamples of the test images that a bootstrap takes."""
SEED = 0
"""Of the resamples: the same predictions have the same interval."""
MIN_IMAGES = 50
"""Of each class: with fewer a bootstrap's intervals hold the truth too seldom to be shown, see tests/evaluation."""
MIN_MISRANKED = 2
"""Images that are ranked wrongly, about: below that an AUROC hangs on single images, and so does its bootstrap."""
MAX_CELLS = 2_000_000
"""Images × classes up to which a bootstrap takes seconds; beyond that there is no interval."""


@dataclass(frozen=True)
class MetricValue:
    """A metric of one classifier, `low` to `high` being its 95% interval for the finite number of images, if any."""

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class MetricScores:
    """A metric by configuration: over the models of each, of the mean of their probabilities, and of all models'.

    None stands for a configuration without a model.
    """

    name: str
    spreads: tuple[Spread | None, ...]
    ensembles: tuple[MetricValue | None, ...]
    ensemble: MetricValue


def score_metric(name: str, configurations: Sequence[Sequence[Predictions]]) -> MetricScores:
    """Score the models of each configuration, of which one has a model at least."""
    return MetricScores(
        name,
        tuple(_spread(name, models) if models else None for models in configurations),
        tuple(measure(name, average_predictions(models)) if models else None for models in configurations),
        measure(name, average_predictions([model for models in configurations for model in models])),
    )


def _spread(name: str, models: Sequence[Predictions]) -> Spread:
    values = [make_scorer(name, model.probabilities, model.labels)(np.ones(len(model.labels))) for model in models]
    return compute_spread(values, METRICS[name].end)


def measure(name: str, predictions: Predictions) -> MetricValue:
    """Return a metric of predictions, with its interval.

    That of a share of the images is Wilson's. Else it is the normal one with the deviation of a bootstrap over the
    images (Efron 1979), on a scale without an end: the logarithm of a loss, the log odds of a fraction.
    """
    labels, metric = predictions.labels, METRICS[name]
    score, images = make_scorer(name, predictions.probabilities, labels), len(labels)
    value = score(np.ones(images))
    if metric.is_proportion:
        return MetricValue(value, *compute_wilson_interval(round(value * images), images))
    counts = np.bincount(labels, minlength=len(predictions.classes))
    if counts.min() < MIN_IMAGES or predictions.probabilities.size > MAX_CELLS or not 0 < value < metric.end:
        return MetricValue(value, None, None)
    if name == "val_auroc" and (1 - value) * np.minimum(counts, images - counts).sum() < MIN_MISRANKED:
        return MetricValue(value, None, None)
    generator, shares = np.random.default_rng(SEED), np.full(images, 1 / images)
    deviation = float(np.std([score(generator.multinomial(images, shares).astype(float)) for _ in range(DRAWS)]))
    if not metric.is_fraction:
        factor = float(np.exp(1.96 * deviation / value))
        return MetricValue(value, value / factor, value * factor)
    factor = float(np.exp(1.96 * deviation / (value * (1 - value))))
    odds = value / (1 - value)
    return MetricValue(value, odds / factor / (1 + odds / factor), odds * factor / (1 + odds * factor))
