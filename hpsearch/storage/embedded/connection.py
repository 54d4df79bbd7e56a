"""Connections to the embedded server, in which the user's settings for other servers have no say."""

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from hpsearch import settings
from hpsearch.storage.driver.deadlines import BoundedConnection

_lock = threading.Lock()


class PrivateConnection(BoundedConnection):
    """A connection that is made as if no variable of libpq were set."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        with _hide_variables():
            super().__init__(*arguments, **named)


CONNECT_ARGUMENTS: Mapping[str, Any] = {
    "connection_factory": PrivateConnection,
    "passfile": "/dev/null/none",  # no such file: not ~/.pgpass, of which libpq may print a warning
}
"""For psycopg2, besides where the server is."""


@contextmanager
def _hide_variables() -> Iterator[None]:
    """Hide PGSERVICE, PGTZ and so on from libpq, which has no parameter to overrule some of them.

    From C only: `os.environ`, and so the environment of a process that is started meanwhile with it, stays as it is.
    """
    variables = settings.list_libpq_variables()
    if not variables:
        yield
        return
    with _lock:
        for name in variables:
            os.unsetenv(name)
        try:
            yield
        finally:
            for name, value in variables.items():
                os.putenv(name, value)
