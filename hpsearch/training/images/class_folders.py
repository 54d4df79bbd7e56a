"""Folders of images, one for each class, as keras.utils.image_dataset_from_directory reads them.

Either the class folders themselves (`CLASS/*.png`), or parts of class folders (`train/CLASS/*.png`,
`test/CLASS/*.png`). Classes are in the order of their names; folders inside a class folder belong to it; links are
followed.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hpsearch.errors import NotFoundError
from hpsearch.formatting import join_words
from hpsearch.training.images.listings import (
    PART_NAMES,
    ImageFile,
    Listing,
    Part,
    describe,
    format_path,
    normalize,
)

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".webp")


def list_class_folders(root: Path) -> Listing:
    """Return the images below `root`.

    Raises:
        NotFoundError: there are none, the folders contradict each other, or one cannot be listed.
    """
    walk = _Walk(Counter())
    try:
        classes, files = _list(root, walk)
    except OSError as error:
        raise NotFoundError(f"{format_path(error.filename or root)} cannot be read: {describe(error)}") from None
    if not files:
        raise NotFoundError(
            f"{format_path(root)} holds no images: they belong into a folder for each class, "
            f"as {join_words([suffix[1:] for suffix in SUFFIXES], 'or')} files"
        )
    return Listing(root, files, tuple(map(normalize, classes)), dict(sorted(walk.passed_over.items())))


def _list(root: Path, walk: "_Walk") -> tuple[list[str], list[ImageFile]]:
    folders = walk.list_folders(root)
    parts = _find_parts(root, folders)
    classes = folders if parts is None else _merge_classes(root, parts, walk)
    files = []
    for part, place in (parts or {Part.TRAINING: root}).items():
        for label, name in enumerate(classes):
            # A class that a part lacks is named by the listing's own check.
            paths = walk.list_images(place / name) if (place / name).is_dir() else ()
            files += [ImageFile(path, path.relative_to(root).as_posix(), label, part) for path in paths]
    return classes, files


def _find_parts(root: Path, folders: Sequence[str]) -> Mapping[Part, Path] | None:
    """Return the folders of the parts; None where the folders in `root` are those of classes."""
    names = {name: PART_NAMES[name.casefold()] for name in folders if name.casefold() in PART_NAMES}
    training = [name for name, part in names.items() if part == Part.TRAINING]
    others = [format_path(name) for name in folders if name not in names]
    # A class may be called train, too: its folder holds images.
    if not training or not _Walk(Counter()).list_folders(root / training[0]):
        if folders and not others:
            raise NotFoundError(f"{format_path(root)} holds {join_words(folders)}, but no train with class folders")
        return None
    if others:
        raise NotFoundError(
            f"{format_path(root)} holds {training[0]} with class folders, and beside it {join_words(others)}: "
            "move what is no part of the data elsewhere"
        )
    parts = {part: root / name for name, part in names.items()}
    if len(parts) < len(names):
        raise NotFoundError(f"{format_path(root)} holds one part under two names, of {join_words(list(names))}")
    return dict(sorted(parts.items()))


def _merge_classes(root: Path, parts: Mapping[Part, Path], walk: "_Walk") -> list[str]:
    classes = {part: walk.list_folders(place) for part, place in parts.items()}
    for part, names in classes.items():
        unknown = [name for name in names if name not in classes[Part.TRAINING]]
        if unknown:
            raise NotFoundError(
                f"{format_path(parts[part] / unknown[0])} is a class that {format_path(parts[Part.TRAINING])} lacks"
            )
    return classes[Part.TRAINING]


@dataclass
class _Walk:
    """Goes through folders in the order of names, and counts what it passes over."""

    passed_over: Counter[str]
    above: list[tuple[int, int]] = field(default_factory=list)
    """Device and inode of the folders it is in, by which a link that leads back is noticed."""

    def list_folders(self, place: Path) -> list[str]:
        folders = []
        for path in self._list(place):
            if path.is_dir():
                folders.append(path.name)
            else:
                self.passed_over["outside the class folders"] += 1
        return folders

    def list_images(self, place: Path) -> Iterator[Path]:
        status = place.stat()
        identity = status.st_dev, status.st_ino
        if identity in self.above:
            raise NotFoundError(f"{format_path(place)} is a link to a folder that it is in: remove it")
        self.above.append(identity)
        for path in self._list(place):
            if path.is_dir():
                yield from self.list_images(path)
            elif path.suffix.lower() in SUFFIXES:
                if path.exists() and not path.is_file():  # a pipe would be waited for; a broken link is a fault
                    self.passed_over["no regular file"] += 1
                else:
                    yield path
            else:
                self.passed_over[f"other kind ({format_path(path.suffix.lower()) or 'no suffix'})"] += 1
        self.above.pop()

    def _list(self, place: Path) -> list[Path]:
        """Return what is in a folder but not hidden."""
        paths = sorted(place.iterdir(), key=lambda path: normalize(path.name))
        shown = [path for path in paths if not path.name.startswith(".")]
        if len(shown) < len(paths):
            self.passed_over["hidden"] += len(paths) - len(shown)
        return shown
