"""Connect to Postgres, run short transactions on it, and say in one line what went wrong.

The server's clock decides everything, so SQL in this package says `clock_timestamp()` (`now()` is from before a wait
for a lock).
"""

import contextlib
import random
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any, TypeVar

import psycopg2
import sqlalchemy
from sqlalchemy import URL, Engine, event, text
from sqlalchemy import Connection as Connection  # for the packages above, which import no SQLAlchemy
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError, DisconnectionError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.pool import ConnectionPoolEntry

from hpsearch import settings
from hpsearch.errors import DatabaseError, HpsearchError, UnreachableError
from hpsearch.storage import connections, embedded, schema
from hpsearch.storage.driver import deadlines, failures
from hpsearch.storage.driver.deadlines import CallLimits

T = TypeVar("T")

IDLE_SECONDS = 1.0
"""A connection that was used so recently, and from which there is nothing to read, is taken to be unbroken."""

RESTART_SECONDS = 3.0
"""For the embedded server to come back, before its call fails."""

CLOSE_SECONDS = 10.0
"""For an embedded server that was silent to shut down."""

TRIES = 5
"""How often a transaction that met a deadlock or a serialization failure is run."""

USERINFO = re.compile(r"[^:]*://[^:/]*(:[^@]*)?@")
"""A URL up to the host. An @ after it is one of the password's, whose rest would be shown as host and database."""


def parse_url(url: str, source: str) -> URL:
    """Return a SQLAlchemy URL for psycopg2, which `postgresql://` and `postgres://` mean here.

    Raises:
        DatabaseError: it is no URL, or not one of Postgres. The line holds no part of the URL but its scheme.
    """
    try:
        parsed = sqlalchemy.make_url(url)
    except (SQLAlchemyError, ValueError):
        raise DatabaseError(
            f"{source} is not a database URL: write postgresql://user:password@host:5432/database"
        ) from None
    if not url.isprintable() or "%00" in url or "@" in USERINFO.sub("", url, count=1):
        raise DatabaseError(
            f"{source} is not a database URL: write postgresql://user:password@host:5432/database, "
            "with what is special in the password percent-encoded, such as %40 for @"
        )
    if parsed.drivername not in {"postgresql", "postgres", "postgresql+psycopg2"}:
        raise DatabaseError(
            f"{source} names {parsed.drivername}, and hpsearch needs Postgres: "
            "write postgresql://user:password@host:5432/database"
        )
    connections.check_parameters(parsed, source)
    return parsed.set(drivername="postgresql+psycopg2")


class Database:
    """One Postgres database by URL. Connects when first used.

    `source` says where the URL came from, for error messages; `application` is shown in pg_stat_activity. `limits` says
    how long a call may be silent before its connection is dropped.
    """

    connect_arguments: Mapping[str, Any] = {}
    """Arguments for psycopg2 besides the URL and what `connections` gives it."""

    def __init__(self, url: str, source: str = "the storage URL", application: str = "hpsearch") -> None:
        self.url = parse_url(url, source)
        self.source = source
        self.limits = CallLimits()
        self.engine = _make_engine(self.url, self.make_engine_options(application))

    def make_engine_options(self, application: str, *, idle_timeout: int = connections.IDLE_TIMEOUT) -> dict[str, Any]:
        """Return what an engine on this database is made with; see `connections`."""
        return connections.make_engine_options(
            self.url, application, self.limits, idle_timeout=idle_timeout, **self.connect_arguments
        )

    @property
    def name(self) -> str:
        """`host:port/database`, without user or password."""
        host = self.url.host or self.url.query.get("host") or "localhost"
        port = f":{self.url.port}" if self.url.port else ""
        return f"{host}{port}/{self.url.database or ''}"

    def transact(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in one transaction and return what it returns.

        A deadlock or a serialization failure rolls back and runs `work` again, so it must not keep state of its own.

        Raises:
            UnreachableError: the database did not answer; nothing was written, or (when the connection broke during
                the commit) all of it was.
            DatabaseError: the database refuses us (no such database, no rights, no tables).
            StatementError: it failed at a statement, for whatever other reason.
        """
        return self._try(self.engine.begin, work)

    def execute(self, work: Callable[[Connection], T]) -> T:
        """Run `work` of a single statement, which is a transaction by itself: one round trip, not three.

        Or of several that only read, and need not see the same moment. A retry as in `transact`.

        Raises:
            UnreachableError: see `transact`.
            DatabaseError: see `transact`.
        """
        return self._try(self._autocommit, work)

    @contextmanager
    def _autocommit(self) -> Iterator[Connection]:
        # Not by SQLAlchemy's isolation levels: psycopg2 tells the server of each change between those.
        with self.engine.connect() as connection:
            raw = connection.connection.driver_connection
            assert raw is not None
            raw.autocommit = True
            try:
                yield connection
            finally:
                if not raw.closed:
                    raw.autocommit = False

    def _try(self, connect: Callable[[], AbstractContextManager[Connection]], work: Callable[[Connection], T]) -> T:
        if self.limits.left == 0:
            reason = "it does not answer a process that was told to leave"
            raise failures.make_unreachable(self.name, self.source, reason)
        began, answered = time.monotonic(), True
        try:
            return self._repeat(connect, work)
        except UnreachableError:
            answered = False
            raise
        finally:
            self.limits.record(began, answered=answered)

    def _repeat(self, connect: Callable[[], AbstractContextManager[Connection]], work: Callable[[Connection], T]) -> T:
        for attempt in range(1, TRIES + 1):
            try:
                with connect() as connection:
                    return work(connection)
            except PoolTimeoutError:
                reason = "all connections are waiting for it"
                raise failures.make_unreachable(self.name, self.source, reason) from None
            except DBAPIError as error:
                if not failures.is_retryable(error) or attempt == TRIES:
                    raise self._translate(error) from None
                time.sleep(random.uniform(0.01, 0.1) * attempt)  # noqa: S311 - jitter, not a secret
        raise AssertionError("unreachable")

    def _translate(self, error: DBAPIError) -> HpsearchError:
        return failures.translate(error, self.name, self.source, self.url.password)

    def read_version(self) -> str | None:
        """Return the revision of our tables; None where there are none."""
        return self.transact(schema.read_version)

    def prepare(self) -> None:
        """Create the tables where there are none; of many that do this at once one migrates and the others wait.

        Raises:
            DatabaseError: the tables are of an older or a newer hpsearch.
        """
        version = self.read_version()
        if version is None:
            self.migrate()
        else:
            schema.check_version(version, self.name)

    def migrate(self) -> None:
        """Bring Optuna's tables and ours to this version, in one transaction, of which there is one at a time.

        Raises:
            UsageError: another application's tables are in the database.
            DatabaseError: the database cannot hold every name, or Optuna's tables are of another version.
        """
        schema.import_migrations()
        with deadlines.allow(2 * schema.CREATION_SECONDS):  # the server's timeout comes first
            self.transact(lambda connection: schema.upgrade(connection, self.name))

    def close(self) -> None:
        """Close the connections."""
        self.engine.dispose()


@contextmanager
def connect(option: str | None, application: str = "hpsearch", *, prepare: bool = True) -> Iterator[Database]:
    """Open the database of `--storage`, HPSEARCH_STORAGE, or an embedded server in the data directory.

    Creates its tables where there are none, but for `prepare` false.

    Raises:
        DatabaseError: it cannot be reached or used.
    """
    setting = settings.read_storage(option)
    if setting is not None:
        database = Database(setting.value, setting.source, application)
    else:
        database = EmbeddedDatabase(settings.find_home_dir(), application)
    try:
        if prepare:
            database.prepare()
        yield database
    finally:
        database.close()


class EmbeddedDatabase(Database):
    """The database of the embedded server, which serves this host only and is started again where it was killed."""

    connect_arguments = embedded.CONNECT_ARGUMENTS

    def __init__(self, directory: Path, application: str) -> None:
        self.directory = directory
        self._server = embedded.start(directory)
        self._restart_lock = threading.Lock()
        super().__init__(self._server.url, f"the embedded server in {directory}", application)

    @property
    def name(self) -> str:
        """Say that it is the embedded one, and where."""
        return f"embedded Postgres in {self.directory}"

    def _try(self, connect: Callable[[], AbstractContextManager[Connection]], work: Callable[[Connection], T]) -> T:
        # Where the server is gone, the next call finds it started again.
        try:
            return super()._try(connect, work)
        except UnreachableError:
            # Briefly, and one thread only: who repeats the call comes here again, and who must leave does not wait.
            if self.limits.left != 0 and self._restart_lock.acquire(blocking=False):
                try:
                    self._restart()
                finally:
                    self._restart_lock.release()
            raise

    def _restart(self) -> None:
        with contextlib.suppress(DatabaseError):
            stopped, self._server = self._server, embedded.start(self.directory, patience=RESTART_SECONDS)
            stopped.stop()

    def close(self) -> None:
        """Close the connections, and stop the server where nobody else uses it."""
        super().close()
        patience = self.limits.left
        if patience is None and not self.limits.is_failing:
            self._server.stop()
            return
        with contextlib.suppress(DatabaseError):  # it does that in its own time
            self._server.stop(CLOSE_SECONDS if patience is None else patience)


def _make_engine(url: URL, options: dict[str, Any]) -> Engine:
    engine = sqlalchemy.create_engine(url, **{**options, "pool_pre_ping": False})
    event.listen(engine, "checkin", _record_last_use)
    event.listen(engine, "checkout", lambda raw, record, _: _ping(engine, raw, record))
    return engine


def _record_last_use(raw: DBAPIConnection | None, record: ConnectionPoolEntry) -> None:
    record.info["idle_since"] = time.monotonic()


def _ping(engine: Engine, raw: DBAPIConnection, record: ConnectionPoolEntry) -> None:
    """Find a connection that broke while nobody used it, as pre-ping does, which asks before every single use."""
    if "idle_since" not in record.info:  # just made, and the pool would give up on a second one that is broken
        return
    # A server that closed the connection has said so: there is something to read although nothing was sent.
    recent = time.monotonic() - record.info["idle_since"] < IDLE_SECONDS
    if recent and not wait([raw], 0):  # type: ignore[list-item]  # anything with a fileno() will do
        return
    try:
        with deadlines.allow(connections.CONNECT_SECONDS):
            engine.dialect.do_ping(raw)
    except psycopg2.Error:
        raise DisconnectionError from None  # the pool makes another one


def read_clock(connection: Connection) -> datetime:
    """Return the server's time, whose zone is UTC."""
    now: datetime = connection.execute(text("select clock_timestamp()")).scalar_one()
    return now
