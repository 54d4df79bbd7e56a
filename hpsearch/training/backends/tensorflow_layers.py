"""Layers that TensorFlow computes faster than Keras's own; each has the variables of the one it stands for."""

import keras
import tensorflow as tf

from hpsearch.training.backends import UnbiasedBatchNorm


class ByteDropout(keras.layers.Dropout):  # type: ignore[misc] # Keras ships no types
    """Dropout from a random byte an activation, where Keras draws a float: random numbers take a tenth of its step.

    A byte has 256 values and the rate any. So the threshold is one of two neighbours, drawn anew in each step, such
    that every activation is dropped with exactly the rate.
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


class FusedBatchNorm(UnbiasedBatchNorm):
    """Batch norm by one kernel, where Keras writes it as ten passes in float32."""

    def call(self, inputs: tf.Tensor, training: bool = False, mask: None = None) -> tf.Tensor:
        shape, channels = tf.shape(inputs), inputs.shape[-1]
        training = training and self.trainable  # a frozen one only infers, as Keras's
        # A dense layer's outputs are an image of one pixel.
        pixels = inputs if len(inputs.shape) == 4 else tf.reshape(inputs, (-1, 1, 1, inputs.shape[-1]))
        outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=pixels,
            scale=tf.cast(self.gamma, tf.float32) if self.scale else tf.ones((channels,)),
            offset=tf.cast(self.beta, tf.float32) if self.center else tf.zeros((channels,)),
            mean=tf.zeros((0,)) if training else tf.cast(self.moving_mean, tf.float32),
            variance=tf.zeros((0,)) if training else tf.cast(self.moving_variance, tf.float32),
            epsilon=self.epsilon,
            is_training=training,
        )
        if training:
            count = tf.cast(tf.size(pixels) / pixels.shape[-1], tf.float32)
            variance *= (count - 1) / count  # Keras's is that of the batch itself
            self.moving_mean.assign_add((mean - self.moving_mean) * (1 - self.momentum))
            self.moving_variance.assign_add((variance - self.moving_variance) * (1 - self.momentum))
        return tf.reshape(outputs, shape)
