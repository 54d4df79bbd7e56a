"""Where the time of a training step goes: the base model's operations by kind, in float32 and in bfloat16.

    taskset -c 0 python benchmarks/training_profile.py

TensorFlow's profiler records each operation of 40 steps of 32 images, made-up ones, and the two precisions take turns
five times. An operation's figure is the median over its 200 runs. With `taskset` TensorFlow uses one thread.
"""

import os
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from statistics import median

os.environ["CUDA_VISIBLE_DEVICES"] = ""

import numpy as np
import tensorflow as tf
from jax.profiler import ProfileData
from training import machine, markdown

from hpsearch.spec.hyperparameters import BASE_TABLE
from hpsearch.training import backends, model_building
from hpsearch.training.backends import BFLOAT16, FLOAT32, Layers, Steps
from hpsearch.training.epoch import compile_steps
from hpsearch.training.loading import PixelStatistics
from hpsearch.training.recipe.optimizers import make_optimizer
from hpsearch.training.requests import BASE_MODEL

BATCH, STEPS, ROUNDS = 32, 40, 5
SHAPE, CLASSES = (32, 32, 3), 10

KINDS = {
    "multiplications, with bias and ReLU": ("Conv2D", "MatMul"),
    "gradient of ReLU": ("ReluGrad",),
    "the optimizer's update": ("/sgd",),
    "dropout": ("dropout",),
    "pooling": ("pool",),
    "casts between the precisions": ("Cast",),
    "all else": ("",),
}
"""By what an operation's name contains; the first that fits."""


def compile_model(precision: str) -> Steps:
    """Return the compiled steps of the base model, as a trainer has them."""
    values = BASE_TABLE.fill_defaults({"batch_size": BATCH})
    layers = Layers(precision, backends.current.make_dropout, backends.current.make_batch_norm)
    statistics = PixelStatistics((120.0,) * 3, (60.0,) * 3)
    model = model_building.build(BASE_MODEL, values, SHAPE, CLASSES, 1, statistics, layers)
    return compile_steps(model, make_optimizer(values, network=model))


def draw_images() -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Return images, labels and the order of a launch."""
    random, count = np.random.default_rng(0), BATCH * STEPS
    images = random.integers(0, 256, (count, *SHAPE), np.uint8)
    labels = random.integers(0, CLASSES, count).astype(np.int32)
    return tuple(map(tf.constant, (images, labels, random.permutation(count).astype(np.int32).reshape(STEPS, BATCH))))


def record(steps: Steps, images: tuple[tf.Tensor, tf.Tensor, tf.Tensor]) -> Iterator[tuple[str, float]]:
    """Yield each operation of a launch, by name and milliseconds."""
    with tempfile.TemporaryDirectory() as directory:
        with tf.profiler.experimental.Profile(directory):
            steps.train(*images, 0, STEPS)
        (file,) = Path(directory).rglob("*.xplane.pb")
        profile = ProfileData.from_file(str(file))
    for plane in profile.planes:
        for line in plane.lines:
            yield from ((event.name, event.duration_ns / 1e6) for event in line.events if "while/body" in event.name)


def find_kind(operation: str) -> str:
    """Return the kind of an operation."""
    return next(kind for kind, parts in KINDS.items() if any(part in operation for part in parts))


def measure() -> dict[str, dict[str, float]]:
    """Return the milliseconds that a step spends on each kind of operation, by precision."""
    images = draw_images()
    compiled = {precision: compile_model(precision) for precision in (FLOAT32, BFLOAT16)}
    taken: dict[str, dict[str, list[float]]] = {precision: defaultdict(list) for precision in compiled}
    for steps in compiled.values():
        steps.train(*images, 0, STEPS)  # compiles
    for _ in range(ROUNDS):
        for precision, steps in compiled.items():
            for operation, milliseconds in record(steps, images):
                taken[precision][operation].append(milliseconds)
    spent = {precision: dict.fromkeys(KINDS, 0.0) for precision in compiled}
    for precision, operations in taken.items():
        for operation, each in operations.items():
            spent[precision][find_kind(operation)] += median(each) * len(each) / (ROUNDS * STEPS)
    return spent


def main() -> None:
    """Measure and print."""
    spent = measure()
    rows = [(kind, *(f"{milliseconds[kind]:.2f}" for milliseconds in spent.values())) for kind in KINDS]
    rows.append(("a step", *(f"{sum(milliseconds.values()):.2f}" for milliseconds in spent.values())))
    print(f"{machine()}\n\n{markdown(('milliseconds', *spent), rows)}")


if __name__ == "__main__":
    main()
