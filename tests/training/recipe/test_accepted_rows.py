"""What the study file's reader accepts, the recipe can run: values at random, and at the ends of their bounds."""

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import pytest

from hpsearch.errors import StudyFileError
from hpsearch.spec import loader
from hpsearch.spec.rows import Hyperparameter, Value
from hpsearch.spec.training_rows import TRAINING_ROWS
from hpsearch.training.model_layers import draw_seeds
from hpsearch.training.recipe.augmentation import list_layers
from hpsearch.training.recipe.objective import Objective
from hpsearch.training.recipe.optimizers import make_optimizer
from hpsearch.training.recipe.schedules import Schedule, set_epoch_rate

pytestmark = pytest.mark.tensorflow

SAMPLES = 15
LABELS = np.array([0, 1, 2, 0])


def choose(row: Hyperparameter, generator: np.random.Generator) -> Value:
    """A value in the bounds of a row, often an end of them."""
    if row.kind is bool:
        return bool(generator.integers(2))
    if row.choices:
        return str(generator.choice(row.choices))
    low = np.nextafter(row.low, 1.0) if row.above_low else row.low
    value = generator.choice([low, row.high, generator.uniform(low, row.high), generator.uniform(low, low + 1e-3)])
    return row.cast(max(int(row.low), int(value)) if row.kind is int else float(value))


def list_accepted(generator: np.random.Generator, data: str) -> Iterator[dict[str, Value]]:
    """Every row's value, of study files that fix some rows at random and are not refused."""
    while True:
        chosen = [row for row in TRAINING_ROWS if generator.random() < 0.4]
        fixed = {row.name: choose(row, generator) for row in chosen}
        try:
            spec = loader.from_dict({"study": {"name": "x"}, "data": {"name": data}, "fixed": fixed})
        except StudyFileError:
            continue
        yield spec.resolve_params({})


def run(values: dict[str, Value], images: np.ndarray[Any, Any], epochs: int, steps: int) -> None:
    """Let each part of the recipe do what it does in a training."""
    kernel, bias = keras.Variable(np.ones((4, 3), np.float32)), keras.Variable(np.ones(3, np.float32))
    optimizer, schedule = make_optimizer(values, epochs * steps), Schedule.read(values)
    optimizer.build([kernel, bias])
    for epoch in range(1, epochs + 1):
        assert np.isfinite(set_epoch_rate(optimizer, schedule, epoch, epochs, steps))
    # Behind units that are off, a gradient is 0.
    optimizer.apply([keras.ops.ones((4, 3)), keras.ops.zeros(3)], [kernel, bias])
    assert np.isfinite(np.array(kernel)).all()
    assert np.isfinite(np.array(bias)).all()
    objective = Objective.read(values, LABELS, 3)
    objective.start_epoch(1, 1)
    x = keras.ops.convert_to_tensor(images)
    for layer in list_layers(values, images.shape[-1], draw_seeds(1)):
        x = layer(x, training=True)
    x, y = objective.mix(x, keras.ops.convert_to_tensor(LABELS[: len(images)]))
    probabilities = keras.ops.softmax(keras.ops.ones((len(images), 3)))
    assert np.isfinite(float(objective.measure(y, probabilities)[0]))
    assert np.isfinite(np.array(x)).all()


@pytest.mark.parametrize("data", ["digits", "mnist"])
def test_what_is_accepted_runs(data: str) -> None:
    """Optimizer, schedule, augmentation and loss are made of whatever the reader lets pass, and give finite numbers."""
    generator = np.random.default_rng(14)
    accepted = list_accepted(generator, data)
    for _ in range(SAMPLES):
        values = next(accepted)
        shape = (int(generator.choice([1, 4])), *((32, 32, 3) if data == "digits" else (28, 28, 1)))
        images = generator.integers(0, 256, shape).astype(np.float32)
        try:
            run(values, images, *map(int, generator.integers(1, 5, 2)))
        except Exception as error:
            raise AssertionError(values) from error
