"""A fault of the study file: one line, `field: what is wrong, what would be right`.

The readers of the file's parts add theirs to one list, so that a user learns of all of them at once.
"""

import difflib
import reprlib
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails


class Section(BaseModel):
    """A table of the study file: nothing is coerced, an unknown key is a fault."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


M = TypeVar("M", bound=Section)

SHAPES = {
    "int_type": "is not a whole number",
    "float_type": "is not a number",
    "finite_number": "is not finite",
    "string_type": "is not a string",
    "bool_type": "is not true or false",
    "list_type": "is not a list",
    "dict_type": "is not a table",
    "model_type": "is not a table",
    "greater_than": "is out of bounds: above {gt}",
    "greater_than_equal": "is out of bounds: {ge} or more",
    "less_than_equal": "is out of bounds: {le} or less",
    "literal_error": "is unknown: one of {expected}",
    "value_error": "{error}",
}
"""What pydantic's kinds of error say here."""


def describe_unknown(word: str, known: Iterable[str]) -> str:
    """`unknown: did you mean ...`, or all that is known where nothing comes near `word`."""
    names = list(known)
    near = difflib.get_close_matches(word, names, n=1)
    if near:
        return f"unknown: did you mean {near[0]}?"
    return f"unknown: one of {', '.join(names)}" if names else "unknown: nothing can be set here"


def format_toml(value: object) -> str:
    """`value` on one line, near to how TOML spells it, cut where it is long."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{', '.join(format_toml(item) for item in value)}]" if len(value) <= 10 else reprlib.repr(value)
    return repr(value) if isinstance(value, float) else reprlib.repr(value)


def escape_controls(fault: str) -> str:
    """`fault` without what would break the line or the terminal: a TOML key may hold anything."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in fault)


def table(raw: Mapping[str, Any], field: str, faults: list[str]) -> dict[str, Any]:
    """The table `field` of `raw`; empty where it is absent or, which is a fault, something else."""
    value = raw.get(field, {})
    if isinstance(value, dict):
        return value
    faults.append(f"{field}: {format_toml(value)} is not a table: write [{field}] above its keys")
    return {}


def read(model: type[M], raw: Mapping[str, Any], field: str, faults: list[str]) -> M | None:
    """`raw` as `model`, or None and its faults."""
    try:
        return model.model_validate(dict(raw))
    except ValidationError as invalid:
        faults += [_line(model, error, field) for error in invalid.errors(include_url=False)]
        return None


def known(model: type[M], stored: Mapping[str, Any]) -> M:
    """`stored` as `model`, whichever version wrote it: unknown keys are dropped, absent ones take defaults."""
    return model.model_validate({key: value for key, value in stored.items() if key in model.model_fields})


def _line(model: type[Section], error: ErrorDetails, field: str) -> str:
    key = str(error["loc"][0]) if error["loc"] else ""
    where = ".".join([field, *map(str, error["loc"])])
    if error["type"] == "extra_forbidden":
        return f"{where}: {describe_unknown(key, model.model_fields)}"
    if error["type"] == "missing":
        return f"{where}: missing: {_meaning(model, key)}"
    shape = SHAPES.get(error["type"])
    if shape is None:
        return f"{where}: {format_toml(error['input'])}: {error['msg']}"
    bounds = {key: f"{value:g}" if isinstance(value, float) else value for key, value in error.get("ctx", {}).items()}
    said = shape.format(**bounds)
    remedy = "" if ":" in said else f": {_meaning(model, key)}"
    return f"{where}: {format_toml(error['input'])} {said}{remedy}"


def _meaning(model: type[Section], key: str) -> str:
    info = model.model_fields.get(key)
    meaning = (info.description if info else None) or "see the reference of the study file"
    return meaning[0].lower() + meaning[1:].rstrip(".")
