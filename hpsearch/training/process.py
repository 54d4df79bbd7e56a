"""The trainer process: `python -m hpsearch.training.process FD`.

FD is the inherited end of a `multiprocessing.Pipe()`; the conversation is that of protocol.py. The process lives as
long as the pipe: it ignores SIGINT, SIGTERM, SIGHUP and SIGUSR1 (a batch system sends them to every process of a job,
and the supervisor wants a checkpoint first), and ends as soon as the supervisor does.
"""

import os
import signal
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection

from hpsearch import settings
from hpsearch.signals import REQUESTS
from hpsearch.training.connection import SupervisorConnection


@contextmanager
def silence_stderr() -> Iterator[None]:
    """Hold back what is written to stderr, by C code too, and write it only where something goes wrong.

    Frameworks print lines about the machine on every start, which no setting turns off.
    """
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as buffer:
        os.dup2(buffer.fileno(), 2)
        try:
            yield
        except BaseException:
            buffer.seek(0)
            os.write(stderr, buffer.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)


FOR_OTHERS = ("matplotlib", "pandas", "jax")
"""Packages that Keras and TensorFlow import wherever they are installed, for drawing, for tables and for exports."""


@contextmanager
def leave_out(packages: Iterable[str]) -> Iterator[None]:
    """Let no import inside the block find any of `packages` that is not there yet; later ones do, in a user's code."""
    left_out = [package for package in packages if package not in sys.modules]
    sys.modules.update(dict.fromkeys(left_out))  # type: ignore[arg-type] # None makes an import fail
    try:
        yield
    finally:
        for package in left_out:
            del sys.modules[package]


def main() -> None:
    """Serve the supervisor until it closes the pipe."""
    for number in (signal.SIGINT, *REQUESTS):
        signal.signal(number, signal.SIG_IGN)
    os.dup2(2, 1)  # stdout is the worker's, for its machine-readable output
    connection = SupervisorConnection(Connection(int(sys.argv[1])))
    backend = os.environ.get(settings.KERAS_BACKEND)
    # A fifth to a third of what a start takes, for nothing that a trainer needs.
    with silence_stderr(), leave_out(package for package in FOR_OTHERS if package != backend):
        # Only now, because it takes seconds in which the supervisor may die.
        from hpsearch.training import keras_settings

        keras_settings.import_keras()
        from hpsearch.training import serve

        ready = serve.describe_process()
    connection.send(ready)
    serve.serve(connection)


if __name__ == "__main__":
    main()
