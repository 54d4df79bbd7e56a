"""The TensorFlow backend: its training steps, its layers and what it knows of the device; see `backends.Backend`."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from hpsearch.training.backends import BFLOAT16, FLOAT32, UnbiasedBatchNorm, list_moving_averages
from hpsearch.training.backends.tensorflow_layers import ByteDropout, FusedBatchNorm
from hpsearch.training.recipe.objective import Objective
from hpsearch.training.recipe.optimizers import get_step_count

BFLOAT16_CAPABILITY = (8, 0)
"""The compute capability from which NVIDIA's tensor cores multiply bfloat16 (Ampere)."""


def limit_memory(limit: int) -> None:
    for gpu in tf.config.list_physical_devices("GPU"):
        memory = tf.config.LogicalDeviceConfiguration(memory_limit=limit // 2**20)
        tf.config.set_logical_device_configuration(gpu, [memory])


def keep_compiled(directory: Path) -> None:
    """Do nothing: TensorFlow keeps no graph that another process could take."""


def read_peak_memory(*, reset: bool = False) -> int | None:
    if not tf.config.list_logical_devices("GPU"):
        return None
    peak = int(tf.config.experimental.get_memory_info("GPU:0")["peak"])
    if reset:
        tf.config.experimental.reset_memory_stats("GPU:0")
    return peak


def list_precisions() -> tuple[str, ...]:
    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        return FLOAT32, BFLOAT16
    capability = tf.config.experimental.get_device_details(gpus[0]).get("compute_capability", (0, 0))
    return (BFLOAT16 if capability >= BFLOAT16_CAPABILITY else FLOAT32,)


def make_dropout(rate: float, seed: int) -> keras.layers.Layer:
    return keras.layers.Dropout(rate, seed=seed) if _has_gpu() else ByteDropout(rate, seed=seed)


def make_batch_norm(momentum: float, gamma_initializer: str = "ones") -> UnbiasedBatchNorm:
    layer = UnbiasedBatchNorm if _has_gpu() else FusedBatchNorm
    return layer(momentum=momentum, gamma_initializer=gamma_initializer)


def _has_gpu() -> bool:
    """Return whether a GPU computes: layers of our own have been measured on processors only."""
    return bool(tf.config.list_physical_devices("GPU"))


def copy_to_device(array: npt.NDArray[Any]) -> tf.Tensor:
    return tf.convert_to_tensor(array)


class TensorFlowSteps:
    """See `backends.Steps`."""

    def __init__(self, model: keras.Model, optimizer: keras.optimizers.Optimizer, objective: Objective) -> None:
        self.model, self.objective, self._optimizer = model, objective, optimizer
        self._averages = list_moving_averages(model)
        self._trains: dict[int, Callable[..., tuple[tf.Tensor, tf.Tensor]]] = {}
        self._predict: Callable[[tf.Tensor], tf.Tensor] | None = None

    def train(self, images: Any, labels: Any, order: Any, first: int, last: int) -> tuple[float, float]:
        images, labels, order = (tf.convert_to_tensor(array) for array in (images, labels, order))
        batch = order.shape[1]
        if len(order) == 1 and not _has_gpu():
            # What is left of an epoch is one step. Compiling it takes 0.5 CPU-s a trial, not compiling it 0.05 an
            # epoch, and most trials of a search are pruned after a few.
            entropy, right = self._step(tf.gather(images, order[0]), tf.gather(labels, order[0]))
            return float(entropy), float(right)
        if batch not in self._trains:
            # A batch of a known size is 3% faster than one of any size. XLA on the CPU is 4 to 8 times slower than
            # TensorFlow's own kernels for this network, and compiles long.
            signature = [_any_number(tensor) for tensor in (images, labels, order)]
            signature += [tf.TensorSpec((), tf.int32)] * 2
            # Autograph would read this file again, which an upgrade may have changed in the meantime.
            self._trains[batch] = tf.function(self._loop, input_signature=signature, autograph=False)
        entropy, right = self._trains[batch](images, labels, order, first, last)
        return float(entropy), float(right)

    def predict(self, images: Any) -> npt.NDArray[np.float32]:
        images = tf.convert_to_tensor(images)
        if self._predict is None:
            model = self.model
            self._predict = tf.function(
                lambda images: model(images, training=False),
                input_signature=[_any_number(images)],
                autograph=False,
            )
        return self._predict(images).numpy()  # type: ignore[no-any-return]

    def _loop(
        self, images: tf.Tensor, labels: tf.Tensor, order: tf.Tensor, first: tf.Tensor, last: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        def step(number: tf.Tensor, entropy: tf.Tensor, right: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            chosen = order[number]
            more_entropy, more_right = self._step(tf.gather(images, chosen), tf.gather(labels, chosen))
            return number + 1, entropy + more_entropy, right + more_right

        zero = tf.constant(0.0)
        _, entropy, right = tf.while_loop(
            lambda number, *_: number < last, step, (first, zero, zero), parallel_iterations=1
        )
        return entropy, right

    def _step(self, images: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        weights = self.model.trainable_variables
        images, labels = self.objective.mix(images, labels)
        before = [tf.identity(average.value) for average, _ in self._averages]
        with tf.GradientTape() as tape:
            probabilities = self.model(images, training=True)
            loss, entropies = self.objective.measure(labels, probabilities)
            if self.model.losses:
                loss += tf.add_n(self.model.losses)
        gradients = tape.gradient(loss, [weight.value for weight in weights])
        self._optimizer.apply(gradients, weights)
        self._correct_averages(before)
        classes = self.objective.choose_classes(labels)
        right = tf.argmax(probabilities, axis=1, output_type=classes.dtype) == classes
        return tf.cast(tf.reduce_sum(entropies), tf.float32), tf.reduce_sum(tf.cast(right, tf.float32))

    def _correct_averages(self, before: Sequence[tf.Tensor]) -> None:
        step = tf.cast(get_step_count(self._optimizer).value, tf.float32)
        for (average, momentum), start in zip(self._averages, before, strict=True):
            average.assign(start + (average.value - start) / (1 - tf.pow(momentum, step)))


def make_steps(model: keras.Model, optimizer: keras.optimizers.Optimizer, objective: Objective) -> TensorFlowSteps:
    return TensorFlowSteps(model, optimizer, objective)


def compile_call(model: keras.Model) -> Callable[[Any], Any]:
    return tf.function(lambda images: model(images, training=True), autograph=False)  # type: ignore[no-any-return]


def free_memory() -> None:
    # `clear_session` is not enough: a custom gradient's graph is registered under a name of its own,
    # 3 to 8 MB a trial, and no public call removes it.
    operations = sys.modules.get("tensorflow.python.framework.ops")
    registered = getattr(getattr(operations, "gradient_registry", None), "_registry", {})
    for name in [name for name in registered if name.startswith("CustomGradient-")]:
        del registered[name]
    keras.backend.clear_session()  # and that collects the garbage


@contextmanager
def allow_double_precision() -> Iterator[None]:
    yield  # TensorFlow has no switch for it


def _any_number(tensor: tf.Tensor) -> tf.TensorSpec:
    return tf.TensorSpec((None, *tensor.shape[1:]), tensor.dtype)
