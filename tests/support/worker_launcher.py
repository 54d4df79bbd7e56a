"""A worker that a test sets up: `python worker_launcher.py SETTINGS worker --cpu ...`.

SETTINGS is JSON. `timing` is what differs from the default `Timing`, such as a lease of seconds; `at` injects a fault
at a call of one of the worker's functions, so that it meets exactly the phase it is meant for; `unacknowledged` names
functions whose first transaction is committed without the worker hearing of it. Functions are named by their full
dotted path.
"""

import functools
import json
import os
import pkgutil
import signal
import sys
from collections.abc import Callable
from typing import Any

from sqlalchemy.exc import IntegrityError

from hpsearch.cli.main import main
from hpsearch.errors import UnreachableError
from hpsearch.storage.database import Database
from hpsearch.worker import timing


def wrap(function: str, before: Callable[[], None]) -> None:
    """Call `before` before each call of the function of that dotted path.

    Raises:
        AttributeError: there is no such function.
    """
    original = pkgutil.resolve_name(function)
    module, _, name = function.rpartition(".")

    @functools.wraps(original)
    def wrapped(*arguments: Any, **named: Any) -> Any:
        before()
        return original(*arguments, **named)

    setattr(pkgutil.resolve_name(module), name, wrapped)


def inject(function: str, do: str, call: int = 1) -> None:
    """Before the `call`th call of a function: a signal to this process, or an error that a bug would raise."""
    calls = 0

    def fail() -> None:
        nonlocal calls
        calls += 1
        if calls == call and do == "raise":
            raise IntegrityError("insert into nowhere", {}, Exception("made up by the test"))
        if calls == call:
            os.kill(os.getpid(), signal.Signals[do])

    wrap(function, fail)


def unacknowledge(functions: list[str]) -> None:
    """The connection breaks just after the server committed the first transaction with a call of each function."""
    attempted = Database._try
    waiting, called = set(functions), set[str]()

    def cut_off(self: Database, connect: Any, work: Any) -> Any:
        called.clear()
        result = attempted(self, connect, work)
        if lost := waiting & called:
            waiting.difference_update(lost)
            raise UnreachableError(f"the connection broke after {', '.join(lost)}")
        return result

    for function in functions:
        wrap(function, functools.partial(called.add, function))
    Database._try = cut_off  # type: ignore[method-assign]  # for as long as this process lives


def prepare(settings: dict[str, Any]) -> None:
    """Make this process the worker that the settings describe."""
    # The command line has no option for it, and reads this when it starts a worker.
    timing.DEFAULT_TIMING = timing.Timing(**settings.pop("timing", {}))
    if "at" in settings:
        inject(**settings.pop("at"))
    unacknowledge(settings.pop("unacknowledged", []))
    assert not settings, f"unknown settings: {settings}"


if __name__ == "__main__":
    prepare(json.loads(sys.argv.pop(1)))
    main()
