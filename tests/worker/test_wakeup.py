"""The self-pipe that wakes a waiting thread."""

import os
import threading
from collections.abc import Iterator
from multiprocessing.connection import wait

import pytest

from hpsearch.worker.wakeup import WakeupPipe
from tests.support.worker_processes import DEADLINE


@pytest.fixture
def wakeup() -> Iterator[WakeupPipe]:
    pipe = WakeupPipe()
    yield pipe
    pipe.close()


def is_awake(wakeup: WakeupPipe, timeout: float = 0.0) -> bool:
    return wait([wakeup], timeout) != []  # type: ignore[list-item]  # anything with a fileno() will do


def test_wait_ends_when_another_thread_wakes(wakeup: WakeupPipe) -> None:
    """A wait without an end returns once another thread has woken the pipe."""
    thread = threading.Thread(target=wakeup.wake)
    thread.start()
    assert is_awake(wakeup, DEADLINE)
    thread.join(DEADLINE)


def test_cleared_pipe_waits_again(wakeup: WakeupPipe) -> None:
    """However often it was woken before, once cleared it is not readable."""
    for _ in range(3):
        wakeup.wake()
    wakeup.clear()
    assert not is_awake(wakeup)
    wakeup.clear()


def test_full_pipe_does_not_block_who_wakes(wakeup: WakeupPipe) -> None:
    """A signal handler that writes to a full pipe returns at once, and the pipe is readable."""
    for _ in range(100_000):
        wakeup.wake()
    assert is_awake(wakeup)
    wakeup.clear()
    assert not is_awake(wakeup)


def test_closed_pipe_is_not_written_to() -> None:
    """Woken after it was closed, it does not write to a descriptor that may be another file's by now."""
    pipe = WakeupPipe()
    pipe.close()
    read_end, write_end = os.pipe()
    pipe.wake()
    os.close(write_end)
    assert os.read(read_end, 1) == b""
    os.close(read_end)
