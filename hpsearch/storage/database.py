"""Postgres: where it is, short transactions on it, and the tables in it.

Optuna's tables stay in `public`, as Optuna makes them; ours are in the schema `hpsearch`. The server's clock decides
everything, so SQL here says `clock_timestamp()` (`now()` is from before a wait for a lock).
"""

import contextlib
import random
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from multiprocessing.connection import wait
from pathlib import Path
from typing import TypeVar

import psycopg2
import sqlalchemy
from sqlalchemy import URL, Engine, event, text
from sqlalchemy import Connection as Connection  # for the packages above, which import no SQLAlchemy
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError, DisconnectionError, OperationalError, ProgrammingError, SQLAlchemyError
from sqlalchemy.pool import ConnectionPoolEntry

from hpsearch import settings
from hpsearch.errors import DatabaseError, UnreachableError
from hpsearch.storage import embedded

T = TypeVar("T")

SCHEMA_VERSION = "0003"
"""The newest revision in `migrations/versions` (a test holds the two together)."""

CREATION_LOCK = 0x68707365
"""The key of the database-wide advisory lock that surrounds table creation ("hpse")."""

IDLE_SECONDS = 1.0
"""A connection that was used so recently, and on which the server has said nothing since, is taken to be whole."""

CONNECT_SECONDS = 10
TCP_USER_TIMEOUT = 30_000
STATEMENT_TIMEOUT = 60_000
LOCK_TIMEOUT = 20_000
IDLE_TIMEOUT = 10_000
"""Milliseconds. A worker frozen inside a transaction is thrown out after IDLE_TIMEOUT, before those who wait for its
locks give up after LOCK_TIMEOUT."""

MOMENTARY = {
    "40001",  # serialization_failure
    "40P01",  # deadlock_detected
}
ABSENT = {
    "25006",  # read_only_sql_transaction: a standby, which a failover will promote
    "25P03",  # idle_in_transaction_session_timeout
    "55P03",  # lock_not_available
    "57014",  # query_canceled, by statement_timeout
    "57P01",  # admin_shutdown
    "57P02",  # crash_shutdown
    "57P03",  # cannot_connect_now
    "57P05",  # idle_session_timeout
}
ABSENT_CLASSES = {
    "08",  # connection_exception
    "53",  # insufficient_resources: too many connections, no memory, a full disk
}
TRIES = 5

USER = re.compile(r"[^:]*://[^:/]*(:[^@]*)?@")
"""A URL up to the host. An @ after it is one of the password's, whose rest would be shown as host and database."""


def parse_url(url: str, source: str) -> URL:
    """A SQLAlchemy URL for psycopg2, which `postgresql://` and `postgres://` mean here.

    Raises:
        DatabaseError: it is no URL, or not one of Postgres. The line holds no part of the URL but its scheme.
    """
    try:
        parsed = sqlalchemy.make_url(url)
    except (SQLAlchemyError, ValueError):
        raise DatabaseError(
            f"{source} is not a database URL: write postgresql://user:password@host:5432/database"
        ) from None
    if not url.isprintable() or "%00" in url or "@" in USER.sub("", url, count=1):
        raise DatabaseError(
            f"{source} is not a database URL: write postgresql://user:password@host:5432/database, "
            "with what is special in the password percent-encoded, such as %40 for @"
        )
    if parsed.drivername not in {"postgresql", "postgres", "postgresql+psycopg2"}:
        raise DatabaseError(
            f"{source} names {parsed.drivername}, and hpsearch needs Postgres: "
            "write postgresql://user:password@host:5432/database"
        )
    return parsed.set(drivername="postgresql+psycopg2")


class Database:
    """One Postgres database by URL. Connects when first used.

    `source` says where the URL came from, for error messages; `application` is shown in pg_stat_activity.
    """

    def __init__(self, url: str, source: str = "the storage URL", application: str = "hpsearch") -> None:
        self.url = parse_url(url, source)
        self.source = source
        self.engine = _engine(self.url, application)

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
        """
        return self._try(self.engine.begin, work)

    def execute(self, work: Callable[[Connection], T]) -> T:
        """As `transact`, for `work` of a single statement, which is a transaction by itself: one round trip, not three.

        Or for several that only read, and need not see the same moment.

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
        for attempt in range(1, TRIES + 1):
            try:
                with connect() as connection:
                    return work(connection)
            except DBAPIError as error:
                if _code(error) not in MOMENTARY or attempt == TRIES:
                    raise self._translated(error) from None
                time.sleep(random.uniform(0.01, 0.1) * attempt)  # noqa: S311 - jitter, not a secret
        raise AssertionError("unreachable")

    def _translated(self, error: DBAPIError) -> Exception:
        code, reason = _code(error), self._redacted(error)
        if code in {"42P01", "3F000", "42703"}:
            return DatabaseError(f"{self.name} has no tables of this hpsearch ({reason}): run hpsearch db upgrade")
        if code == "42501":
            return DatabaseError(
                f"the database {self.name} does not let its user do this ({reason}): "
                f"make that user its owner, or name another one in {self.source}"
            )
        connecting = isinstance(error, OperationalError) and code is None
        if connecting or error.connection_invalidated or code in ABSENT or str(code)[:2] in ABSENT_CLASSES:
            return UnreachableError(f"cannot reach the database {self.name}: {reason}: check {self.source}")
        if isinstance(error, ProgrammingError) and code is None:
            return DatabaseError(f"{self.source} is not a usable database URL: {reason}")
        return error

    def _redacted(self, error: DBAPIError) -> str:
        lines = [line.strip() for line in str(error.orig).strip().splitlines() if line.strip()]
        reason = lines[0] if lines else type(error.orig).__name__
        secret = self.url.password
        return reason.replace(str(secret), "***") if secret else reason

    def version(self) -> str | None:
        """The revision of our tables; None where there are none."""

        def read(connection: Connection) -> str | None:
            if connection.scalar(text("select to_regclass('hpsearch.alembic_version')")) is None:
                return None
            found: str | None = connection.scalar(text("select version_num from hpsearch.alembic_version"))
            return found

        return self.transact(read)

    def prepare(self) -> None:
        """Make the tables where there are none; of many that do this at once one migrates and the others wait.

        Raises:
            DatabaseError: the tables are of an older or a newer hpsearch.
        """
        version = self.version()
        if version is None:
            self.migrate()
        elif version < SCHEMA_VERSION:
            raise DatabaseError(
                f"the tables in {self.name} are of an older hpsearch ({version}, this one has {SCHEMA_VERSION}): "
                "stop the workers and run hpsearch db upgrade"
            )
        elif version > SCHEMA_VERSION:
            raise DatabaseError(
                f"the tables in {self.name} are of a newer hpsearch ({version}, this one has {SCHEMA_VERSION}): "
                "upgrade hpsearch on this host"
            )

    def migrate(self) -> None:
        """Bring Optuna's tables and ours to this version, holding the database-wide lock meanwhile."""
        try:
            with self._creation_lock():
                if (version := self.version()) is None or version < SCHEMA_VERSION:
                    self._create_optuna_tables()
                    self.transact(_upgrade)
        except DBAPIError as error:
            raise self._translated(error) from None

    @contextmanager
    def _creation_lock(self) -> Iterator[None]:
        with self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("set lock_timeout = 0"))
            connection.execute(text("set statement_timeout = '10min'"))
            connection.execute(text("select pg_advisory_lock(:key)"), {"key": CREATION_LOCK})
            try:
                yield
            finally:
                connection.execute(text("select pg_advisory_unlock(:key)"), {"key": CREATION_LOCK})
                connection.invalidate()

    def _create_optuna_tables(self) -> None:
        from optuna.exceptions import StorageInternalError
        from optuna.storages import RDBStorage

        try:
            storage = RDBStorage(
                self.url.render_as_string(hide_password=False), engine_kwargs=make_engine_options("optuna")
            )
            storage.engine.dispose()
        except (RuntimeError, StorageInternalError) as error:
            raise DatabaseError(
                f"Optuna's tables in {self.name} cannot be used ({str(error).splitlines()[0]}): "
                "optuna storage upgrade brings older ones up to date"
            ) from None

    def close(self) -> None:
        """Close the connections."""
        self.engine.dispose()


@contextmanager
def connect(option: str | None, application: str = "hpsearch", *, prepare: bool = True) -> Iterator[Database]:
    """The database of `--storage`, HPSEARCH_STORAGE, or an embedded server in the data directory; its tables made.

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

    def __init__(self, directory: Path, application: str) -> None:
        self.directory = directory
        self._server = embedded.start(directory)
        self._reviving = threading.Lock()
        super().__init__(self._server.url, f"the embedded server in {directory}", application)

    @property
    def name(self) -> str:
        """Says that it is the embedded one, and where."""
        return f"embedded Postgres in {self.directory}"

    def _try(self, connect: Callable[[], AbstractContextManager[Connection]], work: Callable[[Connection], T]) -> T:
        # Where the server is gone, the next call finds it started again.
        try:
            return super()._try(connect, work)
        except UnreachableError:
            with self._reviving, contextlib.suppress(DatabaseError):
                before, self._server = self._server, embedded.start(self.directory)
                before.stop()
            raise

    def close(self) -> None:
        """Close the connections, and put the server down where nobody else uses it."""
        super().close()
        self._server.stop()


def make_engine_options(application: str) -> dict[str, object]:
    """What every engine on this database is made with: timeouts, pre-ping, UTC, and Optuna's schema first."""
    options = {
        "statement_timeout": STATEMENT_TIMEOUT,
        "lock_timeout": LOCK_TIMEOUT,
        "idle_in_transaction_session_timeout": IDLE_TIMEOUT,
        "search_path": "public",
        "timezone": "UTC",
    }
    return {
        "pool_pre_ping": True,
        "pool_size": 2,
        "connect_args": {
            "connect_timeout": CONNECT_SECONDS,
            "tcp_user_timeout": TCP_USER_TIMEOUT,
            "keepalives_idle": 30,
            "keepalives_interval": 10,
            "application_name": application,
            "options": " ".join(f"-c {name}={value}" for name, value in options.items()),
        },
    }


def _engine(url: URL, application: str) -> Engine:
    made = sqlalchemy.create_engine(url, **{**make_engine_options(application), "pool_pre_ping": False})
    event.listen(made, "checkin", _put_down)
    event.listen(made, "checkout", lambda raw, record, _: _ping(made, raw, record))
    return made


def _put_down(raw: DBAPIConnection | None, record: ConnectionPoolEntry) -> None:
    record.info["idle_since"] = time.monotonic()


def _ping(engine: Engine, raw: DBAPIConnection, record: ConnectionPoolEntry) -> None:
    """Find a connection that broke while nobody used it, as pre-ping does, which asks before every single use."""
    if "idle_since" not in record.info:  # just made, and the pool would give up on a second one that is broken
        return
    # A server that left has said so: there is something to read where nothing was asked.
    recent = time.monotonic() - record.info["idle_since"] < IDLE_SECONDS
    if recent and not wait([raw], 0):  # type: ignore[list-item]  # anything with a fileno() will do
        return
    try:
        engine.dialect.do_ping(raw)
    except psycopg2.Error:
        raise DisconnectionError from None  # the pool makes another one


def read_clock(connection: Connection) -> datetime:
    """Return the server's time, whose zone is UTC."""
    now: datetime = connection.execute(text("select clock_timestamp()")).scalar_one()
    return now


def _code(error: DBAPIError) -> str | None:
    code: str | None = getattr(error.orig, "pgcode", None)
    return code


def _upgrade(connection: Connection) -> None:
    from alembic import command
    from alembic.config import Config

    connection.execute(text("create schema if not exists hpsearch"))
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
