"""Whether a training that is resumed from a checkpoint goes on as if it had not stopped, and a saved model loads."""

import shutil
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import keras
import numpy as np

from hpsearch import scratch
from hpsearch.metrics import EpochMetrics
from hpsearch.outcomes import Confusion, TrainingEnd
from hpsearch.training import fit
from hpsearch.training.backends import Probabilities
from hpsearch.training.loading import ImageArrays
from hpsearch.training.preparation import copy_to_stock_layers, prepare
from hpsearch.training.protocol import Train
from hpsearch.training.user.custom_objects import import_custom_objects

EPOCHS = 3
STOP_AFTER = 2
"""Epochs after which a training is resumed from its checkpoint, in a model built anew."""

STEPS = 3.5
"""Of an epoch: the last batch is a smaller one."""

MAX_TRAINING_IMAGES = 1024
VALIDATION_IMAGES = 64

TOLERANCE = 1e-3
"""The largest difference between two losses, or probabilities, that are meant to be the same. On a CPU they are equal
bit by bit; on a GPU sums are taken in another order each time."""


class ResumeError(Exception):
    """Why there is nothing to compare: the training ended before its time."""


@dataclass(frozen=True)
class ResumeAgreement:
    """How far apart is what is meant to be the same.

    `resumed`: the validation loss (nats) after the last epoch of a training in one go, and of one that was stopped and
    resumed. `loaded`: at most, a probability that the model predicts in memory, and loaded from its file.
    """

    resumed: float
    loaded: float


def check(job: Train, dataset: ImageArrays) -> ResumeAgreement:
    """Train EPOCHS epochs in one go, and the last again from the checkpoint before; save the model and load it.

    Args:
        job: which model and hyperparameters; the rest of it is the check's own.
        dataset: some images of which are trained on.

    Raises:
        ResumeError: a training diverged, or its checkpoint cannot be written.
    """
    few = _take_few(dataset, int(job.hyperparameters["batch_size"]))  # type: ignore[call-overload]
    with scratch.make_directory("check") as directory:
        job = replace(job, epochs=EPOCHS, patience=EPOCHS + 1, early_stopping=None, metric="val_loss")
        kept = directory / "kept.npz"
        begun = replace(job, workdir=str(directory / "whole"), checkpoint_every=0.0)
        whole, predictions, path = _train_to_end(begun, few, kept)
        if not kept.exists():
            raise ResumeError(f"the checkpoint of epoch {STOP_AFTER} cannot be written to {tempfile.gettempdir()}")
        resumed, _, _ = _train_to_end(replace(job, workdir=str(directory / "resumed"), checkpoint=str(kept)), few)
        custom = import_custom_objects(Path(path))  # as the README of an export does
        loaded = _predict(keras.models.load_model(path, custom_objects=custom, safe_mode=False), few)
    return ResumeAgreement(abs(whole - resumed), _find_difference(predictions, loaded))


def _take_few(dataset: ImageArrays, batch_size: int) -> ImageArrays:
    training, validation = min(int(STEPS * batch_size), MAX_TRAINING_IMAGES), VALIDATION_IMAGES
    return replace(
        dataset,
        x_train=replace(dataset.x_train, indices=dataset.x_train.indices[:training]),
        y_train=dataset.y_train[:training],
        x_val=replace(dataset.x_val, indices=dataset.x_val.indices[:validation]),
        y_val=dataset.y_val[:validation],
    )


def _train_to_end(job: Train, dataset: ImageArrays, kept: Path | None = None) -> tuple[float, Probabilities, str]:
    """Return the last epoch's validation loss, what the model that is saved predicts, and its file.

    The checkpoint of epoch STOP_AFTER is copied to `kept`, where it is written at all.
    """
    training, losses = prepare(job, dataset), []

    def report(metrics: EpochMetrics, path: str | None, confusion: Confusion | None) -> None:
        losses.append(metrics.val_loss)
        if path and kept and metrics.epoch == STOP_AFTER:
            shutil.copyfile(path, kept)

    end = fit.train(training, report, _go_on)
    if not isinstance(end, TrainingEnd) or end.model is None:
        why = f": {end.detail}" if isinstance(end, TrainingEnd) else ""
        raise ResumeError(f"a training of {EPOCHS} epochs does not come to its end{why}")
    return losses[-1], _predict(copy_to_stock_layers(training), dataset), end.model


def _predict(model: keras.Model, dataset: ImageArrays) -> Probabilities:
    return np.asarray(model.predict(dataset.x_val[:], batch_size=VALIDATION_IMAGES, verbose=0), np.float32)


def _find_difference(one: Probabilities, other: Probabilities) -> float:
    return float(np.abs(one - other).max()) if one.shape == other.shape else float("inf")


def _go_on(epoch: int, batch: int, batches: int) -> None:
    return None
