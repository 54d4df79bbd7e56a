"""The pipe that a trainer prints into, with real processes that print."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import psutil
import pytest

from hpsearch.storage.artifacts.output import LIMIT, Output
from hpsearch.worker.output.output_pipe import OutputPipe

DEADLINE = 120.0


@pytest.fixture
def pipe() -> Iterator[OutputPipe]:
    """A pipe that is closed after the test."""
    opened = OutputPipe()
    yield opened
    opened.close()


def start(pipe: OutputPipe, program: str) -> subprocess.Popen[bytes]:
    """Start a Python program that prints into the pipe."""
    process = subprocess.Popen(
        [sys.executable, "-u", "-c", program], stdin=subprocess.DEVNULL, stdout=pipe.write_end, stderr=pipe.write_end
    )
    pipe.close_write_end()
    return process


def wait_for(pipe: OutputPipe, words: bytes) -> None:
    """Wait until this was printed."""
    deadline = time.monotonic() + DEADLINE
    while words not in pipe.read().content:
        assert time.monotonic() < deadline, pipe.read()
        time.sleep(0.01)


def test_last_words_of_a_killed_process_are_there(pipe: OutputPipe) -> None:
    """What a process wrote before it died is read to the last byte, stdout and stderr in their order."""
    program = "import os, sys; print('out'); sys.stderr.write('err\\n'); print('last', end=''); os.kill(os.getpid(), 9)"
    assert start(pipe, program).wait(DEADLINE) == -signal.SIGKILL
    assert pipe.read().content == b"out\nerr\nlast"
    assert pipe.read_last_line() == "last"


def test_gigabyte_costs_neither_memory_nor_the_process(pipe: OutputPipe) -> None:
    """A process that prints a gigabyte ends, and the memory of ours does not grow by more than what is kept."""
    me = psutil.Process()
    before = me.memory_info().rss
    line = "x" * 127
    process = start(pipe, f"import os\nfor _ in range(2**13): os.write(1, b'{line}\\n' * 2**10)")
    assert process.wait(DEADLINE) == 0
    assert pipe.read() == Output(f"{line}\n".encode() * (LIMIT // 128), 2**30)
    assert pipe.received == 2**30
    assert me.memory_info().rss - before < 16 << 20


def test_process_that_prints_waits_for_nobody_who_reads(pipe: OutputPipe) -> None:
    """While somebody holds on to what was read, as a thread that stores it does, the process prints on."""
    process = start(pipe, "for n in range(100_000): print(n)")
    reading = threading.Thread(target=lambda: [pipe.read() for _ in range(100)])
    reading.start()
    assert process.wait(DEADLINE) == 0
    reading.join()
    assert pipe.read_last_line() == "99999"


def test_cleared_text_is_gone(pipe: OutputPipe) -> None:
    """After `clear` only what is printed later is there, also of what was still in the pipe."""
    process = start(pipe, "import time\nprint('before')\ninput()")
    process.wait(DEADLINE)  # input() ends it at once, with a traceback
    pipe.clear()
    assert (pipe.read().content, pipe.received, pipe.read_last_line()) == (b"", 0, "")


def test_children_that_outlive_the_process_do_not_hold_the_pipe() -> None:
    """A child of the dead process may hold its stdout open: what was printed is there, and the pipe can be closed."""
    pipe = OutputPipe()
    program = "import subprocess; print(subprocess.Popen(['sleep', '1000']).pid)"
    assert start(pipe, program).wait(DEADLINE) == 0
    child = int(pipe.read_last_line())
    pipe.close()
    os.kill(child, signal.SIGKILL)
    assert int(pipe.read_last_line()) == child


def test_output_comes_while_the_process_runs(pipe: OutputPipe) -> None:
    """It is there before the process has ended, the line under way as it is by then."""
    process = start(pipe, "import signal\nprint('10%', end='\\r')\nprint('20%', end='')\nsignal.pause()")
    wait_for(pipe, b"20%")
    assert pipe.read().content == b"20%"
    process.kill()
    process.wait(DEADLINE)
