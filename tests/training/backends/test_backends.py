"""What differs by backend: errors of memory, and what a trial leaves behind."""

import gc

import keras
import pytest

from hpsearch.training import backends, fit, loading, preparation
from tests.support.training_jobs import MakeJob

pytestmark = pytest.mark.tensorflow


@pytest.mark.parametrize(
    ("error", "memory"),
    [
        (MemoryError(), True),
        (type("ResourceExhaustedError", (Exception,), {})("OOM when allocating tensor"), True),
        (RuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 8 bytes"), True),
        (ValueError("shapes do not fit"), False),
    ],
)
def test_out_of_memory_is_told_from_other_errors(error: Exception, memory: bool) -> None:
    """TensorFlow's, JAX's and Python's own errors for it count, and no other."""
    assert backends.is_out_of_memory(error) is memory


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="graphs are TensorFlow's")
def test_graphs_of_a_trial_are_forgotten(job: MakeJob) -> None:
    """A trainer serves a thousand trials: none may leave its graphs behind."""

    def graphs() -> int:
        trial = job({"l2": 1e-4, "batch_norm": True}, epochs=1)
        fit.train(preparation.prepare(trial, loading.load(trial.data)), lambda *_: None, lambda *_: None)
        backends.current.free_memory()
        return sum(type(thing).__name__ == "FuncGraph" for thing in gc.get_objects())

    assert graphs() == graphs()
