"""One pass over the images, and the figures of its predictions."""

import math
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from sklearn.metrics import confusion_matrix

from hpsearch.outcomes import MAX_CONFUSED_CLASSES, Confusion
from hpsearch.training import backends
from hpsearch.training.backends import Probabilities, Steps
from hpsearch.training.images import streaming
from hpsearch.training.images.parts import Labels
from hpsearch.training.recipe.objective import CROSS_ENTROPY, Objective
from hpsearch.training.recipe.optimizers import refuse_unsupported
from hpsearch.training.scoring import compute_entropies

OnBatch = Callable[[int, float], bool]
"""Called after every few batches with how many there were so far, and the mean loss over them; False ends the pass."""


@dataclass(frozen=True)
class EpochFigures:
    """Means over a pass: cross-entropy in nats, without any l1 or l2 penalty, and the fraction of right answers."""

    loss: float
    accuracy: float


LAUNCH_SECONDS = 0.2
"""About how long the steps of one call take: a Stop waits for them, and the call itself costs a hundredth of it."""


def compile_steps(
    model: keras.Model, optimizer: keras.optimizers.Optimizer, objective: Objective = CROSS_ENTROPY
) -> Steps:
    """Compile the steps that `run_epoch` and `predict` take; all of the optimizer's variables exist afterwards.

    Raises:
        ValueError: the optimizer has a setting that the steps would ignore.
    """
    refuse_unsupported(optimizer)
    model.compile(optimizer)
    optimizer.build(model.trainable_variables)
    return backends.current.make_steps(model, optimizer, objective)


def run_epoch(
    steps: Steps, images: Any, labels: Any, order: npt.NDArray[np.int64], batch_size: int, on_batch: OnBatch
) -> EpochFigures | None:
    """Train on every image once.

    Args:
        steps: from `compile_steps`; their model is changed.
        images: (n, height, width, channels) of 0..255; from `ImageArrays.inputs`, or a small array.
        labels: (n,), likewise.
        order: (n,) a permutation: which image comes when.
        batch_size: images a step; the last step takes what is left.
        on_batch: see `OnBatch`.

    Returns:
        Means over the epoch, while the weights changed and dropout was on; None where `on_batch` ended it.
    """
    done, seen, entropy, right, count, batch = 0, 0, 0.0, 0.0, 1, batch_size
    with closing(streaming.split_into_chunks(images, labels, order, batch_size)) as chunks:
        for chunk in chunks:
            if chunk.batch != batch:  # it may have to be compiled: one step is timed again
                count, batch = 1, chunk.batch
            first = 0
            while first < chunk.steps:
                began, last = time.monotonic(), min(first + count, chunk.steps)
                sums = steps.train(chunk.images, chunk.labels, chunk.order, first, last)
                seen, done = seen + (last - first) * batch, done + last - first
                entropy, right = entropy + sums[0], right + sums[1]
                if not on_batch(done, entropy / seen):
                    return None
                first, count = last, _choose_step_count(count, time.monotonic() - began)
    return EpochFigures(entropy / seen, right / seen)


def _choose_step_count(count: int, seconds: float) -> int:
    """Return how many steps the next call takes, where `count` took so many seconds."""
    if seconds < LAUNCH_SECONDS / 2:
        return 2 * count
    return max(1, count // 2) if seconds > 2 * LAUNCH_SECONDS else count


def choose_validation_batch(batch_size: int) -> int:
    """Return how many images a step of validation takes: without gradients several times a training batch fits."""
    return max(batch_size, min(4 * batch_size, 256))


def predict(steps: Steps, images: Any, batch_size: int, on_batch: OnBatch) -> Probabilities | None:
    """Return the model's probabilities (n, classes) for images (n, height, width, channels) of 0..255.

    `on_batch` is given NaN as the loss, since no labels are known; None is returned where it ended the pass.
    """
    parts: list[Probabilities] = []
    with closing(streaming.read_batches(images, batch_size)) as batches:
        for batch in batches:
            parts.append(steps.predict(batch))
            if not on_batch(len(parts), math.nan):
                return None
    return np.concatenate(parts)


def score(probabilities: Probabilities, labels: Labels) -> EpochFigures:
    """Return the figures of predictions for images with `labels` (n,)."""
    # NaN stays NaN: a model that predicts it has diverged.
    accuracy = (probabilities.argmax(axis=1) == labels).mean()
    return EpochFigures(float(compute_entropies(probabilities, labels).mean()), float(accuracy))


def count_confusion(probabilities: Probabilities, labels: Labels) -> Confusion:
    """Return how many images of each class (rows) are predicted as which (columns); nothing of too many classes."""
    classes = range(probabilities.shape[1])
    if len(classes) > MAX_CONFUSED_CLASSES:
        return ()
    counts = confusion_matrix(labels, probabilities.argmax(axis=1), labels=classes)
    return tuple(tuple(row) for row in counts.tolist())
