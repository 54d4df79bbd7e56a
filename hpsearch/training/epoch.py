"""One pass over the images: the part of the training loop that a backend may do in its own way."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from sklearn.metrics import confusion_matrix

from hpsearch.outcome import Confusion
from hpsearch.training import backend
from hpsearch.training.cifar10 import Images, Labels

OnBatch = Callable[[int, float], bool]
"""Called after each batch with its number, from 1, and the loss so far; False ends the pass."""


@dataclass(frozen=True)
class Figures:
    """Means over a pass: cross-entropy in nats, without any l1 or l2 penalty, and the fraction of right answers."""

    loss: float
    accuracy: float


Probabilities = npt.NDArray[np.float32]
"""What a model gives each class of each image: (n, classes), a row sums to 1."""

LEAST = 1e-7
"""The least probability whose logarithm is taken: Keras's epsilon."""


def compile_for(model: keras.Model, optimizer: keras.optimizers.Optimizer) -> None:
    """Makes `model` ready for `run_epoch` and `predict`; all of the optimizer's variables exist afterwards."""
    # Keras's own "loss" has the penalty in it, so the cross-entropy is measured beside it. Metrics named by strings
    # would make their variables in the first step, and TensorFlow then traces that step twice.
    entropy = keras.metrics.SparseCategoricalCrossentropy(name="entropy")
    accuracy = keras.metrics.SparseCategoricalAccuracy(name="accuracy")
    loss = "sparse_categorical_crossentropy"
    model.compile(optimizer, loss=loss, metrics=[entropy, accuracy], jit_compile=backend.jit())
    optimizer.build(model.trainable_variables)


def run_epoch(
    model: keras.Model,
    images: Images,
    labels: Labels,
    order: npt.NDArray[np.int64],
    batch_size: int,
    on_batch: OnBatch,
) -> Figures | None:
    """Trains on every image once.

    Args:
        model: from `compile_for`; changed in place.
        images: (n, height, width, channels) of 0..255.
        labels: (n,).
        order: (n,) a permutation: which image comes when.
        batch_size: images a step; the last step takes what is left.
        on_batch: see `OnBatch`.

    Returns:
        Means over the epoch, while the weights changed and dropout was on; None where `on_batch` ended it.
    """
    watch = _Watch(on_batch)
    # One call an epoch costs 20 ms and no retracing: Keras keeps the compiled step on the model.
    history = model.fit(
        images[order], labels[order], batch_size=batch_size, shuffle=False, verbose=0, callbacks=[watch]
    )
    return None if watch.ended else _figures({name: values[-1] for name, values in history.history.items()}, len(order))


def predict(model: keras.Model, images: Images, batch_size: int, on_batch: OnBatch) -> Probabilities | None:
    """What the model makes of images (n, height, width, channels) of 0..255; None where `on_batch` ended it.

    `on_batch` is told no loss: a model that predicts is not told the labels.
    """
    watch = _Watch(on_batch)
    probabilities = model.predict(images, batch_size, verbose=0, callbacks=[watch])
    return None if watch.ended else probabilities


def score(probabilities: Probabilities, labels: Labels) -> Figures:
    """The figures of predictions for images with `labels` (n,)."""
    right = np.take_along_axis(probabilities, labels[:, np.newaxis], axis=1).astype(np.float64)
    # NaN stays NaN: a model that predicts it has diverged.
    accuracy = (probabilities.argmax(axis=1) == labels).mean()
    return Figures(float(-np.log(np.maximum(right, LEAST)).mean()), float(accuracy))


def confusion(probabilities: Probabilities, labels: Labels) -> Confusion:
    """How many images of each class the predictions take for which."""
    every = range(probabilities.shape[1])
    counts = confusion_matrix(labels, probabilities.argmax(axis=1), labels=every)
    return tuple(tuple(row) for row in counts.tolist())


def _figures(logs: dict[str, Any], images: int) -> Figures:
    # Keras divides in float32 and calls 420 of 1,000 0.41999998.
    return Figures(float(logs["entropy"]), round(float(logs["accuracy"]) * images) / images)


class _Watch(keras.callbacks.Callback):  # type: ignore[misc] # Keras ships no types
    def __init__(self, on_batch: OnBatch) -> None:
        super().__init__()
        self.on_batch, self.ended = on_batch, False

    def on_train_batch_end(self, batch: int, logs: dict[str, float]) -> None:
        if not self.on_batch(batch + 1, logs["loss"]):
            self.ended = self.model.stop_training = True

    def on_predict_batch_end(self, batch: int, logs: dict[str, Any]) -> None:
        if not self.on_batch(batch + 1, math.nan):
            self.ended = self.model.stop_predicting = True
