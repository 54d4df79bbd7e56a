"""Metrics: their directions, and what guessing brings."""

import math

import numpy as np
import pytest

from hpsearch.metrics import METRICS, Direction, EpochMetrics, find_best_epoch
from hpsearch.training.scoring import compute_metric

COUNTS = ([100] * 10, [950, 50], [600, 300, 60, 20, 10, 6, 4])


@pytest.mark.parametrize("counts", COUNTS)
@pytest.mark.parametrize("metric", [name for name in METRICS if name != "val_loss"])
def test_guess_is_what_the_commonest_class_scores(metric: str, counts: list[int]) -> None:
    """The value of a model that always says the commonest class, whatever the image."""
    labels = np.repeat(np.arange(len(counts)), counts)
    shares = np.tile(np.array(counts, dtype=np.float32) / sum(counts), (len(labels), 1))
    assert METRICS[metric].guess(counts) == pytest.approx(compute_metric(metric, shares, labels), abs=1e-6)


@pytest.mark.parametrize("counts", COUNTS)
def test_guessed_loss_is_that_of_the_shares(counts: list[int]) -> None:
    """The entropy of the classes' shares, the least loss that one has without looking."""
    labels = np.repeat(np.arange(len(counts)), counts)
    shares = np.tile(np.array(counts) / sum(counts), (len(labels), 1))
    assert METRICS["val_loss"].guess(counts) == pytest.approx(compute_metric("val_loss", shares, labels))
    assert METRICS["val_loss"].guess([7] * 5) == pytest.approx(math.log(5))


@pytest.mark.parametrize("counts", COUNTS)
@pytest.mark.parametrize("kind", ["alike", "by their shares", "the commonest"])
def test_no_guess_passes_the_bound(kind: str, counts: list[int]) -> None:
    """Of 200 models that guess, all classes alike, by their shares or the commonest alone, at most two get further."""
    generator, classes = np.random.default_rng(3), len(counts)
    labels = np.repeat(np.arange(classes), counts)
    shares = np.array(counts) / sum(counts)
    lean = {"alike": np.full(classes, 1 / classes), "by their shares": shares, "the commonest": shares == shares.max()}
    passed = dict.fromkeys(METRICS, 0)
    for _ in range(200):
        guesses = generator.choice(classes, len(labels), p=lean[kind] / lean[kind].sum())
        scores = generator.random((len(labels), classes)) * 0.1 + np.eye(classes)[guesses]
        probabilities = scores / scores.sum(axis=1, keepdims=True)
        for name, metric in METRICS.items():
            passed[name] += not metric.is_guess(compute_metric(name, probabilities, labels), counts)
    del passed["val_top5_accuracy"]  # the other four of these guesses are no guesses by the shares
    assert max(passed.values()) <= 2, passed


def test_balanced_classes_have_the_chance_of_equals() -> None:
    """1 / classes and three standard errors; ln(classes) less a hundredth: as before classes were counted."""
    counts = [500] * 10
    assert METRICS["val_accuracy"].guess(counts) == 0.1
    assert METRICS["val_accuracy"].bound(counts) == 0.1 + 3 * math.sqrt(0.1 * 0.9 / 5000)
    assert METRICS["val_balanced_accuracy"].bound(counts) == pytest.approx(METRICS["val_accuracy"].bound(counts))
    assert METRICS["val_loss"].bound(counts) == pytest.approx(0.99 * math.log(10))


def test_values_are_read_by_the_metrics_name() -> None:
    """The study's own metric is in a field of its own, and a NaN in it is a divergence."""
    epoch = EpochMetrics(1, 1.0, 0.5, 0.9, 0.6, 0.1, 1.0, 0.7)
    assert [epoch.value(name) for name in METRICS] == [0.6, 0.9, 0.7, 0.7, 0.7, 0.7]
    assert epoch.finite
    assert not epoch.diverged
    broken = EpochMetrics(2, 1.0, 0.5, 0.9, 0.6, 0.1, 1.0, math.nan)
    assert broken.diverged
    assert not broken.finite
    assert find_best_epoch([broken, epoch], "val_f1") is epoch
    assert find_best_epoch([broken], "val_f1") is None
    assert not EpochMetrics(1, 1.0, 0.5, math.nan, math.nan, 0.1, 1.0, math.nan).diverged  # not validated


def test_only_the_loss_is_minimized() -> None:
    """And it alone is in nats."""
    assert [name for name, metric in METRICS.items() if metric.direction is Direction.MINIMIZE] == ["val_loss"]
    assert [name for name, metric in METRICS.items() if not metric.is_fraction] == ["val_loss"]
