"""What TensorFlow's file does faster than Keras: the same norms and chance of being dropped."""

import keras
import numpy as np
import pytest

from hpsearch.spec.hyperparameters import BASE_TABLE
from hpsearch.training import backends, model_building, preparation
from hpsearch.training.loading import load
from hpsearch.training.requests import BASE_MODEL
from tests.support.training_jobs import DIGITS

pytestmark = [
    pytest.mark.tensorflow,
    pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="it is TensorFlow's file"),
]


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.25, 0.5, 0.95])
def test_dropout_drops_its_rate(rate: float) -> None:
    """Of a million activations the rate is dropped, within five standard errors and a byte's step; none otherwise."""
    layer = backends.current.make_dropout(rate, seed=3)
    ones = np.ones((100, 10_001), np.float32)
    outputs = np.array(layer(ones, training=True))
    error = 5 * np.sqrt(max(rate * (1 - rate), 1e-12) / outputs.size) + 1 / 256 * (rate > 0)
    assert abs((outputs == 0).mean() - rate) <= error
    assert np.allclose(outputs[outputs > 0], 1 / (1 - rate), rtol=1e-6)
    assert np.array_equal(np.array(layer(ones, training=False)), ones)


def test_dropout_rate_is_exact_over_steps() -> None:
    """A rate between two bytes' is met on average: 400 steps of 0.3 drop it within five standard errors."""
    layer = backends.current.make_dropout(0.3, seed=3)
    dropped = [(np.array(layer(np.ones((1, 10_000), np.float32), training=True)) == 0).mean() for _ in range(400)]
    assert abs(np.mean(dropped) - 0.3) <= 5 * np.std(dropped) / np.sqrt(len(dropped))
    assert len({round(float(each), 4) for each in dropped}) > 100  # another draw each step


@pytest.mark.parametrize("shape", [(16, 5, 5, 3), (16, 7)])
def test_batch_norm_is_that_of_keras(shape: tuple[int, ...]) -> None:
    """Its outputs, its gradients and what it remembers, of images and of a dense layer's outputs."""
    tf = pytest.importorskip("tensorflow")
    ours, theirs = backends.current.make_batch_norm(momentum=0.9), keras.layers.BatchNormalization(momentum=0.9)
    images = tf.constant(np.random.default_rng(0).normal(2, 3, shape).astype(np.float32))
    weight = tf.constant(np.random.default_rng(1).normal(size=shape).astype(np.float32))
    results = []
    for layer in (ours, theirs):
        layer.build(shape)
        layer.gamma.assign(np.linspace(0.5, 2, shape[-1]))
        with tf.GradientTape() as tape:
            tape.watch(images)
            outputs = layer(images, training=True)
            loss = tf.reduce_sum(outputs * weight)
        gradients = tape.gradient(loss, [images, *(each.value for each in layer.trainable_variables)])
        results.append([outputs, *gradients, *layer.variables, layer(images, training=False)])
    for mine, keras_own in zip(*results, strict=True):
        assert np.allclose(mine, keras_own, rtol=1e-3, atol=1e-4)


def test_layers_on_a_gpu_are_those_of_keras(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ours have been measured on processors alone; the moving averages still start unbiased, by the steps."""
    monkeypatch.setattr(backends.current, "_has_gpu", lambda: True)
    values = BASE_TABLE.fill_defaults(
        {"filters": 4, "dense_units": 8, "batch_norm": True, "dropout": 0.5, "precision": "float32"}
    )
    steps = preparation.compile_model(BASE_MODEL, values, load(DIGITS), 1).steps
    layers = list(backends.walk_layers(steps.model))
    calls = {type(layer).call for layer in layers if isinstance(layer, keras.layers.Dropout)}
    assert calls == {keras.layers.Dropout.call}
    norms = [layer for layer in layers if isinstance(layer, keras.layers.BatchNormalization)]
    assert {type(norm).call for norm in norms} == {keras.layers.BatchNormalization.call}
    assert len(backends.list_moving_averages(steps.model)) == 2 * len(norms) > 0


def test_models_of_a_search_are_kept_in_stock_layers() -> None:
    """What trains may have layers of its own and compute in bfloat16; its variables are those of the stock network."""
    values = BASE_TABLE.fill_defaults({"filters": 4, "dense_units": 8, "batch_norm": True, "augment": True})
    digits = load(DIGITS)
    trained = preparation.compile_model(BASE_MODEL, values, digits, 1).model
    stock = model_building.build(BASE_MODEL, values, (32, 32, 3), 10, 1, digits.statistics)
    for ours, theirs in zip(trained.variables, stock.variables, strict=True):
        assert (ours.name, ours.shape, ours.dtype) == (theirs.name, theirs.shape, theirs.dtype)
    assert {each.dtype_policy.name for each in stock.layers} == {"float32"}
    assert all(type(each).__module__.startswith("keras.") for each in stock.layers)
