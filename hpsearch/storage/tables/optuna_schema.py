"""Create Optuna's tables, as `RDBStorage` would, in a transaction of ours; find out first whose tables are there.

`RDBStorage` commits on connections of its own, creates what is missing beside another application's tables, and writes
its revision into a version table that it finds empty.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import optuna
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from optuna.storages._rdb import models
from sqlalchemy import Connection, Enum, insert, text

from hpsearch.errors import DatabaseError, UsageError

TABLES = models.BaseModel.metadata.tables
TYPES = {
    column.type.name: set(column.type.enums)
    for table in TABLES.values()
    for column in table.columns
    if isinstance(column.type, Enum)
}
VERSIONS = "alembic_version"
MIGRATIONS = ScriptDirectory(str(Path(models.__file__).parent / "alembic"))

_COLUMNS = text("""
select c.relname as name, coalesce(array_agg(a.attname::text) filter (where a.attname is not null), '{}') as columns
  from pg_class c
  left join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and c.relkind in ('r', 'p')
 where c.relnamespace = to_regnamespace('public') and c.relname = any(:names)
 group by c.relname
union all
select t.typname, array(select enumlabel::text from pg_enum e where e.enumtypid = t.oid) from pg_type t
 where t.typnamespace = to_regnamespace('public') and t.typname = any(:types)
""")


def create(connection: Connection, database: str) -> None:
    """Create Optuna's tables where there are none; `database` names where, for messages.

    Raises:
        UsageError: another application has tables of these names.
        DatabaseError: Optuna's tables are of another version of Optuna.
    """
    if connection.scalar(text("select to_regnamespace('public')")) is None:
        raise DatabaseError(f"{database} has no schema public, where Optuna's tables go: create it")
    columns = _read_columns(connection)
    revision = _read_revision(connection, columns)
    if revision is not None and "version_info" in columns:
        _check_revision(revision, database)
    complete = all(set(table.columns.keys()) <= columns.get(name, set()) for name, table in TABLES.items())
    if columns and not (complete and (revision or VERSIONS not in columns)):
        raise make_refusal(database, columns)
    models.BaseModel.metadata.create_all(connection)
    if revision is None:
        _write_version(connection)


def make_refusal(database: str, names: Iterable[str]) -> UsageError:
    """Return the error that says whose tables are in a database, and what to do."""
    return UsageError(
        f"another application's tables are in {database} ({', '.join(sorted(names)[:3])}): "
        "use a database of its own for hpsearch, such as one made with createdb"
    )


def _read_columns(connection: Connection) -> Mapping[str, set[str]]:
    """Return the columns of each table that has a name of one of Optuna's, and other types of such a name."""
    arguments = {"names": [*TABLES, VERSIONS], "types": list(TYPES)}
    parts = {row.name: set(row.columns) for row in connection.execute(_COLUMNS, arguments)}
    return {name: columns for name, columns in parts.items() if TYPES.get(name) != columns}


def _read_revision(connection: Connection, columns: Mapping[str, set[str]]) -> str | None:
    """Return the only revision in the version table, if that can be read and looks like one of Optuna's."""
    if "version_num" not in columns.get(VERSIONS, set()):
        return None
    if not connection.scalar(text(f"select has_table_privilege('{VERSIONS}', 'select')")):
        return None
    revisions = connection.scalars(text(f"select cast(version_num as text) from {VERSIONS} limit 2")).all()
    return revisions[0] if len(revisions) == 1 and re.match(r"v\d+\.\d+\.\d+\.", revisions[0] or "") else None


def _check_revision(revision: str, database: str) -> None:
    head = MIGRATIONS.get_current_head()
    if revision == head:
        return
    known = {script.revision for script in MIGRATIONS.walk_revisions()}
    raise DatabaseError(
        f"Optuna's tables in {database} are of another Optuna ({revision}, this one has {head}): "
        + ("optuna storage upgrade brings older ones up to date" if revision in known else "use a database of its own")
    )


def _write_version(connection: Connection) -> None:
    """Write what `RDBStorage` writes after it has created the tables, and an interrupted one has not."""
    info = TABLES["version_info"]
    if connection.scalar(text("select count(*) from version_info")) == 0:
        version = {"schema_version": models.SCHEMA_VERSION, "library_version": optuna.__version__}
        connection.execute(insert(info).values(version))
    MigrationContext.configure(connection).stamp(MIGRATIONS, "head")
