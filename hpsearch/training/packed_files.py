"""The files of a published data set, in a directory or in an archive, wherever and however the user has put them."""

import gzip
import io
import re
import tarfile
import zlib
from collections import defaultdict
from collections.abc import Collection, Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO, cast

from hpsearch.training.images.downloads import list_places

ARCHIVE = re.compile(r".+(\.tar|\.tar\.gz|\.tgz|_archive)")
"""The last as Keras calls them."""

DEPTH = 3
"""Directories of the data set's name within each other, as unpacking tools make them."""

LARGEST = 1 << 30
"""Bytes that an archive may unpack to; CIFAR's are below 200 MB."""


def find_packed(pattern: str, names: Collection[str]) -> Path | None:
    """Return the directory that has all files of `names`, or the archive; reads no content.

    Args:
        pattern: what the names of directories and archives of the data set match.
        names: the files.

    Returns:
        None where there is neither; a directory with some of the files where there is nothing better.
    """
    partial = None
    for place in list_places():
        for path in _list_candidates(place, re.compile(pattern), DEPTH):
            present = [path.is_file() or (path / name).is_file() for name in names]
            if all(present):
                return path
            if any(present):
                partial = partial or path
    return partial


def _list_candidates(place: Path, pattern: re.Pattern[str], depth: int) -> Iterator[Path]:
    """Yield the place itself, and what is of the data set's name in it, directories first."""
    if place.is_file():
        if pattern.fullmatch(place.name) and ARCHIVE.fullmatch(place.name):
            yield place
        return
    yield place
    try:
        inside = sorted(path for path in place.iterdir() if pattern.fullmatch(path.name)) if depth else []
    except OSError:
        return
    for path in sorted(inside, key=Path.is_file):
        yield from _list_candidates(path, pattern, depth - 1)


def read_files(path: Path, names: Collection[str]) -> dict[str, bytes]:
    """Return the content of those of `names` that are in a directory, or in one directory of an archive.

    Raises:
        ValueError: the archive is damaged, or unpacks to more than `LARGEST` bytes.
        OSError: a file cannot be read.
    """
    if path.is_dir():
        return {name: (path / name).read_bytes() for name in names if (path / name).is_file()}
    # Into memory: nothing is unpacked, so no name in the archive can lead anywhere.
    directories: dict[PurePosixPath, dict[str, bytes]] = defaultdict(dict)
    try:
        with path.open("rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            stream = _BoundedStream(gzip.GzipFile(fileobj=file) if packed else file)
            with tarfile.open(fileobj=cast("BinaryIO", stream), mode="r|") as archive:
                for member in archive:
                    name = PurePosixPath(member.name)
                    content = archive.extractfile(member) if member.isreg() and name.name in names else None
                    if content is not None:
                        directories[name.parent][name.name] = content.read()
                while stream.read(1 << 20):  # to the end, where gzip compares its checksum: a flipped bit is wrong
                    pass
    except (EOFError, tarfile.TarError, zlib.error, OSError) as error:
        raise ValueError(f"the archive is damaged ({error})") from None
    return max(directories.values(), key=len, default={})


class _BoundedStream:
    """Reads no more than `LARGEST` bytes of what is unpacked, whatever the archive claims of its members."""

    def __init__(self, stream: gzip.GzipFile | io.BufferedReader) -> None:
        self._stream, self._left = stream, LARGEST

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes.

        Raises:
            ValueError: there are more than `LARGEST`.
        """
        data = self._stream.read(min(size, self._left + 1) if size >= 0 else self._left + 1)
        self._left -= len(data)
        if self._left < 0:
            raise ValueError(f"it unpacks to more than {LARGEST >> 20:,} MiB")
        return data
