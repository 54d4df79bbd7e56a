"""What is kept of printed bytes."""

import pytest

from hpsearch.storage.artifacts.output import LIMIT, Output
from hpsearch.worker.output.printed_text import PrintedText


def keep(*pieces: bytes) -> Output:
    """What is kept of these pieces, one printed after the other."""
    text = PrintedText()
    for piece in pieces:
        text.add(piece)
    return text.read()


@pytest.mark.parametrize(
    ("printed", "kept"),
    [
        (b"one\n\ttwo\nthree", "one\n\ttwo\nthree"),
        ("größer 日本\n".encode(), "größer 日本\n"),
        (b"NUL\0 bell\a tab\t delete\x7f C1\xc2\x9b\n", "NUL bell tab\t delete C1\n"),
        (b"not UTF-8: \xff\xfe.\n", "not UTF-8: \N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}.\n"),
        (
            b"\x1b[1m\x1b[32mgreen\x1b[0m \x1b]0;a title\x07\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\\x1b(B\n",
            "green link\n",
        ),
        (b"Windows\r\nlines\r\n", "Windows\nlines\n"),
        (b"begin\n  0%\r 50%\r100%\nend\n", "begin\n100%\nend\n"),
        (b"\r  0%\r 50%\r100%", "100%"),
        (b"  0%\r 50%\r", " 50%"),
        (b"\b\b\b\b\r1/2\b\b\b\b\b\r2/2\n", "2/2\n"),
        (b"\r\n\r\r\n", "\n\n"),
    ],
)
def test_text_is_what_a_terminal_would_show(printed: bytes, kept: str) -> None:
    """Progress bars are their last state, escapes and control characters are gone: whole, and byte by byte."""
    expected = Output(kept.encode(), len(kept.encode()))
    assert keep(printed) == expected
    assert keep(*(bytes([byte]) for byte in printed)) == expected


def test_last_64_kb_are_kept_and_all_bytes_counted() -> None:
    """The oldest bytes go, whatever the size of the pieces; what is missing is known to the byte."""
    lines = b"".join(b"line %d\n" % number for number in range(20_000))
    for size in (100, 4096, len(lines)):
        printed = keep(*(lines[start : start + size] for start in range(0, len(lines), size)))
        assert printed == Output(lines[-LIMIT:], len(lines))
        assert printed.dropped == len(lines) - LIMIT


def test_cut_text_begins_with_a_whole_character() -> None:
    """The limit counts bytes, and cuts through no character."""
    printed = keep("日".encode() * 100_000 + b"\n")
    assert printed.content.decode() == "日" * (LIMIT // 3 - 1) + "日\n"[-2:]
    assert printed.written == 300_001


def test_line_without_end_is_bounded() -> None:
    """A line of megabytes is no other than many lines, and a bar of megabytes is one state."""
    endless = keep(*[b"." * 1000] * 5000)
    assert endless == Output(b"." * LIMIT, 5_000_000)
    bar = keep(b"begin\n", *[b"\r%d%%" % (number // 1000) for number in range(100_000)])
    assert bar == Output(b"begin\n99%", 9)
