"""The built-in convolutional network and its hyperparameters.

Blocks of two convolutions and a pooling, a dense layer, a softmax head. It is made of stock Keras layers only, so that
a saved model predicts wherever Keras is, without this package. The study file's table has the rows from here, so Keras
is imported when a network is built.
"""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from hpsearch.spec.models import BuiltInModel
from hpsearch.spec.rows import Hyperparameter

if TYPE_CHECKING:
    import keras

    from hpsearch.training.backends import Layers

ROWS = (
    Hyperparameter(
        "activation",
        str,
        "relu",
        "After each convolution and the dense layer; leaky_relu has slope 0.1, maxout is the maximum of two layers.",
        choices=("sigmoid", "tanh", "relu", "leaky_relu", "prelu", "elu", "maxout"),
        place=40,
    ),
    Hyperparameter(
        "dropout", float, 0.25, "Fraction of units dropped after each block.", 0.0, 0.95, plain=0.0, place=50
    ),
    Hyperparameter(
        "dense_dropout",
        float,
        None,
        "Fraction dropped after the dense layer.",
        0.0,
        0.95,
        default_from="dropout",
        plain=0.0,
        place=60,
    ),
    Hyperparameter("batch_norm", bool, False, "Batch normalization before each activation.", place=70),
    Hyperparameter(
        "l1", float, 0.0, "L1 penalty on convolution and dense kernels, not the head's.", 0.0, 10.0, plain=0.0, place=80
    ),
    Hyperparameter(
        "l2", float, 0.0, "L2 penalty on convolution and dense kernels, not the head's.", 0.0, 10.0, plain=0.0, place=90
    ),
    Hyperparameter(
        "initializer",
        str,
        "glorot_uniform",
        "Initial convolution and dense kernels.",
        choices=(
            "glorot_uniform",
            "glorot_normal",
            "he_uniform",
            "he_normal",
            "lecun_uniform",
            "lecun_normal",
            "random_normal",
            "random_uniform",
        ),
        place=110,
    ),
    Hyperparameter("filter_size", int, 3, "Height and width of the convolutions.", 1, 10, place=120),
    Hyperparameter("filters", int, 32, "Filters in the first block; each further doubles them.", 1, 1024, place=130),
    Hyperparameter("blocks", int, 2, "Blocks of two convolutions and a pooling.", 1, 4, place=135),
    Hyperparameter("dense_units", int, 512, "Units of the dense layer.", 1, 16384, place=140),
)

VALID_BLOCKS = 2
"""In so many blocks the second convolution is not padded. In further ones it is: four blocks fit 32×32 pixels."""


def find_fault(hyperparameters: Mapping[str, Any], shape: tuple[int, ...]) -> str | None:
    """Return why the network cannot be built for images of `shape`; see `spec.models.BuiltInModel.find_fault`."""
    size, blocks, side = hyperparameters["filter_size"], hyperparameters["blocks"], min(shape[:2])
    for block in range(blocks):
        side = (side - (size - 1) * (block < VALID_BLOCKS)) // 2
    if side >= 1:
        return None
    return (
        f"images of {shape[0]}×{shape[1]} are too small for blocks = {blocks} with filter_size = {size}: take fewer "
        "blocks, smaller filters or larger images"
    )


def build(hyperparameters: Mapping[str, Any], x: Any, classes: int, seeds: Iterator[int], layers: "Layers") -> Any:
    """Return the probabilities for preprocessed images; see `spec.models.BuiltInModel.build`.

    Raises:
        KeyError: a hyperparameter is missing.
        ValueError: a hyperparameter has a value that Keras refuses.
    """
    import keras

    from hpsearch.training import model_layers

    def convolve(width: int, padding: str) -> "keras.layers.Layer":
        options = model_layers.make_kernel_options(hyperparameters, seeds)
        return keras.layers.Conv2D(width, hyperparameters["filter_size"], padding=padding, **options)

    def connect() -> "keras.layers.Layer":
        options = model_layers.make_kernel_options(hyperparameters, seeds)
        return keras.layers.Dense(hyperparameters["dense_units"], **options)

    filters, rate = hyperparameters["filters"], hyperparameters["dropout"]
    with model_layers.compute_in(layers.precision):
        for block in range(hyperparameters["blocks"]):
            for padding in ("same", "valid" if block < VALID_BLOCKS else "same"):
                convolution = partial(convolve, 2**block * filters, padding)
                x = model_layers.activate(x, hyperparameters, layers, convolution)
            x = keras.layers.MaxPooling2D(2)(x)
            x = layers.dropout(rate, seed=next(seeds))(x)
        x = keras.layers.Flatten()(x)
        x = model_layers.activate(x, hyperparameters, layers, connect)
        x = layers.dropout(hyperparameters["dense_dropout"], seed=next(seeds))(x)
    # The head starts from the same initializer as the rest, but carries no penalty: l1 and l2 would pull its
    # probabilities towards uniform rather than simplify the features.
    start = model_layers.make_initializer(hyperparameters, seeds)
    return keras.layers.Dense(classes, "softmax", kernel_initializer=start, name="head")(x)


MODEL = BuiltInModel(
    name="cnn",
    rows=ROWS,
    build=build,
    find_fault=find_fault,
    limited_by=("blocks", "filter_size"),
    axes=("activation", "batch_norm"),
    depths=("blocks",),
    small={"filters": 2, "dense_units": 8},
    largest={"filters": 32, "dense_units": 512},
)
