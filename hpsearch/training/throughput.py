"""How long an epoch takes on this device, and how much memory."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import psutil

from hpsearch.training import backends, fit
from hpsearch.training.epoch import predict, run_epoch
from hpsearch.training.loading import ImageArrays

STEPS, SECONDS = 300, 3.0
"""A pass over the images is cut off after so many batches or seconds, whichever comes first, and extrapolated."""

LEAST = 5
"""Batches that are waited for, however long they take."""


@dataclass(frozen=True)
class Throughput:
    """Seconds an epoch, training and validation; bytes that the process holds, and at most on the GPU where known."""

    seconds: float
    resident: int
    device: int | None


def measure(hyperparameters: Mapping[str, Any], dataset: ImageArrays, seed: int) -> Throughput:
    """Trains as a trial does, on the study's own images and batches, for as long as an estimate takes."""
    _, steps = fit.build_and_compile(hyperparameters, dataset, seed)
    backends.current.read_peak_memory(reset=True)
    size, held = hyperparameters["batch_size"], fit.choose_validation_batch(hyperparameters["batch_size"])
    order = np.random.default_rng(seed).permutation(len(dataset.y_train))
    x, y, x_val = dataset.resident.x_train, dataset.resident.y_train, dataset.resident.x_val
    # The first batches compile the step, which happens once a trial and not once an epoch. Of the whole order, because
    # a backend may compile another one for a few batches.
    run_epoch(steps, x, y, order, size, lambda done, _: done < 2)
    predict(steps, x_val[: 2 * held], held, lambda *_: True)
    trained = _timed(len(order), size, lambda watch: run_epoch(steps, x, y, order, size, watch))
    validated = _timed(len(x_val), held, lambda watch: predict(steps, x_val, held, watch))
    return Throughput(trained + validated, psutil.Process().memory_info().rss, backends.current.read_peak_memory())


def _timed(images: int, size: int, run: Callable[[Callable[[int, float], bool]], object]) -> float:
    """Seconds that `run` takes for a pass over `images` in batches of `size`."""
    batches = math.ceil(images / size)
    began = time.monotonic()
    ends: list[tuple[int, float]] = []

    def watch(batch: int, loss: float) -> bool:
        ends.append((batch, time.monotonic()))
        return batch < LEAST or (batch < STEPS and ends[-1][1] - began < SECONDS)

    run(watch)
    (first, early), (last, late) = ends[0], ends[-1]
    if last == batches:
        return time.monotonic() - began
    # What comes before the first batches, such as the shuffle, is there once; the batches after them are alike.
    return early - began + (batches - first) * (late - early) / (last - first)
