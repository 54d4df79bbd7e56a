"""Confusion matrix and per-class figures."""

import numpy as np
import pytest

from hpsearch.training.evaluate import evaluate


class Oracle:
    """Classifies an image by its first pixel."""

    def predict(self, images: np.ndarray, batch_size: int, verbose: int) -> np.ndarray:
        return np.eye(3)[images[:, 0, 0, 0]]


def test_confusion_and_class_figures() -> None:
    """Rows are the truth, columns the guesses; what is undefined is 0."""
    guesses = np.array([0, 0, 1, 1, 1, 0], dtype=np.uint8)
    truth = np.array([0, 0, 0, 1, 1, 2])
    images = np.broadcast_to(guesses[:, None, None, None], (6, 4, 4, 3))
    result = evaluate(Oracle(), images, truth, ("a", "b", "c"))
    assert result.confusion.tolist() == [[2, 1, 0], [0, 2, 0], [1, 0, 0]]
    assert result.accuracy == pytest.approx(4 / 6)
    a, b, c = result.classes
    assert (a.name, a.precision, a.recall, a.f1, a.images) == ("a", *(pytest.approx(2 / 3),) * 3, 3)
    assert (b.precision, b.recall, b.images) == (pytest.approx(2 / 3), 1.0, 2)
    assert (c.precision, c.recall, c.f1, c.images) == (0.0, 0.0, 0.0, 1)
