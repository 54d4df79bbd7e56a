"""Commands whose output cannot be written: what they are for is done, and they end without a traceback."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hpsearch.cli import console
from hpsearch.cli.stdio import open_lossy
from hpsearch.errors import ExitCode
from tests.support.commands import DEADLINE, hpsearch


@contextlib.contextmanager
def open_broken(how: str) -> Iterator[int]:
    """Open a file descriptor that takes nothing: a pipe nobody reads, a full disk, a terminal that is gone."""
    if how == "full disk":
        descriptor = os.open("/dev/full", os.O_WRONLY)
    else:
        other, descriptor = os.pipe() if how == "closed pipe" else os.openpty()
        os.close(other)
    yield descriptor
    os.close(descriptor)


BROKEN = ("closed pipe", "full disk", "gone terminal")
UNREACHABLE = "postgresql://nobody@127.0.0.1:1/nothing"


@pytest.mark.parametrize("how", BROKEN)
@pytest.mark.parametrize(
    ("arguments", "code"),
    [(["results"], ExitCode.USAGE), (["status", "--storage", UNREACHABLE], ExitCode.DATABASE)],
)
def test_an_error_that_cannot_be_printed_is_the_exit_code_all_the_same(
    how: str, arguments: list[str], code: ExitCode
) -> None:
    """Neither an exception of the printing nor one of the interpreter's last flush takes the place of the code."""
    with open_broken(how) as nowhere:
        command = [sys.executable, "-m", "hpsearch.cli.main", *arguments]
        ended = subprocess.run(command, stdout=nowhere, stderr=nowhere, timeout=DEADLINE, check=False)
    assert ended.returncode == code


def test_a_study_is_started_though_nobody_hears_of_it(storage: str) -> None:
    """What a command is for is done where its lines cannot be printed; it is printed where stdout is another."""
    command = [sys.executable, "-m", "hpsearch.cli.main", "start-study", "--name", "small", "--json"]
    with open_broken("closed pipe") as nowhere:
        ended = subprocess.run(
            [*command, "--storage", storage], stdout=subprocess.PIPE, stderr=nowhere, timeout=DEADLINE, check=True
        )
    assert b'"study": "small"' in ended.stdout
    assert "small" in hpsearch("status", "--storage", storage).stdout


def test_a_log_of_both_streams_has_the_lines_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer stands before what is said after it, in a file too."""
    with (tmp_path / "log").open("a") as out, (tmp_path / "log").open("a") as err:
        monkeypatch.setattr(sys, "stdout", out)
        monkeypatch.setattr(sys, "stderr", err)
        console.print_answer_line("an answer")
        console.print_line("what to do next")
        assert (tmp_path / "log").read_text() == "an answer\nwhat to do next\n"


def test_what_can_be_written_again_is_written() -> None:
    """A line that did not fit is lost; the next one is not, and is whole."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    stream = open_lossy(writer, encoding="utf-8", line_buffering=True)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writer, bytes(4096))
    print("lost", file=stream)
    os.set_blocking(reader, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            assert not os.read(reader, 4096).strip(bytes(1))
    print("kept", file=stream)
    assert os.read(reader, 65536) == b"kept\n"
    os.close(reader)
    print("lost", file=stream)
    stream.close()
    os.close(writer)
