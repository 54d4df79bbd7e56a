"""The table of a study's hyperparameters: those of training, and those of its model.

The study file's validation, the search space, the errors and the reference in docs/study-file.md derive from it. The
defaults are the base model, so that a study with an empty `[space]` trains exactly that model.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import cache

from hpsearch.spec.models import DEFAULT_MODEL, list_models
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
        "scale: pixels to 0..1; standardize: each channel to mean 0 and standard deviation 1 of the training images; "
        "none: as they are, the default for a model of your own.",
        choices=("scale", "standardize", "none"),
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

TRAINING_NAMES = frozenset(row.name for row in TRAINING_ROWS)


class HyperparameterTable(Mapping[str, Hyperparameter]):
    """The rows of one model and of its training, by name, in the order in which they are shown."""

    def __init__(self, rows: Sequence[Hyperparameter]) -> None:
        self.rows = tuple(sorted(rows, key=lambda row: row.place))
        self._by_name = {row.name: row for row in self.rows}

    def __getitem__(self, name: str) -> Hyperparameter:
        return self._by_name[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_name)

    def __len__(self) -> int:
        return len(self._by_name)

    def fill_defaults(self, chosen: Mapping[str, Value]) -> dict[str, Value]:
        """Return every row's value: the chosen one, else the default, which may be the value of another row.

        A row without a default, which only a user's model has, is left out where it is not chosen.

        Raises:
            KeyError: `chosen` names something that is not in the table.
        """
        unknown = set(chosen) - set(self)
        if unknown:
            raise KeyError(", ".join(sorted(unknown)))
        values: dict[str, Value] = {}
        for row in self.rows:
            if row.name in chosen:
                values[row.name] = row.cast(chosen[row.name])
            elif row.default is not None:
                values[row.name] = row.default
            elif row.default_from is not None:
                values[row.name] = values[row.default_from]
        return values

    def cast(self, values: Mapping[str, Value]) -> dict[str, Value]:
        """Return `values` in the types of their rows: JSON makes an int of 1.0."""
        return {name: self[name].cast(value) for name, value in values.items()}


@cache
def make_model_table(model: str) -> HyperparameterTable:
    """Return the table of a built-in model.

    Raises:
        KeyError: there is no such model.
    """
    return HyperparameterTable([*TRAINING_ROWS, *list_models()[model].rows])


BASE_TABLE = make_model_table(DEFAULT_MODEL)
"""The table of a study that names no model."""
