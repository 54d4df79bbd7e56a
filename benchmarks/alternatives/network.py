"""The base model in plain Keras, compiled, as a user's own script trains it: no part of hpsearch is in it."""

import keras

SPACE = {
    "learning_rate": (1e-5, 1e-1),  # logarithmic
    "optimizer": ["sgd", "momentum", "nesterov", "adam", "adagrad", "rmsprop"],
    "activation": ["sigmoid", "tanh", "relu", "leaky_relu", "prelu", "elu", "maxout"],
    "dropout": (0.0, 0.5),
    "batch_norm": [True, False],
}
"""The default study's five hyperparameters."""


def build(
    learning_rate: float,
    optimizer: str,
    activation: str,
    dropout: float,
    batch_norm: bool,
    shape: tuple[int, int, int] = (32, 32, 3),
    classes: int = 10,
) -> keras.Model:
    """From images of 0..1, (batch, *shape), to probabilities (batch, classes)."""

    def activated(layer, x):
        def linear():
            y = layer()(x)
            return keras.layers.BatchNormalization()(y) if batch_norm else y

        if activation == "maxout":
            return keras.layers.Maximum()([linear(), linear()])
        if activation == "prelu":
            return keras.layers.PReLU()(linear())
        if activation == "leaky_relu":
            return keras.layers.LeakyReLU(negative_slope=0.1)(linear())
        return keras.layers.Activation(activation)(linear())

    image = x = keras.Input(shape)
    for filters in (32, 64):
        x = activated(lambda filters=filters: keras.layers.Conv2D(filters, 3, padding="same"), x)
        x = activated(lambda filters=filters: keras.layers.Conv2D(filters, 3), x)
        x = keras.layers.MaxPooling2D()(x)
        x = keras.layers.Dropout(dropout)(x)
    x = keras.layers.Flatten()(x)
    x = activated(lambda: keras.layers.Dense(512), x)
    x = keras.layers.Dropout(dropout)(x)
    model = keras.Model(image, keras.layers.Dense(classes, "softmax")(x))
    model.compile(_optimizer(optimizer, learning_rate), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def _optimizer(name: str, learning_rate: float) -> keras.optimizers.Optimizer:
    if name in ("momentum", "nesterov"):
        return keras.optimizers.SGD(learning_rate, momentum=0.9, nesterov=name == "nesterov")
    makers = {
        "sgd": keras.optimizers.SGD,
        "adam": keras.optimizers.Adam,
        "adagrad": keras.optimizers.Adagrad,
        "rmsprop": keras.optimizers.RMSprop,
    }
    return makers[name](learning_rate)
