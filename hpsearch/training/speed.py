"""How long an epoch takes on this device, and how much memory."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import psutil

from hpsearch.training import backend, fit, model
from hpsearch.training.data import Dataset
from hpsearch.training.epoch import compile_for, predict, run_epoch

STEPS, SECONDS = 300, 3.0
"""A pass over the images is cut off after so many batches or seconds, whichever comes first, and extrapolated."""

LEAST = 5
"""Batches that are waited for, however long they take."""


@dataclass(frozen=True)
class Speed:
    """Seconds an epoch, training and validation; bytes that the process holds, and at most on the GPU where known."""

    seconds: float
    resident: int
    device: int | None


def measure(hyperparameters: Mapping[str, Any], dataset: Dataset, seed: int) -> Speed:
    """Trains as a trial does, on the study's own images and batches, for as long as an estimate takes."""
    shape = dataset.x_train.shape[1:]
    network = model.build(hyperparameters, shape, len(dataset.classes), seed, dataset.statistics)
    compile_for(network, model.optimizer(hyperparameters))
    backend.device_memory(reset=True)
    size, held = hyperparameters["batch_size"], fit.validation_batch(hyperparameters["batch_size"])
    order = np.random.default_rng(seed).permutation(len(dataset.y_train))
    x, y, x_val = dataset.x_train, dataset.y_train, dataset.x_val
    # The first batches compile the step, which happens once a trial and not once an epoch.
    run_epoch(network, x, y, order[: 2 * size], size, lambda *_: True)
    predict(network, x_val[: 2 * held], held, lambda *_: True)
    trained = _timed(len(y), size, lambda watch: run_epoch(network, x, y, order, size, watch))
    validated = _timed(len(x_val), held, lambda watch: predict(network, x_val, held, watch))
    return Speed(trained + validated, psutil.Process().memory_info().rss, backend.device_memory())


def _timed(images: int, size: int, run: Callable[[Callable[[int, float], bool]], object]) -> float:
    """Seconds that `run` takes for a pass over `images` in batches of `size`."""
    batches = math.ceil(images / size)
    began = time.monotonic()
    ends: list[float] = []

    def watch(batch: int, loss: float) -> bool:
        ends.append(time.monotonic())
        return batch < LEAST or (batch < STEPS and ends[-1] - began < SECONDS)

    run(watch)
    if len(ends) == batches:
        return time.monotonic() - began
    # What comes before the first batch, such as the shuffle, is there once; the batches after it are alike.
    return ends[0] - began + (batches - 1) * (ends[-1] - ends[0]) / (len(ends) - 1)
