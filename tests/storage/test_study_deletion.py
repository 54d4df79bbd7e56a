"""Deleting a study."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import optuna
import pytest
from sqlalchemy import Connection, text

from hpsearch.errors import NotFoundError
from hpsearch.metrics import Direction
from hpsearch.outcomes import AttemptEnd, TrialOutcome
from hpsearch.sampling import suggest
from hpsearch.sampling.readonly_storage import ReadOnlyStorage
from hpsearch.spec import loader
from hpsearch.spec.code.archive import CodeReference
from hpsearch.storage import attempts, study_control, study_creation, study_deletion
from hpsearch.storage.artifacts import output, table
from hpsearch.storage.artifacts.output import Output
from hpsearch.storage.artifacts.table import PostgresStore
from hpsearch.storage.attempts import LostError
from hpsearch.storage.database import Database
from hpsearch.storage.events import outbox
from hpsearch.storage.events.outbox import StoredEvent
from hpsearch.storage.studies import Study
from hpsearch.storage.tables import mirrors
from hpsearch.storage.tables.mirrors import MirrorHold, RunMark
from hpsearch.storage.workers import WorkerIdentity
from tests.support import simulation
from tests.support.small_study import SMALL, claim, metrics

Enrol = Callable[[str], WorkerIdentity]

STAY = {
    "public.alembic_version",
    "public.version_info",
    "hpsearch.alembic_version",
    "hpsearch.workers",
    "hpsearch.evaluations",  # test_evaluation.py deletes those
    "hpsearch.ablations",  # and test_ablation.py these
    "hpsearch.leftovers",  # of files that Postgres does not hold
}
"""The tables in which a study has no row."""


def counts(database: Database) -> dict[str, int]:
    """How many rows every table has, Optuna's and ours."""

    def count(connection: Connection) -> dict[str, int]:
        tables = connection.execute(
            text("select table_schema, table_name from information_schema.tables where table_schema in (:a, :b)"),
            {"a": "public", "b": "hpsearch"},
        ).all()
        return {
            f"{schema}.{name}": connection.execute(text(f"select count(*) from {schema}.{name}")).scalar_one()
            for schema, name in tables
        }

    return database.transact(count)


def make(database: Database, name: str, worker: WorkerIdentity, directory: Path) -> Study:
    """A study that has left a row in every table: trials in each state, notes, checkpoint, model, artifacts."""
    described = {**SMALL, "study": {"name": name}, "baseline": [{"optimizer": "sgd", "learning_rate": 0.1}] * 3}
    code = CodeReference(name, archive=name.encode())
    study = study_creation.start(database, replace(loader.from_dict(described), code=code)).study
    history = ReadOnlyStorage(study.study_id, Direction.MAXIMIZE)
    for ending in (TrialOutcome.COMPLETED, TrialOutcome.ERROR, None):
        attempt = claim(database, study, worker)
        assert attempt is not None
        database.transact(history.refresh)
        _, writes = suggest.suggest(study.spec, history, attempt.trial_id, attempt.trial_number)
        database.transact(lambda c: attempts.store_parameters(c, attempt, writes))
        database.transact(lambda c: simulation.record(c, attempt, metrics(1), history))
        key = f"picture/{attempt.trial_id}"
        database.transact(lambda c: table.save(c, key, attempt.trial_id, directory / "file"))
        database.transact(lambda c: output.store(c, attempt, Output(b"printed", 7), attach=False))
        if ending is not None:
            how = ending
            database.transact(lambda c: attempts.finish(c, attempt, how, {"detail": "x"}))
    database.transact(lambda c: mirror(c, study))
    return study


def mirror(connection: Connection, study: Study) -> None:
    """Leave what mirrors of the study leave, and a change of its status."""
    mirror_id = mirrors.find_or_add(connection, study.study_id, "webhook", "https://host")
    assert mirror_id is not None
    hold = MirrorHold(mirror_id, "a process")
    mirrors.acquire(connection, hold)
    mirrors.store_mark(connection, hold, None, RunMark("a run"))
    outbox.store(connection, hold.mirror_id, [StoredEvent(1, "started", "{}")])
    study_control.pause(connection, study.name)
    study_control.resume(connection, study.name)


def attach(database: Database, name: str, directory: Path) -> None:
    """Artifacts, attributes and a heartbeat, as plain Optuna writes them."""
    storage = optuna.storages.RDBStorage(
        database.url.render_as_string(hide_password=False),
        engine_kwargs=database.make_engine_options("test"),
        heartbeat_interval=60,
    )
    loaded = optuna.load_study(study_name=name, storage=storage)
    loaded.set_user_attr("made by", "a test")
    path, store = str(directory / "file"), PostgresStore(database)
    optuna.artifacts.upload_artifact(artifact_store=store, file_path=path, study_or_trial=loaded)
    optuna.artifacts.upload_artifact(
        artifact_store=store, file_path=path, study_or_trial=loaded.trials[2], storage=storage
    )
    storage.record_heartbeat(loaded.trials[2]._trial_id)
    storage.engine.dispose()


def delete(database: Database, study: Study) -> None:
    database.transact(lambda c: study_deletion.delete(c, study.study_id))


def test_deleted_study_leaves_no_row_behind(database: Database, holder: Enrol, tmp_path: Path) -> None:
    """Every table is as it was before the study was made, and another study keeps all of its rows."""
    (tmp_path / "file").write_bytes(b"content")
    worker = holder("w")
    other = make(database, "other", worker, tmp_path)
    attach(database, "other", tmp_path)
    before = counts(database)
    study = make(database, "small", worker, tmp_path)
    attach(database, "small", tmp_path)
    after = counts(database)
    assert {table for table in after if after[table] == before[table]} <= STAY
    contents = database.transact(lambda c: study_deletion.read_contents(c, "small"))
    assert (contents.trials, contents.running, contents.files) == (3, 1, 5)
    delete(database, study)
    assert counts(database) == before
    delete(database, other)
    assert not any(rows for table, rows in counts(database).items() if table in _filled(after))


def _filled(after: dict[str, int]) -> set[str]:
    versions = {"public.alembic_version", "public.version_info", "hpsearch.alembic_version"}
    return (
        set(after) - versions - {"hpsearch.workers", "hpsearch.evaluations", "hpsearch.ablations", "hpsearch.leftovers"}
    )


def test_worker_of_a_deleted_study_finds_its_trial_lost(database: Database, holder: Enrol, tmp_path: Path) -> None:
    """Whatever it writes next is refused, and a renewal says so too."""
    study = study_creation.start(database, loader.from_dict(SMALL)).study
    attempt = claim(database, study, holder("w"))
    assert attempt is not None
    delete(database, study)
    history = ReadOnlyStorage(study.study_id, Direction.MAXIMIZE)
    for write in (
        lambda c: simulation.record(c, attempt, metrics(1), history),
        lambda c: attempts.release(c, attempt, AttemptEnd.PREEMPTED),
        lambda c: attempts.finish(c, attempt, TrialOutcome.COMPLETED, {}),
        lambda c: attempts.renew(c, attempt),
    ):
        with pytest.raises(LostError):
            database.transact(write)


def test_study_is_deleted_once(database: Database) -> None:
    """Deleting what is gone already says so."""
    study = study_creation.start(database, loader.from_dict(SMALL)).study
    delete(database, study)
    with pytest.raises(NotFoundError):
        delete(database, study)
    with pytest.raises(NotFoundError):
        database.transact(lambda c: study_deletion.read_contents(c, "small"))
