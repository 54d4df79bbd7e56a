"""Optuna's tables made by us, and databases in which something else is."""

from contextlib import closing
from typing import Any

import optuna
import psycopg2
import pytest
from sqlalchemy import Connection, text

from hpsearch.errors import DatabaseError, UsageError
from hpsearch.storage import schema
from hpsearch.storage.database import Database
from hpsearch.storage.tables import optuna_schema
from tests.conftest import create_database, execute

CATALOG = """
select table_name, column_name, data_type, is_nullable, character_maximum_length, column_default
  from information_schema.columns where table_schema = 'public'
union all select tablename, indexname, indexdef, null, null, null from pg_indexes where schemaname = 'public'
union all select conrelid::regclass::text, conname, pg_get_constraintdef(oid), null, null, null
  from pg_constraint where connamespace = 'public'::regnamespace
union all select typname, enumlabel, null, null, enumsortorder::integer, null
  from pg_enum e join pg_type t on t.oid = e.enumtypid
order by 1, 2, 3
"""

OTHERS = {
    "an application with Alembic": ["create table alembic_version (version_num varchar(32) primary key)"],
    "one with its revision": [
        "create table alembic_version (version_num varchar(32) primary key)",
        "insert into alembic_version values ('cfd24bdc0731')",
        "create table experiments (experiment_id serial primary key)",
    ],
    "one that counts its versions": [
        "create table alembic_version (version_num integer)",
        "insert into alembic_version values (null)",
    ],
    "a table of studies": ["create table studies (id serial primary key, title text)"],
    "a table of trials": ["create table trials (trial_id serial primary key, study_id integer, state text)"],
    "a table of its version": ["create table version_info (version text)"],
    "our schema": ["create schema hpsearch", "create table hpsearch.studies (study_id integer, title text)"],
    "a view": ["create view studies as select 1 as study_id, 'x'::text as study_name"],
    "a type": ["create type trialstate as enum ('OPEN', 'CLOSED')"],
    "tables like Optuna's without all columns": [
        "create table studies (study_id serial primary key, study_name text)",
        "create table trials (trial_id serial primary key, number integer, study_id integer, state text)",
        "create table version_info (version_info_id serial, schema_version integer, library_version text)",
        "create table alembic_version (version_num varchar(32) primary key)",
        "insert into alembic_version values ('v3.2.0.a')",
    ],
}


def rows(url: str, query: str) -> list[Any]:
    """Run a query on a connection that is not ours."""
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute(query)
        return cursor.fetchall()


def name_driver(url: str) -> str:
    """Return a URL as Optuna wants it."""
    return url.replace("postgresql:", "postgresql+psycopg2:", 1)


def list_relations(url: str) -> list[Any]:
    """Return everything that is in the database beside the system's own."""
    others = "not in ('pg_catalog', 'information_schema', 'pg_toast')"
    return rows(
        url,
        "select n.nspname, c.relname from pg_namespace n left join pg_class c on c.relnamespace = n.oid "
        f"where n.nspname {others} order by 1, 2",
    )


def test_the_tables_are_those_that_optuna_makes(server: str, storage: str, empty_storage: str) -> None:
    """Columns, indexes, constraints, types and versions are the same, and Optuna finds nothing to do."""
    optuna.storages.RDBStorage(name_driver(empty_storage)).engine.dispose()
    versions = "select version_num, schema_version, library_version from alembic_version, version_info"
    for query in (CATALOG, versions):
        assert rows(storage, query) == rows(empty_storage, query)
    optuna.storages.RDBStorage(name_driver(storage)).engine.dispose()
    assert len(rows(storage, versions)) == 1


@pytest.mark.parametrize("statements", OTHERS.values(), ids=OTHERS)
def test_another_applications_tables_are_left_alone(empty_storage: str, statements: list[str]) -> None:
    """A database with a table of a name that we need is refused in one line, before anything is made or written."""
    execute(empty_storage, *statements)
    before = list_relations(empty_storage)
    with closing(Database(empty_storage)) as database:
        for run in (database.prepare, database.migrate):
            with pytest.raises(UsageError) as error:
                run()
            assert str(error.value).startswith(f"another application's tables are in {database.name} (")
            assert "use a database of its own" in str(error.value)
            assert "\n" not in str(error.value)
    assert list_relations(empty_storage) == before
    if any("insert" not in statement and "alembic_version" in statement for statement in statements):
        inserted = sum("insert into alembic_version" in statement for statement in statements)
        assert rows(empty_storage, "select count(*) from alembic_version") == [(inserted,)]


def test_another_users_tables_need_not_be_readable(empty_storage: str) -> None:
    """Where the other application's tables are its own user's, the remedy is the same."""
    execute(empty_storage, *OTHERS["one with its revision"])

    def create(connection: Connection) -> None:
        for statement in ("create role stranger", "grant all on schema public to stranger", "set local role stranger"):
            connection.execute(text(statement))
        optuna_schema.create(connection, "here")

    with closing(Database(empty_storage)) as database, pytest.raises(UsageError, match="another application's tables"):
        database.transact(create)


def test_other_tables_beside_ours_are_no_matter(empty_storage: str) -> None:
    """Tables of other names stay, and so does what they hold."""
    execute(empty_storage, "create table measurements as select 1 as value")
    with closing(Database(empty_storage)) as database:
        database.prepare()
    assert rows(empty_storage, "select value from measurements") == [(1,)]


def test_a_database_of_optunas_own_is_taken(empty_storage: str) -> None:
    """Studies of plain Optuna stay beside ours, also where its creation was cut short before the version."""
    study = optuna.create_study(storage=name_driver(empty_storage), study_name="plain")
    study.tell(study.ask(), 1.0)
    for missing in ((), ("drop table alembic_version",), ("delete from version_info", "drop table alembic_version")):
        execute(empty_storage, "drop schema if exists hpsearch cascade", *missing)
        with closing(Database(empty_storage)) as database:
            database.prepare()
            assert database.read_version() == schema.SCHEMA_VERSION
        assert optuna.load_study(storage=name_driver(empty_storage), study_name="plain").best_value == 1.0


@pytest.mark.parametrize(
    ("revision", "remedy"),
    [("v3.0.0.d", "optuna storage upgrade brings older ones up to date"), ("v9.9.0.a", "use a database of its own")],
)
def test_tables_of_another_optuna_are_refused(storage: str, revision: str, remedy: str) -> None:
    """Optuna's older tables are for its own upgrade, newer ones for nobody; they stay as they are."""
    execute(storage, "drop schema hpsearch cascade", f"update alembic_version set version_num = '{revision}'")
    before = list_relations(storage)
    with closing(Database(storage)) as database, pytest.raises(DatabaseError, match=remedy):
        database.prepare()
    assert list_relations(storage) == before


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1"])
def test_a_database_that_cannot_hold_names_is_refused(server: str, encoding: str) -> None:
    """Another encoding than UTF-8 is refused in one line, before a table is made."""
    options = f"encoding '{encoding}' locale_provider libc locale 'C'"
    with create_database(server, f"test_{encoding.lower()}", "template0", options) as url:
        with closing(Database(url)) as database, pytest.raises(DatabaseError) as error:
            database.prepare()
        assert f"has the encoding {encoding}, which cannot hold every name" in str(error.value)
        assert "createdb --encoding=UTF8 --template=template0" in str(error.value)
        assert "hpsearch" not in [namespace for namespace, _ in list_relations(url)]


def test_a_failed_creation_leaves_nothing(empty_storage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables, ours and Optuna's, are made in one transaction."""

    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    before = list_relations(empty_storage)
    monkeypatch.setattr(schema, "migrate", fail)
    with closing(Database(empty_storage)) as database, pytest.raises(KeyboardInterrupt):
        database.prepare()
    assert list_relations(empty_storage) == before
    monkeypatch.undo()
    with closing(Database(empty_storage)) as database:
        database.prepare()
        assert database.execute(lambda c: c.scalar(text("select count(*) from studies"))) == 0
