"""A trial made ready to train: its model, optimizer and steps, in the state of a checkpoint where there is one."""

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import keras

from hpsearch.errors import UserCodeError
from hpsearch.formatting import join_words
from hpsearch.metrics import EpochMetrics
from hpsearch.spec.hyperparameters import TRAINING_NAMES
from hpsearch.training import backends, model_building
from hpsearch.training.backends import FLOAT32, STOCK, Layers, Steps
from hpsearch.training.epoch import compile_steps
from hpsearch.training.files import checkpoint
from hpsearch.training.files.checkpoint import Checkpoint, Trained
from hpsearch.training.loading import ImageArrays
from hpsearch.training.precision import choices
from hpsearch.training.precision.samples import find_kind
from hpsearch.training.protocol import Train, complete_request
from hpsearch.training.recipe.objective import CROSS_ENTROPY, Objective
from hpsearch.training.recipe.optimizers import make_optimizer
from hpsearch.training.recipe.schedules import Schedule
from hpsearch.training.requests import ModelRequest
from hpsearch.training.user_models import building
from hpsearch.training.user_models.building import HEAD_IMAGES, UserModel
from hpsearch.training.user_models.fitting import KerasFit

log = logging.getLogger(__name__)

SHORT_FORMS = frozenset({"augment"})
"""Rows that only give other rows their defaults, so that nothing reads them."""


class TrackedHyperparameters(Mapping[str, Any]):
    """Hyperparameters, and which of them have been read: one that nothing reads would be ignored silently."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values
        self._unread = dict.fromkeys(values)

    def __getitem__(self, name: str) -> Any:
        value = self._values[name]
        self._unread.pop(name, None)
        return value

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def list_unread(self) -> list[str]:
        """Return the names of those that have not been read."""
        return [name for name in self._unread if name not in SHORT_FORMS]

    def refuse_unread(self) -> None:
        """Raise where a hyperparameter has not been read.

        Raises:
            ValueError: one has not; the message names it.
        """
        unread = self.list_unread()
        if unread:
            raise ValueError(f"nothing in training reads the hyperparameter {', '.join(unread)}")


@dataclass(frozen=True)
class LoopSettings:
    """The hyperparameters that the training loop itself reads."""

    schedule: Schedule
    batch_size: int

    @classmethod
    def read(cls, hyperparameters: Mapping[str, Any]) -> "LoopSettings":
        """Pick the settings from every row of the table.

        Raises:
            KeyError: one is missing.
            ValueError: the schedule cannot be computed.
        """
        return cls(Schedule.read(hyperparameters), hyperparameters["batch_size"])


@dataclass(frozen=True, eq=False)
class Training:
    """A compiled model, in the state of `start` where there was a checkpoint to go on from.

    `model` goes from raw pixels to probabilities. `settings` are None where the model's own optimizer has the learning
    rate; `fitting` trains a model that `steps` cannot, and is None elsewhere. `precision` is the dtype policy
    that it began in, on whatever host.
    """

    job: Train
    settings: LoopSettings | None
    batch_size: int
    dataset: ImageArrays
    model: keras.Model
    steps: Steps
    precision: str
    start: Checkpoint | None
    fitting: KerasFit | None = None

    @property
    def trained(self) -> Trained:
        """Return what a checkpoint holds."""
        return self.fitting.state if self.fitting else self.model

    @property
    def optimizer(self) -> keras.optimizers.Optimizer:
        """Return the optimizer of `fitting`, or of `steps`."""
        return self.fitting.model.own.optimizer if self.fitting else self.model.optimizer

    @property
    def epochs(self) -> tuple[EpochMetrics, ...]:
        """Return the epochs of the checkpoint."""
        return self.start.epochs if self.start else ()


def prepare(job: Train, dataset: ImageArrays) -> Training:
    """Build the model, and resume it from `job.checkpoint`; one that cannot be read means from the beginning.

    Raises:
        KeyError: a hyperparameter is missing.
        ValueError: a hyperparameter has a value that Keras refuses, or nothing reads it.
    """
    training = _begin(job, dataset, checkpoint.read_precision(Path(job.checkpoint)) if job.checkpoint else None)
    if job.checkpoint is None:
        return training
    if training.fitting:
        training.fitting.create_variables(training.batch_size)
    start = checkpoint.load(Path(job.checkpoint), training.trained)
    if start:
        checkpoint.restore(start, training.trained)
        return replace(training, start=start)
    log.warning("its checkpoint cannot be read: the training begins at epoch 1")
    return _begin(job, dataset) if training.fitting else training


def _begin(job: Train, dataset: ImageArrays, precision: str | None = None) -> Training:
    """Return the training before its first step, in the precision that it began in where that is known."""
    request, values = complete_request(job), job.hyperparameters
    compiled = compile_model(request, values, dataset, job.seed, job.epochs, precision)
    user_model, batch_size = compiled.user_model, cast(int, job.hyperparameters["batch_size"])
    fitting = None
    if user_model and user_model.is_fitted:
        fitting = KerasFit(user_model, dataset.x_train, dataset.y_train, job.seed)
    return Training(
        job, compiled.settings, batch_size, dataset, compiled.model, compiled.steps, compiled.precision, None, fitting
    )


@dataclass(frozen=True, eq=False)
class CompiledModel:
    """A model from raw pixels to probabilities, and what trains it: see `Training`.

    The `steps` of a `user_model` that Keras's `fit` trains only predict.
    """

    model: keras.Model
    steps: Steps
    settings: LoopSettings | None
    precision: str
    user_model: UserModel | None = None


def compile_model(
    model: ModelRequest,
    hyperparameters: Mapping[str, Any],
    dataset: ImageArrays,
    seed: int,
    epochs: int | None = None,
    precision: str | None = None,
) -> CompiledModel:
    """Build the model that a trial trains, and compile what trains it.

    Without the number of `epochs`, a learning rate that changes within epochs stays at its start. Without a
    `precision`, it is that of `choose_precision`.

    Raises:
        KeyError: a hyperparameter is missing.
        UserCodeError: the builder of the user's own returns no model that could be trained.
        ValueError: a hyperparameter has a value that Keras refuses, or nothing reads it.
        Exception: whatever the builder raises.
    """
    tracked, current = TrackedHyperparameters(hyperparameters), backends.current
    batches = math.ceil(len(dataset.y_train) / tracked["batch_size"])
    count = None if epochs is None else epochs * batches
    _ = tracked["precision"]  # it is read, also where the training began in one
    precision = precision or choose_precision(model, hyperparameters)
    if model.build is not None:
        return _compile_user_model(model, tracked, dataset, seed, count, precision)
    settings = LoopSettings.read(tracked)
    layers = Layers(precision, current.make_dropout, current.make_batch_norm)
    network = _build(model, tracked, dataset, seed, layers)
    objective = Objective.read(tracked, dataset.y_train, len(dataset.classes))
    steps = compile_steps(network, make_optimizer(tracked, count, network), objective)
    tracked.refuse_unread()
    return CompiledModel(network, steps, settings, precision)


def _compile_user_model(
    model: ModelRequest,
    tracked: TrackedHyperparameters,
    dataset: ImageArrays,
    seed: int,
    count: int | None,
    precision: str,
) -> CompiledModel:
    """Compile a model of the user's own, for `count` steps of training where that is known."""
    user_model = build_user_model(model, tracked, dataset, seed, precision)
    settings, optimizer = None, keras.optimizers.SGD()  # of steps that only predict
    objective = CROSS_ENTROPY
    if not user_model.is_compiled:
        settings, optimizer = LoopSettings.read(tracked), make_optimizer(tracked, count, user_model.network)
    if not user_model.is_fitted:
        objective = Objective.read(tracked, dataset.y_train, len(dataset.classes))
    if user_model.is_fitted and not user_model.is_compiled:
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=user_model.gives_logits)
        # A train_step of the user's own may well not update the metrics, which `fit` then finds not to exist.
        metrics = None if building.has_own_step(user_model.own) else ["accuracy"]
        user_model.own.compile(optimizer, loss, metrics=metrics)
        optimizer = keras.optimizers.SGD()
    _refuse_unread(model, tracked.list_unread(), is_compiled=user_model.is_compiled)
    steps = compile_steps(user_model.network, optimizer, objective)
    return CompiledModel(user_model.network, steps, settings, precision, user_model)


def _refuse_unread(model: ModelRequest, unread: Sequence[str], is_compiled: bool) -> None:
    """Raise where neither the builder nor training reads what the study file chooses.

    Raises:
        UserCodeError: the message says what to do.
    """
    names = [name for name in unread if name in model.chosen]
    rows = [name for name in names if name in TRAINING_NAMES]
    own = [name for name in names if name not in TRAINING_NAMES]
    if rows:
        why = "compiles its model" if is_compiled else "has a train_step of its own"
        raise UserCodeError(
            f"{model.build} {why}, so that {join_words(rows, 'and')} of the study file would do nothing: "
            "read them in the builder through hp, or take them out"
        )
    if own:
        raise UserCodeError(
            f"nothing reads {join_words(own, 'and')} in this trial: "
            "write `when = {...}` beside it in [space], or take it out"
        )


def build_user_model(
    model: ModelRequest, hyperparameters: Mapping[str, Any], dataset: ImageArrays, seed: int, precision: str | None
) -> UserModel:
    """Return the untrained model of the user's own; see `user_models.building.build`."""
    images, classes = dataset.x_train[:HEAD_IMAGES], len(dataset.classes)
    return building.build(model, hyperparameters, images, classes, seed, dataset.statistics, precision)


def build_stock(
    model: ModelRequest, hyperparameters: Mapping[str, Any], dataset: ImageArrays, seed: int
) -> keras.Model:
    """Return the untrained model of Keras's own layers and the user's, in float32, not compiled."""
    if model.build is None:
        return _build(model, hyperparameters, dataset, seed, STOCK)
    user_model = build_user_model(model, hyperparameters, dataset, seed, "float32")
    user_model.own.compiled = False  # it is saved to predict
    return user_model.network


def choose_precision(model: ModelRequest, hyperparameters: Mapping[str, Any]) -> str:
    """Return the dtype policy in which a trial that begins here trains; the first call of a process may measure."""
    if hyperparameters["precision"] != "auto":
        return FLOAT32
    return choices.choose(find_kind(model, hyperparameters)).policy


def copy_to_stock_layers(training: Training) -> keras.Model:
    """Return the same model with its present weights, of Keras's own layers, in float32: it is saved, and tested."""
    job = training.job
    model = build_stock(complete_request(job), job.hyperparameters, training.dataset, job.seed)
    for copy, trained in zip(model.variables, training.model.variables, strict=True):
        copy.assign(trained)
    return model


def _build(
    model: ModelRequest, hyperparameters: Mapping[str, Any], dataset: ImageArrays, seed: int, layers: Layers
) -> keras.Model:
    shape, classes = dataset.x_train.shape[1:], len(dataset.classes)
    return model_building.build(model, hyperparameters, shape, classes, seed, dataset.statistics, layers)
