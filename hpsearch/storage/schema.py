"""The tables: their version, and the migrations that create them and bring older ones up to date.

Optuna's tables stay in `public`, as Optuna makes them; ours are in the schema `hpsearch`, with migrations and a version
table of their own.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, text

from hpsearch.errors import DatabaseError

if TYPE_CHECKING:  # Alembic takes long to import, and only a migration needs it
    from alembic.config import Config

SCHEMA_VERSION = "0011"
"""The newest revision in `migrations/versions` (a test holds the two together)."""

CREATION_LOCK = 0x68707365
"""The key of the database-wide advisory lock under which tables are created ("hpse"), until the transaction ends."""

CREATION_SECONDS = 600
"""How long one waits for another one's migrations, and they may take."""


_OTHERS = text("""
select 'hpsearch.' || relname from pg_class
 where relnamespace = to_regnamespace('hpsearch') and relkind in ('r', 'p', 'v', 'm', 'f')
   and relname <> 'alembic_version'
""")
"""What is in our schema where our version is not."""


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


def import_migrations() -> None:
    """Import what `upgrade` needs: it takes seconds, for which no transaction should wait."""
    import alembic.command  # noqa: F401

    from hpsearch.storage.tables import optuna_schema  # noqa: F401


def upgrade(connection: Connection, database: str) -> None:
    """Create Optuna's tables and ours, or run our migrations up to the newest; `database` names where, for messages.

    Of many that do this at once one works and the others wait for its transaction to end.

    Raises:
        UsageError: another application's tables are there.
        DatabaseError: the database cannot hold every name, or Optuna's tables are of another version.
    """
    from hpsearch.storage.tables import optuna_schema

    for name in ("lock_timeout", "statement_timeout", "idle_in_transaction_session_timeout"):
        connection.execute(text(f"set local {name} = '{CREATION_SECONDS}s'"))
    connection.execute(text("select pg_advisory_xact_lock(:key)"), {"key": CREATION_LOCK})
    check_encoding(connection, database)
    version = read_version(connection)
    if version is None and (others := connection.scalars(_OTHERS).all()):
        raise optuna_schema.make_refusal(database, others)
    if version is None or version < SCHEMA_VERSION:
        optuna_schema.create(connection, database)
        migrate(connection, "head")


def check_encoding(connection: Connection, database: str) -> None:
    """Refuse a database in which a name cannot be any text.

    Raises:
        DatabaseError: its encoding is not UTF-8.
    """
    encoding = connection.scalar(text("select current_setting('server_encoding')"))
    if encoding != "UTF8":
        raise DatabaseError(
            f"the database {database} has the encoding {encoding}, which cannot hold every name: make another one "
            "with createdb --encoding=UTF8 --template=template0"
        )


def migrate(connection: Connection, version: str) -> None:
    """Run our migrations up to a version, without a look at what else is in the database."""
    from alembic import command

    connection.execute(text("create schema if not exists hpsearch"))
    command.upgrade(make_alembic_config(connection), version)


def make_alembic_config(connection: Connection) -> "Config":
    """Return what Alembic's commands need to run our migrations on `connection`."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.attributes["connection"] = connection
    return config
