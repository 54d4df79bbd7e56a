"""Behind PgBouncer in transaction mode, where the next transaction may have another session."""

import threading
from collections.abc import Iterator
from contextlib import closing

import optuna
import psycopg2
import pytest
from sqlalchemy import text

from hpsearch.dashboard.bulk_storage import BulkStorage
from hpsearch.outcomes import StudyStatus
from hpsearch.sampling.readonly_storage import ReadOnlyStorage
from hpsearch.spec import loader
from hpsearch.storage import attempts, results, schema, studies, study_creation, workers
from hpsearch.storage.connections import SETTINGS
from hpsearch.storage.database import Database
from hpsearch.storage.workers import WorkerIdentity
from tests.conftest import replace_database, skip_or_fail
from tests.support import pgbouncer, simulation
from tests.support.small_study import SMALL, claim, finish_trial, metrics

POOL = 3
"""Sessions for all clients, fewer than there are at once."""


@pytest.fixture(scope="module")
def pooler(server: str) -> Iterator[str]:
    """Yield the URL of a PgBouncer in front of the server."""
    if pgbouncer.BINARY is None:
        skip_or_fail("there is no pgbouncer")
    with pgbouncer.run_pgbouncer(server, POOL) as url:
        yield url


@pytest.fixture
def pooled(pooler: str, empty_storage: str) -> str:
    """Return the URL of a database without tables, through PgBouncer."""
    return replace_database(pooler, empty_storage.partition("?")[0].rpartition("/")[2])


def prepare_at_once(url: str, clients: int) -> list[str | None]:
    """Prepare a database from several clients at the same time; return the version that each then reads."""
    versions: list[str | None] = []
    together = threading.Barrier(clients)

    def prepare() -> None:
        with closing(Database(url)) as database:
            together.wait(30)
            database.prepare()
            versions.append(database.read_version())

    threads = [threading.Thread(target=prepare) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return versions


def test_many_first_starts_at_once_make_the_tables_once(pooled: str) -> None:
    """Five clients prepare a new database together, and an upgrade afterwards waits for nobody."""
    assert prepare_at_once(pooled, 5) == [schema.SCHEMA_VERSION] * 5
    with closing(Database(pooled)) as database:
        database.migrate()
        assert (
            database.execute(lambda c: c.scalar(text("select count(*) from pg_locks where locktype = 'advisory'"))) == 0
        )


def test_a_study_lives_and_leaves_nothing_in_a_session(pooled: str, empty_storage: str) -> None:
    """A study is trained to its end by workers that share sessions, is read, and no session keeps what we set."""
    with closing(Database(pooled)) as database:
        database.prepare()
        study = study_creation.start(database, loader.from_dict(SMALL), None).study
        holders = [WorkerIdentity(f"w{number}", "host", "CPU") for number in range(4)]
        for holder in holders:
            database.transact(lambda connection, holder=holder: workers.register(connection, holder, 1))  # type: ignore[misc]
        held = [claim(database, study, holder) for holder in holders]
        history = ReadOnlyStorage(study.study_id, study.spec.direction)
        for attempt in held:
            assert attempt is not None
            for epoch in (1, 2, 3):
                database.transact(
                    lambda c, attempt=attempt, epoch=epoch: simulation.record(c, attempt, metrics(epoch), history)  # type: ignore[misc]
                )
            database.execute(lambda connection, attempt=attempt: attempts.renew(connection, attempt))  # type: ignore[misc]
            finish_trial(database, attempt)
        assert claim(database, study, holders[0]) is None
        assert database.transact(lambda c: studies.read(c, study.study_id)).status == StudyStatus.FINISHED
        _, trials = database.transact(lambda c: results.read(c, study.name))
        assert [len(trial.epochs) for trial in trials] == [3] * 4
        url = database.url.render_as_string(hide_password=False)
        storage = BulkStorage(url, engine_kwargs=database.make_engine_options("test"), skip_table_creation=True)
        assert len(optuna.load_study(study_name="small", storage=storage).trials) == 4
        storage.engine.dispose()
        for run in (database.transact, database.execute):
            assert run(lambda c: {name: c.scalar(text(f"show {name}")) for name in SETTINGS}) == {
                "statement_timeout": "1min",
                "lock_timeout": "20s",
                "idle_in_transaction_session_timeout": "10s",
                "search_path": "public",
                "timezone": "UTC",
            }
        shown = "select " + ", ".join(f"current_setting('{name}')" for name in SETTINGS)
        with closing(psycopg2.connect(empty_storage)) as direct, direct.cursor() as cursor:
            cursor.execute(shown)
            untouched = cursor.fetchone()
        for _ in range(2 * POOL):
            with closing(psycopg2.connect(pooled)) as other, other.cursor() as cursor:
                cursor.execute(shown)
                assert cursor.fetchone() == untouched
