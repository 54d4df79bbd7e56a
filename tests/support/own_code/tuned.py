"""Builders as users of KerasTuner write them."""

from typing import Any

import keras
from keras import layers

Shape = tuple[int, int, int]


def mlp(hp: Any, input_shape: Shape, classes: int) -> keras.Model:
    """Return a compiled network of dense layers, each of a width of its own."""
    model = keras.Sequential([keras.Input(input_shape), layers.Rescaling(1 / 255), layers.Flatten()])
    for i in range(hp.Int("num_layers", 1, 3)):
        units = hp.Int(f"units_{i}", min_value=32, max_value=120, step=32)
        model.add(layers.Dense(units, activation=hp.Choice("activation", ["relu", "tanh"])))
    if hp.Boolean("dropout"):
        model.add(layers.Dropout(hp.Float("rate", 0.1, 0.5, step=0.1)))
    model.add(layers.Dense(classes, activation="softmax"))
    model.compile(
        optimizer=keras.optimizers.Adam(hp.Float("learning_rate", min_value=1e-4, max_value=1e-2, sampling="log")),
        loss="categorical_crossentropy",
        metrics=["accuracy"],
    )
    return model


def cnn(hp: Any, input_shape: Shape, classes: int) -> keras.Model:
    """Return a network that is not compiled, of a kind with hyperparameters of its own."""
    model = keras.Sequential([keras.Input(input_shape), layers.Rescaling(1 / 255)])
    kind = hp.Choice("kind", ["mlp", "cnn"])
    with hp.conditional_scope("kind", ["mlp"]):
        if kind == "mlp":
            model.add(layers.Flatten())
            model.add(layers.Dense(hp.Int("units", 8, 64, step=2, sampling="log"), "relu"))
    with hp.conditional_scope("kind", ["cnn"]):
        if kind == "cnn":
            for i in range(hp.Int("blocks", 1, 2)):
                with hp.name_scope(f"block_{i}"):
                    model.add(layers.Conv2D(hp.Int("filters", 4, 32), 3, activation="relu"))
                    if hp.Choice("pooling", ["max", "avg"]) == "max":
                        model.add(layers.MaxPooling2D(2))
                    else:
                        model.add(layers.AveragePooling2D(2))
            model.add(layers.Flatten())
    bias = hp.Fixed("bias", True)
    width = hp.Int("width", 16, 16)
    model.add(layers.Dense(width, use_bias=bias))
    model.add(layers.Dense(classes))
    return model
