"""The built-in residual network for small images and its hyperparameters.

He et al. 2016 (arXiv:1512.03385, section 4.2): a convolution, three stages of residual blocks whose filters double from
one to the next while height and width halve, global average pooling, a softmax head. It departs from theirs in two
ways. Where a stage begins, the shortcut is a projection (their option B, of which they say in section 3.3 that it is
slightly better) and not zeros for the new filters. And the last batch norm of each block starts with gamma 0, so that
each block starts as the identity: that lets it train at larger learning rates (Goyal et al. 2017, arXiv:1706.02677,
section 5.1), which a search tries. Keras is imported when a network is built.
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from hpsearch.spec.models import BuiltInModel
from hpsearch.spec.rows import Hyperparameter

if TYPE_CHECKING:
    from hpsearch.training.backends import Layers

STAGES = 3

ROWS = (
    Hyperparameter(
        "depth",
        int,
        3,
        "Residual blocks in each of the three stages: n makes ResNet-(6n+2), so 3 is ResNet-20, 9 is ResNet-56.",
        1,
        100,
        place=40,
    ),
    Hyperparameter("width", int, 16, "Filters in the first stage; each further doubles them.", 1, 1024, place=50),
    Hyperparameter("dropout", float, 0.0, "Fraction of units dropped before the head.", 0.0, 0.95, plain=0.0, place=60),
    Hyperparameter(
        "l2",
        float,
        0.0,
        "L2 penalty on convolution kernels, not the head's; He et al. have 5e-5, a weight decay of 1e-4 in SGD.",
        0.0,
        10.0,
        plain=0.0,
        place=90,
    ),
)


def build(hyperparameters: Mapping[str, Any], x: Any, classes: int, seeds: Iterator[int], layers: "Layers") -> Any:
    """Return the probabilities for preprocessed images; see `spec.models.BuiltInModel.build`.

    Raises:
        KeyError: a hyperparameter is missing.
    """
    import keras

    from hpsearch.training import model_layers

    def convolve(x: Any, filters: int, size: int, strides: int = 1, gamma: str = "ones") -> Any:
        y = keras.layers.Conv2D(
            filters,
            size,
            strides,
            padding="same",
            use_bias=False,  # batch norm has one
            kernel_initializer=keras.initializers.HeNormal(next(seeds)),
            kernel_regularizer=keras.regularizers.L2(penalty) if penalty else None,
        )(x)
        return layers.batch_norm(momentum=model_layers.BATCH_NORM_MOMENTUM, gamma_initializer=gamma)(y)

    def add_block(x: Any, filters: int, strides: int) -> Any:
        y = keras.layers.ReLU()(convolve(x, filters, 3, strides))
        y = convolve(y, filters, 3, gamma="zeros")
        shortcut = x if strides == 1 else convolve(x, filters, 1, strides)
        return keras.layers.ReLU()(keras.layers.Add()([shortcut, y]))

    width, penalty = hyperparameters["width"], hyperparameters["l2"]
    with model_layers.compute_in(layers.precision):
        x = keras.layers.ReLU()(convolve(x, width, 3))
        for stage in range(STAGES):
            for block in range(hyperparameters["depth"]):
                x = add_block(x, 2**stage * width, 2 if stage and not block else 1)
        x = keras.layers.GlobalAveragePooling2D()(x)
        x = layers.dropout(hyperparameters["dropout"], seed=next(seeds))(x)
    start = keras.initializers.HeNormal(next(seeds))
    return keras.layers.Dense(classes, "softmax", kernel_initializer=start, name="head")(x)


MODEL = BuiltInModel(
    name="resnet",
    rows=ROWS,
    build=build,
    depths=("depth",),
    small={"depth": 1, "width": 2},
    largest={"depth": 3, "width": 16},
)
