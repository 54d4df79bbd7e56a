"""The command's standard streams: one that the caller closed, one that takes no more, one that nobody reads."""

import io
import os
import sys
from pathlib import Path

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


def _replace_stdout(error: OSError) -> Exception:
    sys.stdout = Path(os.devnull).open("w", errors="replace")  # noqa: SIM115 - for as long as the process lives
    if isinstance(error, BrokenPipeError):
        return ReaderLeftError()
    return UsageError(f"stdout cannot be written to ({error.strerror}): see where it goes, and that there is room")


def prepare() -> None:
    """Open what the caller closed on nothing, before a file or a socket takes its number; watch over stdout.

    A character that the encoding of stdout lacks is replaced, as Python does on stderr: a name is any text.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode, errors="replace"))  # noqa: SIM115 - for as long as the process lives
    out = sys.stdout
    assert isinstance(out, io.TextIOWrapper)
    kept = {name: getattr(out, name) for name in ("encoding", "line_buffering", "write_through")}
    sys.stdout = Stdout(out.detach(), errors="replace", **kept)
