"""The training of one configuration: epochs, the learning rate's schedule, when it is over, checkpoint and resume."""

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

from hpsearch.metrics import EpochMetrics, find_best_epoch
from hpsearch.outcomes import Confusion, TrainingEnd, TrialOutcome
from hpsearch.training import backends, checkpoint, optimizers
from hpsearch.training.backends import STOCK, Layers, Probabilities, Steps
from hpsearch.training.checkpoint import Checkpoint
from hpsearch.training.epoch import EpochFigures, OnBatch, compile_for, confusion, predict, run_epoch, score
from hpsearch.training.loading import ImageArrays
from hpsearch.training.models import cnn
from hpsearch.training.predictions import Predictions, save
from hpsearch.training.protocol import Released, Stop, Train

log = logging.getLogger(__name__)

Report = Callable[[EpochMetrics, str | None, Confusion | None], Stop | None]
"""Told of an epoch, the checkpoint on disk that holds it, if one does, and its confusion matrix on the validation
images, where no earlier epoch is better; a Stop ends the training."""

Progress = Callable[[int, int, int], Stop | None]
"""Told of epoch, batch and batches after every few batches; a Stop ends the training."""


@dataclass(frozen=True, eq=False)
class Training:
    """A compiled model, in the state of `start` where there was a checkpoint to go on from."""

    job: Train
    dataset: ImageArrays
    model: keras.Model
    steps: Steps
    start: Checkpoint | None

    @property
    def epochs(self) -> tuple[EpochMetrics, ...]:
        """Those the checkpoint brought along."""
        return self.start.epochs if self.start else ()


def prepare(job: Train, dataset: ImageArrays) -> Training:
    """Builds the model, and resumes it from `job.checkpoint`; one that cannot be read means from the beginning.

    Raises:
        KeyError: a hyperparameter is missing.
        ValueError: a hyperparameter has a value that Keras refuses.
    """
    network, steps = build_and_compile(job.hyperparameters, dataset, job.seed)
    start = checkpoint.load(Path(job.checkpoint), network) if job.checkpoint else None
    if start:
        checkpoint.restore(start, network)
    return Training(job, dataset, network, steps, start)


def build_and_compile(hyperparameters: Mapping[str, Any], dataset: ImageArrays, seed: int) -> tuple[keras.Model, Steps]:
    """The network that a trial trains, and its steps.

    Raises:
        KeyError: a hyperparameter is missing.
        ValueError: a hyperparameter has a value that Keras refuses.
    """
    current = backends.current
    own = Layers(choose_precision(hyperparameters), current.make_dropout, current.make_batch_norm, current.make_prelu)
    network = _build(hyperparameters, dataset, seed, own)
    return network, compile_for(network, optimizers.make_optimizer(hyperparameters))


def choose_precision(hyperparameters: Mapping[str, Any]) -> str:
    """The dtype policy in which a trial trains on this device."""
    return backends.current.find_fast_precision() if hyperparameters["precision"] == "auto" else "float32"


def _build(hyperparameters: Mapping[str, Any], dataset: ImageArrays, seed: int, layers: Layers) -> keras.Model:
    shape = dataset.x_train.shape[1:]
    return cnn.build(hyperparameters, shape, len(dataset.classes), seed, dataset.statistics, layers)


def _stock(training: Training) -> keras.Model:
    """The same network with its present weights, of Keras's own layers, in float32: what is kept, and tested."""
    network = _build(training.job.hyperparameters, training.dataset, training.job.seed, STOCK)
    for ours, theirs in zip(network.variables, training.model.variables, strict=True):
        ours.assign(theirs)
    return network


def train(training: Training, report: Report, progress: Progress) -> TrainingEnd | Released:
    """Trains until the configuration is done, or until a Stop.

    A checkpoint is on disk before its epoch is reported; between two there are at least `job.checkpoint_every`
    seconds. Each epoch draws its order of the images from (seed, epoch), and all other random numbers come from
    variables of the model, so a training resumed from a checkpoint goes on as if it had never stopped.

    Args:
        training: from `prepare`; its model is changed.
        report: see `Report`.
        progress: see `Progress`.

    Returns:
        The outcome, with the best epoch's model saved where the training completed; or, after a Stop, what was kept.
    """
    job, state, files = training.job, training.start, _Files(Path(training.job.workdir))
    epochs, written = list(training.epochs), time.monotonic()
    seen: Probabilities | None = None
    while (ending := judge_epoch(job, epochs, len(training.dataset.classes), len(training.dataset.y_val))) is None:
        ended = _epoch(training, len(epochs) + 1, progress)
        if isinstance(ended, Stop):
            return _release(ended, state, files)
        if isinstance(ended, TrainingEnd):
            return ended
        metrics, seen = ended
        matrix = () if seen is None else confusion(seen, training.dataset.y_val)
        epochs.append(metrics)
        top = find_best_epoch(list(epochs), job.metric)
        better = state if top and top is not metrics else None
        kept = (better.confusion, better.best) if better else (matrix, None)
        state = checkpoint.capture(training.model, epochs, *kept)
        path = None
        if time.monotonic() - written >= job.checkpoint_every:
            path, written = files.save(state), time.monotonic()
        stop = report(metrics, path, None if better else matrix or None)
        if stop:
            return _release(stop, state, files)
    return _finish(ending, training, state, seen)


def compute_learning_rate(start: float, schedule: str, epoch: int, epochs: int) -> float:
    """The rate of an epoch, counted from 1: the same for all of its steps.

    constant: `start`. step: divided by 10 once half of the epochs are over, and again after three quarters (the
    shape of He et al. 2016, arXiv:1512.03385). cosine: start * (1 + cos(pi * (epoch - 1) / epochs)) / 2 (Loshchilov
    and Hutter 2017, arXiv:1608.03983, without restarts): it would be 0 in the epoch after the last.
    """
    done = (epoch - 1) / epochs
    if schedule == "step":
        return float(start / 10 ** ((done >= 0.5) + (done >= 0.75)))
    if schedule == "cosine":
        return start * (1 + math.cos(math.pi * done)) / 2
    return start


def choose_validation_batch(batch_size: int) -> int:
    """Images a step of validation: without gradients several times the batch fits where the batch did."""
    return max(batch_size, min(4 * batch_size, 256))


def judge_epoch(job: Train, epochs: Sequence[EpochMetrics], classes: int, images: int) -> TrainingEnd | None:
    """How the training ended after `epochs`; None where it goes on.

    Args:
        job: its epochs, metric, patience and early stopping.
        epochs: all so far.
        classes: of the dataset.
        images: in the validation set.
    """
    if not epochs:
        return None
    last = epochs[-1]
    if last.diverged:
        return TrainingEnd(TrialOutcome.DIVERGED, f"the loss is not finite after epoch {last.epoch}")
    tail = epochs[-job.patience :]
    # A test is not repeated until it passes: one that comes out at chance counts as what it is.
    if not job.data.test and len(tail) == job.patience and all(is_at_chance(epoch, classes, images) for epoch in tail):
        return TrainingEnd(TrialOutcome.DIVERGED, f"no better than guessing for {job.patience} epochs in a row")
    if len(epochs) >= job.epochs:
        return TrainingEnd(TrialOutcome.COMPLETED)
    top = find_best_epoch(list(epochs), job.metric)
    if job.early_stopping is not None and top and last.epoch - top.epoch >= job.early_stopping:
        return TrainingEnd(TrialOutcome.COMPLETED, f"no better {job.metric} for {job.early_stopping} epochs")
    return None


def is_at_chance(epoch: EpochMetrics, classes: int, images: int) -> bool:
    """Whether a model that guesses could have had these figures.

    Its validation accuracy is 1 / classes, give or take three standard errors of a proportion (sqrt(p (1 - p) /
    images)), and its cross-entropy at least ln(classes), less 1%, on the images it validates on and on those it learns.
    All must hold: a model may well learn probabilities before its first choice gets better, and the images it learns
    before that shows in validation.
    """
    chance, guessed = 1 / classes, 0.99 * math.log(classes)
    lucky = chance + 3 * math.sqrt(chance * (1 - chance) / images)
    return epoch.val_accuracy <= lucky and epoch.val_loss >= guessed and epoch.train_loss >= guessed


class _Watch:
    """Looks up after every few batches: whether to stop, and whether the loss still is a number."""

    def __init__(self, epoch: int, batches: int, progress: Progress) -> None:
        self.epoch, self.batches, self.progress = epoch, batches, progress
        self.ended: Stop | TrainingEnd | None = None

    def training(self, batch: int, loss: float) -> bool:
        if not math.isfinite(loss):  # it never comes back, so the rest of the epoch would be wasted
            detail = f"the loss is not finite by batch {batch} of epoch {self.epoch}"
            self.ended = TrainingEnd(TrialOutcome.DIVERGED, detail)
            return False
        self.ended = self.progress(self.epoch, batch, self.batches)
        return self.ended is None

    def validating(self, batch: int, _: float) -> bool:
        self.ended = self.progress(self.epoch, self.batches, self.batches)
        return self.ended is None


def _epoch(
    training: Training, epoch: int, progress: Progress
) -> tuple[EpochMetrics, Probabilities | None] | Stop | TrainingEnd:
    """One epoch: its metrics and what it makes of the validation images, the Stop or the divergence that ended it."""
    job, data = training.job, training.dataset
    values: Any = job.hyperparameters
    rate = compute_learning_rate(values["learning_rate"], values["schedule"], epoch, job.epochs)
    training.model.optimizer.learning_rate = rate  # a variable: setting it compiles nothing anew
    n, batch_size = len(data.y_train), values["batch_size"]
    watch = _Watch(epoch, math.ceil(n / batch_size), progress)
    began = time.monotonic()
    order = np.random.default_rng((job.seed, epoch)).permutation(n)
    trained = run_epoch(training.steps, *data.resident.training, order, batch_size, watch.training)
    probabilities, valid = None, EpochFigures(math.nan, math.nan)
    if trained and (not job.data.test or epoch >= job.epochs):
        probabilities = _predict(training, watch.validating)
    if trained is None or watch.ended is not None:
        assert watch.ended is not None
        return watch.ended
    if probabilities is not None:
        valid = score(probabilities, data.y_val)
    figures = trained.loss, trained.accuracy, valid.loss, valid.accuracy
    return EpochMetrics(epoch, *figures, rate, time.monotonic() - began), probabilities


def _predict(training: Training, on_batch: OnBatch = lambda *_: True) -> Probabilities | None:
    """What the model makes of the validation images; in a test, what the model that is kept makes of them."""
    steps = training.steps
    if training.job.data.test:
        stock = _stock(training)
        steps = compile_for(stock, keras.optimizers.SGD())
    values: Any = training.job.hyperparameters
    return predict(steps, training.dataset.resident.x_val, choose_validation_batch(values["batch_size"]), on_batch)


class _Files:
    """The checkpoint files of one training: the newest alone is kept."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.newest: Path | None = None

    def save(self, state: Checkpoint) -> str | None:
        """The file that holds `state`; None, with a warning, where it cannot be written: training is worth more."""
        path = self.directory / f"epoch-{len(state.epochs)}.npz"
        if path == self.newest:
            return str(path)
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            checkpoint.save(state, path)
        except OSError as error:
            log.warning("no checkpoint of epoch %d: %s", len(state.epochs), error)
            return None
        if self.newest:
            self.newest.unlink(missing_ok=True)
        self.newest = path
        return str(path)


def leave(training: Training, stop: Stop) -> Released:
    """What a Stop before the first epoch leaves behind: the state the training would have gone on from."""
    return _release(stop, training.start, _Files(Path(training.job.workdir)))


def _release(stop: Stop, state: Checkpoint | None, files: _Files) -> Released:
    if state is None:
        return Released(0, None)
    return Released(len(state.epochs), files.save(state) if stop.checkpoint else None)


def _finish(
    outcome: TrainingEnd, training: Training, state: Checkpoint | None, seen: Probabilities | None
) -> TrainingEnd:
    """A completed training's outcome with the best epoch's model, saved without the optimizer's variables.

    In an evaluation also with what that model, the last epoch's, makes of the test images: `seen`, unless the training
    went on from a checkpoint of the last epoch.

    Raises:
        OSError: what it makes of the test images cannot be saved.
    """
    if outcome.outcome is not TrialOutcome.COMPLETED or state is None:
        return outcome
    checkpoint.restore_best(state, training.model)
    if training.job.data.test:
        outcome = replace(outcome, predictions=_save_predictions(training, seen))
    path = Path(training.job.workdir) / "model.keras"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _stock(training).save(path)  # never compiled: half the size, and all that predicting needs
    except OSError as error:
        log.warning("the model is not saved: %s", error)
        return outcome
    return replace(outcome, model=str(path))


def _save_predictions(training: Training, seen: Probabilities | None) -> str:
    data, path = training.dataset, Path(training.job.workdir) / "predictions.npz"
    seen = _predict(training) if seen is None else seen
    assert seen is not None
    path.parent.mkdir(parents=True, exist_ok=True)
    save(Predictions(seen, data.y_test, data.classes), path)
    return str(path)
