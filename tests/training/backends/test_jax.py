"""What JAX's file does beyond Keras: many steps a launch, on values that stay on the device."""

from collections.abc import Mapping

import keras
import numpy as np
import pytest

from hpsearch.spec.hyperparameters import BASE_TABLE
from hpsearch.spec.rows import Value
from hpsearch.training import backends, preparation
from hpsearch.training.loading import load
from hpsearch.training.requests import BASE_MODEL
from tests.support.training_jobs import DIGITS

pytestmark = [
    pytest.mark.tensorflow,
    pytest.mark.skipif(keras.backend.backend() != "jax", reason="it is JAX's file: set KERAS_BACKEND=jax"),
]

TINY: Mapping[str, Value] = {"filters": 4, "dense_units": 8, "batch_norm": True}


def test_steps_of_any_number_compile_once() -> None:
    """One step or nine in a launch run the same compiled loop, and sum up as ten in one launch do."""
    digits, order = load(DIGITS), np.arange(200, dtype=np.int32).reshape(10, 20)
    one, other = (preparation.compile_model(BASE_MODEL, BASE_TABLE.fill_defaults(TINY), digits, 1) for _ in range(2))
    parts, whole = one.steps, other.steps
    first, second = (parts.train(*digits.inputs.training, order, *bounds) for bounds in ((0, 1), (1, 10)))
    together = whole.train(*digits.inputs.training, order, 0, 10)
    assert np.allclose(np.add(first, second), together, rtol=1e-4)
    for result, expected in zip(one.model.variables, other.model.variables, strict=True):
        assert np.allclose(result, expected, rtol=1e-3, atol=1e-6), expected.path
    assert parts._train._cache_size() == 1  # type: ignore[attr-defined]


def test_state_is_handed_over() -> None:
    """The launch takes the memory of the values it was given: no second set of weights is on the device."""
    digits, order = load(DIGITS), np.arange(200, dtype=np.int32).reshape(10, 20)
    compiled = preparation.compile_model(BASE_MODEL, BASE_TABLE.fill_defaults(TINY), digits, 1)
    network, steps = compiled.model, compiled.steps
    before = [variable.value for variable in network.trainable_variables]
    steps.train(*digits.inputs.training, order, 0, 1)
    assert all(value.is_deleted() for value in before)


def test_a_cpu_keeps_to_float32() -> None:
    """XLA computes bfloat16 in float32 on a CPU, so that nothing would be gained."""
    if backends.name_device() == "GPU":
        pytest.skip("JAX sees a GPU")
    assert backends.current.list_precisions() == ("float32",)


def test_double_precision_reaches_keras() -> None:
    """Inside, what Keras computes of float64 is float64, to its last digits; afterwards types meet in float32 again."""
    exact = np.linspace(-2, 2, 7)
    with backends.current.allow_double_precision():
        result = keras.ops.tanh(keras.ops.convert_to_tensor(exact))
    assert np.allclose(result, np.tanh(exact), rtol=1e-14)
    assert keras.backend.result_type("float64", "float32") == "float32"
