"""The compiled steps of whichever backend runs: what they leave behind is what Keras's own `fit` does."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import pytest

from hpsearch.spec.hyperparameters import BASE_TABLE
from hpsearch.spec.rows import Value
from hpsearch.training import model_building, preparation
from hpsearch.training.epoch import run_epoch
from hpsearch.training.images.parts import ImagePart
from hpsearch.training.loading import ImageArrays, load
from hpsearch.training.recipe.optimizers import make_optimizer, use_averages
from hpsearch.training.recipe.schedules import Schedule, set_epoch_rate
from hpsearch.training.requests import BASE_MODEL
from tests.support.training_jobs import DIGITS

pytestmark = pytest.mark.tensorflow

SMALL: Mapping[str, Value] = {
    "filters": 4,
    "dense_units": 8,
    "dropout": 0.0,
    "l2": 1e-3,
    "precision": "float32",
}


@pytest.mark.parametrize(
    "chosen", [*({"optimizer": name} for name in BASE_TABLE["optimizer"].choices), {"activation": "prelu"}], ids=str
)
def test_steps_are_those_of_keras(chosen: dict[str, Any]) -> None:
    """After an epoch whose last step is smaller, weights and optimizer's variables are those of `keras.Model.fit`."""
    values = BASE_TABLE.fill_defaults({**SMALL, **chosen})
    digits = load(DIGITS)
    compiled = preparation.compile_model(BASE_MODEL, values, digits, 1)
    ours, steps = compiled.model, compiled.steps
    theirs = model_building.build(BASE_MODEL, values, (32, 32, 3), 10, 1, digits.statistics)
    theirs.compile(
        make_optimizer(values, network=theirs),
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
        jit_compile=False,
    )
    figures = run_epoch(steps, *digits.inputs.training, np.arange(200), 30, lambda *_: True)
    seen = theirs.fit(digits.x_train[:], digits.y_train, 30, shuffle=False, verbose=0).history
    for variable, expected in zip(
        ours.variables + ours.optimizer.variables, theirs.variables + theirs.optimizer.variables, strict=True
    ):
        assert np.allclose(variable, expected, rtol=1e-3, atol=1e-6), expected.path
    assert figures is not None
    assert np.isclose(figures.accuracy, seen["accuracy"][0])
    assert 0 < figures.loss < seen["loss"][0]  # theirs has the penalty in it


@pytest.mark.parametrize("precision", ["float32", "auto"])
def test_batch_norm_knows_what_it_saw(precision: str) -> None:
    """After three steps on the same images, with weights that stay, the network predicts as it does in training."""
    digits = load(DIGITS)
    values: dict[str, Value] = {
        "filters": 4,
        "dense_units": 8,
        "dropout": 0.0,
        "batch_norm": True,
        "optimizer": "sgd",
    }
    compiled = preparation.compile_model(
        BASE_MODEL, BASE_TABLE.fill_defaults({**values, "learning_rate": 1e-9, "precision": precision}), digits, 1
    )
    network, steps = compiled.model, compiled.steps
    steps.train(*digits.inputs.training, np.tile(np.arange(100, dtype=np.int32), (3, 1)), 0, 3)
    images = digits.x_train[:100]
    trained = keras.ops.convert_to_numpy(network(images, training=True))
    assert trained.std(axis=0).min() > 0.01
    assert np.allclose(trained, steps.predict(images), atol=1e-3 if precision == "float32" else 2e-2)


@dataclass(frozen=True)
class Equivalent:
    """Rows of the table, and what a user of Keras would write for them."""

    rows: Mapping[str, Value]
    optimizer: Callable[[], keras.optimizers.Optimizer]
    loss: Any = "sparse_categorical_crossentropy"
    balanced: bool = False
    whole_batches: bool = False
    """The epoch has no smaller last batch, which JAX compiles too: of random changes to images that takes long."""

    def __str__(self) -> str:
        return " ".join(f"{name}={value}" for name, value in self.rows.items())


RATE, EPOCHS, BATCH, STEPS = 0.01, 2, 20, 2 * 7

optimizers, schedules = keras.optimizers, keras.optimizers.schedules

EQUIVALENTS = [
    Equivalent({"optimizer": "sgd", "weight_decay": 0.1}, lambda: optimizers.SGD(RATE, weight_decay=0.1)),
    Equivalent({"weight_decay": 0.1}, lambda: optimizers.SGD(RATE, momentum=0.9, nesterov=True, weight_decay=0.1)),
    Equivalent(
        {"optimizer": "adamw", "weight_decay": 0.1, "beta_1": 0.8, "beta_2": 0.9, "epsilon": 1e-3},
        lambda: optimizers.AdamW(RATE, weight_decay=0.1, beta_1=0.8, beta_2=0.9, epsilon=1e-3),
    ),
    Equivalent({"optimizer": "nadam", "beta_1": 0.8}, lambda: optimizers.Nadam(RATE, beta_1=0.8)),
    Equivalent({"optimizer": "adamax", "beta_2": 0.9}, lambda: optimizers.Adamax(RATE, beta_2=0.9)),
    Equivalent({"optimizer": "lion", "learning_rate": 1e-3}, lambda: optimizers.Lion(1e-3)),
    Equivalent({"optimizer": "muon"}, lambda: optimizers.Muon(RATE, exclude_layers=["head"])),
    Equivalent({"optimizer": "rmsprop", "epsilon": 1e-3}, lambda: optimizers.RMSprop(RATE, epsilon=1e-3)),
    Equivalent({"optimizer": "adagrad", "epsilon": 1e-3}, lambda: optimizers.Adagrad(RATE, epsilon=1e-3)),
    Equivalent({"optimizer": "adam", "clipnorm": 0.01}, lambda: optimizers.Adam(RATE, clipnorm=0.01)),
    Equivalent({"optimizer": "adam", "ema": 0.8}, lambda: optimizers.Adam(RATE, use_ema=True, ema_momentum=0.8)),
    Equivalent(
        {"optimizer": "adam", "gradient_accumulation": 3}, lambda: optimizers.Adam(RATE, gradient_accumulation_steps=3)
    ),
    Equivalent(
        {"optimizer": "adam", "schedule": "exponential", "final_rate": 0.01},
        lambda: optimizers.Adam(schedules.ExponentialDecay(RATE, STEPS // EPOCHS, 0.1, staircase=True)),
    ),
    Equivalent(
        {"optimizer": "adam", "schedule": "cosine", "warmup": 0.5, "final_rate": 0.1},
        lambda: optimizers.Adam(
            schedules.CosineDecay(0.0, STEPS // 2, 0.1, warmup_target=RATE, warmup_steps=STEPS // 2)
        ),
    ),
    Equivalent(
        {"optimizer": "sgd", "schedule": "one_cycle", "warmup": 0.5},
        lambda: optimizers.SGD(
            schedules.CosineDecay(RATE / 25, STEPS // 2, warmup_target=RATE, warmup_steps=STEPS // 2)
        ),
    ),
    Equivalent(
        {"optimizer": "sgd", "label_smoothing": 0.2},
        lambda: optimizers.SGD(RATE),
        keras.losses.CategoricalCrossentropy(label_smoothing=0.2),
    ),
    Equivalent(
        {"optimizer": "sgd", "class_weight": "balanced"},
        lambda: optimizers.SGD(RATE),
        balanced=True,
    ),
    Equivalent(
        {"optimizer": "sgd", "class_weight": "balanced", "label_smoothing": 0.2, "schedule": "exponential"},
        lambda: optimizers.SGD(schedules.ExponentialDecay(RATE, STEPS // EPOCHS, 0.1, staircase=True)),
        keras.losses.CategoricalCrossentropy(label_smoothing=0.2),
        balanced=True,
    ),
    Equivalent({"optimizer": "sgd", "augment": True}, lambda: optimizers.SGD(RATE)),
    Equivalent(
        {"optimizer": "sgd", "flip": "both", "rotation": 0.1, "zoom": 0.2, "color": 0.3, "erasing": 0.5},
        lambda: optimizers.SGD(RATE),
        whole_batches=True,
    ),
    Equivalent({"optimizer": "sgd", "randaugment": 0.3}, lambda: optimizers.SGD(RATE), whole_batches=True),
]


NO_KINKS = {"activation": "tanh"}
"""At a kink of ReLU, a rounding error of one step is a large difference soon after."""


@pytest.mark.timeout(900)  # JAX compiles randaugment's many cases: minutes where other tests run beside it
@pytest.mark.parametrize("case", EQUIVALENTS, ids=str)
def test_recipe_is_that_of_keras(case: Equivalent) -> None:
    """Two epochs by the rows of the table leave the weights and averages that Keras's `fit` leaves."""
    digits = keep_unbalanced(load(DIGITS))
    if case.whole_batches:
        digits = keep(digits, np.arange(len(digits.y_train) // BATCH * BATCH))
    labels, count = digits.y_train, len(digits.y_train)
    values = BASE_TABLE.fill_defaults({"learning_rate": RATE, "batch_size": BATCH, **SMALL, **NO_KINKS, **case.rows})
    compiled = preparation.compile_model(BASE_MODEL, values, digits, 1, EPOCHS)
    ours, steps = compiled.model, compiled.steps
    theirs = model_building.build(BASE_MODEL, values, (32, 32, 3), 10, 1, digits.statistics)
    theirs.compile(case.optimizer(), case.loss, jit_compile=False)
    for epoch in range(1, EPOCHS + 1):
        set_epoch_rate(ours.optimizer, Schedule.read(values), epoch, EPOCHS, math.ceil(count / BATCH))
        run_epoch(steps, *digits.inputs.training, np.arange(count), BATCH, lambda *_: True)
    targets = labels if isinstance(case.loss, str) else np.eye(10)[labels]
    weights = dict(enumerate(count / 10 / np.bincount(labels))) if case.balanced else None
    theirs.fit(digits.x_train[:], targets, BATCH, EPOCHS, shuffle=False, verbose=0, class_weight=weights)
    start = model_building.build(BASE_MODEL, values, (32, 32, 3), 10, 1, digits.statistics)
    with use_averages(ours):  # `fit` ends with them
        for mine, expected, before in zip(ours.variables, theirs.variables, start.variables, strict=True):
            moved = np.abs(np.array(expected) - np.array(before)).max()
            assert np.allclose(mine, expected, rtol=1e-3, atol=1e-3 * moved + 1e-7), expected.path


def keep_unbalanced(images: ImageArrays) -> ImageArrays:
    """All images of five classes, and a third of the others."""
    return keep(images, np.flatnonzero((images.y_train < 5) | (np.arange(len(images.y_train)) % 3 == 0)))


def keep(images: ImageArrays, kept: npt.NDArray[np.int64]) -> ImageArrays:
    """Those training images."""
    part = ImagePart(images.x_train.source, images.x_train.indices[kept])
    return replace(images, x_train=part, y_train=images.y_train[kept])


@pytest.mark.parametrize(
    ("rows", "layers"),
    [
        ({"mixup": 0.4}, [lambda: keras.layers.MixUp(0.4)]),
        ({"cutmix": 1.0}, [lambda: keras.layers.CutMix(1.0)]),
        (
            {"mixup": 0.4, "cutmix": 1.0, "label_smoothing": 0.1, "class_weight": "balanced"},
            [lambda: keras.layers.MixUp(0.4), lambda: keras.layers.CutMix(1.0)],
        ),
    ],
    ids=["mixup", "cutmix", "both"],
)
def test_mixing_is_that_of_keras(rows: dict[str, Value], layers: list[Callable[[], keras.layers.Layer]]) -> None:
    """An epoch leaves the weights that Keras's `fit` leaves on batches that its own layers mixed."""
    digits = keep_unbalanced(load(DIGITS))
    labels, count = digits.y_train, len(digits.y_train)
    values = BASE_TABLE.fill_defaults(
        {"optimizer": "sgd", "learning_rate": RATE, "batch_size": BATCH, **SMALL, **NO_KINKS, **rows}
    )
    compiled = preparation.compile_model(BASE_MODEL, values, digits, 1)
    ours, steps = compiled.model, compiled.steps
    theirs = model_building.build(BASE_MODEL, values, (32, 32, 3), 10, 1, digits.statistics)
    smoothing = float(rows.get("label_smoothing", 0.0))
    theirs.compile(
        keras.optimizers.SGD(RATE), keras.losses.CategoricalCrossentropy(label_smoothing=smoothing), jit_compile=False
    )
    weights = dict(enumerate(count / 10 / np.bincount(labels))) if "class_weight" in rows else None
    steps.objective.start_epoch(5, 1)
    mixing = [make() for make in layers]
    for layer, state in zip(mixing, steps.objective.variables, strict=True):
        layer.generator.state.assign(np.array(state.value))  # a copy: a step may take over the memory of a value
    run_epoch(steps, *digits.inputs.training, np.arange(count), BATCH, lambda *_: True)
    for start in range(0, count, BATCH):
        rows_of_batch = slice(start, start + BATCH)
        batch: Any = {
            "images": digits.x_train[rows_of_batch].astype(np.float32),
            "labels": np.eye(10, dtype=np.float32)[labels[rows_of_batch]],
        }
        for layer in mixing:
            batch = layer(batch, training=True)
        images, targets = (keras.ops.convert_to_numpy(batch[name]) for name in ("images", "labels"))
        theirs.fit(images, targets, BATCH, shuffle=False, verbose=0, class_weight=weights)
    for mine, expected in zip(ours.variables, theirs.variables, strict=True):
        assert np.allclose(mine, expected, rtol=1e-3, atol=1e-5), expected.path
