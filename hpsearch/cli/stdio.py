"""The command's standard streams: one that the caller closed, one that takes no more, one that nobody reads."""

import contextlib
import io
import os
import sys
from pathlib import Path
from typing import Any

from hpsearch.errors import UsageError


class ReaderLeftError(Exception):
    """Whoever read stdout has seen enough, as `head` has."""


class Stdout(io.TextIOWrapper):
    """Standard output that raises errors of its own, apart from those of other files.

    After one, what is still written goes nowhere: the interpreter flushes at its end, and would complain once more.
    """

    def write(self, text: str, /) -> int:
        """Write as a file does.

        Raises:
            ReaderLeftError: it is a pipe that nobody reads.
            UsageError: it takes no more, as on a full disk.
        """
        try:
            return super().write(text)
        except OSError as error:
            raise _replace_stdout(error) from None

    def flush(self) -> None:
        """Flush as a file does; raises what `write` does."""
        try:
            super().flush()
        except OSError as error:
            raise _replace_stdout(error) from None


class _LossyOutput(io.RawIOBase):
    """The bytes of standard error, of which those are dropped that cannot be written, and none is kept for later.

    A terminal or a reader may be gone and the disk of a log full for a while: no work ends for want of its progress
    lines.
    """

    name = "<stderr>"

    def __init__(self, number: int) -> None:
        super().__init__()
        self._number = number

    def fileno(self) -> int:
        """Return the file descriptor."""
        return self._number

    def writable(self) -> bool:
        """Return True."""
        return True

    def isatty(self) -> bool:
        """Return whether it is a terminal."""
        return os.isatty(self._number)

    def write(self, data: Any, /) -> int:
        """Write all of `data`, as far as it can be written, and return its size in bytes."""
        rest = memoryview(data).cast("B")
        with contextlib.suppress(OSError):
            while rest:
                rest = rest[os.write(self._number, rest) :]
        return memoryview(data).nbytes


def _replace_stdout(error: OSError) -> Exception:
    sys.stdout = Path(os.devnull).open("w", errors="replace")  # noqa: SIM115 - for as long as the process lives
    if isinstance(error, BrokenPipeError):
        return ReaderLeftError()
    return UsageError(f"stdout cannot be written to ({error.strerror}): see where it goes, and that there is room")


def prepare() -> None:
    """Open what the caller closed on nothing, before a file or a socket takes its number; watch over both outputs.

    A character that the encoding of stdout lacks is replaced, as Python does on stderr: a name is any text.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode, errors="replace"))  # noqa: SIM115 - for as long as the process lives
    out, err = sys.stdout, sys.stderr
    assert isinstance(out, io.TextIOWrapper)
    assert isinstance(err, io.TextIOWrapper)
    sys.stdout = Stdout(out.detach(), errors="replace", **_read_options(out))
    sys.stderr = open_lossy(err.fileno(), **_read_options(err))


def open_lossy(number: int, **options: Any) -> io.TextIOWrapper:
    """Return a text stream over a file descriptor, as standard error is one, that drops what cannot be written."""
    return io.TextIOWrapper(_LossyOutput(number), errors="backslashreplace", **options)


def _read_options(stream: io.TextIOWrapper) -> dict[str, Any]:
    return {name: getattr(stream, name) for name in ("encoding", "line_buffering", "write_through")}
