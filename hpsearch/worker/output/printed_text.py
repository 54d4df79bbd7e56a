"""Printed bytes as text that a database takes and a terminal shows as it is: the last 64 kB of them."""

import codecs
import re

from hpsearch.formatting import strip_escapes
from hpsearch.storage.artifacts.output import LIMIT, Output, keep_end

CONTROLS = bytes({*range(0x20), 0x7F} - set(b"\t\n"))
C1_CONTROL = re.compile(b"\xc2[\x80-\x9f]")


class PrintedText:
    """The end of what was printed, bounded in memory however much that is.

    A line that was overwritten after a carriage return, as progress bars are, counts as its last state alone. Bytes
    that are not UTF-8 become U+FFFD; escape sequences and control characters are left out.
    """

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._lines = bytearray()
        self._written = 0
        self._line = ""

    def add(self, data: bytes) -> None:
        """Add what was printed next."""
        text = self._line + self._decoder.decode(data)
        complete, newline, rest = text.rpartition("\n")
        self._line = _collapse(rest)
        if newline:
            self._add_lines(complete + newline)
        if len(self._line) > LIMIT:  # a line without end, which nothing has overwritten
            self._add_lines(self._line)
            self._line = ""

    def _add_lines(self, text: str) -> None:
        cleaned = _clean(text)
        self._lines += cleaned
        self._written += len(cleaned)
        del self._lines[:-LIMIT]

    def read(self) -> Output:
        """Return what there is, with the last line as it is by now."""
        line = _clean(self._line)
        return Output(keep_end(bytes(self._lines + line)), self._written + len(line))


def _collapse(line: str) -> str:
    """Return the last state of a line that may be overwritten further."""
    if "\r" not in line:
        return line
    body = line.rstrip("\r")
    return body.rpartition("\r")[2] + line[len(body) :][:1]


def _clean(text: str) -> bytes:
    if "\r" in text:
        text = "\n".join(_collapse(line).rstrip("\r") for line in text.split("\n"))
    cleaned = strip_escapes(text).encode().translate(None, CONTROLS)
    return cleaned if cleaned.isascii() else C1_CONTROL.sub(b"", cleaned)
