"""A CSV file of image files: `path`, `label`, and if need be `split` and `group`, under a header.

Paths are relative to the CSV. Other columns are left alone. Classes are in the order of their names, numbers by value.
"""

import csv
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from hpsearch.errors import NotFoundError
from hpsearch.formatting import join_words
from hpsearch.training.images.listings import PART_NAMES, ImageFile, Listing, Part, describe, format_path, refuse

REQUIRED, OPTIONAL = ("path", "label"), ("split", "group")


def list_csv(file: Path) -> Listing:
    """Return the images that a CSV file names, in its order.

    Raises:
        NotFoundError: it cannot be read, lacks a column, or has rows that cannot be meant.
    """
    rows = _read_rows(file)
    _refuse_duplicates(file, rows)
    classes = sorted({row["label"] for _, row in rows}, key=_order)
    labels = {name: label for label, name in enumerate(classes)}
    files = [
        ImageFile(
            file.parent / row["path"],
            row["path"],
            labels[row["label"]],
            PART_NAMES[row["split"].lower()] if "split" in row else Part.TRAINING,
            row.get("group"),
        )
        for _, row in rows
    ]
    return Listing(file, files, tuple(classes), {})


def _read_rows(file: Path) -> Sequence[tuple[int, Mapping[str, str]]]:
    """Return the number of each row's line, and its fields."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream, strict=True)
            columns = _find_columns(file, next(reader, []))
            rows = [(reader.line_num, fields) for fields in reader if fields]
    except OSError as error:
        raise NotFoundError(f"{format_path(file)} cannot be read: {describe(error)}") from None
    except (csv.Error, UnicodeDecodeError) as error:
        raise NotFoundError(f"{format_path(file)} is no CSV file in UTF-8: {error}") from None
    if not rows:
        raise NotFoundError(f"{format_path(file)} holds no images: a row for each is needed")
    width = max(columns.values()) + 1
    refuse(
        [
            f"{format_path(file)}, line {line}: there are {len(fields)} fields, too few for the columns"
            for line, fields in rows
            if len(fields) < width
        ]
    )
    named = [(line, {name: fields[index].strip() for name, index in columns.items()}) for line, fields in rows]
    refuse([f"{format_path(file)}, line {line}: {fault}" for line, row in named for fault in _find_faults(row)])
    return named


def _find_columns(file: Path, header: Sequence[str]) -> Mapping[str, int]:
    """Return where the known columns are."""
    names = [name.strip().lower() for name in header]
    missing = [f"`{name}`" for name in REQUIRED if name not in names]
    if missing:
        example = "path,label, with split and group if there are such"
        if len(header) == 1 and re.search(r"[;\t|]", header[0]):
            example += "; commas separate the columns"
        raise NotFoundError(
            f"{format_path(file)}: the header {','.join(header)!r} lacks {join_words(missing)}: it begins as {example}"
        )
    twice = [name for name in (*REQUIRED, *OPTIONAL) if names.count(name) > 1]
    if twice:
        raise NotFoundError(f"{format_path(file)}: the header names `{twice[0]}` twice")
    return {name: names.index(name) for name in (*REQUIRED, *OPTIONAL) if name in names}


def _find_faults(row: Mapping[str, str]) -> Iterator[str]:
    for name, value in row.items():
        if not value:
            yield f"`{name}` is empty"
        elif "\0" in value:
            yield f"`{name}` holds a null character"
        elif name == "split" and value.lower() not in PART_NAMES:
            yield f"`split` is {value!r}: train, validation or test"


def _refuse_duplicates(file: Path, rows: Sequence[tuple[int, Mapping[str, str]]]) -> None:
    lines: dict[str, list[tuple[int, str]]] = {}
    for line, row in rows:
        lines.setdefault(os.path.normpath(file.parent / row["path"]), []).append((line, row["path"]))
    refuse(
        [
            f"{format_path(file)} names {format_path(os.path.normpath(among[0][1]))} in the lines "
            f"{join_words([str(line) for line, _ in among])}"
            for among in lines.values()
            if len(among) > 1
        ]
    )


def _order(name: str) -> tuple[bool, int, str]:
    number = name.isascii() and name.isdigit() and len(name) < 19
    return not number, int(name) if number else 0, name
