"""Training by Keras's `fit`, epoch by epoch: of a model that its builder compiled, or that has a `train_step`."""

import math
import random
import time
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from hpsearch.errors import UserCodeError
from hpsearch.training.epoch import LAUNCH_SECONDS, EpochFigures, OnBatch
from hpsearch.training.images.parts import ImagePart, Labels
from hpsearch.training.user_models.building import UserModel

ACCURACIES = ("accuracy", "acc", "sparse_categorical_accuracy", "categorical_accuracy")
"""Metrics that are the fraction of right answers, as `fit` names them."""


class FitState:
    """The variables that `fit` trains on, as a checkpoint takes them.

    Those of the model, and, as if they were its optimizer's, all others: of its optimizers, of its metrics, and the
    random numbers that are drawn without a generator of their own. Some exist only after the first step.
    """

    use_ema = False
    """Whether a checkpoint's best weights are the optimizer's averages: `fit` has put these into the model by then."""

    def __init__(self, model: UserModel) -> None:
        self._model = model
        self._unseeded = get_unseeded_generator().state

    @property
    def optimizer(self) -> "_OtherVariables":
        """What is kept beside the model's variables."""
        return _OtherVariables([*self._list_others()])

    @property
    def variables(self) -> list[keras.Variable]:
        """Those of the model."""
        return self._model.network.variables  # type: ignore[no-any-return] # Keras ships no types

    def _list_others(self) -> Iterator[keras.Variable]:
        own, known = self._model.own, {id(variable) for variable in self.variables}
        optimizers = [value for value in vars(own).values() if isinstance(value, keras.optimizers.Optimizer)]
        parts = [optimizer.variables for optimizer in optimizers]
        for variable in (variable for part in (*parts, own.metrics_variables, [self._unseeded]) for variable in part):
            if id(variable) not in known:
                known.add(id(variable))
                yield variable


class _OtherVariables:
    use_ema = False

    def __init__(self, variables: list[keras.Variable]) -> None:
        self.variables = variables


class KerasFit:
    """Trains one model of the user's own by `fit`; `state` is what a checkpoint of it holds."""

    def __init__(self, model: UserModel, images: ImagePart, labels: Labels, seed: int) -> None:
        """Take a compiled model and the training images."""
        self.model, self.state = model, FitState(model)
        self._images, self._seed = images, seed
        self._labels: npt.NDArray[Any] = labels
        if wants_one_hot(model.own.loss):
            classes = model.network.output_shape[-1]
            self._labels = np.eye(classes, dtype=np.float32)[labels]

    def read_learning_rate(self) -> float:
        """Return the rate of the model's optimizer now; NaN where it has none."""
        return float(getattr(self.model.own.optimizer, "learning_rate", math.nan))

    def create_variables(self, batch_size: int) -> None:
        """Take one step, with which all variables that training makes exist; their values are to be restored."""
        rows = np.arange(min(batch_size, len(self._labels)))
        self.model.own.fit(self._read(rows, batch_size), verbose=0)

    def train_epoch(
        self, epoch: int, order: npt.NDArray[np.int64], batch_size: int, on_batch: OnBatch
    ) -> EpochFigures | None:
        """Train on every image once, in `order`; see `epoch.run_epoch`.

        Returns:
            The loss and accuracy that `fit` logs, NaN where it logs no accuracy; None where `on_batch` ended the epoch.

        Raises:
            UserCodeError: no loss is logged.
        """
        seed = int(np.random.default_rng((self._seed, epoch)).integers(2**31))
        random.seed(seed)
        np.random.seed(seed)
        watch = _FitWatch(math.ceil(len(order) / batch_size), on_batch)
        source = self._read(order, batch_size)
        own = self.model.own
        logs = own.fit(source, epochs=epoch, initial_epoch=epoch - 1, verbose=0, callbacks=[watch]).history
        if getattr(own.optimizer, "use_ema", False):
            # At its end `fit` gives the weights the averages' own buffers, and on JAX donates both to the next step.
            for weight in own.trainable_variables:
                weight.assign(keras.ops.copy(weight.value))
        if watch.ended:
            return None
        if "loss" not in logs:
            raise UserCodeError(f"the train_step of {type(own).__name__} returns no loss: return it as 'loss'")
        accuracy = next((logs[name][-1] for name in ACCURACIES if name in logs), math.nan)
        return EpochFigures(float(logs["loss"][-1]), float(accuracy))

    def _read(self, order: npt.NDArray[np.int64], batch_size: int) -> "_BatchSource":
        return _BatchSource(self._images, self._labels, self.model.front, order, batch_size)


def wants_one_hot(loss: Any) -> bool:
    """Return whether the loss a model was compiled with takes one-hot labels; none of the user's own does."""
    if isinstance(loss, list | tuple | dict):
        losses = list(loss.values() if isinstance(loss, dict) else loss)
        return len(losses) == 1 and wants_one_hot(losses[0])
    try:
        known = keras.losses.get(loss)
    except ValueError:
        return False
    name = str(getattr(known, "name", None) or getattr(known, "__name__", ""))
    module = type(known).__module__ if isinstance(known, keras.losses.Loss) else getattr(known, "__module__", "")
    return known is not None and module.startswith("keras.") and "sparse" not in name


class _FitWatch(keras.callbacks.Callback):  # type: ignore[misc] # Keras ships no types
    """Tells `on_batch` of the batches, and ends the epoch where that says so."""

    def __init__(self, batches: int, on_batch: OnBatch) -> None:
        super().__init__()
        self._batches, self._on_batch = batches, on_batch
        self._last = time.monotonic()
        self.ended = False

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        done, now = batch + 1, time.monotonic()
        if done < self._batches and now - self._last < LAUNCH_SECONDS:
            return  # reading the loss waits for the device
        self._last = now
        if not self._on_batch(done, float((logs or {}).get("loss", 0.0))):
            self.ended = True
            self.model.stop_training = True


class _BatchSource(keras.utils.PyDataset):  # type: ignore[misc] # Keras ships no types
    """The training images in an order of ours, as the model takes them."""

    def __init__(
        self,
        images: ImagePart,
        labels: npt.NDArray[Any],
        front: keras.Model | None,
        order: npt.NDArray[np.int64],
        batch_size: int,
    ) -> None:
        super().__init__()
        self._images, self._labels, self._front = images, labels, front
        self._order, self._batch_size = order, batch_size

    def __len__(self) -> int:
        return math.ceil(len(self._order) / self._batch_size)

    def __getitem__(self, number: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[Any]]:
        rows = self._order[number * self._batch_size : (number + 1) * self._batch_size]
        x = self._images[rows].astype(np.float32)
        if self._front is not None:
            x = keras.ops.convert_to_numpy(self._front(x, training=True))
        return x, self._labels[rows]


def get_unseeded_generator() -> keras.random.SeedGenerator:
    """Return what random numbers come from that are drawn without a generator of their own."""
    # Imported here, because nothing public returns it.
    from keras.src.random.seed_generator import global_seed_generator

    return global_seed_generator()
