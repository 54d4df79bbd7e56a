"""The state of a training after an epoch: taken from a model, put back into one, kept in a file.

The file holds `sealed_arrays`: `model-N`, `optimizer-N` and `best-N` in Keras's order of variables (the state of
dropout's and augmentation's random numbers is among the model's), `epochs`, the metrics so far as JSON, `confusion`,
counts (classes, classes) of the best epoch, `guessing`, the number of epochs at chance, and `precision`, the dtype
policy.
"""

import json
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import keras
import numpy as np
import numpy.typing as npt

from hpsearch.metrics import EpochMetrics
from hpsearch.outcomes import MAX_CONFUSED_CLASSES, Confusion
from hpsearch.training.backends import BFLOAT16, FLOAT32
from hpsearch.training.files import sealed_arrays
from hpsearch.training.recipe.optimizers import use_averages

log = logging.getLogger(__name__)

Arrays = tuple[npt.NDArray[Any], ...]


class Trained(Protocol):
    """What is trained: a compiled keras.Model, or the variables of one that Keras's `fit` trains."""

    @property
    def variables(self) -> Sequence[Any]:
        """Those of the model."""

    @property
    def optimizer(self) -> Any:
        """Whatever has the other variables that training changes, as `variables`."""


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """All that the next epoch depends on, in host memory.

    `best` are the model's variables at the best epoch, with averaged weights where it is validated with these;
    `confusion` is its confusion matrix on the validation images. `guessing` counts the last epochs, without a break,
    that were at chance. `precision` is the dtype policy that they were trained in, "" where that is not known.
    """

    epochs: tuple[EpochMetrics, ...]
    confusion: Confusion
    model: Arrays
    optimizer: Arrays
    best: Arrays
    guessing: int = 0
    precision: str = ""


def capture(
    model: Trained,
    epochs: Sequence[EpochMetrics],
    confusion: Confusion,
    better: Checkpoint | None = None,
    guessing: int = 0,
    precision: str = "",
) -> Checkpoint:
    """Return the state of a compiled model after `epochs`.

    Args:
        model: as the last epoch left it.
        epochs: all so far.
        confusion: of the last epoch.
        better: an earlier state that knows a better epoch than the last; None where the last is the best.
        guessing: how many of the last epochs, without a break, were at chance.
        precision: the dtype policy.
    """
    now, optimizer = _values(model.variables), _values(model.optimizer.variables)
    if better:
        confusion, best = better.confusion, better.best
    elif model.optimizer.use_ema:
        with use_averages(model):
            best = _values(model.variables)
    else:
        best = now
    return Checkpoint(tuple(epochs), confusion, now, optimizer, best, guessing, precision)


def restore(checkpoint: Checkpoint, model: Trained) -> None:
    """Put the state back into a model compiled from the same hyperparameters."""
    _assign(model.variables, checkpoint.model)
    _assign(model.optimizer.variables, checkpoint.optimizer)


def restore_best(checkpoint: Checkpoint, model: Trained) -> None:
    """Give the model the variables of its best epoch."""
    _assign(model.variables, checkpoint.best)


def save(checkpoint: Checkpoint, path: Path) -> None:
    """Write the file whole or not at all.

    Raises:
        OSError: it cannot be written.
    """
    arrays = {
        f"{part}-{number}": value
        for part in ("model", "optimizer", "best")
        # Most often the best epoch is the last, and a third of the file can be left out.
        if part != "best" or checkpoint.best is not checkpoint.model
        for number, value in enumerate(getattr(checkpoint, part))
    }
    arrays["confusion"] = np.array(checkpoint.confusion)
    arrays["guessing"] = np.array(checkpoint.guessing)
    arrays["precision"] = np.array(checkpoint.precision)
    arrays["epochs"] = np.array(json.dumps([asdict(epoch) for epoch in checkpoint.epochs]))
    sealed_arrays.save(arrays, path)


def read_precision(path: Path) -> str | None:
    """Return the dtype policy of the training in `path`; None where it cannot be read, or an earlier version wrote it.

    A training goes on in the precision it began in, also on a host where another is faster: as if it had not stopped.
    """
    try:
        arrays = sealed_arrays.load(path) or {}
    except OSError:
        return None
    return _parse_precision(arrays) or None


def load(path: Path, model: Trained) -> Checkpoint | None:
    """Return the checkpoint in `path`; None where it cannot be read or is not of such a (compiled) model."""
    try:
        arrays = sealed_arrays.load(path)
        return None if arrays is None else _parse(arrays, model)
    except Exception as error:  # noqa: BLE001 - a trial that begins anew costs less than one that fails
        log.debug("no checkpoint: %s", error)
        return None


def _parse(arrays: Mapping[str, npt.NDArray[Any]], model: Trained) -> Checkpoint:
    """Return the checkpoint that these arrays are.

    Raises:
        Exception: they are none, or not of such a model.
    """
    epochs = _parse_epochs(str(arrays["epochs"]))
    now = _take_numbered(arrays, "model", model.variables)
    optimizer = _take_numbered(arrays, "optimizer", model.optimizer.variables)
    best = _take_numbered(arrays, "best", model.variables) if "best-0" in arrays else now
    guessing = int(arrays.get("guessing", 0))  # an earlier version wrote none
    if not 0 <= guessing <= len(epochs):
        raise ValueError(f"{guessing} of {len(epochs)} epochs at chance")
    confusion, precision = _parse_confusion(arrays["confusion"]), _parse_precision(arrays)
    return Checkpoint(epochs, confusion, now, optimizer, best, guessing, precision)


def _parse_epochs(text: str) -> tuple[EpochMetrics, ...]:
    epochs = tuple(EpochMetrics(**epoch) for epoch in json.loads(text))
    if not epochs or [epoch.epoch for epoch in epochs] != list(range(1, len(epochs) + 1)):
        raise ValueError("epochs are missing")
    for epoch in epochs:
        if not epoch.is_plausible or (epoch.diverged and epoch is not epochs[-1]):
            raise ValueError(f"epoch {epoch.epoch} cannot have had its metrics")
    return epochs


def _parse_precision(arrays: Mapping[str, npt.NDArray[Any]]) -> str:
    precision = str(arrays.get("precision", ""))
    return precision if precision in (FLOAT32, BFLOAT16) else ""


def _parse_confusion(counts: npt.NDArray[Any]) -> Confusion:
    if not counts.size:  # of an epoch that was not validated, or of too many classes
        return ()
    square = counts.ndim == 2 and counts.shape[0] == counts.shape[1] <= MAX_CONFUSED_CLASSES
    if not square or counts.dtype.kind not in "iu" or counts.min() < 0:
        raise ValueError("the confusion matrix is none")
    return tuple(tuple(row) for row in counts.tolist())


def describe_unwritable(error: OSError, directory: Path) -> str:
    """Return why nothing can be written to a training's directory, in the words of the system."""
    return f"{error.strerror or error}, in {directory.parent}"


class CheckpointFiles:
    """The checkpoint files of one training in a directory: the newest alone is kept.

    `interval` are the seconds that pass at least between two, and before the first.
    """

    def __init__(self, directory: Path, interval: float) -> None:
        self.directory, self._interval = directory, interval
        self._written = time.monotonic()
        self._newest: Path | None = None
        self._warned = False

    def save_if_due(self, state: Checkpoint) -> str | None:
        """Save `state` if the interval has passed; return the path of the file that holds it, if one does.

        One that cannot be written is warned of, once: a training is worth more than its checkpoint.
        """
        if time.monotonic() - self._written < self._interval:
            return None
        try:
            path, self._warned = self.save(state), False
        except OSError as error:
            if not self._warned:
                reason = describe_unwritable(error, self.directory)
                log.warning("no checkpoint of epoch %d can be written: %s", len(state.epochs), reason)
            path, self._warned = None, True
        self._written = time.monotonic()
        return path

    def save(self, state: Checkpoint) -> str:
        """Save `state` and return the file's path.

        Raises:
            OSError: it cannot be written.
        """
        path = self.directory / f"epoch-{len(state.epochs)}.npz"
        if path == self._newest:
            return str(path)
        self.directory.mkdir(parents=True, exist_ok=True)
        save(state, path)
        if self._newest:
            self._newest.unlink(missing_ok=True)
        self._newest = path
        return str(path)


def _take_numbered(arrays: Mapping[str, npt.NDArray[Any]], part: str, like: Sequence[Any]) -> Arrays:
    values = [arrays[f"{part}-{number}"] for number in range(len(like))]
    if f"{part}-{len(like)}" in arrays:
        raise ValueError(f"more of {part} than the model has")
    for number, variable in enumerate(like):
        value, dtype = values[number], np.dtype(keras.backend.standardize_dtype(variable.dtype))
        if dtype.kind == "V" and value.dtype == f"V{dtype.itemsize}":  # numpy's file has no name for bfloat16
            value = values[number] = value.view(dtype)
        if value.dtype != dtype or value.shape != tuple(variable.shape):
            raise ValueError(f"{part} has another shape or type")
    return tuple(values)


def _values(variables: Sequence[Any]) -> Arrays:
    # A copy: a framework may lend out the memory that its next step overwrites.
    return tuple(np.array(keras.ops.convert_to_numpy(variable)) for variable in variables)


def _assign(variables: Sequence[Any], values: Arrays) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
