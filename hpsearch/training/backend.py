"""What differs between TensorFlow and JAX, and Keras does not even out."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import keras

from hpsearch import settings


def take_share() -> None:
    """Keeps to the share of the GPU's memory that the worker gave this trainer; to be called before the GPU is used."""
    share = settings.trainer_memory()
    if share is None or keras.backend.backend() != "tensorflow":
        return  # JAX has been told through its environment, see `settings.trainer_environment`
    import tensorflow as tf

    for gpu in tf.config.list_physical_devices("GPU"):
        limit = tf.config.LogicalDeviceConfiguration(memory_limit=share // 2**20)
        tf.config.set_logical_device_configuration(gpu, [limit])


def device() -> str:
    """What the framework computes on: "GPU" or "CPU". The first call takes hold of the device."""
    names = keras.distribution.list_devices()  # GPUs where it sees any, else the CPU
    return "CPU" if all(name.startswith("cpu") for name in names) else "GPU"


def device_memory(*, reset: bool = False) -> int | None:
    """Bytes that arrays have held on the GPU at most, since the start or the last `reset`; None where nobody knows.

    JAX knows no reset.
    """
    if device() == "CPU":
        return None
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        peak = int(tf.config.experimental.get_memory_info("GPU:0")["peak"])
        if reset:
            tf.config.experimental.reset_memory_stats("GPU:0")
        return peak
    if keras.backend.backend() == "jax":
        import jax

        return (jax.local_devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
    return None


def version() -> str:
    """The framework's own version."""
    return str(sys.modules[keras.backend.backend()].__version__)


def jit() -> bool | str:
    """`jit_compile` for `Model.compile`.

    XLA on TensorFlow's CPU is 4 to 8 times slower than its kernels for this network (measured on two cores), and
    compiles every trial anew; JAX computes nothing efficiently without it.
    """
    return False if keras.backend.backend() == "tensorflow" else "auto"


def out_of_memory(error: BaseException) -> bool:
    """Whether `error` says that the device or the host has no memory left.

    TensorFlow raises ResourceExhaustedError, JAX an XlaRuntimeError that begins with RESOURCE_EXHAUSTED.
    """
    if isinstance(error, MemoryError) or type(error).__name__ == "ResourceExhaustedError":
        return True
    return "RESOURCE_EXHAUSTED" in str(error)


def forget() -> None:
    """Frees what a trial left behind: Keras and its framework keep models, graphs and compiled steps of their own.

    On TensorFlow that takes more than `clear_session`: Keras's optimizers reduce gradients by a custom gradient, whose
    graph TensorFlow registers for ever under a name of its own, 3 to 8 MB a trial. Nothing public takes it back.
    """
    operations = sys.modules.get("tensorflow.python.framework.ops")
    registered = getattr(getattr(operations, "gradient_registry", None), "_registry", {})
    for name in [name for name in registered if name.startswith("CustomGradient-")]:
        del registered[name]
    keras.backend.clear_session()  # and that collects the garbage


@contextmanager
def double_precision() -> Iterator[None]:
    """Models made inside compute in float64; JAX has that turned off by default, TensorFlow has no switch for it."""
    floatx, policy = keras.config.floatx(), keras.config.dtype_policy()
    jax = sys.modules.get("jax") if keras.backend.backend() == "jax" else None
    wide = jax and jax.config.jax_enable_x64
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    if jax:
        jax.config.update("jax_enable_x64", True)
    try:
        yield
    finally:
        if jax:
            jax.config.update("jax_enable_x64", wide)
        keras.config.set_dtype_policy(policy)
        keras.config.set_floatx(floatx)
