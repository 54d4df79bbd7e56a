"""How long an epoch takes on this device, and how much memory."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import psutil

from hpsearch.training import backends
from hpsearch.training.checks.check_context import CheckContext
from hpsearch.training.epoch import choose_validation_batch, predict

MAX_BATCHES, MAX_SECONDS = 300, 3.0
"""A pass over the images is cut off after so many batches or seconds, whichever comes first, and extrapolated."""

MIN_BATCHES = 5
"""Batches that a pass trains at least, however long they take."""


@dataclass(frozen=True)
class Throughput:
    """Seconds per epoch, training and validation; bytes that the process holds, and at most on the GPU where known."""

    seconds: float
    resident: int
    device: int | None


def measure(context: CheckContext, hyperparameters: Mapping[str, Any]) -> Throughput:
    """Train as a trial does, on the study's own images and batches, for as long as an estimate takes."""
    dataset = context.dataset
    training = context.train(hyperparameters)
    backends.current.read_peak_memory(reset=True)
    batch_size = hyperparameters["batch_size"]
    validation_batch = choose_validation_batch(batch_size)
    order = np.random.default_rng(context.seed).permutation(len(dataset.y_train))
    steps, x_val = training.steps, dataset.inputs.x_val
    # The first batches compile the step, once a trial and not once an epoch. Of the whole order, because a backend may
    # compile another one for a few batches.
    training.run(order, batch_size, lambda done, _: done < 2)
    predict(steps, x_val[: 2 * validation_batch], validation_batch, lambda *_: True)
    trained = _time_pass(len(order), batch_size, lambda watch: training.run(order, batch_size, watch))
    validated = _time_pass(len(x_val), validation_batch, lambda watch: predict(steps, x_val, validation_batch, watch))
    return Throughput(trained + validated, psutil.Process().memory_info().rss, backends.current.read_peak_memory())


def _time_pass(images: int, batch_size: int, run: Callable[[Callable[[int, float], bool]], object]) -> float:
    """Return the seconds that `run` takes for a pass over `images` in batches of `batch_size`."""
    batches = math.ceil(images / batch_size)
    began = time.monotonic()
    ends: list[tuple[int, float]] = []

    def watch(batch: int, loss: float) -> bool:
        ends.append((batch, time.monotonic()))
        return batch < MIN_BATCHES or (batch < MAX_BATCHES and ends[-1][1] - began < MAX_SECONDS)

    run(watch)
    (first, early), (last, late) = ends[0], ends[-1]
    if last == batches:
        return time.monotonic() - began
    # What precedes the first batches, such as the shuffle, happens once; the batches after them take equally long.
    return early - began + (batches - first) * (late - early) / (last - first)
