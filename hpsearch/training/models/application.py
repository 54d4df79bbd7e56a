"""The networks that come with Keras (`keras.applications`), with a head of the study's own.

Pooling, dropout and a softmax follow the application without its top. Where it has weights to start from, all of its
batch norms stay frozen, with the moving averages that came with the weights: averages over the few steps of a
fine-tuning would undo what the other weights were trained with (keras.io/guides/transfer_learning). Keras is imported
when a network is built.
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from hpsearch.spec.models import BuiltInModel
from hpsearch.spec.rows import Hyperparameter

if TYPE_CHECKING:
    from hpsearch.training.backends import Layers

SMALLEST: Mapping[str, int] = {
    "ConvNeXtBase": 32,
    "ConvNeXtLarge": 32,
    "ConvNeXtSmall": 32,
    "ConvNeXtTiny": 32,
    "ConvNeXtXLarge": 32,
    "DenseNet121": 32,
    "DenseNet169": 32,
    "DenseNet201": 32,
    "EfficientNetB0": 32,
    "EfficientNetB1": 32,
    "EfficientNetB2": 32,
    "EfficientNetB3": 32,
    "EfficientNetB4": 32,
    "EfficientNetB5": 32,
    "EfficientNetB6": 32,
    "EfficientNetB7": 32,
    "EfficientNetV2B0": 32,
    "EfficientNetV2B1": 32,
    "EfficientNetV2B2": 32,
    "EfficientNetV2B3": 32,
    "EfficientNetV2L": 32,
    "EfficientNetV2M": 32,
    "EfficientNetV2S": 32,
    "InceptionResNetV2": 75,
    "InceptionV3": 75,
    "MobileNet": 32,
    "MobileNetV2": 32,
    "MobileNetV3Large": 32,
    "MobileNetV3Small": 32,
    "NASNetLarge": 32,
    "NASNetMobile": 32,
    "ResNet101": 32,
    "ResNet101V2": 32,
    "ResNet152": 32,
    "ResNet152V2": 32,
    "ResNet50": 32,
    "ResNet50V2": 32,
    "VGG16": 32,
    "VGG19": 32,
    "Xception": 71,
}
"""Height and width of the smallest image that each application takes."""

ROWS = (
    Hyperparameter(
        "application",
        str,
        "EfficientNetB0",
        "Which network of keras.applications.",
        choices=tuple(SMALLEST),
        place=40,
    ),
    Hyperparameter(
        "trainable",
        float,
        1.0,
        "Share of its layers that are trained, counted from the last: 0 is the head alone, 1 all of them.",
        0.0,
        1.0,
        place=50,
    ),
    Hyperparameter("dropout", float, 0.0, "Fraction of units dropped before the head.", 0.0, 0.95, plain=0.0, place=60),
)


def find_fault(hyperparameters: Mapping[str, Any], shape: tuple[int, ...]) -> str | None:
    """Return why the network cannot be built for images of `shape`; see `spec.models.BuiltInModel.find_fault`."""
    name = hyperparameters["application"]
    smallest = SMALLEST[name]
    if min(shape[:2]) < smallest:
        return (
            f"images of {shape[0]}×{shape[1]} are too small for {name}: take them from {smallest}×{smallest} up, or "
            "another application"
        )
    if shape[2] not in (1, 3):
        return f"images of {shape[2]} channels are not for an application: it takes grey or RGB ones"
    return None


def build(
    hyperparameters: Mapping[str, Any], x: Any, classes: int, seeds: Iterator[int], layers: "Layers", weights: str
) -> Any:
    """Return the probabilities for images of 0..255; see `spec.models.BuiltInModel.build`.

    Raises:
        KeyError: a hyperparameter is missing.
        NotFoundError: the weights are not on this host, or are not the application's.
    """
    import keras

    from hpsearch.training import model_layers
    from hpsearch.training.pretrained import applications

    name, trained = hyperparameters["application"], hyperparameters["trainable"]
    shape = (x.shape[1], x.shape[2], 3)
    network = applications.build(name, weights, shape, trained, seeds, layers)
    x = applications.preprocess(name, x)
    with model_layers.compute_in(layers.precision):
        x = keras.layers.GlobalAveragePooling2D()(network(x))
        x = layers.dropout(hyperparameters["dropout"], seed=next(seeds))(x)
    start = keras.initializers.GlorotUniform(next(seeds))
    return keras.layers.Dense(classes, "softmax", kernel_initializer=start, name="head")(x)


MODEL = BuiltInModel(
    name="application",
    rows=ROWS,
    build=build,
    find_fault=find_fault,
    limited_by=("application",),
    without=("preprocessing",),
    takes_weights=True,
    axes=("application",),
    small={"trainable": 0.0},
)
