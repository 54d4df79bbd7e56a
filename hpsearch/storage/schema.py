"""The tables: their version, and the migrations that create them and bring older ones up to date.

Optuna's tables stay in `public`, as Optuna makes them; ours are in the schema `hpsearch`, with migrations and a version
table of their own.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, Engine, text

from hpsearch.errors import DatabaseError

if TYPE_CHECKING:  # Alembic takes long to import, and only a migration needs it
    from alembic.config import Config

SCHEMA_VERSION = "0007"
"""The newest revision in `migrations/versions` (a test holds the two together)."""

CREATION_LOCK = 0x68707365
"""The key of the database-wide advisory lock that surrounds table creation ("hpse")."""


def read_version(connection: Connection) -> str | None:
    """Return the revision of our tables; None where there are none."""
    if connection.scalar(text("select to_regclass('hpsearch.alembic_version')")) is None:
        return None
    version: str | None = connection.scalar(text("select version_num from hpsearch.alembic_version"))
    return version


def check_version(version: str, database: str) -> None:
    """Refuse tables of another version; `database` names where they are.

    Raises:
        DatabaseError: the tables are of an older or a newer hpsearch.
    """
    if version < SCHEMA_VERSION:
        raise DatabaseError(
            f"the tables in {database} are of an older hpsearch ({version}, this one has {SCHEMA_VERSION}): "
            "stop the workers and run hpsearch db upgrade"
        )
    if version > SCHEMA_VERSION:
        raise DatabaseError(
            f"the tables in {database} are of a newer hpsearch ({version}, this one has {SCHEMA_VERSION}): "
            "upgrade hpsearch on this host"
        )


@contextmanager
def hold_creation_lock(engine: Engine) -> Iterator[None]:
    """Hold CREATION_LOCK, which is waited for without a timeout, on a connection of its own."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("set lock_timeout = 0"))
        connection.execute(text("set statement_timeout = '10min'"))
        connection.execute(text("select pg_advisory_lock(:key)"), {"key": CREATION_LOCK})
        try:
            yield
        finally:
            connection.execute(text("select pg_advisory_unlock(:key)"), {"key": CREATION_LOCK})
            connection.invalidate()


def create_optuna_tables(engine: Engine, database: str, options: Mapping[str, object]) -> None:
    """Create Optuna's tables where there are none.

    `database` names where they are, for error messages; `options` are what Optuna makes its own engine with.

    Raises:
        DatabaseError: those that are there are of another version of Optuna.
    """
    from optuna.exceptions import StorageInternalError
    from optuna.storages import RDBStorage

    try:
        storage = RDBStorage(engine.url.render_as_string(hide_password=False), engine_kwargs=dict(options))
        storage.engine.dispose()
    except (RuntimeError, StorageInternalError) as error:
        raise DatabaseError(
            f"Optuna's tables in {database} cannot be used ({str(error).splitlines()[0]}): "
            "optuna storage upgrade brings older ones up to date"
        ) from None


def upgrade(connection: Connection) -> None:
    """Run our migrations up to the newest."""
    from alembic import command

    connection.execute(text("create schema if not exists hpsearch"))
    command.upgrade(make_alembic_config(connection), "head")


def make_alembic_config(connection: Connection) -> "Config":
    """Return what Alembic's commands need to run our migrations on `connection`."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.attributes["connection"] = connection
    return config
