"""An event file of TensorBoard that is only appended to, and read back before that: what is in it is there once.

A record is written in one call. One that a kill has cut short is cut off before the next is appended; a TensorBoard
that reads the file meanwhile waits at its beginning.
"""

import fcntl
import struct
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

HEADER = struct.Struct("<QI")
"""The length of a record and a checksum of that; the record and a checksum of it follow."""
FOOTER = struct.Struct("<I")

Entry = tuple[str, int]
"""The tag and the step of a value."""


@dataclass
class EventFile:
    """The one event file of a directory; `name` tells it apart from those of other programs."""

    directory: Path
    name: str
    _size: int = -1
    """How long it was when it was last read or written."""
    _entries: set[Entry] = field(default_factory=set)
    _last: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    """The last step and value of each tag."""

    @property
    def path(self) -> Path:
        """Where it is. TensorBoard takes every file with `tfevents` in its name."""
        return self.directory / f"events.out.tfevents.0.{self.name}"

    def append(self, values: Sequence[Any], step: int, at: datetime) -> None:
        """Append the `Summary.Value`s of a step that are not there, all in one record."""
        with self._open() as file:
            lacking = [value for value in values if (value.tag, step) not in self._entries]
            self._write(file, lacking, step, at)

    def replace(self, value: Any, at: datetime) -> None:
        """Append a value in the place of the last one of its tag, at the next step, unless that is the same."""
        with self._open() as file:
            step, content = self._last.get(value.tag, (-1, b""))
            if content != value.SerializeToString():
                self._write(file, [value], step + 1, at)

    @contextmanager
    def _open(self) -> Iterator[BinaryIO]:
        """Open the file with what is in it known, for one process of the host at a time."""
        self.directory.mkdir(parents=True, exist_ok=True)
        with self.path.open("a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            self._read(file)
            yield file

    def _write(self, file: BinaryIO, values: Sequence[Any], step: int, at: datetime) -> None:
        records = [] if self._size else [_make_version_event(at)]
        if values:
            records.append(_make_event(values, step, at))
        content = b"".join(map(_pack, records))
        if content:
            file.write(content)
            file.flush()
        self._size += len(content)
        self._record(values, step)

    def _record(self, values: Iterable[Any], step: int) -> None:
        for value in values:
            self._entries.add((value.tag, step))
            self._last[value.tag] = step, value.SerializeToString()

    def _read(self, file: BinaryIO) -> None:
        """Read what is in the file, unless that is known, and cut off what is no whole record."""
        if file.seek(0, 2) == self._size:
            return
        from tensorboard.compat.proto.event_pb2 import Event

        self._entries, self._last, self._size = set(), {}, 0
        file.seek(0)
        for record, end in _list_records(file):
            event = Event.FromString(record)
            self._record(event.summary.value, event.step)
            self._size = end
        file.truncate(self._size)


def _list_records(file: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """Yield each whole record with the position of its end."""
    from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c

    while len(header := file.read(HEADER.size)) == HEADER.size:
        length, check = HEADER.unpack(header)
        if check != masked_crc32c(header[:8]):
            return
        record, footer = file.read(length), file.read(FOOTER.size)
        if len(footer) < FOOTER.size or FOOTER.unpack(footer)[0] != masked_crc32c(record):
            return
        yield record, file.tell()


def _pack(record: bytes) -> bytes:
    from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c

    length = struct.pack("<Q", len(record))
    return length + FOOTER.pack(masked_crc32c(length)) + record + FOOTER.pack(masked_crc32c(record))


def _make_version_event(at: datetime) -> bytes:
    from tensorboard.compat.proto.event_pb2 import Event

    return bytes(Event(wall_time=at.timestamp(), file_version="brain.Event:2").SerializeToString())


def _make_event(values: Sequence[Any], step: int, at: datetime) -> bytes:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary

    return bytes(Event(wall_time=at.timestamp(), step=step, summary=Summary(value=values)).SerializeToString())
