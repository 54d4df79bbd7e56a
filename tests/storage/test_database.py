"""Reaching the database, and making its tables."""

import contextlib
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy
from sqlalchemy import text

from hpsearch.errors import DatabaseError, UnreachableError
from hpsearch.storage import schema
from hpsearch.storage.database import Database
from hpsearch.storage.tables import optuna_schema
from tests.support.small_study import end_session

OLD_ROWS = (
    "insert into studies (study_name) values ('old')",
    "insert into trials (number, study_id, state) values (0, 1, 'COMPLETE')",
    "insert into hpsearch.studies (study_id, spec, fingerprint, priority, trials) values (1, '{}', 'f', 0, 1)",
    "insert into hpsearch.files (key, trial_id, content) values ('model/1/1', 1, 'old')",
)
PREPARE = "import sys; from hpsearch.storage.database import Database; Database(sys.argv[1]).prepare()"


def test_first_starts_at_once_make_the_tables_once(empty_storage: str) -> None:
    """Four processes that prepare an empty database at the same time all succeed; `test_pooler` has more clients."""
    starting = [subprocess.Popen([sys.executable, "-c", PREPARE, empty_storage]) for _ in range(4)]
    assert [process.wait(120) for process in starting] == [0] * 4
    with closing(Database(empty_storage)) as opened:
        assert opened.read_version() == schema.SCHEMA_VERSION


def test_schema_version_is_the_newest_migration() -> None:
    """The constant that is compared at every start is the head of the migrations."""
    from alembic.script import ScriptDirectory

    migrations = Path(schema.__file__).parent / "migrations"
    assert ScriptDirectory(str(migrations)).get_current_head() == schema.SCHEMA_VERSION


@pytest.mark.parametrize("version", ["0001", "0002", "0003", "0004"])
def test_upgrade_keeps_what_older_tables_hold(empty_storage: str, version: str) -> None:
    """`hpsearch db upgrade` on tables of an older version, with a study, a trial and a file, loses none of them."""
    with closing(Database(empty_storage)) as old:
        old.transact(lambda c: optuna_schema.create(c, old.name))
        old.transact(lambda c: schema.migrate(c, version))
        for statement in OLD_ROWS:
            old.transact(lambda c: c.execute(text(statement)))
        with pytest.raises(DatabaseError, match=rf"older hpsearch \({version}.*run hpsearch db upgrade"):
            old.prepare()
    upgrade = [sys.executable, "-m", "hpsearch.cli.main", "db", "upgrade", "--storage", empty_storage]
    subprocess.run(upgrade, check=True, capture_output=True, timeout=120)
    with closing(Database(empty_storage)) as opened:
        opened.prepare()
        study = opened.transact(lambda c: c.execute(text("select * from hpsearch.studies")).one())
        assert (study.study_id, study.fingerprint, study.artifacts) == (1, "f", None)
        file = opened.transact(lambda c: c.execute(text("select * from hpsearch.files")).one())
        assert (file.key, file.trial_id, bytes(file.content), file.artifacts) == ("model/1/1", 1, b"old", None)
        evaluated = "insert into hpsearch.evaluations (evaluated, number, configurations) values (1, 1, '[]')"
        opened.transact(lambda c: c.execute(text(evaluated)))
        opened.transact(lambda c: c.execute(text("delete from hpsearch.files")))
        assert opened.transact(lambda c: c.scalar(text("select count(*) from hpsearch.leftovers"))) == 0


def test_downgrade_and_upgrade_again_end_at_the_newest_tables(storage: str) -> None:
    """Every migration undoes what it does."""
    with closing(Database(storage)) as opened:
        opened.transact(lambda c: _downgrade(c, "base"))
        assert opened.transact(lambda c: c.scalar(text("select to_regclass('hpsearch.studies')"))) is None
        opened.transact(lambda c: schema.migrate(c, "head"))
        assert opened.read_version() == schema.SCHEMA_VERSION


def test_downgrade_keeps_an_attempt_that_ended_at_chance(storage: str) -> None:
    """An attempt at chance is diverged to the version before, which knows no other name for it."""
    attempt = (
        "insert into hpsearch.attempts (trial_id, number, study_id, worker_id, host, device, held_until, ended_at, why)"
        " values (1, 1, 1, 'w', 'host', 'CPU', now(), now(), 'at_chance')"
    )
    with closing(Database(storage)) as opened:
        for statement in (*OLD_ROWS[:3], attempt):
            opened.transact(lambda c: c.execute(text(statement)))
        opened.transact(lambda c: _downgrade(c, "0004"))
        assert opened.transact(lambda c: c.scalar(text("select why from hpsearch.attempts"))) == "diverged"


def test_upgrade_keeps_how_an_older_study_ended(storage: str) -> None:
    """A study that was paused before its changes were stored has one, of the time when its trial was let go."""
    attempt = (
        "insert into hpsearch.attempts (trial_id, number, study_id, worker_id, host, device, held_until, ended_at, why)"
        " values (1, 1, 1, 'w', 'host', 'CPU', now(), '2026-01-02', 'paused')"
    )
    paused = "update hpsearch.studies set status = 'paused', reason = 'why', created_at = '2026-01-01'"
    query = "select status, reason, changed_at = '2026-01-02' from hpsearch.status_changes"
    with closing(Database(storage)) as opened:
        for statement in (*OLD_ROWS[:3], attempt, paused):
            opened.transact(lambda c: c.execute(text(statement)))
        opened.transact(lambda c: _downgrade(c, "0010"))
        opened.transact(lambda c: schema.migrate(c, "head"))
        assert [*opened.transact(lambda c: c.execute(text(query)).one())] == ["paused", "why", True]


def _downgrade(connection: sqlalchemy.Connection, version: str) -> None:
    """Migrate down to a version of our tables."""
    from alembic import command

    command.downgrade(schema.make_alembic_config(connection), version)


def test_optunas_version_table_and_ours_live_apart(storage: str) -> None:
    """Our migrations leave Optuna's alembic_version alone."""
    with closing(Database(storage)) as opened:
        versions = opened.transact(
            lambda c: [
                c.scalar(text(f"select version_num from {schema}.alembic_version")) for schema in ("public", "hpsearch")
            ]
        )
    assert versions[0].startswith("v")
    assert versions[1] == schema.SCHEMA_VERSION


@pytest.mark.parametrize(
    ("version", "remedy"), [("0000", "run hpsearch db upgrade"), ("9999", "upgrade hpsearch on this host")]
)
def test_tables_of_another_version_are_refused(storage: str, version: str, remedy: str) -> None:
    """Older and newer tables are each refused with what to do."""
    with closing(Database(storage)) as opened:
        opened.transact(
            lambda c: c.execute(text("update hpsearch.alembic_version set version_num = :v"), {"v": version})
        )
        with pytest.raises(DatabaseError, match=remedy):
            opened.prepare()


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://someone:s3cret@127.0.0.1:1/nothing",
        "postgresql://someone:s3cret@no-such-host.invalid/nothing",
        "postgres://someone:s3cret@127.0.0.1:1/nothing",
    ],
)
def test_unreachable_server_is_one_line_without_the_password(url: str) -> None:
    """Nobody at the address: one line that names it and keeps the password to itself."""
    with closing(Database(url, "--storage")) as nowhere, pytest.raises(UnreachableError) as failed:
        nowhere.prepare()
    assert "\n" not in str(failed.value)
    assert "s3cret" not in str(failed.value)
    assert "--storage" in str(failed.value)


@pytest.mark.parametrize(
    "url", ["mysql://someone:s3cret@host/db", "s3cret", "sqlite:///s3cret.db", "postgresql://u:s3cret@host:port/db"]
)
def test_urls_of_other_databases_are_refused_without_the_password(url: str) -> None:
    """What is no Postgres URL is refused in one line that says what one looks like."""
    with pytest.raises(DatabaseError) as failed:
        Database(url, "--storage")
    assert "postgresql://user:password@host:5432/database" in str(failed.value)
    assert "s3cret" not in str(failed.value)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://someone:my@s3cret@host/db",
        "postgresql://someone:my@s3/cret@host/db",
        "postgresql://someone:my@x?s3cret@host/db",
        "postgresql://someone:s3cret@host/db\npostgresql://someone:s3cret@host/db",
        "postgresql://someone:s3cret%00@host/db",
        "postgresql://someone:s3cret\udcff@host/db",
    ],
)
def test_a_password_that_is_not_encoded_is_refused_without_it(url: str) -> None:
    """What follows the first @ of a password would pass for the host, and be shown as such."""
    with pytest.raises(DatabaseError) as failed:
        Database(url, "--storage")
    assert str(failed.value).startswith("--storage is not a database URL: write postgresql://")
    assert str(failed.value).endswith("percent-encoded, such as %40 for @")
    assert "s3" not in str(failed.value)
    assert "cret" not in str(failed.value)


def test_a_user_without_rights_is_told_so_in_one_line(storage: str) -> None:
    """A role that may connect and nothing more is refused: rights that are missing are no bug of ours."""

    def trespass(connection: sqlalchemy.Connection) -> None:
        for statement in ("create role stranger", "set local role stranger", "select * from hpsearch.studies"):
            connection.execute(text(statement))

    with closing(Database(storage)) as opened, pytest.raises(DatabaseError, match="does not let its user") as failed:
        opened.transact(trespass)
    assert "\n" not in str(failed.value)


def test_missing_database_is_one_line(storage: str) -> None:
    """A server that has no such database says so in one line."""
    absent = str(sqlalchemy.make_url(storage).set(database="absent"))
    with closing(Database(absent)) as nowhere, pytest.raises(DatabaseError, match='"absent" does not exist'):
        nowhere.prepare()


def test_deadlock_is_tried_again(storage: str) -> None:
    """Two transactions that lock two rows in opposite order both end well."""
    import threading

    with closing(Database(storage)) as shared:
        shared.transact(
            lambda c: c.execute(text("create table pairs as select n, 0 as value from generate_series(1, 2) n"))
        )
        both = threading.Barrier(2, timeout=30)
        met: set[int] = set()

        def add(first: int, second: int) -> None:
            def work(connection: sqlalchemy.Connection) -> None:
                connection.execute(text("update pairs set value = value + 1 where n = :n"), {"n": first})
                if first not in met:
                    met.add(first)
                    both.wait()
                connection.execute(text("update pairs set value = value + 1 where n = :n"), {"n": second})

            shared.transact(work)

        threads = [threading.Thread(target=add, args=pair) for pair in ((1, 2), (2, 1))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert shared.transact(lambda c: c.scalars(text("select value from pairs")).all()) == [2, 2]


def test_frozen_transaction_holds_the_others_up_for_seconds_only(storage: str) -> None:
    """Every session of ours carries the timeouts that throw out a worker frozen inside a transaction."""
    with closing(Database(storage)) as opened:
        shown = opened.transact(
            lambda c: {
                name: c.scalar(text(f"show {name}"))
                for name in ("idle_in_transaction_session_timeout", "lock_timeout", "statement_timeout", "timezone")
            }
        )
    assert shown == {
        "idle_in_transaction_session_timeout": "10s",
        "lock_timeout": "20s",
        "statement_timeout": "1min",
        "timezone": "UTC",
    }


def test_sixty_workers_do_not_run_out_of_connections(storage: str) -> None:
    """Sixty workers with both their connections in use at once all get an answer from an embedded server."""
    workers = [Database(storage) for _ in range(60)]
    with contextlib.ExitStack() as stack:
        for worker in workers:
            stack.callback(worker.close)
        open_now = [stack.enter_context(worker.engine.connect()) for worker in workers for _ in range(2)]
        assert sum(connection.scalar(text("select 1")) for connection in open_now) == 120


def test_connection_that_the_server_closed_is_replaced(database: Database) -> None:
    """A session that the server ended a moment after its last use is not taken for whole."""
    own = database.transact(lambda c: c.scalar(text("select pg_backend_pid()")))
    with Database(database.url.render_as_string(hide_password=False)).engine.begin() as other:
        other.execute(text("select pg_terminate_backend(:pid, 10000)"), {"pid": own})
    assert database.execute(lambda c: c.scalar(text("select pg_backend_pid()"))) != own


def test_server_that_ends_every_connection_is_unreachable(storage: str) -> None:
    """Where the connection in place of a broken one is broken too, the database is away, and that is all."""

    with closing(Database(storage)) as opened:
        with opened.engine.connect() as connection:
            first = connection.connection.driver_connection
        assert first is not None
        end_session(opened, first)
        sqlalchemy.event.listen(opened.engine, "connect", lambda raw, _: end_session(opened, raw))
        with pytest.raises(UnreachableError):
            opened.execute(lambda c: c.scalar(text("select 1")))
