"""Checkpoints and models, from a worker's hand to their end, in Postgres and elsewhere."""

import io
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import optuna
import psycopg2
import pytest
from sqlalchemy import text

from hpsearch.errors import StoreError, UnreachableError
from hpsearch.metrics import Direction
from hpsearch.outcomes import AttemptEnd, TrialOutcome
from hpsearch.sampling.readonly_storage import ReadOnlyStorage
from hpsearch.settings import Setting
from hpsearch.storage import attempts, study_deletion
from hpsearch.storage.artifacts import cleanup, stores, table
from hpsearch.storage.artifacts.study_artifacts import StudyArtifacts
from hpsearch.storage.artifacts.table import PostgresStore
from hpsearch.storage.attempts import Attempt, LostError
from hpsearch.storage.database import Database
from hpsearch.storage.studies import Study
from hpsearch.storage.workers import WorkerIdentity
from tests.support import simulation
from tests.support.artifact_places import content
from tests.support.small_study import claim, metrics

Started = Callable[..., Study]
Enrol = Callable[[str], WorkerIdentity]

LARGE = 20_000_000

LARGE_ROUND_TRIP = """
import resource, sys
from pathlib import Path
from sqlalchemy import text
from hpsearch.storage.artifacts import table
from hpsearch.storage.database import Database
database, large, back = Database(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])
small = back.with_name("small")
small.write_bytes(bytes(10))
trial = database.transact(lambda c: c.scalar(text("select trial_id from trials")))
def there_and_back(path):
    database.transact(lambda c: table.save(c, "checkpoint/1/1/1", trial, path))
    assert database.transact(lambda c: table.fetch(c, "checkpoint/1/1/1", back))
there_and_back(small)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
there_and_back(large)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""

CUT = """
select pg_terminate_backend(pid) from pg_stat_activity
 where datname = current_database() and wait_event_type = 'Lock' and starts_with(query, 'copy')
"""


@pytest.fixture(params=["postgres", "elsewhere"])
def anywhere(request: pytest.FixtureRequest, tmp_path: Path) -> Setting | None:
    """No place, or a directory."""
    if request.param == "postgres":
        return None
    root = tmp_path / "shared"
    root.mkdir()
    return Setting(str(root), "HPSEARCH_ARTIFACTS")


@pytest.fixture
def directory(tmp_path: Path) -> Setting:
    """A directory, as HPSEARCH_ARTIFACTS names it."""
    root = tmp_path / "root"
    root.mkdir()
    return Setting(str(root), "HPSEARCH_ARTIFACTS")


def open_artifacts(database: Database, study: Study) -> StudyArtifacts:
    """A worker's, opened."""
    artifacts = StudyArtifacts(database, study.artifacts)
    artifacts.open()
    return artifacts


def hold(database: Database, study: Study, worker: WorkerIdentity) -> Attempt:
    attempt = claim(database, study, worker)
    assert attempt is not None
    return attempt


def written(path: Path, what: bytes = b"weights") -> Path:
    path.write_bytes(what)
    return path


def put(database: Database, artifacts: str | None, key: str, trial_id: int, path: Path) -> None:
    """As a worker that was killed before it could say what the file is for."""
    if artifacts is None:
        database.transact(lambda c: table.save(c, key, trial_id, path))
    else:
        database.transact(lambda c: table.announce(c, key, trial_id, artifacts))
        stores.open_store(artifacts).put(key, path)


def keys(database: Database) -> list[str]:
    """What is kept, but for the pictures of trials."""
    query = "select key from hpsearch.files where key like '%/%' or trial_id is null order by key"
    return list(database.transact(lambda c: c.scalars(text(query)).all()))


def execute(database: Database, statement: str, **arguments: object) -> None:
    database.transact(lambda c: c.execute(text(statement), arguments))


def an_hour_later(database: Database) -> None:
    """Everything kept and left over so far is two hours old."""
    execute(database, "update hpsearch.files set created_at = clock_timestamp() - interval '2 hours'")
    execute(database, "update hpsearch.leftovers set left_at = clock_timestamp() - interval '2 hours'")


def complete(database: Database, study: Study, worker: WorkerIdentity, value: float, model: Path) -> int:
    """Claim a trial and complete it with that value; its id."""
    attempt = hold(database, study, worker)
    history = ReadOnlyStorage(study.study_id, Direction.MAXIMIZE)
    database.transact(lambda c: simulation.record(c, attempt, metrics(1, value), history))
    open_artifacts(database, study).finish(attempt, {}, model)
    return attempt.trial_id


def test_adopter_goes_on_from_the_last_checkpoint(
    database: Database, started: Started, holder: Enrol, anywhere: Setting | None, tmp_path: Path
) -> None:
    """What one worker saved another fetches; of a trial's checkpoints only the last is kept."""
    study = started(place=anywhere)
    first, artifacts = hold(database, study, holder("a")), open_artifacts(database, study)
    for epoch in (1, 2):
        artifacts.save_checkpoint(first, epoch, written(tmp_path / "local", f"epoch {epoch}".encode()))
    database.transact(lambda c: attempts.release(c, first, AttemptEnd.PREEMPTED))
    second = hold(database, study, holder("b"))
    assert open_artifacts(database, study).fetch(second, tmp_path / "back") is True
    assert (tmp_path / "back").read_bytes() == b"epoch 2"
    assert keys(database) == [f"checkpoint/{first.trial_id}/1/2"]
    if anywhere:
        assert len(content(anywhere)) == 2  # the home's marker, and the checkpoint


def test_checkpoint_goes_when_its_trial_ends(
    database: Database, started: Started, holder: Enrol, place: Setting, tmp_path: Path
) -> None:
    """However a trial ends, its checkpoint is removed wherever it was."""
    study = started(place=place)
    for ending in (TrialOutcome.COMPLETED, TrialOutcome.PRUNED, TrialOutcome.ERROR):
        attempt, artifacts = hold(database, study, holder(str(ending))), open_artifacts(database, study)
        artifacts.save_checkpoint(attempt, 1, written(tmp_path / "local"))
        assert len(content(place)) == 2
        database.transact(lambda c: attempts.finish(c, attempt, ending, {}))
        artifacts.remove_leftovers()
        assert len(content(place)) == 1
    assert keys(database) == []


def test_worker_that_lost_its_trial_stores_nothing(
    database: Database, started: Started, holder: Enrol, anywhere: Setting | None, tmp_path: Path
) -> None:
    """Neither a checkpoint nor a model of an attempt that was closed gets into database or store."""
    study = started(place=anywhere)
    attempt, artifacts = hold(database, study, holder("a")), open_artifacts(database, study)
    execute(database, "update hpsearch.attempts set ended_at = clock_timestamp(), why = 'lost'")
    before = content(anywhere) if anywhere else None
    with pytest.raises(LostError):
        artifacts.save_checkpoint(attempt, 1, written(tmp_path / "local"))
    with pytest.raises(LostError):
        artifacts.finish(attempt, {}, tmp_path / "local")
    assert keys(database) == []
    assert (content(anywhere) if anywhere else None) == before


def test_worker_that_lost_its_trial_while_it_wrote_takes_the_file_away(
    database: Database, started: Started, holder: Enrol, directory: Setting, tmp_path: Path
) -> None:
    """A file whose trial is adopted while it is on its way is removed by who wrote it."""
    study = started(place=directory)
    attempt, artifacts, pipe = hold(database, study, holder("a")), open_artifacts(database, study), tmp_path / "pipe"
    os.mkfifo(pipe)
    before = content(directory)

    def adopt() -> None:
        with pipe.open("wb") as slow:  # opens once the writer reads, which is after it was found to hold the trial
            execute(database, "update hpsearch.attempts set ended_at = clock_timestamp(), why = 'lost'")
            slow.write(b"weights")

    adopter = threading.Thread(target=adopt)
    adopter.start()
    with pytest.raises(LostError):
        artifacts.save_checkpoint(attempt, 1, pipe)
    adopter.join()
    assert content(directory) == before


def test_models_of_the_best_trials_are_kept(
    database: Database, started: Started, holder: Enrol, place: Setting, tmp_path: Path
) -> None:
    """Whatever the order in which trials complete, the best two keep their models, in database and store."""
    study = started(study={"name": "small", "keep_models": 2}, place=place)
    worker, trials = holder("a"), {}
    for value in (0.5, 0.7, 0.4, 0.6):
        trials[value] = complete(database, study, worker, value, written(tmp_path / "model", str(value).encode()))
    open_artifacts(database, study).remove_leftovers()
    assert keys(database) == sorted(table.make_model_key(trials[value], 1) for value in (0.6, 0.7))
    files = content(place)
    assert sorted(files.values()) == [b"0.6", b"0.7", f"{stores.open_store(str(study.artifacts)).name}\n".encode()]


def test_models_of_the_best_trials_are_kept_in_postgres(
    database: Database, started: Started, holder: Enrol, tmp_path: Path
) -> None:
    """The same, with the content in the database; where no model is to be kept, none is."""
    study = started(study={"name": "small", "keep_models": 2})
    worker, model = holder("a"), written(tmp_path / "model")
    trials = {value: complete(database, study, worker, value, model) for value in (0.5, 0.7, 0.4, 0.6)}
    assert keys(database) == sorted(table.make_model_key(trials[value], 1) for value in (0.6, 0.7))
    none = started(study={"name": "none", "keep_models": 0})
    complete(database, none, worker, 0.9, model)
    assert len(keys(database)) == 2


def test_store_that_fails_ends_no_trial(
    database: Database, started: Started, holder: Enrol, directory: Setting, tmp_path: Path
) -> None:
    """A checkpoint or model that a store does not take is an error of its own, and the trial is still held."""
    study = started(place=directory)
    attempt, artifacts = hold(database, study, holder("a")), open_artifacts(database, study)
    history = ReadOnlyStorage(study.study_id, Direction.MAXIMIZE)
    database.transact(lambda c: simulation.record(c, attempt, metrics(1), history))
    stores.open_store(str(study.artifacts)).clear()
    with pytest.raises(StoreError, match="No such file or directory"):
        artifacts.save_checkpoint(attempt, 1, written(tmp_path / "local"))
    with pytest.raises(StoreError, match="No such file or directory"):
        artifacts.finish(attempt, {}, tmp_path / "local")
    database.transact(lambda c: attempts.finish(c, attempt, TrialOutcome.COMPLETED, {}))
    artifacts.remove_leftovers()
    an_hour_later(database)
    cleanup.collect_garbage(database)
    assert keys(database) == []


@pytest.mark.parametrize("how", ["hpsearch", "optuna"])
def test_deleted_study_leaves_no_file_behind(
    database: Database, started: Started, holder: Enrol, place: Setting, tmp_path: Path, how: str
) -> None:
    """A study's home goes with it, whether it is deleted here or by Optuna, which knows nothing of our files."""
    study, other = started(place=place), started(study={"name": "other"}, place=place)
    complete(database, study, holder("a"), 0.5, written(tmp_path / "local"))
    open_artifacts(database, study).save_checkpoint(hold(database, study, holder("b")), 1, tmp_path / "local")
    if how == "hpsearch":
        database.transact(lambda c: study_deletion.delete(c, study.study_id))
    else:
        optuna.delete_study(study_name=study.name, storage=database.url.render_as_string(hide_password=False))
    cleanup.collect_garbage(database)
    assert set(content(place)) == {f"{stores.open_store(str(other.artifacts)).name}/study"}
    assert database.transact(lambda c: c.scalar(text("select count(*) from hpsearch.leftovers"))) == 0


def test_sweep_removes_what_belongs_to_nothing(
    database: Database, started: Started, holder: Enrol, anywhere: Setting | None, tmp_path: Path
) -> None:
    """An hour old and pointed at by nothing goes; younger stays, and so do a trial's checkpoint and kept models."""
    study, local = started(place=anywhere), written(tmp_path / "local")
    complete(database, study, holder("a"), 0.5, local)
    attempt, artifacts = hold(database, study, holder("b")), open_artifacts(database, study)
    artifacts.save_checkpoint(attempt, 1, local)
    database.transact(lambda c: attempts.release(c, attempt, AttemptEnd.PREEMPTED))
    belonging = keys(database)
    stray = (table.make_checkpoint_key(attempt.trial_id, 1, 9), table.make_model_key(attempt.trial_id, 1))
    for key in stray:
        put(database, study.artifacts, key, attempt.trial_id, local)
    cleanup.collect_garbage(database)
    assert keys(database) == sorted([*belonging, *stray])
    an_hour_later(database)
    cleanup.collect_garbage(database)
    assert keys(database) == belonging
    if anywhere:
        assert len(content(anywhere)) == 1 + len(belonging)


def test_sweep_keeps_pictures_that_are_attached(database: Database, started: Started, tmp_path: Path) -> None:
    """A picture stays as long as Optuna knows what it is attached to."""
    study = started()
    loaded = optuna.load_study(study_name=study.name, storage=database.url.render_as_string(hide_password=False))
    artifacts = optuna.artifacts.upload_artifact(
        artifact_store=PostgresStore(database), file_path=str(written(tmp_path / "a.png")), study_or_trial=loaded
    )
    PostgresStore(database).write("0b5e-loose", io.BytesIO(b"picture"))
    an_hour_later(database)
    cleanup.collect_garbage(database)
    assert keys(database) == [artifacts]
    assert PostgresStore(database).open_reader(artifacts).read() == b"weights"


def test_one_worker_sweeps_at_a_time(database: Database, storage: str) -> None:
    """Where another is sweeping, a worker leaves it to that one."""
    PostgresStore(database).write("loose", io.BytesIO(b"picture"))
    an_hour_later(database)
    with closing(psycopg2.connect(storage)) as other, other.cursor() as cursor:
        cursor.execute("select pg_advisory_xact_lock(%s)", (cleanup.CLEANUP_LOCK,))
        cleanup.collect_garbage(database)
        assert keys(database) == ["loose"]
        other.rollback()
    cleanup.collect_garbage(database)
    assert keys(database) == []


def test_leftovers_wait_for_a_host_that_sees_the_place(
    database: Database, started: Started, holder: Enrol, directory: Setting, tmp_path: Path
) -> None:
    """What a host cannot remove, because it has not mounted the directory, another removes later."""
    study, root = started(place=directory), Path(directory.value)
    attempt = hold(database, study, holder("a"))
    open_artifacts(database, study).save_checkpoint(attempt, 1, written(tmp_path / "local"))
    database.transact(lambda c: attempts.finish(c, attempt, TrialOutcome.ERROR, {}))
    root.rename(tmp_path / "elsewhere")
    root.mkdir()
    cleanup.collect_garbage(database)
    root.rmdir()
    (tmp_path / "elsewhere").rename(root)
    assert len(content(directory)) == 2
    cleanup.collect_garbage(database)
    assert len(content(directory)) == 1


def test_file_that_arrives_after_its_removal_is_removed_again(
    database: Database, started: Started, holder: Enrol, directory: Setting, tmp_path: Path
) -> None:
    """A worker given up long ago may still finish writing; what it wrote goes once nobody can be writing any more."""
    study, local = started(place=directory), written(tmp_path / "local")
    attempt, artifacts = hold(database, study, holder("a")), open_artifacts(database, study)
    artifacts.save_checkpoint(attempt, 1, local)
    database.transact(lambda c: attempts.finish(c, attempt, TrialOutcome.ERROR, {}))
    artifacts.remove_leftovers()
    stores.open_store(str(study.artifacts)).put(table.make_checkpoint_key(attempt.trial_id, 1, 1), local)
    an_hour_later(database)
    artifacts.remove_leftovers()
    assert len(content(directory)) == 1
    assert database.transact(lambda c: c.scalar(text("select count(*) from hpsearch.leftovers"))) == 0


def test_study_keeps_its_place(database: Database, started: Started, directory: Setting, tmp_path: Path) -> None:
    """A study started again elsewhere keeps its files where they are, and makes no second home."""
    study = started(place=directory)
    (tmp_path / "new").mkdir()
    again = started(place=Setting(str(tmp_path / "new"), "HPSEARCH_ARTIFACTS"))
    assert again.artifacts == study.artifacts == started().artifacts
    assert not list((tmp_path / "new").iterdir())
    assert len(content(directory)) == 1


def test_large_file_takes_little_memory(
    database: Database, started: Started, holder: Enrol, storage: str, tmp_path: Path
) -> None:
    """20 MB go to Postgres and back in pieces, and come back as they went."""
    hold(database, started(), holder("a"))
    large, back = written(tmp_path / "large", os.urandom(LARGE)), tmp_path / "back"
    program = [sys.executable, "-c", LARGE_ROUND_TRIP, storage, str(large), str(back)]
    ended = subprocess.run(program, capture_output=True, text=True, check=True)
    assert back.read_bytes() == large.read_bytes()
    assert int(ended.stdout) < 12_000  # KiB


def test_large_file_goes_anywhere(
    database: Database, started: Started, holder: Enrol, place: Setting, tmp_path: Path
) -> None:
    """20 MB go to a directory or bucket and back."""
    study = started(place=place)
    attempt, artifacts = hold(database, study, holder("a")), open_artifacts(database, study)
    large = written(tmp_path / "large", os.urandom(LARGE))
    artifacts.save_checkpoint(attempt, 1, large)
    database.transact(lambda c: attempts.release(c, attempt, AttemptEnd.PREEMPTED))
    assert artifacts.fetch(hold(database, study, holder("b")), tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == large.read_bytes()


def test_connection_that_breaks_in_a_copy_is_an_outage(
    database: Database, started: Started, holder: Enrol, storage: str, tmp_path: Path
) -> None:
    """A file whose connection is cut on the way is not stored, and the next attempt at it goes well."""
    study = started()
    attempt, artifacts, local = (
        hold(database, study, holder("a")),
        open_artifacts(database, study),
        written(tmp_path / "local"),
    )
    failed: list[Exception] = []

    def save() -> None:
        try:
            database.transact(lambda c: table.save(c, "checkpoint/1/1/1", attempt.trial_id, local))
        except UnreachableError as error:
            failed.append(error)

    with closing(psycopg2.connect(storage)) as other, other.cursor() as cursor:
        # The copy ends with a look at its trial, and waits for it here.
        cursor.execute("select 1 from trials for update")
        saving = threading.Thread(target=save)
        saving.start()
        deadline = time.monotonic() + 30
        while not database.transact(lambda c: c.scalars(text(CUT)).all()):
            assert time.monotonic() < deadline
        saving.join(30)
    assert len(failed) == 1
    assert keys(database) == []
    artifacts.save_checkpoint(attempt, 1, local)
    assert keys(database) == [table.make_checkpoint_key(attempt.trial_id, 1, 1)]
