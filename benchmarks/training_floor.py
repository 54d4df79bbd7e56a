"""The floor of an epoch: the multiplications of a model's convolutions and dense layers, and nothing else.

They are computed by TensorFlow's kernels, in the precision of the layer and on activations of its size, as often as an
epoch with validation has them: forward and the gradients with respect to weights and inputs in training, forward alone
in validation. The gradient with respect to the images is not computed, as in training.
"""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from hpsearch.training.epoch import choose_validation_batch

Multiply = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


def multiply_epochs(
    network: keras.Model, images: int, validation: int, batch: int, epochs: int, on_epoch: Callable[[], None]
) -> None:
    """Compute what so many epochs multiply; `on_epoch` is called after each."""
    layers = [layer for layer in network.layers if isinstance(layer, keras.layers.Conv2D | keras.layers.Dense)]
    passes = [(images, batch, True), (validation, choose_validation_batch(batch), False)]
    steps = [
        part
        for count, size, backward in passes
        for part in ((count // size, size, backward), (1, count % size, backward))
    ]
    loops = [(_make_loop(layers, size, backward), count) for count, size, backward in steps if size]
    for _ in range(epochs):
        for loop, count in loops:
            float(loop(tf.constant(count)))
        on_epoch()


def _make_loop(layers: Sequence[keras.layers.Layer], size: int, backward: bool) -> Callable[[tf.Tensor], tf.Tensor]:
    """Return a function that computes so many steps on `size` images, in one graph."""
    operands = [(_choose_product(layer), *_draw_operands(layer, size)) for layer in layers]

    def step() -> tf.Tensor:
        results = []
        for number, (product, inputs, kernel, errors) in enumerate(operands):
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                sources = [kernel] if number == 0 else [inputs, kernel]
                tape.watch(sources)
                outputs = product(inputs, kernel)
            results.append(outputs)
            if backward:
                results += tape.gradient(outputs, sources, output_gradients=errors)
        # One number of each, so that all are computed.
        return tf.add_n([tf.cast(tf.reshape(result, (-1,))[0], tf.float32) for result in results])

    def loop(count: tf.Tensor) -> tf.Tensor:
        return tf.while_loop(
            lambda number, _: number < count, lambda number, total: (number + 1, total + step()), (0, 0.0)
        )[1]

    return tf.function(loop, input_signature=[tf.TensorSpec((), tf.int32)], autograph=False)  # type: ignore[no-any-return]


def _choose_product(layer: keras.layers.Layer) -> Multiply:
    if isinstance(layer, keras.layers.Dense):
        return tf.matmul  # type: ignore[no-any-return]
    return lambda inputs, kernel: tf.nn.conv2d(inputs, kernel, layer.strides, layer.padding.upper())


def _draw_operands(layer: keras.layers.Layer, size: int) -> tuple[Any, Any, Any]:
    """Draw a layer's inputs, its kernel, and the errors at its outputs, in the type that it computes in."""
    shapes = ((size, *layer.input.shape[1:]), layer.kernel.shape, (size, *layer.output.shape[1:]))
    inputs, kernel, errors = (tf.cast(tf.random.normal(shape), layer.compute_dtype) for shape in shapes)
    return inputs, kernel, errors
