"""A worker in a test's hands: `python worker_launcher.py SETTINGS worker --cpu ...`.

SETTINGS is JSON. `set` gives module constants other values, such as a lease of seconds; `checkpoint_every` shortens the
30 s between two checkpoints; `at` has something happen in the worker at a call of one of its functions, so that a fault
meets exactly the phase it is meant for; `unacknowledged` names functions whose first transaction is committed without
the worker hearing of it.
"""

import functools
import importlib
import json
import os
import signal
import sys
from typing import Any

from sqlalchemy.exc import IntegrityError

from hpsearch.cli.main import main
from hpsearch.errors import UnreachableError
from hpsearch.storage.database import Database
from hpsearch.training import protocol


def place(path: str) -> tuple[Any, str]:
    """The module and the name in it that `storage.attempts.store` means."""
    module, name = path.rsplit(".", 1)
    return importlib.import_module(f"hpsearch.{module}"), name


def arm(function: str, do: str, call: int = 1) -> None:
    """Before the `call`th call of a function: a signal to this process, or an error that a bug would raise."""
    module, name = place(function)
    original = getattr(module, name)
    calls = 0

    @functools.wraps(original)
    def armed(*arguments: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call and do == "raise":
            raise IntegrityError("insert into nowhere", {}, Exception("made up by the test"))
        if calls == call:
            os.kill(os.getpid(), signal.Signals[do])
        return original(*arguments, **named)

    setattr(module, name, armed)


def unacknowledge(functions: list[str]) -> None:
    """The connection breaks just after the server committed the first transaction with a call of each function."""
    attempted = Database._try
    waiting, called = set(functions), set()

    def listen(function: str) -> None:
        module, name = place(function)
        original = getattr(module, name)

        @functools.wraps(original)
        def noted(*arguments: Any, **named: Any) -> Any:
            called.add(function)
            return original(*arguments, **named)

        setattr(module, name, noted)

    def cut_off(self: Database, connect: Any, work: Any) -> Any:
        called.clear()
        result = attempted(self, connect, work)
        if lost := waiting & called:
            waiting.difference_update(lost)
            raise UnreachableError(f"the connection broke after {', '.join(lost)}")
        return result

    for function in functions:
        listen(function)
    Database._try = cut_off


def prepare(settings: dict[str, Any]) -> None:
    """Make this process the worker that the settings describe."""
    for path, value in settings.get("set", {}).items():
        module, name = place(path)
        assert hasattr(module, name), path
        setattr(module, name, value)
    if "checkpoint_every" in settings:
        protocol.Train.__init__.__defaults__ = (None, settings["checkpoint_every"])
    if "at" in settings:
        arm(**settings["at"])
    if "unacknowledged" in settings:
        unacknowledge(settings["unacknowledged"])


if __name__ == "__main__":
    prepare(json.loads(sys.argv.pop(1)))
    main()
