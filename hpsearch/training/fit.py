"""The training of one configuration: its epochs until it is over, and what it leaves behind."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import keras
import numpy as np

from hpsearch.metrics import METRICS, EpochMetrics, find_best_epoch
from hpsearch.outcomes import Confusion, TrainingEnd, TrialOutcome
from hpsearch.training.backends import Probabilities
from hpsearch.training.endings import is_at_chance, judge_epochs
from hpsearch.training.epoch import (
    EpochFigures,
    OnBatch,
    choose_validation_batch,
    compile_steps,
    count_confusion,
    predict,
    run_epoch,
    score,
)
from hpsearch.training.files import checkpoint, predictions
from hpsearch.training.files.checkpoint import Checkpoint, CheckpointFiles
from hpsearch.training.files.predictions import Predictions
from hpsearch.training.preparation import Training, copy_to_stock_layers
from hpsearch.training.protocol import Released, Stop
from hpsearch.training.recipe.optimizers import use_averages
from hpsearch.training.recipe.schedules import set_epoch_rate
from hpsearch.training.scoring import compute_metric, compute_recall

Report = Callable[[EpochMetrics, str | None, Confusion | None], Stop | None]
"""Called with an epoch, the checkpoint on disk that holds it, if one does, and its confusion matrix on the validation
images, where no earlier epoch is better; a Stop ends the training."""

Progress = Callable[[int, int, int], Stop | None]
"""Called with epoch, batch and batches after every few batches; a Stop ends the training."""


@dataclass(frozen=True, eq=False)
class EpochResult:
    """The metrics of an epoch, and the probabilities of the validation images where they were predicted."""

    metrics: EpochMetrics
    probabilities: Probabilities | None
    is_at_chance: bool


def train(training: Training, report: Report, progress: Progress) -> TrainingEnd | Released:
    """Train until the configuration is done, or until a Stop.

    A checkpoint is on disk before its epoch is reported; between two there are at least `job.checkpoint_every`
    seconds. Each epoch draws its order of the images, and how they are mixed, from (seed, epoch). All other random
    numbers come from variables of the model, so a training resumed from a checkpoint goes on as if it had never
    stopped.

    Args:
        training: from `prepare`; its model is changed.
        report: see `Report`.
        progress: see `Progress`.

    Returns:
        The end, with the best epoch's model saved where the training completed; or, after a Stop, what was kept.
    """
    data, files = training.dataset, _open_files(training)
    epochs, state, probabilities = list(training.epochs), training.start, None
    guessing = state.guessing if state else 0
    while (end := judge_epochs(training.job, epochs, guessing)) is None:
        result = _train_epoch(training, len(epochs) + 1, progress)
        if isinstance(result, Stop):
            return _release(result, state, files)
        if isinstance(result, TrainingEnd):
            return result
        probabilities = result.probabilities
        confusion = () if probabilities is None else count_confusion(probabilities, data.y_val)
        epochs.append(result.metrics)
        guessing = guessing + 1 if result.is_at_chance else 0
        best = find_best_epoch(epochs, training.job.metric)
        better = state if best and best is not result.metrics else None
        state = checkpoint.capture(training.trained, epochs, confusion, better, guessing, training.precision)
        stop = report(result.metrics, files.save_if_due(state), None if better else confusion or None)
        if stop:
            return _release(stop, state, files)
    return _finish(end, training, state, probabilities)


def release(training: Training, stop: Stop) -> Released:
    """Return what a Stop before the first epoch leaves: the state the training would have gone on from."""
    return _release(stop, training.start, _open_files(training))


def _open_files(training: Training) -> CheckpointFiles:
    return CheckpointFiles(Path(training.job.workdir), training.job.checkpoint_every)


def _release(stop: Stop, state: Checkpoint | None, files: CheckpointFiles) -> Released:
    if state is None:
        return Released(0, None)
    epoch = len(state.epochs)
    if not stop.checkpoint:
        return Released(epoch, None)
    try:
        return Released(epoch, files.save(state))
    except OSError as error:
        return Released(epoch, None, lost=checkpoint.describe_unwritable(error, files.directory))


class _BatchWatch:
    """What is looked at after every few batches of an epoch: whether to stop, and whether the loss is finite."""

    def __init__(self, epoch: int, batches: int, progress: Progress) -> None:
        self._epoch, self._batches, self._progress = epoch, batches, progress
        self.end: Stop | TrainingEnd | None = None

    def on_training_batch(self, batch: int, loss: float) -> bool:
        if not math.isfinite(loss):  # it never becomes finite again, so the rest of the epoch would be wasted
            detail = f"the loss is not finite by batch {batch} of epoch {self._epoch}"
            self.end = TrainingEnd(TrialOutcome.DIVERGED, detail)
            return False
        self.end = self._progress(self._epoch, batch, self._batches)
        return self.end is None

    def on_validation_batch(self, batch: int, _: float) -> bool:
        self.end = self._progress(self._epoch, self._batches, self._batches)
        return self.end is None


def _train_epoch(training: Training, epoch: int, progress: Progress) -> EpochResult | Stop | TrainingEnd:
    """Train one epoch; return its result, or the Stop or the divergence that ended it."""
    job, data, settings = training.job, training.dataset, training.settings
    images, batch_size = len(data.y_train), training.batch_size
    batches = math.ceil(images / batch_size)
    if settings:
        rate = set_epoch_rate(training.optimizer, settings.schedule, epoch, job.epochs, batches)
    training.steps.objective.start_epoch(job.seed, epoch)
    watch = _BatchWatch(epoch, batches, progress)
    began = time.monotonic()
    order = np.random.default_rng((job.seed, epoch)).permutation(images)
    if training.fitting:
        trained = training.fitting.train_epoch(epoch, order, batch_size, watch.on_training_batch)
        rate = training.fitting.read_learning_rate()
    else:
        trained = run_epoch(training.steps, *data.inputs.training, order, batch_size, watch.on_training_batch)
    probabilities, validated = None, EpochFigures(math.nan, math.nan)
    if trained and (not job.data.test or epoch >= job.epochs):
        with use_averages(training.model):
            probabilities = _predict(training, watch.on_validation_batch)
    if trained is None or watch.end is not None:
        assert watch.end is not None
        return watch.end
    own = math.nan if METRICS[job.metric].is_own else None
    if probabilities is not None:
        validated = score(probabilities, data.y_val)
        own = compute_metric(job.metric, probabilities, data.y_val) if METRICS[job.metric].is_own else None
    figures = trained.loss, trained.accuracy, validated.loss, validated.accuracy
    metrics = EpochMetrics(epoch, *figures, rate, time.monotonic() - began, own)
    return EpochResult(metrics, probabilities, _is_at_chance(training, metrics, probabilities))


def _is_at_chance(training: Training, metrics: EpochMetrics, probabilities: Probabilities | None) -> bool:
    if probabilities is None:
        return False
    data = training.dataset
    recall = compute_recall(probabilities, data.y_val)
    return is_at_chance(metrics, training.job.metric, recall, data.facts.validation)


def _predict(training: Training, on_batch: OnBatch = lambda *_: True) -> Probabilities | None:
    """Predict the validation images; in a test with the model that is saved."""
    steps = training.steps
    if training.job.data.test:
        steps = compile_steps(copy_to_stock_layers(training), keras.optimizers.SGD())
    batch = choose_validation_batch(training.batch_size)
    return predict(steps, training.dataset.inputs.x_val, batch, on_batch)


def _finish(
    end: TrainingEnd, training: Training, state: Checkpoint | None, probabilities: Probabilities | None
) -> TrainingEnd:
    """Add to the end of a completed training the best epoch's model, saved without the optimizer's variables.

    In an evaluation also what that model, the last epoch's, predicts for the test images: `probabilities`, unless the
    training went on from a checkpoint of the last epoch. Without them it is an error.
    """
    if end.outcome is not TrialOutcome.COMPLETED or state is None:
        return end
    checkpoint.restore_best(state, training.trained)
    directory = Path(training.job.workdir)
    if training.job.data.test:
        try:
            end = replace(end, predictions=_save_predictions(training, probabilities))
        except OSError as error:
            reason = checkpoint.describe_unwritable(error, directory)
            detail = f"what its model predicts for the test images cannot be written: {reason}"
            return TrainingEnd(TrialOutcome.ERROR, detail)
    model = copy_to_stock_layers(training)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        model.save(directory / "model.keras")  # never compiled: half the size, and all that predicting needs
    except OSError as error:
        return replace(end, lost=checkpoint.describe_unwritable(error, directory))
    return replace(end, model=str(directory / "model.keras"))


def _save_predictions(training: Training, probabilities: Probabilities | None) -> str:
    data, path = training.dataset, Path(training.job.workdir) / "predictions.npz"
    probabilities = _predict(training) if probabilities is None else probabilities
    assert probabilities is not None
    path.parent.mkdir(parents=True, exist_ok=True)
    predictions.save(Predictions(probabilities, data.y_test, data.classes), path)
    return str(path)
