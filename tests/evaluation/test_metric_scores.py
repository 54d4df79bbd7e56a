"""The study's metric on the test images."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, f1_score, log_loss, roc_auc_score

from hpsearch.evaluation import metric_scores, results
from hpsearch.metrics import METRICS
from hpsearch.report import evaluation_tables
from hpsearch.storage.database import Database
from hpsearch.training.files.predictions import Predictions
from hpsearch.training.scoring import compute_metric
from tests.support.evaluated_study import CLASSES, LABELS, read_result, request_evaluation, train_trial

RESAMPLED = [name for name, metric in METRICS.items() if not metric.is_proportion]


def draw(images: int, seed: int, shares: tuple[float, ...] = (0.8, 0.15, 0.05)) -> Predictions:
    """Return predictions of a model that is right more often than not, of classes in unequal shares."""
    generator, classes = np.random.default_rng(seed), len(shares)
    labels = generator.choice(classes, images, p=shares)
    odds = np.exp(generator.normal(size=(images, classes)) + 2 * np.eye(classes)[labels]) * shares
    return Predictions(odds / odds.sum(axis=1, keepdims=True), labels, tuple(map(str, range(classes))))


@pytest.mark.parametrize("metric", RESAMPLED)
def test_intervals_hold_the_truth(metric: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 150 test sets of 1,200 images whose rarest class has about 60, about 95% have the true value in theirs."""
    monkeypatch.setattr(metric_scores, "DRAWS", 200)
    monkeypatch.setattr(metric_scores, "MIN_IMAGES", 30)
    population = draw(300_000, 0)
    truth = compute_metric(metric, population.probabilities, population.labels)
    values = [metric_scores.measure(metric, draw(1_200, seed)) for seed in range(1, 151)]
    held = [value.low <= truth <= value.high for value in values if value.low is not None and value.high is not None]
    assert len(held) == 150
    assert 0.9 <= np.mean(held) <= 0.99


def test_an_interval_is_that_of_the_predictions_alone() -> None:
    """The same predictions have the same interval; few images of a class, or too many cells, have none."""
    predictions = draw(3_000, 1)
    assert metric_scores.measure("val_f1", predictions) == metric_scores.measure("val_f1", predictions)
    few = metric_scores.measure("val_f1", draw(300, 1))
    assert (few.low, few.high) == (None, None)
    assert 0 < few.value < 1


def test_a_nearly_perfect_auroc_has_no_interval() -> None:
    """It hangs on single images: simulated intervals of one held the truth in 87% of the test sets."""
    generator, labels = np.random.default_rng(4), np.repeat([0, 1], [900, 100])
    scores = generator.normal(size=1000) + 4.5 * labels
    right = 1 / (1 + np.exp(-scores))
    value = metric_scores.measure("val_auroc", Predictions(np.stack([1 - right, right], axis=1), labels, ("a", "b")))
    assert 0.99 < value.value < 1
    assert (value.low, value.high) == (None, None)


def test_a_share_of_the_images_has_wilsons_interval() -> None:
    """Of the true class among five, as of the accuracy, and however few images there are."""
    generator = np.random.default_rng(2)
    predictions = Predictions(generator.random((40, 8)), generator.integers(0, 8, 40), tuple("abcdefgh"))
    value = metric_scores.measure("val_top5_accuracy", predictions)
    assert value.low is not None
    assert value.high is not None
    assert 0 < value.low < value.value < value.high <= 1


@pytest.mark.parametrize("metric", ["val_f1", "val_loss", "val_auroc", "val_balanced_accuracy"])
def test_result_has_the_studys_metric(database: Database, finished_search: Any, tmp_path: Path, metric: str) -> None:
    """Mean over the seeds and ensembles are scikit-learn's of the predictions; table and remark show it."""
    finished_search([0.5], [0.6], study={"name": "small", "metric": metric})
    requested = request_evaluation(database, seeds=2)
    probabilities = [train_trial(database, requested, tmp_path / "p.npz").astype(float) for _ in range(4)]
    score: Any = {
        "val_f1": lambda p: f1_score(LABELS, p.argmax(axis=1), average="macro"),
        "val_loss": lambda p: log_loss(LABELS, p / p.sum(axis=1, keepdims=True)),
        "val_auroc": lambda p: roc_auc_score(LABELS, p / p.sum(axis=1, keepdims=True), multi_class="ovr"),
        "val_balanced_accuracy": lambda p: balanced_accuracy_score(LABELS, p.argmax(axis=1)),
    }[metric]
    document = read_result(database, requested)["metric"]
    assert document["name"] == metric
    for number, (spread, ensemble) in enumerate(zip(document["spreads"], document["ensembles"], strict=True)):
        models = probabilities[number::2]
        assert spread["mean"] == pytest.approx(np.mean([score(each) for each in models]), abs=1e-6)
        assert ensemble["value"] == pytest.approx(score(np.mean(models, axis=0)), abs=1e-6)
    assert document["ensemble"]["value"] == pytest.approx(score(np.mean(probabilities, axis=0)), abs=1e-6)
    assert document["ensemble"]["low"] is None  # 20 images of each of the CLASSES are too few
    status = results.read_status(database, requested)
    table = list(evaluation_tables.make_tables(status.evaluation))[1]
    assert table.caption.startswith(METRICS[metric].test_title)
    assert table.rows[-1][:2] == ("all", "4")
    assert table.rows[-1][4] == f"{document['ensemble']['value']:.4f}"
    assert sum("resamples" in line for line in evaluation_tables.list_remarks(status)) == 1
    assert len(CLASSES) == 3
