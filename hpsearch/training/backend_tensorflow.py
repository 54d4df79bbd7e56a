"""TensorFlow's part of the training loop, and what else TensorFlow does in a way of its own; see `backend.Backend`."""

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

BFLOAT16_FLAGS = {"avx512_bf16", "amx_bf16"}
"""What Linux calls a processor's instructions for bfloat16. Without them TensorFlow emulates it, slowly."""

BFLOAT16_CAPABILITY = (8, 0)
"""The compute capability from which NVIDIA's tensor cores multiply bfloat16 (Ampere)."""


def take_share(share: int) -> None:
    for gpu in tf.config.list_physical_devices("GPU"):
        limit = tf.config.LogicalDeviceConfiguration(memory_limit=share // 2**20)
        tf.config.set_logical_device_configuration(gpu, [limit])


def device_memory(*, reset: bool = False) -> int | None:
    if not tf.config.list_logical_devices("GPU"):
        return None
    peak = int(tf.config.experimental.get_memory_info("GPU:0")["peak"])
    if reset:
        tf.config.experimental.reset_memory_stats("GPU:0")
    return peak


@cache
def fast_precision() -> str:
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        capability = tf.config.experimental.get_device_details(gpus[0]).get("compute_capability", (0, 0))
        return "mixed_bfloat16" if capability >= BFLOAT16_CAPABILITY else "float32"
    return "mixed_bfloat16" if BFLOAT16_FLAGS & _processor_flags() else "float32"


def _processor_flags() -> set[str]:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # not Linux
        return set()
    return {flag for line in lines if line.startswith("flags") for flag in line.split()}


def dropout(rate: float, seed: int) -> keras.layers.Layer:
    return _ByteDropout(rate, seed=seed)


def batch_norm(momentum: float) -> keras.layers.Layer:
    return _FusedBatchNorm(momentum=momentum)


def prelu() -> keras.layers.Layer:
    return _SelectPReLU()


def resident(array: npt.NDArray[Any]) -> tf.Tensor:
    return tf.convert_to_tensor(array)


class Steps:
    """See `backend.Steps`."""

    def __init__(self, model: keras.Model, optimizer: keras.optimizers.Optimizer) -> None:
        self.model, self._optimizer = model, optimizer
        for layer in model.layers:
            if isinstance(layer, _FusedBatchNorm):
                layer.steps_before = lambda: optimizer.iterations.value
        self._trains: dict[int, Callable[..., tuple[tf.Tensor, tf.Tensor]]] = {}
        self._predict: Callable[[tf.Tensor], tf.Tensor] | None = None

    def train(self, images: Any, labels: Any, order: Any, first: int, last: int) -> tuple[float, float]:
        images, labels, order = (tf.convert_to_tensor(each) for each in (images, labels, order))
        batch = order.shape[1]
        if len(order) == 1 and not tf.config.list_physical_devices("GPU"):
            # What is left of an epoch is one step. Compiling it takes 0.5 CPU-s a trial, not compiling it 0.05 an
            # epoch, and most trials of a search are pruned after a few.
            entropy, right = self._step(tf.gather(images, order[0]), tf.gather(labels, order[0]))
            return float(entropy), float(right)
        if batch not in self._trains:
            # A batch of a known size is 3% faster than one of any size. XLA on the CPU is 4 to 8 times slower than
            # TensorFlow's own kernels for this network, and compiles long.
            signature = [_any_number(tensor) for tensor in (images, labels, order)]
            signature += [tf.TensorSpec((), tf.int32)] * 2
            # Autograph would read this file again, and not find itself where it was upgraded in the meantime.
            self._trains[batch] = tf.function(self._many, input_signature=signature, autograph=False)
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

    def _many(
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
        with tf.GradientTape() as tape:
            probabilities = self.model(images, training=True)
            entropies = keras.losses.sparse_categorical_crossentropy(labels, probabilities)
            loss = tf.reduce_mean(entropies)
            if self.model.losses:
                loss += tf.add_n(self.model.losses)
        gradients = tape.gradient(loss, [weight.value for weight in weights])
        _update(self._optimizer, gradients, weights)
        right = tf.argmax(probabilities, axis=1, output_type=labels.dtype) == labels
        return tf.cast(tf.reduce_sum(entropies), tf.float32), tf.reduce_sum(tf.cast(right, tf.float32))


def steps(model: keras.Model, optimizer: keras.optimizers.Optimizer) -> Steps:
    return Steps(model, optimizer)


def forget() -> None:
    # That takes more than `clear_session`: a custom gradient's graph is registered for ever under a name of its own,
    # 3 to 8 MB a trial. Nothing public takes it back.
    operations = sys.modules.get("tensorflow.python.framework.ops")
    registered = getattr(getattr(operations, "gradient_registry", None), "_registry", {})
    for name in [name for name in registered if name.startswith("CustomGradient-")]:
        del registered[name]
    keras.backend.clear_session()  # and that collects the garbage


@contextmanager
def double_precision() -> Iterator[None]:
    yield  # TensorFlow has no switch for it


class _ByteDropout(keras.layers.Dropout):  # type: ignore[misc] # Keras ships no types
    """Dropout from a random byte an activation, where Keras draws a float: random numbers take a tenth of its step.

    A byte has 256 values and the rate any. So the threshold is one of two neighbours, in each step by chance, such that
    every activation is dropped with exactly the rate.
    """

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        if not training or not self.rate:
            return inputs
        shape, seed = tf.shape(inputs), self.seed_generator.next()
        count = tf.reduce_prod(shape)
        words = tf.random.stateless_uniform(
            [count // 4 + 2], tf.cast(seed, tf.int32), minval=None, maxval=None, dtype=tf.int32, alg="philox"
        )
        drawn = tf.reshape(tf.bitcast(words, tf.uint8), [-1])
        between = tf.cast(drawn[-1], tf.float32) / 256
        threshold = tf.cast(tf.floor(self.rate * 256 + between), tf.uint8)
        kept = tf.reshape(drawn[:count], shape) >= threshold
        return inputs * (tf.cast(kept, inputs.dtype) * tf.cast(1 / (1 - self.rate), inputs.dtype))


class _FusedBatchNorm(keras.layers.BatchNormalization):  # type: ignore[misc] # Keras ships no types
    """Batch norm by one kernel, where Keras writes it as ten passes in float32: these take half of its step.

    `steps_before` counts the steps that were taken before this one: see `Backend.batch_norm`.
    """

    steps_before: Callable[[], Any] = staticmethod(lambda: math.inf)

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        shape = tf.shape(inputs)
        # A dense layer's outputs are an image of one pixel.
        pixels = inputs if len(inputs.shape) == 4 else tf.reshape(inputs, (-1, 1, 1, inputs.shape[-1]))
        outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=pixels,
            scale=tf.cast(self.gamma, tf.float32),
            offset=tf.cast(self.beta, tf.float32),
            mean=tf.zeros((0,)) if training else tf.cast(self.moving_mean, tf.float32),
            variance=tf.zeros((0,)) if training else tf.cast(self.moving_variance, tf.float32),
            epsilon=self.epsilon,
            is_training=training,
        )
        if training:
            count = tf.cast(tf.size(pixels) / pixels.shape[-1], tf.float32)
            step = tf.cast(self.steps_before() + 1, tf.float32)
            share = (1 - self.momentum) / (1 - tf.pow(self.momentum, step))
            self.moving_mean.assign_add((mean - self.moving_mean) * share)
            variance *= (count - 1) / count  # Keras's is that of the batch itself
            self.moving_variance.assign_add((variance - self.moving_variance) * share)
        return tf.reshape(outputs, shape)


class _SelectPReLU(keras.layers.PReLU):  # type: ignore[misc] # Keras ships no types
    """PReLU that selects, where Keras adds a ReLU of either sign: twice the passes over the activations."""

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return tf.where(inputs > 0, inputs, self.alpha * inputs)


def _any_number(tensor: tf.Tensor) -> tf.TensorSpec:
    return tf.TensorSpec((None, *tensor.shape[1:]), tensor.dtype)


def _update(
    optimizer: keras.optimizers.Optimizer, gradients: Sequence[tf.Tensor], weights: Sequence[keras.Variable]
) -> None:
    """What `optimizer.apply` does without clipping, weight decay and averages, which no row of the table turns on."""
    fused = FUSED.get(type(optimizer))
    for number, (gradient, weight) in enumerate(zip(gradients, weights, strict=True)):
        if fused and weight.dtype == "float32":
            fused(optimizer, gradient, weight, number)
        else:
            optimizer.update_step(gradient, weight, optimizer.learning_rate)
    optimizer.iterations.assign_add(1)


# Each rule in one pass over the weights, by a kernel of TensorFlow's: Keras writes it as up to a dozen passes.


def _sgd(optimizer: Any, gradient: tf.Tensor, weight: keras.Variable, number: int) -> None:
    rate = tf.cast(optimizer.learning_rate.value, tf.float32)
    if not optimizer.momentum:
        tf.raw_ops.ResourceApplyGradientDescent(var=weight.value.handle, alpha=rate, delta=gradient)
        return
    tf.raw_ops.ResourceApplyKerasMomentum(
        var=weight.value.handle,
        accum=optimizer.momentums[number].value.handle,
        lr=rate,
        grad=gradient,
        momentum=optimizer.momentum,
        use_nesterov=optimizer.nesterov,
    )


def _adam(optimizer: Any, gradient: tf.Tensor, weight: keras.Variable, number: int) -> None:
    step = tf.cast(optimizer.iterations.value + 1, tf.float32)
    tf.raw_ops.ResourceApplyAdam(
        var=weight.value.handle,
        m=optimizer._momentums[number].value.handle,
        v=optimizer._velocities[number].value.handle,
        beta1_power=tf.pow(optimizer.beta_1, step),
        beta2_power=tf.pow(optimizer.beta_2, step),
        lr=tf.cast(optimizer.learning_rate.value, tf.float32),
        beta1=optimizer.beta_1,
        beta2=optimizer.beta_2,
        epsilon=optimizer.epsilon,
        grad=gradient,
    )


def _adagrad(optimizer: Any, gradient: tf.Tensor, weight: keras.Variable, number: int) -> None:
    tf.raw_ops.ResourceApplyAdagradV2(
        var=weight.value.handle,
        accum=optimizer._accumulators[number].value.handle,
        lr=tf.cast(optimizer.learning_rate.value, tf.float32),
        epsilon=optimizer.epsilon,
        grad=gradient,
    )


FUSED: dict[type, Callable[[Any, tf.Tensor, keras.Variable, int], None]] = {
    keras.optimizers.SGD: _sgd,
    keras.optimizers.Adam: _adam,
    keras.optimizers.Adagrad: _adagrad,
}
