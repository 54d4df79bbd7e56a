"""A study file as plain tables: its text, its TOML, and what the command line puts over it."""

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hpsearch.errors import StudyFileError
from hpsearch.spec.validation import escape_controls, format_toml

LARGEST_FILE = 1 << 20
"""Bytes; what is longer is no study file, and `/dev/zero` never ends."""
INT64 = range(-(2**63), 2**63)
"""TOML's whole numbers."""


def read(path: Path) -> str:
    """The text of the file.

    Raises:
        StudyFileError: there is none to read.
    """
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST_FILE + 1)
    except FileNotFoundError:
        fault = "no such file: give the path of a study file"
    except IsADirectoryError:
        fault = "is a directory: give the path of a study file in it"
    except OSError as error:
        fault = f"cannot be read ({error.strerror}): give a readable study file"
    else:
        if len(data) > LARGEST_FILE:
            fault = f"is longer than {LARGEST_FILE} bytes: give a study file"
        else:
            try:
                # An editor's byte order mark is no fault of its user.
                return data.decode("utf-8-sig")
            except UnicodeDecodeError as error:
                fault = f"not UTF-8 at byte {error.start + 1}: save it as UTF-8"
    raise StudyFileError([escape_controls(f"{path}: {fault}")])


def parse(text: str, source: str) -> dict[str, Any]:
    """The tables of `text`, which came from `source`.

    Raises:
        StudyFileError: it is not TOML.
    """
    try:
        return tomllib.loads(text)
    except RecursionError:
        fault = "nested too deeply: a study file has tables in tables, no deeper"
    except ValueError as error:
        fault = f"not TOML: {error}"
    raise StudyFileError([escape_controls(f"{source}: {fault}")])


def override(
    raw: Mapping[str, Any], overrides: Sequence[str], given: Mapping[str, Any], faults: list[str]
) -> dict[str, Any]:
    """`raw` with the overrides (`key=value`) and then what is `given` by dotted key and not None.

    Raises:
        StudyFileError: a number is none of TOML's.
    """
    merged: dict[str, Any] = _copy(raw)
    for text in overrides:
        key, equals, value = text.partition("=")
        if not equals or not all(part.strip() for part in key.split(".")):
            faults.append(f"--set {text}: is no override: write key=value, such as budget.trials=20")
        else:
            _put(merged, key, _value(value), faults)
    for key, value in given.items():
        if value is not None:
            _put(merged, key, value, faults)
    too_large = list(_too_large(merged, ""))
    if too_large:
        # No comparison with a float survives these, so there is no looking for further faults.
        raise StudyFileError([escape_controls(fault) for fault in [*faults, *too_large]])
    return merged


def _put(tables: dict[str, Any], key: str, value: Any, faults: list[str]) -> None:
    *path, last = [part.strip() for part in key.split(".")]
    for depth, part in enumerate(path):
        inner = tables.setdefault(part, {})
        if not isinstance(inner, dict):
            whole = ".".join(path[: depth + 1])
            faults.append(f"--set {key}: {whole} is {format_toml(inner)}, not a table: set {whole} as a whole")
            return
        tables = inner
    tables[last] = value


def _value(text: str) -> Any:
    try:
        parsed = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        return text.strip()
    # A line break could have smuggled further keys in.
    return parsed["value"] if parsed.keys() == {"value"} else text.strip()


def _too_large(value: Any, field: str) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _too_large(inner, f"{field}.{key}" if field else str(key))
    elif isinstance(value, list):
        for i, inner in enumerate(value):
            yield from _too_large(inner, f"{field}[{i}]")
    elif isinstance(value, int) and value not in INT64:
        yield f"{field}: {format_toml(value)} is too large: TOML's whole numbers have 64 bits"


def _copy(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _copy(inner) for key, inner in value.items()}
    return [_copy(inner) for inner in value] if isinstance(value, list | tuple) else value
