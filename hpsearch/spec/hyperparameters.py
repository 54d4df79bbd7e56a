"""The table of hyperparameters: those of training, and those of the models in `training/models`.

The study file's validation, the search space, the errors and the reference in docs/study-file.md derive from it. The
defaults are the base model, so that a study with an empty `[space]` trains exactly that model.
"""

from collections.abc import Mapping
from types import MappingProxyType

from hpsearch.spec.registry import MODELS, import_modules
from hpsearch.spec.rows import Hyperparameter, Value

TRAINING_ROWS = (
    Hyperparameter(
        "learning_rate", float, 0.001, "Step size of the optimizer, at the start.", 0.0, 10.0, True, place=10
    ),
    Hyperparameter(
        "optimizer",
        str,
        "nesterov",
        "Which optimizer: momentum and nesterov are SGD with that term.",
        choices=("sgd", "momentum", "nesterov", "adam", "adagrad", "rmsprop"),
        place=20,
    ),
    Hyperparameter("momentum", float, 0.9, "The momentum of momentum and nesterov.", 0.0, 0.999, place=30),
    Hyperparameter("batch_size", int, 32, "Images in a training step.", 1, 8192, place=100),
    Hyperparameter(
        "preprocessing",
        str,
        "scale",
        "scale: pixels to 0..1; standardize: each channel to mean 0 and standard deviation 1 of the training images.",
        choices=("scale", "standardize"),
        place=150,
    ),
    Hyperparameter(
        "augment", bool, False, "Random horizontal flips and shifts of up to a tenth while training.", place=160
    ),
    Hyperparameter(
        "schedule",
        str,
        "constant",
        "Learning rate over the epochs: step divides it by 10 at 1/2 and 3/4 of them, cosine takes it to 0.",
        choices=("constant", "step", "cosine"),
        place=170,
    ),
    Hyperparameter(
        "precision",
        str,
        "auto",
        "auto: bfloat16 with float32 weights where the device computes that faster; float32: always that.",
        choices=("auto", "float32"),
        place=180,
    ),
)
"""What works with any model."""

ROWS: tuple[Hyperparameter, ...] = tuple(
    sorted(
        [*TRAINING_ROWS, *(row for module in import_modules(MODELS) for row in module.ROWS)],
        key=lambda row: row.place,
    )
)
"""With those of the models, in the order in which they are shown."""

TABLE: Mapping[str, Hyperparameter] = MappingProxyType({row.name: row for row in ROWS})


def fill_defaults(chosen: Mapping[str, Value]) -> dict[str, Value]:
    """Return every row's value: the chosen one, else the default; defaults that follow another row follow its value.

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
