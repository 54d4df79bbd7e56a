"""The signals that ask a process to leave."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

NOTICES = (signal.SIGHUP, signal.SIGUSR1)
"""From a terminal that closes and from the shell in it, or from a batch system, some time before it sends SIGTERM: what
comes after one is no sign of impatience."""

REQUESTS = (signal.SIGTERM, *NOTICES)

Handler = Callable[[int, FrameType | None], None]


@contextmanager
def handle(handler: Handler) -> Iterator[None]:
    """Have `handler` called for each request and for Ctrl-C in the block; an ignored SIGHUP (nohup) stays ignored."""
    previous = {number: signal.signal(number, handler) for number in (*_list_heard(), signal.SIGINT)}
    try:
        yield
    finally:
        for number, before in previous.items():
            signal.signal(number, before)


def interrupt_on_requests() -> None:
    """Let each request end this process as Ctrl-C does, so that an embedded server is shut down in order."""

    def interrupt(number: int, frame: FrameType | None) -> NoReturn:
        ignore_notices()
        raise KeyboardInterrupt

    for number in _list_heard():
        signal.signal(number, interrupt)


def ignore_notices() -> None:
    """Let no notice end this process, as it ends already."""
    for number in NOTICES:
        signal.signal(number, signal.SIG_IGN)


def ignore_requests() -> None:
    """Let no request end this process, as it ends already and its exit code is what counts; Ctrl-C still does."""
    for number in REQUESTS:
        signal.signal(number, signal.SIG_IGN)


def _list_heard() -> Iterator[signal.Signals]:
    return (number for number in REQUESTS if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN)
