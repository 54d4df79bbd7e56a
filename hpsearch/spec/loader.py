"""Reading a study file: its text, its TOML, what the command line puts over it, and the spec that comes of it."""

import itertools
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError

from hpsearch.errors import StudyFileError
from hpsearch.formatting import format_toml, make_printable
from hpsearch.spec import combinations
from hpsearch.spec.code import archive
from hpsearch.spec.code.archive import CodeReference
from hpsearch.spec.code.imports import CodeError
from hpsearch.spec.own_rows import make_table
from hpsearch.spec.sections.samplers import decide_groups
from hpsearch.spec.study_file import StudyFile, list_study_faults
from hpsearch.spec.study_spec import StudySpec, freeze

DEFAULT = Path(__file__).parent / "studies" / "cifar10-cnn.toml"
"""The study of `hpsearch start-study` without a file."""
QUICKSTART = Path(__file__).parent / "studies" / "quickstart.toml"
"""The study of `hpsearch quickstart`."""

LARGEST_FILE = 1 << 20
"""Bytes; what is longer is no study file, and `/dev/zero` never ends."""
LARGEST_DEPTH = 10
"""Of tables and lists in one another; the deepest key is `space.NAME.when.PARENT`, a list."""
LARGEST_COUNT = 100_000
"""Of all tables, lists and values together."""
TOO_DEEP = "nested too deeply: a study file has tables in tables, no deeper"
HERE = Path()
"""The directory in which the command was given."""
INT64 = range(-(2**63), 2**63)
"""TOML's whole numbers."""


def load(
    path: Path | None, overrides: Sequence[str] = (), name: str | None = None, trials: int | None = None
) -> StudySpec:
    """Return the study of the file at `path` (None: the default study).

    Args:
        overrides: `key=value`, the key dotted as in TOML; the value is TOML, else a string.
        name: replaces `study.name`.
        trials: replaces `budget.trials`.

    Raises:
        StudyFileError: with every fault, a line each.
    """
    path = path or DEFAULT
    return from_dict(_parse_toml(_read_text(path), str(path)), overrides, name, trials, path.parent)


def from_toml(
    text: str,
    overrides: Sequence[str] = (),
    name: str | None = None,
    trials: int | None = None,
    directory: Path = HERE,
) -> StudySpec:
    """Return the study that `text` describes; otherwise as `from_dict`."""
    return from_dict(_parse_toml(text, "the study file"), overrides, name, trials, directory)


def from_dict(
    raw: Mapping[str, Any],
    overrides: Sequence[str] = (),
    name: str | None = None,
    trials: int | None = None,
    directory: Path = HERE,
) -> StudySpec:
    """Return the study that `raw`, shaped as the TOML file, describes; otherwise as `load`.

    Paths of the user's own code count from `directory`.
    """
    faults: list[str] = []
    merged = _override(raw, overrides, {"study.name": name, "budget.trials": trials}, faults)
    try:
        file = StudyFile.model_validate(merged)
    except ValidationError as invalid:
        raise _refuse([*faults, *list_study_faults(invalid)]) from None
    if faults:
        raise _refuse(faults)
    table = make_table(file.model, file.fixed, file.space)
    spec = StudySpec(
        file.study,
        file.budget,
        file.data,
        file.model,
        freeze(file.fixed, table),
        MappingProxyType(dict(file.space)),
        decide_groups(file.sampler, file.space),
        file.pruner,
        tuple(freeze(baseline, table) for baseline in file.baseline),
        code=_pack_code(file, directory),
    )
    faults += combinations.find_faults(spec)
    if faults:
        raise _refuse(faults)
    return spec


def _pack_code(file: StudyFile, directory: Path) -> CodeReference | None:
    """Return the user's own files; None where neither the model nor the data come from one.

    Raises:
        StudyFileError: they cannot be packed.
    """
    references = {"model.build": file.model.build, "data.load": file.data.load}
    own = {key: reference for key, reference in references.items() if reference is not None}
    try:
        return archive.pack(own, directory) if own else None
    except CodeError as error:
        raise _refuse([str(error)]) from None


def _refuse(faults: Sequence[str]) -> StudyFileError:
    return StudyFileError([make_printable(fault) for fault in faults])


def _read_text(path: Path) -> str:
    """Return the text of the file.

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
    raise _refuse([f"{path}: {fault}"])


def _parse_toml(text: str, source: str) -> dict[str, Any]:
    """Return the tables of `text`, which came from `source`.

    Raises:
        StudyFileError: it is not TOML.
    """
    try:
        return tomllib.loads(text)
    except RecursionError:
        fault = TOO_DEEP
    except ValueError as error:
        fault = f"not TOML: {error}"
    raise _refuse([f"{source}: {fault}"])


def _override(
    raw: Mapping[str, Any], overrides: Sequence[str], given: Mapping[str, Any], faults: list[str]
) -> dict[str, Any]:
    """Return `raw` with the overrides (`key=value`) and then what is `given` by dotted key and not None.

    Adds a fault for each override that cannot be read.

    Raises:
        StudyFileError: it is nested too deeply or has too many values, or one of them cannot be stored.
    """
    _refuse_oversized(raw)
    merged: dict[str, Any] = _copy(raw)
    for text in overrides:
        key, equals, value = text.partition("=")
        if not equals or not all(part.strip() for part in key.split(".")):
            faults.append(f"--set {text}: is no override: write key=value, such as budget.trials=20")
        elif key.count(".") >= LARGEST_DEPTH:
            faults.append(f"--set {key}: {TOO_DEEP}")
        else:
            _put(merged, key, _value(value), faults)
    for key, value in given.items():
        if value is not None:
            _put(merged, key, value, faults)
    _refuse_oversized(merged)
    unusable = list(_find_unusable(merged, ""))
    if unusable:
        # No comparison with a float survives such numbers, so there is no looking for further faults.
        raise _refuse([*faults, *unusable])
    return merged


def _refuse_oversized(raw: Mapping[str, Any]) -> None:
    """Refuse what no rule of the study file could be checked on in a reasonable time, or without a stack overflow.

    Raises:
        StudyFileError: it is nested too deeply, or has too many values.
    """
    level: list[tuple[str, Any]] = list(raw.items())
    count = 0
    for depth in itertools.count():
        if not level:
            return
        count += len(level)
        if depth >= LARGEST_DEPTH:
            raise _refuse([f"{level[0][0]}: {TOO_DEEP}"])
        if count > LARGEST_COUNT:
            raise _refuse([f"the study file has too many values: at most {LARGEST_COUNT:,}"])
        deeper: list[tuple[str, Any]] = []
        for field, value in level:
            if isinstance(value, Mapping):
                deeper += ((f"{field}.{key}", inner) for key, inner in value.items())
            elif isinstance(value, list | tuple):
                deeper += ((field, inner) for inner in value)
        level = deeper


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


def _find_unusable(value: Any, field: str) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _find_unusable(inner, f"{field}.{key}" if field else str(key))
    elif isinstance(value, list):
        for i, inner in enumerate(value):
            yield from _find_unusable(inner, f"{field}[{i}]")
    elif isinstance(value, str) and "\0" in value:
        yield f"{field}: {format_toml(value)} holds a null character: Postgres keeps any text but that"
    elif isinstance(value, int) and value not in INT64:
        yield f"{field}: {format_toml(value)} is too large: TOML's whole numbers have 64 bits"


def _copy(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _copy(inner) for key, inner in value.items()}
    return [_copy(inner) for inner in value] if isinstance(value, list | tuple) else value
