"""One side of `training.py`, in a process of its own: plain `keras.Model.fit`, or our trainer, or either changed.

    yes '' | python benchmarks/training_sides.py SIDE epochs|trials IMAGES VALIDATION BATCH EPOCHS [TRIALS]

`epochs` trains one model and prints a JSON line an epoch, the first with what compiles; `trials` trains whole models
one after the other, and prints a line each, the first of one epoch only. Before each it waits for a line of its input.
CPU is user + system time of this process.
"""

import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any
from unittest import mock

import keras
import numpy as np
import training_levers

from hpsearch.spec.hyperparameters import BASE_TABLE
from hpsearch.training import backends, fit, loading, model_building, preparation
from hpsearch.training.backends import Layers
from hpsearch.training.epoch import choose_validation_batch, predict, run_epoch, score
from hpsearch.training.loading import ImageArrays
from hpsearch.training.precision import choices
from hpsearch.training.precision.choices import PrecisionChoice
from hpsearch.training.protocol import Train
from hpsearch.training.recipe.optimizers import make_optimizer
from hpsearch.training.requests import BASE_MODEL, DataRequest

OnEpoch = Callable[[], None]

LOSS = "sparse_categorical_crossentropy"


def plain(values: Mapping[str, Any], dataset: ImageArrays, epochs: int, on_epoch: OnEpoch, **how: Any) -> None:
    """Train as a user would write it: float32 arrays, `fit` with validation data."""
    layers = Layers(precision=how.pop("precision", None))
    network = model_building.build(BASE_MODEL, values, dataset.x_train.shape[1:], 10, 1, dataset.statistics, layers)
    network.compile(make_optimizer(values, network=network), LOSS, metrics=["accuracy"], **how)
    network.fit(
        dataset.x_train[:].astype(np.float32),
        dataset.y_train,
        values["batch_size"],
        epochs,
        verbose=0,
        validation_data=(dataset.x_val[:].astype(np.float32), dataset.y_val),
        callbacks=[keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: on_epoch())],
    )


def ours(values: Mapping[str, Any], dataset: ImageArrays, epochs: int, on_epoch: OnEpoch) -> None:
    """Train with the trainer's epochs, as `fit` takes them."""
    for _ in accuracies(values, dataset, epochs, 1):
        on_epoch()


def accuracies(
    values: Mapping[str, Any], dataset: ImageArrays, epochs: int, seed: int
) -> Iterator[tuple[float, float]]:
    """Yield training and validation accuracy of each of the trainer's epochs."""
    steps = preparation.compile_model(BASE_MODEL, values, dataset, seed).steps
    batch = values["batch_size"]
    for epoch in range(1, epochs + 1):
        order = np.random.default_rng((seed, epoch)).permutation(len(dataset.y_train))
        trained = run_epoch(steps, *dataset.inputs.training, order, batch, lambda *_: True)
        probabilities = predict(steps, dataset.inputs.x_val, choose_validation_batch(batch), lambda *_: True)
        assert trained is not None
        assert probabilities is not None
        yield trained.accuracy, score(probabilities, dataset.y_val).accuracy


def trial(values: Mapping[str, Any], dataset: ImageArrays, epochs: int, on_epoch: OnEpoch) -> None:
    """Do all that a trainer process does for a trial: checkpoints, and the best model kept."""
    given = DataRequest("cifar10", len(dataset.y_train), len(dataset.y_val), 0)
    with tempfile.TemporaryDirectory() as directory:
        job = Train(values, given, 1, epochs, "val_accuracy", 99, None, directory)
        fit.train(preparation.prepare(job, dataset), lambda *_: on_epoch(), lambda *_: None)


def floor(values: Mapping[str, Any], dataset: ImageArrays, epochs: int, on_epoch: OnEpoch, precision: str) -> None:
    """Compute what the base model's layers multiply, and nothing else."""
    import training_floor  # which is TensorFlow's

    layers = Layers(precision=precision)
    network = model_building.build(BASE_MODEL, values, dataset.x_train.shape[1:], 10, 1, dataset.statistics, layers)
    counts = len(dataset.y_train), len(dataset.y_val)
    training_floor.multiply_epochs(network, *counts, values["batch_size"], epochs, on_epoch)


@contextmanager
def compute_in(precision: str) -> Iterator[None]:
    """Make `auto` choose this precision; any other name than these two leaves it its choice."""
    policies = {"float32": "float32", "bfloat16": "mixed_bfloat16"}
    with ExitStack() as stack:
        if precision in policies:
            chosen = PrecisionChoice(policies[precision], {})
            patch = mock.patch.object(choices, "choose", return_value=chosen)
            stack.enter_context(patch)
        yield


def run(
    side: str, values: Mapping[str, Any], dataset: ImageArrays, epochs: int, on_epoch: OnEpoch, whole: bool
) -> None:
    """Train one model as `side` says, or compute its floor; `whole`, as a trial of a search."""
    name, _, lever = side.partition(" ")
    if name == "floor":
        floor(values, dataset, epochs, on_epoch, f"mixed_{lever}" if lever == "bfloat16" else lever)
        return
    if name == "plain":
        how: dict[str, Any] = {}
        if lever in ("steps", "both"):
            how["steps_per_execution"] = 32
        if lever in ("bfloat16", "both"):
            how["precision"] = "mixed_bfloat16"
        plain(values, dataset, epochs, on_epoch, **how)
        return
    if name in ("with", "without"):
        values = {**values, **training_levers.LEVERS[lever]}
    with compute_in(lever), training_levers.leave_out(lever) if name == "without" else nullcontext():
        (trial if whole else ours)(values, dataset, epochs, on_epoch)


def main() -> None:
    """Measure and print."""
    side, what, *numbers = sys.argv[1:]
    images, validation, batch, epochs, *trials = map(int, numbers)
    values = BASE_TABLE.fill_defaults({"batch_size": batch})
    dataset = loading.load(DataRequest("cifar10", images, validation, 0))
    _ = dataset.inputs
    chosen = preparation.choose_precision(BASE_MODEL, values)
    print(json.dumps({"version": backends.read_version(), "precision": chosen}), flush=True)
    began = [0.0, 0.0]

    def wait() -> None:
        sys.stdin.readline()  # it is another side's turn until then
        began[:] = time.process_time(), time.monotonic()

    def mark() -> None:
        cpu, clock = time.process_time() - began[0], time.monotonic() - began[1]
        print(json.dumps({"cpu": cpu, "clock": clock}), flush=True)
        wait()

    wait()
    if what == "epochs":
        run(side, values, dataset, epochs, mark, False)
        return
    for number in range(*trials):
        run(side, values, dataset, epochs if number else 1, lambda: None, True)
        backends.current.free_memory()
        mark()


if __name__ == "__main__":
    main()
