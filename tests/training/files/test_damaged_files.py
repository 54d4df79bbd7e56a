"""What readers of checkpoints and predictions make of bytes that are not what was written: nothing, and no error."""

import json
import resource
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest

from hpsearch.metrics import EpochMetrics
from hpsearch.training.files import checkpoint, predictions, sealed_arrays
from hpsearch.training.files.checkpoint import Checkpoint
from hpsearch.training.files.predictions import Predictions

pytestmark = pytest.mark.tensorflow

EPOCHS = tuple(EpochMetrics(number, 1.0, 0.5, 1.2, 0.4, 0.01, 3.0) for number in (1, 2))
NAN = float("nan")
CASES = 1500
"""Of each kind for each reader."""


def make_model() -> Any:
    """What a checkpoint is taken of: variables of several types, as a compiled model has."""
    weights = [keras.Variable(np.full((2, 3), 0.5, "float32")), keras.Variable(np.ones(3), dtype="bfloat16")]
    counts = [keras.Variable(7, dtype="int32"), keras.Variable(np.array([1, 2]), dtype="uint32", trainable=False)]
    return SimpleNamespace(variables=weights, optimizer=SimpleNamespace(variables=counts, use_ema=False))


MODEL = make_model()


def save_checkpoint(path: Path) -> None:
    first = checkpoint.capture(MODEL, EPOCHS[:1], ((3, 1), (0, 4)))
    checkpoint.save(checkpoint.capture(MODEL, EPOCHS, ((2, 2), (2, 2)), better=first, guessing=1), path)


def save_predictions(path: Path) -> None:
    rows = np.array([[0.25, 0.75], [0.5, 0.5], [1.0, 0.0]], np.float32)
    predictions.save(Predictions(rows, np.array([1, 0, 1]), ("cat", "dog")), path)


READERS: dict[str, tuple[Callable[[Path], None], Callable[[Path], object]]] = {
    "checkpoint": (save_checkpoint, lambda path: checkpoint.load(path, MODEL)),
    "predictions": (save_predictions, predictions.load),
}


def damage(content: bytes, generator: np.random.Generator) -> Iterator[bytes]:
    """Yield other content: with flipped bits, cut off, with a random piece, with something behind it, random."""
    changed = bytearray(content)
    for _ in range(generator.integers(1, 4)):
        changed[generator.integers(len(content))] ^= 1 << generator.integers(8)
    yield bytes(changed)
    yield content[: generator.integers(len(content))]
    begin, length = generator.integers(len(content)), int(generator.integers(1, 64))
    yield content[:begin] + generator.bytes(length) + content[begin + length :]
    yield content + generator.bytes(length)
    yield generator.bytes(length * 16)


def seal(content: bytes) -> bytes:
    """Return content with the head that says it is whole."""
    writer = sealed_arrays._SealingWriter(SimpleNamespace(write=len))  # type: ignore[arg-type]
    writer.write(content)
    return writer.make_head() + content


@pytest.mark.parametrize("kind", READERS)
def test_what_was_written_is_read(tmp_path: Path, kind: str) -> None:
    """Undamaged, both are read; a checkpoint with its bfloat16."""
    write, read = READERS[kind]
    write(tmp_path / "file")
    loaded = read(tmp_path / "file")
    if isinstance(loaded, Checkpoint):
        checkpoint.restore(loaded, MODEL)
        assert (loaded.epochs, loaded.confusion, loaded.guessing) == (EPOCHS, ((3, 1), (0, 4)), 1)
        assert [str(value.dtype) for value in loaded.model] == ["float32", "bfloat16"]
    else:
        assert isinstance(loaded, Predictions)
        assert loaded.classes == ("cat", "dog")


@pytest.mark.parametrize("kind", READERS)
def test_damaged_bytes_are_as_none(tmp_path: Path, kind: str) -> None:
    """Of thousands of damaged files none is read, and none raises anything."""
    write, read = READERS[kind]
    path = tmp_path / "file"
    write(path)
    content, generator = path.read_bytes(), np.random.default_rng(1)
    for _ in range(CASES // 5):
        for changed in damage(content, generator):
            path.write_bytes(changed)
            assert changed == content or read(path) is None


@pytest.mark.parametrize("kind", READERS)
def test_damage_that_was_sealed_raises_nothing(tmp_path: Path, kind: str) -> None:
    """Where length and digest are right, or an earlier version wrote none, what is read is as it must be, or none."""
    write, read = READERS[kind]
    path = tmp_path / "file"
    write(path)
    content, generator = path.read_bytes()[sealed_arrays.HEAD_BYTES :], np.random.default_rng(2)
    for number in range(CASES // 5):
        for changed in damage(content, generator):
            path.write_bytes(changed if number % 2 else seal(changed))
            loaded = read(path)
            if isinstance(loaded, Checkpoint):
                checkpoint.restore(loaded, MODEL)
                assert all(epoch.is_plausible for epoch in loaded.epochs)
            elif loaded is not None:
                assert isinstance(loaded, Predictions)
                assert np.isfinite(loaded.probabilities).all()


def change_epoch(number: int, **figures: Any) -> dict[str, Any]:
    """A checkpoint's epochs with other figures in one of them."""
    epochs = [asdict(epoch) for epoch in EPOCHS]
    epochs[number - 1] |= figures
    return {"epochs": np.array(json.dumps(epochs))}


CHECKPOINTS: dict[str, dict[str, Any]] = {
    "no array": {"model-0": None},
    "one array more": {"model-2": np.zeros(3, np.float32)},
    "another shape": {"model-0": np.zeros((3, 2), np.float32)},
    "another type": {"model-0": np.zeros((2, 3), np.float64)},
    "integers for weights": {"best-0": np.zeros((2, 3), np.int32)},
    "text for weights": {"model-0": np.full((2, 3), "a")},
    "structures for weights": {"model-0": np.zeros((2, 3), "V4")},
    "another type in the optimizer": {"optimizer-0": np.array(7.0, np.float32)},
    "no epochs": {"epochs": np.array("[]")},
    "epochs that are no list": {"epochs": np.array('{"epoch": 1}')},
    "epochs that are no text": {"epochs": np.zeros(3)},
    "epochs nested without end": {"epochs": np.array("[" * 100_000)},
    "an epoch missing": change_epoch(1, epoch=2),
    "an epoch that is no integer": change_epoch(1, epoch=1.5),
    "an unknown figure": change_epoch(1, val_speed=1.0),
    "text for a loss": change_epoch(1, val_loss="1.0"),
    "nothing for a loss": change_epoch(1, train_loss=None),
    "a list for a metric": change_epoch(2, val_metric=[0.5]),
    "a truth value for an accuracy": change_epoch(2, val_accuracy=True),
    "no number for a loss, and epochs after it": change_epoch(1, train_loss=NAN),
    "an accuracy above 1": change_epoch(2, val_accuracy=1.5),
    "an accuracy below 0": change_epoch(2, val_accuracy=-0.5),
    "a metric above 1": change_epoch(2, val_metric=7.0),
    "a loss below 0": change_epoch(2, val_loss=-1.0),
    "seconds without end": change_epoch(2, seconds=float("inf")),
    "a confusion matrix that is not square": {"confusion": np.zeros((2, 3), np.int64)},
    "a confusion matrix of halves": {"confusion": np.full((2, 2), 0.5)},
    "a confusion matrix of negative counts": {"confusion": np.full((2, 2), -1)},
    "more epochs at chance than there are": {"guessing": np.array(3)},
    "several counts of epochs at chance": {"guessing": np.array([1, 2])},
}

PREDICTIONS: dict[str, dict[str, Any]] = {
    "no labels": {"labels": None},
    "something more": {"more": np.zeros(1)},
    "another shape": {"probabilities": np.full((3, 3), 0.3, np.float32)},
    "another type": {"probabilities": np.full((3, 2), 0.5)},
    "a probability that is no number": {"probabilities": np.full((3, 2), NAN, np.float32)},
    "probabilities above 1": {"probabilities": np.full((3, 2), 2.0, np.float32)},
    "labels without a class": {"labels": np.array([0, 1, 2])},
    "labels below 0": {"labels": np.array([0, 1, -1])},
    "labels that are not whole": {"labels": np.array([0.0, 1.0, 1.0])},
    "nested labels": {"labels": np.zeros((3, 1), np.int64)},
    "classes that are no names": {"classes": np.array([1, 2])},
}


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        *(pytest.param("checkpoint", changes, id=f"checkpoint: {name}") for name, changes in CHECKPOINTS.items()),
        *(pytest.param("predictions", changes, id=f"predictions: {name}") for name, changes in PREDICTIONS.items()),
    ],
)
def test_whole_files_of_something_else_are_as_none(tmp_path: Path, kind: str, changes: dict[str, Any]) -> None:
    """A file that is whole, but whose content cannot be what was trained, is not gone on from."""
    write, read = READERS[kind]
    write(tmp_path / "file")
    arrays = sealed_arrays.load(tmp_path / "file")
    assert arrays is not None
    sealed_arrays.save(arrays, tmp_path / "same")
    assert read(tmp_path / "same") is not None
    changed = {name: array for name, array in {**arrays, **changes}.items() if array is not None}
    sealed_arrays.save(changed, tmp_path / "file")
    assert read(tmp_path / "file") is None


@pytest.mark.parametrize(
    "last",
    [
        replace(EPOCHS[1], train_loss=NAN),
        replace(EPOCHS[1], val_loss=float("inf")),
        replace(EPOCHS[1], val_loss=NAN, val_accuracy=NAN, val_metric=NAN),
        replace(EPOCHS[1], train_loss=-3.0, train_accuracy=NAN, learning_rate=NAN),
        replace(EPOCHS[1], val_metric=1.0, val_loss=-1e-7),
    ],
)
def test_rare_figures_are_read(tmp_path: Path, last: EpochMetrics) -> None:
    """A last epoch that diverged, one that was not validated, and a loss of the user's own."""
    checkpoint.save(checkpoint.capture(MODEL, (EPOCHS[0], last), ()), tmp_path / "file")
    loaded = checkpoint.load(tmp_path / "file", MODEL)
    assert loaded is not None
    assert str(loaded.epochs[1]) == str(last)
    assert loaded.confusion == ()


def test_a_file_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    """Where there is no room there is neither half a checkpoint nor a draft of one."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            sealed_arrays.save({"array": np.zeros(100_000)}, tmp_path / "file")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []
