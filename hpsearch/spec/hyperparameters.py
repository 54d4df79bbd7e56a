"""The table of hyperparameters.

The study file's validation, the search space, the errors and the reference in docs/study-file.md derive from it. The
defaults are the base model, so that a study with an empty `[space]` trains exactly that model.
"""

from collections.abc import Mapping
from types import MappingProxyType

from hpsearch.spec.rows import Hyperparameter, Value

ROWS = (
    Hyperparameter("learning_rate", float, 0.001, "Step size of the optimizer, at the start.", 0.0, 10.0, True),
    Hyperparameter(
        "optimizer",
        str,
        "nesterov",
        "Which optimizer: momentum and nesterov are SGD with that term.",
        choices=("sgd", "momentum", "nesterov", "adam", "adagrad", "rmsprop"),
    ),
    Hyperparameter("momentum", float, 0.9, "The momentum of momentum and nesterov.", 0.0, 0.999),
    Hyperparameter(
        "activation",
        str,
        "relu",
        "After each convolution and the dense layer; leaky_relu has slope 0.1, maxout is the maximum of two layers.",
        choices=("sigmoid", "tanh", "relu", "leaky_relu", "prelu", "elu", "maxout"),
    ),
    Hyperparameter("dropout", float, 0.25, "Fraction of units dropped after each block.", 0.0, 0.95),
    Hyperparameter(
        "dense_dropout", float, None, "Fraction dropped after the dense layer.", 0.0, 0.95, default_from="dropout"
    ),
    Hyperparameter("batch_norm", bool, False, "Batch normalization before each activation."),
    Hyperparameter("l1", float, 0.0, "L1 penalty on convolution and dense kernels, not the head's.", 0.0, 10.0),
    Hyperparameter("l2", float, 0.0, "L2 penalty on convolution and dense kernels, not the head's.", 0.0, 10.0),
    Hyperparameter("batch_size", int, 32, "Images in a training step.", 1, 8192),
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
    ),
    Hyperparameter("filter_size", int, 3, "Height and width of the convolutions.", 1, 10),
    Hyperparameter("filters", int, 32, "Filters in the first block; the second has twice as many.", 1, 1024),
    Hyperparameter("dense_units", int, 512, "Units of the dense layer.", 1, 16384),
    Hyperparameter(
        "preprocessing",
        str,
        "scale",
        "scale: pixels to 0..1; standardize: each channel to mean 0 and standard deviation 1 of the training images.",
        choices=("scale", "standardize"),
    ),
    Hyperparameter("augment", bool, False, "Random horizontal flips and shifts of up to a tenth while training."),
    Hyperparameter(
        "schedule",
        str,
        "constant",
        "Learning rate over the epochs: step divides it by 10 at 1/2 and 3/4 of them, cosine takes it to 0.",
        choices=("constant", "step", "cosine"),
    ),
    Hyperparameter(
        "precision",
        str,
        "auto",
        "auto: bfloat16 with float32 weights where the device computes that faster; float32: always that.",
        choices=("auto", "float32"),
    ),
)

TABLE: Mapping[str, Hyperparameter] = MappingProxyType({row.name: row for row in ROWS})


def fill_defaults(chosen: Mapping[str, Value]) -> dict[str, Value]:
    """Every row's value: the chosen one, else the default; defaults that follow another row follow its value.

    Raises:
        KeyError: `chosen` names something that is not in the table.
    """
    unknown = set(chosen) - set(TABLE)
    if unknown:
        raise KeyError(", ".join(sorted(unknown)))
    values: dict[str, Value] = {}
    for row in ROWS:
        if row.name in chosen:
            values[row.name] = row.cast(chosen[row.name])
        elif row.default is not None:
            values[row.name] = row.default
        else:
            assert row.default_from is not None
            values[row.name] = values[row.default_from]
    return values
