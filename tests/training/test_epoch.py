"""What predictions are worth, against what Keras makes of them."""

import keras
import numpy as np
import pytest

from hpsearch.training import epoch

pytestmark = pytest.mark.tensorflow


def test_figures_are_those_of_keras() -> None:
    """Cross-entropy and accuracy of predictions agree with Keras's own, also where a probability is zero."""
    generator = np.random.default_rng(0)
    probabilities = generator.dirichlet(np.ones(10), 200).astype(np.float32)
    labels = generator.integers(0, 10, 200)
    probabilities[0] = np.eye(10, dtype=np.float32)[(labels[0] + 1) % 10]
    figures = epoch.score(probabilities, labels)
    assert figures.loss == pytest.approx(
        float(keras.losses.SparseCategoricalCrossentropy()(labels, probabilities)), rel=1e-5
    )
    assert figures.accuracy == float(np.mean(probabilities.argmax(axis=1) == labels))


def test_confusion_counts_every_image() -> None:
    """Rows are true classes and columns what they were taken for, classes that do not occur included."""
    probabilities = np.eye(4, dtype=np.float32)[[0, 1, 1, 3]]
    assert epoch.count_confusion(probabilities, np.array([0, 0, 1, 1])) == (
        (1, 1, 0, 0),
        (0, 1, 0, 1),
        (0, 0, 0, 0),
        (0, 0, 0, 0),
    )
