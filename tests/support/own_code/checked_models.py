"""Models of a user's own that `hpsearch check` finds right, or at fault in one way each."""

from typing import Any

import keras
from keras import layers

Shape = tuple[int, int, int]


class Same(layers.Layer):  # type: ignore[misc] # Keras ships no types
    """A layer that is not registered with Keras."""

    def call(self, x: Any) -> Any:
        """Return `x`."""
        return x


def end(image: Any, x: Any, classes: int) -> keras.Model:
    """Return a model that ends in a pooled softmax."""
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, layers.Dense(classes, activation="softmax")(x))


def sound(hp: Any, input_shape: Shape, classes: int) -> keras.Model:
    """Return a model with dropout, which no hyperparameter turns off."""
    image = keras.Input(input_shape)
    x = layers.Conv2D(16, 3, strides=2, activation="relu")(layers.Lambda(lambda x: x / 255)(image))
    x = layers.Conv2D(16, 3, strides=2, activation=hp.Choice("activation", ["relu", "tanh"]))(x)
    x = Same()(layers.Dropout(0.2)(layers.Flatten()(x)))
    return keras.Model(image, layers.Dense(classes)(x))


def compiled(hp: Any, input_shape: Shape, classes: int) -> keras.Model:
    """Return `sound` with a loss and an optimizer of its own."""
    model = sound(hp, input_shape, classes)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(hp.Float("learning_rate", 1e-4, 1e-2)), loss)
    return model


def unscaled(hp: Any, input_shape: Shape, classes: int) -> keras.Model:
    """Return a model whose logits are as large as its pixels."""
    image = keras.Input(input_shape)
    return keras.Model(image, layers.Dense(classes)(layers.Flatten()(image)))


def single(hp: Any, input_shape: Shape, classes: int) -> keras.Model:
    """Return a model with a layer that has its own precision."""
    image = keras.Input(input_shape)
    x = layers.Conv2D(8, 3, activation="relu", dtype="float32")(layers.Rescaling(1 / 255)(image))
    return end(image, x, classes)


@keras.saving.register_keras_serializable("checked_models")
class Forgetful(layers.Layer):  # type: ignore[misc] # Keras ships no types
    """Is another layer once it is loaded."""

    factor = 1.0

    def call(self, x: Any) -> Any:
        """Return `x` times a factor that no configuration holds."""
        return x * self.factor


def forgetful(hp: Any, input_shape: Shape, classes: int) -> keras.Model:
    """Return a model whose file predicts something else."""
    image = keras.Input(input_shape)
    x = layers.Conv2D(8, 3, activation="relu")(layers.Rescaling(1 / 255)(image))
    layer = Forgetful()
    layer.factor = 50.0
    return end(image, layer(x), classes)


@keras.saving.register_keras_serializable("checked_models")
class Fading(keras.Model):  # type: ignore[misc] # Keras ships no types
    """Trains faster from the third epoch on, which it counts outside Keras's variables."""

    def fit(self, *arguments: Any, **named: Any) -> Any:
        """Train with a rate that hangs on how often this was called."""
        self.calls = getattr(self, "calls", 0) + 1
        self.optimizer.learning_rate = 0.001 if self.calls < 3 else 1.0
        return super().fit(*arguments, **named)


def fading(hp: Any, input_shape: Shape, classes: int) -> keras.Model:
    """Return a model that goes on differently after a stop."""
    model = sound(hp, input_shape, classes)
    fading = Fading(model.input, model.output)
    fading.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return fading


def broken(hp: Any, input_shape: Shape, classes: int) -> keras.Model:
    """Raise."""
    raise ArithmeticError("no such model")
