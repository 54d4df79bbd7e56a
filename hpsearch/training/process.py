"""The trainer process: `python -m hpsearch.training.process FD`.

FD is the inherited end of a `multiprocessing.Pipe()`; the conversation is that of protocol.py. The process lives as
long as the pipe: it ignores SIGINT and SIGTERM (a terminal's Ctrl-C reaches the whole group, and the supervisor wants
a checkpoint first), and ends as soon as the supervisor does.
"""

import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection

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


def main() -> None:
    """Serve the supervisor until it closes the pipe."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    os.dup2(2, 1)  # stdout is the worker's, for its machine-readable output
    connection = SupervisorConnection(Connection(int(sys.argv[1])))
    with silence_stderr():
        # Only now, because it takes seconds in which the supervisor may die.
        from hpsearch.training import keras_settings

        keras_settings.import_keras()
        from hpsearch.training import serve

        ready = serve.describe_process()
    connection.send(ready)
    serve.serve(connection)


if __name__ == "__main__":
    main()
