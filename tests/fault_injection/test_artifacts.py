"""Workers whose study keeps its files outside Postgres."""

import shutil
import signal
from pathlib import Path

import pytest

from hpsearch.errors import ExitCode
from hpsearch.settings import Setting
from tests.support import artifact_places
from tests.support.artifact_places import content
from tests.support.attempt_records import StoredRecords, start
from tests.support.worker_processes import QUICK_TIMING, TEST_TIMEOUT, WorkerGroup, wait_until

pytestmark = [pytest.mark.tensorflow, pytest.mark.timeout(TEST_TIMEOUT)]


@pytest.fixture
def directory(tmp_path: Path) -> Setting:
    """A directory, as HPSEARCH_ARTIFACTS names it."""
    root = tmp_path / "shared"
    root.mkdir()
    return Setting(str(root), "HPSEARCH_ARTIFACTS")


def test_killed_worker_is_followed_from_the_studys_own_store(
    records: StoredRecords, workers: WorkerGroup, s3: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The next worker goes on from the checkpoint in the bucket, whatever store its own environment names."""
    artifact_places.use(s3, monkeypatch)
    bucket = artifact_places.bucket()
    study = start(records.database, epochs=30, place=bucket)
    first = workers.start(timing=QUICK_TIMING)
    wait_until(lambda: len(records.epochs()) >= 3, "some epochs are stored")
    first.send(signal.SIGKILL)
    first.join()
    wait_until(lambda: content(bucket), "something is in the bucket")
    second = workers.start(timing=QUICK_TIMING, environment={"HPSEARCH_ARTIFACTS": str(tmp_path)})
    assert second.join() == 0
    assert records.list_ends() == ["lost", "completed"]
    assert sum(attempt.epochs for attempt in records.attempts()) == 30  # none was trained twice
    assert records.discrepancies() == []
    home = str(study.artifacts).rpartition("/")[2]
    assert set(content(bucket)) == {f"{home}/study", f"{home}/{records.files()[0]}"}


def test_worker_that_cannot_see_the_store_refuses_the_study(
    records: StoredRecords, workers: WorkerGroup, directory: Setting, tmp_path: Path
) -> None:
    """It says so in one line and hands the trial back, unspent; where the directory is mounted, a worker goes on."""
    start(records.database, epochs=2, budget={"attempts": 1}, place=directory)
    root = Path(directory.value)
    root.rename(tmp_path / "unmounted")
    refusing = workers.start(timing=QUICK_TIMING)
    assert refusing.join() == ExitCode.NOT_FOUND
    refusals = [line for line in refusing.output.splitlines() if "is not served here" in line]
    assert len(refusals) == 1
    assert "is not there: see that this directory is mounted here" in refusals[0]
    (tmp_path / "unmounted").rename(root)
    assert workers.start(timing=QUICK_TIMING).join() == 0
    assert records.list_ends() == ["refused", "completed"]
    assert records.discrepancies() == []
    assert len(content(directory)) == 2


def test_store_that_goes_away_costs_checkpoints_only(
    records: StoredRecords, workers: WorkerGroup, directory: Setting
) -> None:
    """A trial whose store fails trains on and completes, with one line for all its checkpoints."""
    start(records.database, epochs=30, place=directory)
    worker = workers.start(timing=QUICK_TIMING)
    wait_until(lambda: records.epochs(), "an epoch is stored")
    shutil.rmtree(directory.value)
    assert worker.join() == 0
    assert records.state() == "COMPLETE"
    assert records.list_ends() == ["completed"]
    assert len(records.epochs()) == 30
    assert worker.output.count("cannot be stored") == 2
    assert worker.output.count("the model cannot be stored") == 1
    assert records.files() == []
