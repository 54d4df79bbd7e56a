"""What each connection to Postgres is made with: parameters of libpq, and settings that hold for one transaction.

Nothing is set for a session: behind a pooler in transaction mode the next transaction may have another session, and
this one serves other programs.
"""

import re
from functools import partial
from typing import Any

import psycopg2
from psycopg2.extensions import STATUS_READY, parse_dsn
from psycopg2.sql import Composable
from sqlalchemy import URL

from hpsearch.errors import DatabaseError
from hpsearch.storage.driver.deadlines import BoundedConnection, BoundedCursor, CallLimits

CONNECT_SECONDS = 10
"""For each host of a URL, and for the first answer of a connection that was not used for a while."""
POOL_SECONDS = 5
"""For a connection to become free where all are in use, as they are when the server is silent."""
TCP_USER_TIMEOUT = 30_000
STATEMENT_TIMEOUT = 60_000
LOCK_TIMEOUT = 20_000
IDLE_TIMEOUT = 10_000
"""Milliseconds. A worker frozen inside a transaction is thrown out after IDLE_TIMEOUT, before those who wait for its
locks give up after LOCK_TIMEOUT."""

SETTINGS = {
    "statement_timeout": str(STATEMENT_TIMEOUT),
    "lock_timeout": str(LOCK_TIMEOUT),
    "idle_in_transaction_session_timeout": str(IDLE_TIMEOUT),
    "search_path": "public",
    "timezone": "UTC",
}
"""Optuna's schema first, and UTC."""

PARAMETERS = {
    "connect_timeout": str(CONNECT_SECONDS),
    "tcp_user_timeout": str(TCP_USER_TIMEOUT),
    "keepalives_idle": "30",
    "keepalives_interval": "10",
}
"""What the URL may set to another number."""

ENCODING = "utf8"


class TransactionCursor(BoundedCursor):
    """A cursor that sends settings with the first statement of each transaction, at no round trip of their own."""

    def __init__(self, *arguments: Any, settings: str) -> None:
        super().__init__(*arguments)
        self._settings = settings

    def execute(self, query: str | bytes | Composable, vars: Any = None) -> None:
        """Execute as psycopg2 does. `set local` before a statement that is a transaction by itself holds for that."""
        if self.connection.status == STATUS_READY:
            text = query.as_string(self) if isinstance(query, Composable) else query
            query = self._settings.encode() + text if isinstance(text, bytes) else self._settings + text
        super().execute(query, vars)


def make_engine_options(
    url: URL,
    application: str,
    limits: CallLimits,
    *,
    idle_timeout: int = IDLE_TIMEOUT,
    connection_factory: type[BoundedConnection] = BoundedConnection,
    **private: object,
) -> dict[str, Any]:
    """Return what every engine on this database is made with.

    Args:
        url: what it says of the connection goes before what is said here.
        application: the name in pg_stat_activity.
        limits: how long a call may be silent.
        idle_timeout: milliseconds that a transaction may idle.
        connection_factory: the class of connections.
        private: further arguments for psycopg2.
    """
    settings = {**SETTINGS, "idle_in_transaction_session_timeout": str(idle_timeout)}
    prefix = "".join(f"set local {name} = '{value}'; " for name, value in settings.items())
    parameters = {**PARAMETERS, "application_name": application, "client_encoding": ENCODING}
    return {
        "pool_pre_ping": True,
        "pool_size": 2,
        "pool_timeout": POOL_SECONDS,
        "use_native_hstore": False,  # which SQLAlchemy else asks for with each connection, on a cursor without a limit
        "connect_args": {
            **{name: value for name, value in parameters.items() if name not in url.query},
            "connection_factory": partial(limits.connect, connection_factory),
            "cursor_factory": partial(TransactionCursor, settings=prefix),
            **private,
        },
    }


def check_parameters(url: URL, source: str) -> None:
    """Refuse parameters of the URL that libpq does not know, or that contradict what hpsearch sets.

    Raises:
        DatabaseError: there is one. The line holds its name, and not its value, which may be secret.
    """
    for name, value in url.query.items():
        if not _is_known(name):
            raise DatabaseError(f"{source} has a parameter {name!r}, which Postgres's client does not know: remove it")
        if not isinstance(value, str):
            if name not in {"host", "port"}:
                raise DatabaseError(f"{source} has the parameter {name!r} more than once: keep one")
        elif name == "dbname":
            raise DatabaseError(f"{source} has a parameter 'dbname': write the database's name behind the host instead")
        elif name in PARAMETERS and not re.fullmatch(r"[1-9][0-9]{0,8}", value):
            raise DatabaseError(f"{source} has a {name} that is not a number of at least 1: write one, or remove it")
        elif name == "client_encoding" and value.lower().replace("-", "") != ENCODING:
            raise DatabaseError(f"{source} has a client_encoding, and hpsearch needs UTF-8: remove it")
        elif name == "options":
            _check_options(value, source)


def _is_known(name: str) -> bool:
    try:
        parse_dsn(f"{name}=''")
    except psycopg2.ProgrammingError:
        return False
    return True


def _check_options(value: str, source: str) -> None:
    named = {name.lower().replace("-", "_") for name in re.findall(r"(?:-c|--)\s*([\w-]+)\s*=", value)}
    for name in (*SETTINGS, "client_encoding"):
        if name in named:
            raise DatabaseError(f"{source} has options that set {name}, which hpsearch sets itself: remove it")
