"""The table of a study's hyperparameters: those of training, and those of its model.

The study file's validation, the search space, the errors and the reference in docs/study-file.md derive from it. The
defaults are the base model, so that a study with an empty `[space]` trains exactly that model.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import cache

from hpsearch.spec.models import DEFAULT_MODEL, list_models
from hpsearch.spec.rows import Hyperparameter, Value
from hpsearch.spec.training_rows import TRAINING_ROWS

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
            value = row.cast(chosen[row.name]) if row.name in chosen else row.find_default(values)
            if value is not None:
                values[row.name] = value
        return values

    def cast(self, values: Mapping[str, Value]) -> dict[str, Value]:
        """Return `values` in the types of their rows: JSON makes an int of 1.0."""
        return {name: self[name].cast(value) for name, value in values.items()}


def fill_optimizer_defaults(optimizer: str, learning_rate: float) -> dict[str, Value]:
    """Return every row of the optimizer's group for one with its defaults."""
    values = BASE_TABLE.fill_defaults({"optimizer": optimizer, "learning_rate": learning_rate})
    return {row.name: values[row.name] for row in TRAINING_ROWS if row.group == "optimizer"}


@cache
def make_model_table(model: str) -> HyperparameterTable:
    """Return the table of a built-in model.

    Raises:
        KeyError: there is no such model.
    """
    facts = list_models()[model]
    return HyperparameterTable([*(row for row in TRAINING_ROWS if row.name not in facts.without), *facts.rows])


BASE_TABLE = make_model_table(DEFAULT_MODEL)
"""The table of a study that names no model."""
