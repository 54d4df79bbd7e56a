"""The figures of an evaluation: accuracies on the test images with intervals, by class, and confusion matrices.

`EvaluationResult` is what an evaluation stores as JSON; the functions compute its parts from predictions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import TypeAdapter
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from hpsearch.analysis.statistics import compute_wilson_interval
from hpsearch.evaluation.metric_scores import MetricScores
from hpsearch.evaluation.spreads import Spread, compute_spread
from hpsearch.outcomes import MAX_CONFUSED_CLASSES, Confusion
from hpsearch.training.files.predictions import Predictions, average_predictions


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
    """The figures of one class over models that differ in their seed only."""

    name: str
    precision: Spread
    recall: Spread
    f1: Spread
    images: int


@dataclass(frozen=True)
class Score:
    """One classifier on the test images.

    `low` and `high` are Wilson's 95% interval of its accuracy, for the finite number of images. `confusion[i][j]` says
    how many images of class i were predicted to be of class j; it is empty where there are too many classes.
    """

    accuracy: float
    low: float
    high: float
    confusion: Confusion
    classes: tuple[ClassFigures, ...]


@dataclass(frozen=True)
class ModelScore:
    """The model of one trial: its accuracy on the test images with Wilson's 95% interval, fractions of 1."""

    trial: int
    accuracy: float
    low: float
    high: float


@dataclass(frozen=True)
class MissingTrial:
    """A trial that is in no figure, and how it ended."""

    trial: int
    outcome: str


@dataclass(frozen=True)
class ConfigurationResult:
    """The models of one configuration; `trial`, `value` and `params` are what `Configuration` says.

    `confusion` is the sum over the models, `ensemble` the mean of their probabilities. The figures are None where no
    trial of the configuration completed.
    """

    trial: int
    value: float
    params: Mapping[str, Any]
    models: tuple[ModelScore, ...]
    missing: tuple[MissingTrial, ...]
    accuracy: Spread | None
    classes: tuple[ClassSpread, ...] | None
    confusion: Confusion | None
    ensemble: Score | None


@dataclass(frozen=True)
class EvaluationResult:
    """The figures of an evaluation whose trials have all ended: `models` of `trials` completed.

    Each was trained for `epochs` and tested on as many `images`; `ensemble` is the mean of all models' probabilities.
    """

    trials: int
    models: int
    epochs: int
    images: int
    classes: tuple[str, ...]
    configurations: tuple[ConfigurationResult, ...]
    ensemble: Score
    metric: MetricScores | None = None
    """Of the study's metric where that is not the accuracy; older results have none."""
    precisions: Mapping[str, int] = field(default_factory=dict)
    """How many models were computed in each precision; older results do not have it."""

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> "EvaluationResult":
        """Read what `to_json` returned; fields that another hpsearch added are left out.

        Raises:
            pydantic.ValidationError: it is no result.
        """
        return _RESULT.validate_python(stored)

    def to_json(self) -> dict[str, Any]:
        """Return the result as it is stored, and as `hpsearch evaluate --json` prints it."""
        described: dict[str, Any] = _RESULT.dump_python(self, mode="json")
        return {key: value for key, value in described.items() if value or key not in ("metric", "precisions")}


_RESULT = TypeAdapter(EvaluationResult)


def score_model(predictions: Predictions) -> Score:
    """Score one model."""
    guesses, labels, indices = (
        predictions.probabilities.argmax(axis=1),
        predictions.labels,
        range(len(predictions.classes)),
    )
    columns = precision_recall_fscore_support(labels, guesses, labels=indices, zero_division=0.0)
    rows = zip(predictions.classes, *(column.tolist() for column in columns), strict=True)
    right = int((guesses == labels).sum())
    few = len(predictions.classes) <= MAX_CONFUSED_CLASSES
    confusion = _rows(confusion_matrix(labels, guesses, labels=indices)) if few else ()
    classes = tuple(ClassFigures(*row) for row in rows)
    return Score(right / len(labels), *compute_wilson_interval(right, len(labels)), confusion, classes)


def score_ensemble(models: Sequence[Predictions]) -> Score:
    """Score models as one classifier, by the mean of their probabilities."""
    return score_model(average_predictions(models))


def compute_class_spreads(scores: Sequence[Score]) -> tuple[ClassSpread, ...]:
    """Return each class's figures over the models of one configuration."""
    return tuple(_spread_class(figures) for figures in zip(*(score.classes for score in scores), strict=True))


def _spread_class(figures: Sequence[ClassFigures]) -> ClassSpread:
    """Return the spread of one class's figures, of which there is one entry a model."""
    return ClassSpread(
        figures[0].name,
        compute_spread([model.precision for model in figures]),
        compute_spread([model.recall for model in figures]),
        compute_spread([model.f1 for model in figures]),
        figures[0].images,
    )


def pool_confusion(scores: Sequence[Score]) -> Confusion:
    """Add confusion matrices up."""
    return _rows(np.sum([score.confusion for score in scores], axis=0))


def _rows(matrix: npt.NDArray[np.int64]) -> Confusion:
    return tuple(tuple(row) for row in matrix.tolist())
