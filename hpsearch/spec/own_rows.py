"""The hyperparameters of a user's own model: typed by what the study file writes in `[space]` and `[fixed]`."""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from hpsearch.spec.dimension import Choices, Range
from hpsearch.spec.hyperparameters import HyperparameterTable, make_model_table
from hpsearch.spec.rows import Hyperparameter, Value
from hpsearch.spec.sections.model import ModelSection
from hpsearch.spec.training_rows import TRAINING_ROWS
from hpsearch.spec.validation import refuse

MAX_NAME_LENGTH = 512
"""Characters, the width of Optuna's column."""

DEFAULTS: Mapping[str, Value] = MappingProxyType({"preprocessing": "none", "precision": "float32"})
"""Where a row's default is another for a user's model: pixels of 0..255, in the precision it was written for."""

KINDS = (bool, str, int, float)


def make_table(
    model: ModelSection,
    fixed: Mapping[str, Any] = MappingProxyType({}),
    space: Mapping[str, Any] = MappingProxyType({}),
) -> HyperparameterTable:
    """Return the table of a study.

    Args:
        model: its `[model]`; a built-in one has rows of its own, and the rest is not looked at.
        fixed: `[fixed]`, as written.
        space: `[space]`, as written or as dimensions.

    Raises:
        ValidationError: a hyperparameter of a user's model is of no one type.
    """
    if model.name is not None:
        return make_model_table(model.name)
    rows = [row for row in TRAINING_ROWS if model.preprocess or row.group != "input"]
    rows = [replace(row, default=DEFAULTS.get(row.name, row.default)) for row in rows]
    known = {row.name for row in TRAINING_ROWS}
    written = {"fixed": {name: [value] for name, value in fixed.items()}}
    written["space"] = {name: _list_values(entry) for name, entry in space.items()}
    own = {
        name: (f"{section}.{name}", values)
        for section, entries in written.items()
        for name, values in entries.items()
        if name not in known
    }
    refuse(f"{field}: {fault}" for name, (field, values) in own.items() if (fault := _find_fault(name, values)))
    return HyperparameterTable([*rows, *(_make_row(name, values) for name, (_, values) in own.items())])


def _list_values(entry: Any) -> list[Any]:
    """Return the values in an entry of `[space]` that tell its type."""
    if isinstance(entry, Choices):
        return list(entry.values)
    if isinstance(entry, Range):
        return [int(entry.low) if entry.integer else float(entry.low)]
    if isinstance(entry, Mapping):
        if "choices" in entry:
            return _list_values(entry["choices"])
        return [entry[key] for key in ("low", "high", "step") if entry.get(key) is not None]
    return entry if isinstance(entry, list) else [entry]


def _find_fault(name: str, values: list[Any]) -> str | None:
    if not name.strip() or not name.isprintable() or len(name) > MAX_NAME_LENGTH:
        return f"is no name: up to {MAX_NAME_LENGTH} printable characters"
    if values and _find_kind(values) is None:
        return "is of no one type: write whole numbers, numbers, words, or true and false"
    return None


def _find_kind(values: list[Any]) -> type[bool] | type[str] | type[int] | type[float] | None:
    types = {type(value) for value in values}
    if types == {int, float}:
        return float
    return next((kind for kind in KINDS if types == {kind}), None)


def _make_row(name: str, values: list[Any]) -> Hyperparameter:
    kind = _find_kind(values) or float  # nothing written: what is missing is said elsewhere
    choices = tuple(dict.fromkeys(values)) if kind is str else ()
    return Hyperparameter(name, kind, None, "A hyperparameter of the study's own model.", choices=choices)
