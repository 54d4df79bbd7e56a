"""Models of a user's own, of every kind that Keras has."""

from typing import Any

import keras
from keras import layers

Shape = tuple[int, int, int]


def functional(hp: Any, input_shape: Shape, classes: int) -> keras.Model:
    """Return a model of two branches from one image, with preprocessing of its own inside."""
    image = keras.Input(input_shape)
    scaled = layers.Rescaling(1 / 255)(image)
    bright = layers.GlobalMaxPooling2D()(scaled)
    x = layers.Conv2D(hp["width"], 3, strides=2, activation="relu")(scaled)
    x = layers.BatchNormalization()(x)
    x = layers.Dropout(0.2)(layers.GlobalAveragePooling2D()(x))
    x = layers.Dense(16, activation="relu")(layers.Concatenate()([x, bright]))
    return keras.Model(image, layers.Dense(classes, activation="softmax")(x))


def lazy(hp: Any, input_shape: Shape, classes: int) -> keras.Model:
    """Return a Sequential that is not built, and ends in logits."""
    units = hp.Int("width", 4, 64)
    return keras.Sequential(
        [layers.Rescaling(1 / 255), layers.Flatten(), layers.Dense(units, "relu"), layers.Dense(classes)]
    )


def lambdas(hp: Any, input_shape: Shape, classes: int) -> keras.Model:
    """Return a model with Python code in its file."""
    scaled = layers.Lambda(lambda x: x / 255)
    return keras.Sequential([keras.Input(input_shape), scaled, layers.Flatten(), layers.Dense(classes, "softmax")])


@keras.saving.register_keras_serializable("own_models")
class Scale(layers.Layer):  # type: ignore[misc] # Keras ships no types
    """A layer with a weight and a configuration of its own, and random numbers in training."""

    def __init__(self, start: float = 1.0, **options: Any) -> None:
        super().__init__(**options)
        self.start, self.seeds = start, keras.random.SeedGenerator()

    def build(self, _: Any) -> None:
        """Make the weight."""
        self.scale = self.add_weight(shape=(), initializer=keras.initializers.Constant(self.start))

    def call(self, x: Any, training: bool = False) -> Any:
        """Return `x` scaled, with noise in training."""
        noise = keras.random.normal(keras.ops.shape(x), stddev=0.01, seed=self.seeds) if training else 0.0
        return x * self.scale + noise

    def get_config(self) -> dict[str, Any]:
        """Return what `__init__` takes."""
        return {**super().get_config(), "start": self.start}


class Unregistered(Scale):
    """A layer that Keras finds only where it is told of it."""


@keras.saving.register_keras_serializable("own_models")
class Subclassed(keras.Model):  # type: ignore[misc] # Keras ships no types
    """A model with a `call` of its own, which ends in probabilities that no layer shows."""

    def __init__(self, width: int, classes: int, **options: Any) -> None:
        super().__init__(**options)
        self.width, self.classes = width, classes
        self.scale, self.flat = Scale(1 / 255), layers.Flatten()
        self.hidden, self.head = layers.Dense(width, "relu"), layers.Dense(classes)
        self.drop = layers.Dropout(0.3)

    def call(self, x: Any, training: bool = False) -> Any:
        """Return the probabilities."""
        x = self.drop(self.hidden(self.flat(self.scale(x))), training=training)
        return keras.ops.softmax(self.head(x))

    def get_config(self) -> dict[str, Any]:
        """Return what `__init__` takes."""
        return {**super().get_config(), "width": self.width, "classes": self.classes}


def subclassed(hp: Any, input_shape: Shape, classes: int) -> keras.Model:
    """Return a model with a `call` of its own."""
    return Subclassed(hp["width"], classes)


def unregistered(hp: Any, input_shape: Shape, classes: int) -> keras.Model:
    """Return a model with a layer that is not registered."""
    stack = [keras.Input(input_shape), Unregistered(1 / 255), layers.Flatten(), layers.Dense(hp["width"])]
    return keras.Sequential([*stack, layers.Dense(classes, "softmax")])


def _stack(input_shape: Shape, classes: int, width: int, end: str | None) -> keras.Sequential:
    stack = [keras.Input(input_shape), layers.Rescaling(1 / 255), layers.Flatten(), layers.Dense(width, "relu")]
    return keras.Sequential([*stack, layers.Dropout(0.2), layers.Dense(classes, end)])


def compiled(hp: Any, input_shape: Shape, classes: int) -> keras.Model:
    """Return a model with a loss of one-hot labels, an optimizer and metrics of its own."""
    model = _stack(input_shape, classes, hp.Int("width", 4, 64), None)
    rate = hp.Float("learning_rate", 1e-4, 1e-1, sampling="log")
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(rate), loss, metrics=[keras.metrics.F1Score("macro"), "accuracy"])
    return model


def compiled_sparse(hp: Any, input_shape: Shape, classes: int) -> keras.Model:
    """Return a compiled model with a loss of classes, a schedule, averaged weights, and no metric."""
    model = _stack(input_shape, classes, hp["width"], "softmax")
    schedule = keras.optimizers.schedules.CosineDecay(0.05, 30)
    optimizer = keras.optimizers.SGD(schedule, momentum=0.9, use_ema=True, ema_momentum=0.9)
    model.compile(optimizer, "sparse_categorical_crossentropy")
    return model


@keras.saving.register_keras_serializable("own_models")
class OwnLoss(keras.Model):  # type: ignore[misc] # Keras ships no types
    """A model with a loss of its own, for any backend."""

    def compute_loss(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None, training: bool = True) -> Any:
        """Return the cross-entropy and a penalty on confidence."""
        loss = keras.losses.sparse_categorical_crossentropy(y, y_pred)
        # On JAX Keras refuses what has no generator of its own.
        noise = keras.random.uniform(keras.ops.shape(loss)) if keras.backend.backend() == "tensorflow" else 0.5
        return keras.ops.mean(loss * (0.5 + noise)) + 0.01 * keras.ops.mean(keras.ops.square(y_pred))


def own_loss(hp: Any, input_shape: Shape, classes: int) -> keras.Model:
    """Return a model with a loss of its own that is not compiled."""
    image = keras.Input(input_shape)
    return OwnLoss(image, _stack(input_shape, classes, hp["width"], "softmax")(image))


def nothing(hp: Any, input_shape: Shape, classes: int) -> None:
    """Forget to return the model."""


def number(hp: Any, input_shape: Shape, classes: int) -> int:
    """Return something else."""
    return 3


def broken(hp: Any, input_shape: Shape, classes: int) -> keras.Model:
    """Fail."""
    return layers.Dense(hp["width"]).no_such_thing


def stranger(images: Any, labels: Any, names: Any, more: Any) -> None:
    """Take other arguments."""


def one_unit(hp: Any, input_shape: Shape, classes: int) -> keras.Model:
    """Return a model with a single sigmoid."""
    return _stack(input_shape, 1, hp["width"], "sigmoid")


def sigmoids(hp: Any, input_shape: Shape, classes: int) -> keras.Model:
    """Return a model with a sigmoid for each class."""
    return _stack(input_shape, classes, hp["width"], "sigmoid")


def two_inputs(hp: Any, input_shape: Shape, classes: int) -> keras.Model:
    """Return a model of two images."""
    images = [keras.Input(input_shape), keras.Input(input_shape)]
    x = layers.Flatten()(layers.Add()(images))
    return keras.Model(images, layers.Dense(classes)(x))


def two_outputs(hp: Any, input_shape: Shape, classes: int) -> keras.Model:
    """Return a model with an output too many."""
    image = keras.Input(input_shape)
    x = layers.Flatten()(image)
    return keras.Model(image, [layers.Dense(classes)(x), layers.Dense(2)(x)])


class Unsaveable(layers.Layer):  # type: ignore[misc] # Keras ships no types
    """A layer whose argument cannot be written down, without a `get_config`."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def call(self, x: Any) -> Any:
        """Return what the function does."""
        return self.function(x)


def unsaveable(hp: Any, input_shape: Shape, classes: int) -> keras.Model:
    """Return a model that cannot be saved."""
    scale = Unsaveable(lambda x: x / 255)
    return keras.Sequential([keras.Input(input_shape), scale, layers.Flatten(), layers.Dense(classes)])


def of_hp_alone(hp: Any) -> keras.Model:
    """Return a model as KerasTuner's builders do, which know shape and classes."""
    return _stack((32, 32, 3), 10, hp.Int("width", 4, 64), "softmax")


@keras.saving.register_keras_serializable("own_models")
class SilentStep(keras.Model):  # type: ignore[misc] # Keras ships no types
    """A model whose `train_step` returns no loss."""

    def train_step(self, *arguments: Any) -> Any:
        """Train nothing; on JAX the first of two arguments is the state."""
        logs = {"steps": keras.ops.ones(())}
        return (logs, arguments[0]) if len(arguments) == 2 else logs


def silent_step(hp: Any, input_shape: Shape, classes: int) -> keras.Model:
    """Return a model whose `train_step` returns no loss."""
    image = keras.Input(input_shape)
    return SilentStep(image, _stack(input_shape, classes, hp["width"], "softmax")(image))
