"""What a user's data are said to hold before a pixel is read: files, labels and parts; and the faults in that."""

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hpsearch.errors import LINE_LENGTH, NotFoundError
from hpsearch.formatting import join_words

FAULTS_NAMED = 5
"""How many of several faults a message names."""


class Part(IntEnum):
    """What the data say an image is for."""

    TRAINING = 0
    """To train on, and to hold out what the data have no part of their own for."""
    VALIDATION = 1
    TEST = 2


PART_NAMES: Mapping[str, Part] = {
    "train": Part.TRAINING,
    "training": Part.TRAINING,
    "validation": Part.VALIDATION,
    "valid": Part.VALIDATION,
    "val": Part.VALIDATION,
    "test": Part.TEST,
    "testing": Part.TEST,
}
"""In lower case: how folders and a CSV's `split` may name a part."""


@dataclass(frozen=True)
class ImageFile:
    """One image that is listed."""

    path: Path
    name: str
    """Its path below the folder, or as the CSV has it."""
    label: int
    part: Part
    group: str | None = None


@dataclass(frozen=True)
class Listing:
    """The files of a folder or a CSV, in the same order on every host."""

    place: Path
    files: Sequence[ImageFile]
    classes: tuple[str, ...]
    passed_over: Mapping[str, int]
    """Why, and how many files."""

    def __post_init__(self) -> None:
        for name in self.classes:
            require_storable(name, self.place)
        labels = np.array([file.label for file in self.files], np.int64)
        parts = np.array([file.part for file in self.files], np.int8)
        require_classes(labels, parts, self.classes, self.place)


def require_classes(
    labels: npt.NDArray[np.int64], parts: npt.NDArray[np.int8], classes: Sequence[str], place: Path | str
) -> None:
    """Require two classes or more, and of each an image in every part, those still to be held out included.

    Raises:
        NotFoundError: it is otherwise; the line names the class and the part.
    """
    if len(classes) < 2:
        raise NotFoundError(f"{format_path(place)}: {_describe_classes(classes)}: at least two classes are needed")
    counts = {part: np.bincount(labels[parts == part], minlength=len(classes)) for part in Part}
    brought = [part for part in Part if counts[part].any()]
    for part in brought:
        missing = [format_path(name) for name, count in zip(classes, counts[part], strict=True) if not count]
        if missing:
            where = f" in the {part.name.lower()} part" if len(brought) > 1 else ""
            raise NotFoundError(f"{format_path(place)}: there is no image of {_shorten(missing)}{where}")
    if Part.TRAINING not in brought:
        raise NotFoundError(f"{format_path(place)}: there are no images to train on")
    # One stays to train on, one is held out for each part that the data do not bring.
    least = 1 + len(Part) - len(brought)
    few = [
        f"{format_path(name)} ({count})"
        for name, count in zip(classes, counts[Part.TRAINING], strict=True)
        if count < least
    ]
    if few:
        raise NotFoundError(
            f"{format_path(place)}: too few images of {_shorten(few)}: a class needs {least}, one for each part"
        )


def require_storable(name: str, place: Path) -> None:
    """Require that a class can be stored and shown under its name.

    Raises:
        NotFoundError: its name is not UTF-8, is blank, or has a control character.
    """
    if not name.strip() or not name.isprintable() or not _is_utf8(name):
        raise NotFoundError(f"{format_path(place)}: the class {name!r} cannot be shown: give it another name")


def refuse(faults: Sequence[str]) -> None:
    """Raise a NotFoundError that names the first faults, as many as a line holds, and how many more there are."""
    if not faults:
        return
    lines = [_list_first(faults, count) for count in range(min(FAULTS_NAMED, len(faults)), 0, -1)]
    raise NotFoundError(next((line for line in lines if len(line) <= LINE_LENGTH), lines[-1]))


def format_path(path: Path | str) -> str:
    """Return a path as one line of printed characters, whatever bytes it is made of."""
    text = str(path)
    return text if text.isprintable() and _is_utf8(text) else repr(text)


def normalize(name: str) -> str:
    """Return a name as every file system's listing of it is then spelled: some decompose accents, some do not."""
    return unicodedata.normalize("NFC", name)


def describe(error: OSError) -> str:
    """Return why a file cannot be read, in a few words."""
    return error.strerror or type(error).__name__


def _list_first(faults: Sequence[str], count: int) -> str:
    more = f"; and {len(faults) - count:,} more" if len(faults) > count else ""
    return f"{'; '.join(faults[:count])}{more}"


def _is_utf8(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _describe_classes(classes: Sequence[str]) -> str:
    return f"the only class is {format_path(classes[0])}" if classes else "there is no class"


def _shorten(names: Iterable[str]) -> str:
    names = list(names)
    if len(names) > FAULTS_NAMED:
        names = [*names[:FAULTS_NAMED], f"{len(names) - FAULTS_NAMED:,} more"]
    return join_words(names)
