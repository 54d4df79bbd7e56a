"""The parts of `gpu.py` that compare what is computed on the device.

python benchmarks/gpu_correctness.py losses|resume|predictions
"""

import os
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from gpu_cpu import predict_on_cpu
from gpu_rows import call_part, choose_network, is_quick, leave_out, report

from hpsearch.outcomes import TrainingEnd
from hpsearch.spec.hyperparameters import BASE_TABLE
from hpsearch.training import backends, fit, loading, model_building, preparation
from hpsearch.training.backends import Layers
from hpsearch.training.files import predictions
from hpsearch.training.loading import ImageArrays
from hpsearch.training.precision import choices
from hpsearch.training.precision.samples import Kind
from hpsearch.training.protocol import EpochReport, Stop, Train
from hpsearch.training.recipe.optimizers import make_optimizer
from hpsearch.training.requests import BASE_MODEL, DataRequest

DIGITS = DataRequest("digits", 200 if is_quick() else None, 300, 0)
STEPS, BATCH = 50, 32
CHOSEN: Mapping[str, Any] = {"optimizer": "adam", "batch_size": BATCH, **choose_network()}
"""Adam, because with the base model's own optimizer the loss would hardly move in so few steps."""

ROUNDING = {"float32": 2.0**-11, "mixed_bfloat16": 2.0**-9}
"""The rounding error of a factor in a matrix product: that of TF32, in which GPUs multiply float32, and of bfloat16."""
TOLERATED = 8
"""How many rounding errors two trainings may differ by, in the mean over the steps, relative to the first loss."""

DETERMINISTIC = "HPSEARCH_BENCHMARK_DETERMINISTIC"
"""The environment variable that says that deterministic kernels were chosen."""

Losses = npt.NDArray[np.float64]


def losses() -> None:
    """Compare the losses of the first steps with those of `keras.Model.fit`, on the same images in the same order."""
    dataset = loading.load(DIGITS)
    count = 5 if is_quick() else STEPS
    order = np.concatenate([np.random.default_rng(seed).permutation(len(dataset.y_train)) for seed in range(5)])
    rows = order[: count * BATCH].reshape(count, BATCH).astype(np.int32)
    plain: dict[str, Losses] = {}
    auto = choices.choose(Kind.CONVOLUTION).policy
    for precision in dict.fromkeys(("float32", auto)):
        asked = "float32" if precision == "float32" else "auto"
        values = BASE_TABLE.fill_defaults({**CHOSEN, "dropout": 0.0, "precision": asked})
        plain[precision] = _fit(values, dataset, rows, precision)
        ours, sums = _step(values, dataset, rows)
        scale, tolerated = plain[precision][0], TOLERATED * ROUNDING[precision]
        apart = np.abs(ours - plain[precision]) / scale
        figure = (
            f"loss {ours[0]:.3f} to {ours[-1]:.3f}, fit {plain[precision][-1]:.3f}; apart by {apart.mean():.1e} of the "
            f"first, at most {apart.max():.1e}; tolerated {tolerated:.1e}"
        )
        report(f"{count} steps of fit, {precision}", figure, bool(apart.mean() <= tolerated))
        launched = abs(sums - ours.sum()) / ours.sum()
        report(f"{count} steps in one launch, {precision}", f"sum apart by {launched:.1e}", launched <= tolerated)
    if auto != "float32":
        apart = np.abs(plain["float32"] - plain[auto]) / plain["float32"][0]
        report("fit in either precision", f"apart by {apart.mean():.1e}, at most {apart.max():.1e}")


def _fit(values: Mapping[str, Any], dataset: ImageArrays, rows: npt.NDArray[np.int32], precision: str) -> Losses:
    """Return the loss of each step of Keras's own `fit`, whose callback is told their mean so far."""
    network = model_building.build(
        BASE_MODEL, values, dataset.x_train.shape[1:], 10, 1, dataset.statistics, Layers(precision=precision)
    )
    network.compile(make_optimizer(values, network=network), "sparse_categorical_crossentropy")
    means: list[float] = []
    told = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: means.append(float(logs["loss"])))
    flat = rows.ravel()
    images = dataset.x_train[flat].astype(np.float32)
    network.fit(images, dataset.y_train[flat], rows.shape[1], 1, verbose=0, shuffle=False, callbacks=[told])
    sums = np.array(means) * np.arange(1, len(means) + 1)
    return np.diff(sums, prepend=0.0)


def _step(values: Mapping[str, Any], dataset: ImageArrays, rows: npt.NDArray[np.int32]) -> tuple[Losses, float]:
    """Return the loss of each step of ours; and their sum where one launch takes all steps."""
    steps = preparation.compile_model(BASE_MODEL, values, dataset, 1).steps
    arrays = (*dataset.inputs.training, backends.current.copy_to_device(rows))
    single = [steps.train(*arrays, number, number + 1)[0] / rows.shape[1] for number in range(len(rows))]
    steps = preparation.compile_model(BASE_MODEL, values, dataset, 1).steps
    return np.array(single), steps.train(*arrays, 0, len(rows))[0] / rows.shape[1]


def _make_job(directory: str, epochs: int, **changed: Any) -> Train:
    values = BASE_TABLE.fill_defaults({"filters": 16, "dense_units": 64, **CHOSEN, "batch_norm": True})
    return Train(values, DIGITS, 1, epochs, "val_accuracy", 99, None, directory, checkpoint_every=0.0, **changed)


def _train(job: Train, stop_after: int | None = None) -> tuple[Any, list[npt.NDArray[Any]], list[EpochReport]]:
    """Train, or stop after an epoch with a checkpoint; return the end, the weights and the epochs."""
    training = preparation.prepare(job, loading.load(job.data))
    epochs: list[EpochReport] = []

    def on_epoch(metrics: Any, path: str | None, confusion: Any) -> Stop | None:
        epochs.append(EpochReport(metrics, path))
        return Stop(checkpoint=True) if metrics.epoch == stop_after else None

    end = fit.train(training, on_epoch, lambda *_: None)
    return end, [np.asarray(variable) for variable in training.model.variables], epochs


def resume() -> None:
    """Compare a training that was stopped and resumed with one that was not, and two that were not with each other.

    Where the device's kernels do not repeat themselves, once more with those that do, in this process anew.
    """
    length, stopped = (2, 1) if is_quick() else (6, 3)
    with tempfile.TemporaryDirectory() as directory:
        whole, again = (_train(_make_job(f"{directory}/{number}", length)) for number in (1, 2))
        left, *_ = _train(_make_job(f"{directory}/3", length), stopped)
        resumed = _train(replace(_make_job(f"{directory}/4", length), checkpoint=left.checkpoint))
    repeated, apart = _find_difference(whole, again), _find_difference(whole, resumed)
    figure = f"validation losses apart by {apart:.1e}; those of two uninterrupted trainings by {repeated:.1e}"
    check, fixed = f"resumed after epoch {stopped} of {length}", os.environ.get(DETERMINISTIC)
    if repeated and not fixed:
        report(check, figure)
        changed = {"TF_DETERMINISTIC_OPS": "1", DETERMINISTIC: "1"}
        if keras.backend.backend() == "jax":
            changed["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_gpu_deterministic_ops=true"
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **changed})
    if repeated:
        leave_out(f"{check}, deterministic kernels", f"no two trainings are equal here: {figure}")
        return
    report(f"{check}{', deterministic kernels' if fixed else ''}", figure, not apart)


def _find_difference(one: Any, other: Any) -> float:
    """Return the largest difference of validation losses between two trainings' common last epochs."""
    ends = min(len(one[2]), len(other[2]))
    pairs = zip(one[2][-ends:], other[2][-ends:], strict=True)
    return float(max(abs(first.metrics.val_loss - second.metrics.val_loss) for first, second in pairs))


def predict_as_evaluated() -> None:
    """Compare the test predictions of an evaluation with what the saved model predicts on the CPU."""
    with tempfile.TemporaryDirectory() as directory:
        job = replace(_make_job(directory, 1 if is_quick() else 5), data=replace(DIGITS, test=True))
        end, *_ = _train(job)
        assert isinstance(end, TrainingEnd)
        assert end.model is not None
        assert end.predictions is not None
        kept = predictions.load(Path(end.predictions))
        assert kept is not None
        found = predict_on_cpu(end.model, loading.load(job.data).x_val[:], Path(directory))
    apart = np.abs(kept.probabilities - found).max()
    same = (kept.probabilities.argmax(axis=1) == found.argmax(axis=1)).mean()
    accuracy = (found.argmax(axis=1) == kept.labels).mean()
    tolerated = TOLERATED * ROUNDING["float32"]
    figure = f"{len(found)} test images, accuracy {accuracy:.1%}: probabilities apart by at most {apart:.1e}"
    report("evaluation's predictions against the CPU's", f"{figure}, same class for {same:.1%}", apart <= tolerated)


if __name__ == "__main__":
    call_part({"losses": losses, "resume": resume, "predictions": predict_as_evaluated})
