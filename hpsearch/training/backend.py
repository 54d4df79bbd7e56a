"""What differs between TensorFlow and JAX, and Keras does not even out."""

import sys

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
