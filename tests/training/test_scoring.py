"""Metrics of predicted probabilities: as scikit-learn has them."""

import math

import numpy as np
import pytest
from sklearn.metrics import (
    balanced_accuracy_score,
    f1_score,
    log_loss,
    roc_auc_score,
    top_k_accuracy_score,
)

from hpsearch.metrics import METRICS
from hpsearch.training import scoring
from hpsearch.training.scoring import Labels, Probabilities, compute_metric


def draw(images: int, counts: tuple[int, ...], seed: int = 0) -> tuple[Probabilities, Labels]:
    """Return predictions that lean to the right class, for labels in unequal shares."""
    generator = np.random.default_rng(seed)
    labels = generator.choice(len(counts), images, p=np.array(counts) / sum(counts))
    labels[: len(counts)] = range(len(counts))
    scores = generator.normal(size=(images, len(counts))) + 1.5 * np.eye(len(counts))[labels]
    odds = np.exp(scores)
    return (odds / odds.sum(axis=1, keepdims=True)).astype(np.float32), labels


def test_every_metric_has_its_computation() -> None:
    """What a study file may name is what training computes."""
    assert scoring.SCORERS.keys() == METRICS.keys()


@pytest.mark.parametrize("counts", [(1, 1), (90, 9, 1), (40, 20, 10, 5, 5, 4, 3, 2, 1)])
def test_metrics_are_scikit_learns(counts: tuple[int, ...]) -> None:
    """Macro averages, AUROC of each class against the rest, top 5, and the loss agree on unbalanced classes."""
    probabilities, labels = draw(500, counts)
    guesses, classes = probabilities.argmax(axis=1), range(len(counts))
    exact = probabilities.astype(np.float64)
    exact /= exact.sum(axis=1, keepdims=True)
    auroc = (
        roc_auc_score(labels, probabilities[:, 1])
        if len(counts) == 2
        else roc_auc_score(labels, exact, multi_class="ovr", average="macro", labels=classes)
    )
    expected = {
        "val_accuracy": (guesses == labels).mean(),
        "val_loss": log_loss(labels, exact, labels=classes),
        "val_f1": f1_score(labels, guesses, average="macro"),
        "val_balanced_accuracy": balanced_accuracy_score(labels, guesses),
        "val_auroc": auroc,
        "val_top5_accuracy": top_k_accuracy_score(labels, exact, k=5, labels=classes) if len(counts) > 5 else 1.0,
    }
    for metric, value in expected.items():
        assert compute_metric(metric, probabilities, labels) == pytest.approx(value, abs=1e-6), metric


def test_a_class_without_images_is_in_no_mean() -> None:
    """Also where the model predicts it: there is nothing of it to be found."""
    probabilities, labels = draw(200, (5, 3, 2))
    apart = np.insert(probabilities * 0.9, 1, 0.1, axis=1)
    apart[:3] = (0.1, 0.7, 0.1, 0.1)  # taken for the class that is absent
    moved = np.array([0, 2, 3])[labels]
    guesses = apart.argmax(axis=1)
    assert compute_metric("val_f1", apart, moved) == pytest.approx(
        f1_score(moved, guesses, labels=[0, 2, 3], average="macro")
    )
    recalls = [(guesses[moved == label] == label).mean() for label in (0, 2, 3)]
    assert compute_metric("val_balanced_accuracy", apart, moved) == pytest.approx(np.mean(recalls))
    areas = [roc_auc_score(moved == label, apart[:, label]) for label in (0, 2, 3)]
    assert compute_metric("val_auroc", apart, moved) == pytest.approx(np.mean(areas))


def test_ties_are_no_knowledge() -> None:
    """A model that says the same of every image has AUROC 0.5, and finds the classes that come first."""
    labels = np.arange(100) % 10
    constant = np.full((100, 10), 0.1, dtype=np.float32)
    assert compute_metric("val_auroc", constant, labels) == 0.5
    assert compute_metric("val_top5_accuracy", constant, labels) == 0.5
    assert compute_metric("val_accuracy", constant, labels) == 0.1
    coarse = np.array([[0.7, 0.3], [0.7, 0.3], [0.5, 0.5], [0.7, 0.3]], dtype=np.float32)
    assert compute_metric("val_auroc", coarse, np.array([0, 1, 1, 0])) == roc_auc_score([0, 1, 1, 0], coarse[:, 1])


def test_a_prediction_that_is_no_number_has_no_metric() -> None:
    """A model that predicts NaN of one image has diverged, by whatever metric."""
    probabilities, labels = draw(20, (2, 1))
    probabilities[3] = math.nan
    for metric in METRICS:
        assert math.isnan(compute_metric(metric, probabilities, labels))


def test_weights_are_repetitions() -> None:
    """An image of weight 2 counts as two, and one of weight 0 as none."""
    probabilities, labels = draw(60, (5, 3, 1, 1, 1, 1))
    weights = np.random.default_rng(1).integers(0, 3, 60)
    weights[:6] = 1
    rows = np.repeat(np.arange(60), weights)
    for metric in METRICS:
        weighted = scoring.make_scorer(metric, probabilities, labels)(weights.astype(float))
        assert weighted == pytest.approx(compute_metric(metric, probabilities[rows], labels[rows])), metric
