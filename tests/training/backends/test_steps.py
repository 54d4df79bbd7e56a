"""The compiled steps of whichever backend runs: what they leave behind is what Keras's own `fit` does."""

from typing import Any

import keras
import numpy as np
import pytest

from hpsearch.spec.hyperparameters import BASE_TABLE
from hpsearch.spec.rows import Value
from hpsearch.training import model_building, preparation
from hpsearch.training.epoch import run_epoch
from hpsearch.training.loading import load
from hpsearch.training.optimizers import make_optimizer
from hpsearch.training.protocol import BASE_MODEL
from tests.support.training_jobs import DIGITS

pytestmark = pytest.mark.tensorflow


@pytest.mark.parametrize(
    "chosen", [*({"optimizer": name} for name in BASE_TABLE["optimizer"].choices), {"activation": "prelu"}], ids=str
)
def test_steps_are_those_of_keras(chosen: dict[str, Any]) -> None:
    """After an epoch whose last step is smaller, weights and optimizer's variables are those of `keras.Model.fit`."""
    values = BASE_TABLE.fill_defaults(
        {"filters": 4, "dense_units": 8, "dropout": 0.0, "l2": 1e-3, "precision": "float32", **chosen}
    )
    digits = load(DIGITS)
    ours, steps = preparation.build_and_compile(BASE_MODEL, values, digits, 1)
    theirs = model_building.build(BASE_MODEL, values, (32, 32, 3), 10, 1, digits.statistics)
    theirs.compile(make_optimizer(values), "sparse_categorical_crossentropy", metrics=["accuracy"], jit_compile=False)
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
    network, steps = preparation.build_and_compile(
        BASE_MODEL, BASE_TABLE.fill_defaults({**values, "learning_rate": 1e-9, "precision": precision}), digits, 1
    )
    steps.train(*digits.inputs.training, np.tile(np.arange(100, dtype=np.int32), (3, 1)), 0, 3)
    images = digits.x_train[:100]
    trained = keras.ops.convert_to_numpy(network(images, training=True))
    assert trained.std(axis=0).min() > 0.01
    assert np.allclose(trained, steps.predict(images), atol=1e-3 if precision == "float32" else 2e-2)
