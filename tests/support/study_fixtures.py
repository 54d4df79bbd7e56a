"""What the tests of the database share: a migrated database, a small study in it, and workers that claim from it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from optuna_dashboard import _importance

from hpsearch.dashboard import plugin, server
from hpsearch.sampling import suggest
from hpsearch.sampling.readonly_storage import ReadOnlyStorage
from hpsearch.settings import Setting
from hpsearch.spec import loader
from hpsearch.storage import attempts, claims, study_creation, workers
from hpsearch.storage.attempts import Attempt
from hpsearch.storage.database import Database
from hpsearch.storage.studies import Study
from hpsearch.storage.workers import WorkerIdentity
from tests.support import artifact_places, simulation
from tests.support.dashboard_client import DashboardClient
from tests.support.small_study import SMALL, claim, metrics


@pytest.fixture
def database(storage: str) -> Iterator[Database]:
    """A migrated database of the test's own."""
    opened = Database(storage)
    yield opened
    opened.close()


@pytest.fixture
def started(database: Database) -> Callable[..., Study]:
    """Start the small study, with sections replaced."""

    def start(place: Setting | None = None, **sections: Any) -> Study:
        described = {**SMALL, **sections}
        return study_creation.start(database, loader.from_dict(described), place).study

    return start


@pytest.fixture
def holder(database: Database) -> Callable[[str], WorkerIdentity]:
    """A worker of that name, enrolled."""

    def enrol(name: str) -> WorkerIdentity:
        identity = WorkerIdentity(name, f"host-{name}", "CPU")
        database.transact(lambda connection: workers.register(connection, identity, 1))
        return identity

    return enrol


@pytest.fixture
def server_long_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let leases expire as on a server that has been up for longer than one; the tests' own was started just now."""
    monkeypatch.setattr(claims, "EXPIRED", "clock_timestamp() > a.held_until")


@pytest.fixture(params=["directory", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Setting:
    """A directory or a bucket of the test's own, as HPSEARCH_ARTIFACTS names it."""
    if request.param == "s3":
        artifact_places.use(request.getfixturevalue("s3"), monkeypatch)
        return artifact_places.bucket()
    root = tmp_path / "shared files"
    root.mkdir()
    return Setting(str(root), "HPSEARCH_ARTIFACTS")


@pytest.fixture
def client(database: Database, monkeypatch: pytest.MonkeyPatch) -> DashboardClient:
    """A client of the dashboard over the test's database; pages wait for the first answer, however long it takes."""
    monkeypatch.setattr(plugin, "PAGE_PATIENCE", None)
    monkeypatch.setattr(plugin, "PLOT_PATIENCE", None)
    _importance.param_importance_cache.clear()  # kept for the process by study id, and each test has a study 1
    return DashboardClient(server.build_application(database))


@pytest.fixture
def begin(database: Database, holder: Callable[[str], WorkerIdentity]) -> Callable[..., Attempt]:
    """Claim a trial, sample it, and store an epoch for each value."""
    worker: list[WorkerIdentity] = []

    def run(study: Study, *values: float) -> Attempt:
        worker[:] = worker or [holder("w")]
        history = ReadOnlyStorage(study.study_id, study.spec.direction)
        attempt = claim(database, study, worker[0])
        assert attempt is not None
        database.transact(history.refresh)
        _, writes = suggest.suggest(study.spec, history, attempt.trial_id, attempt.trial_number)
        database.transact(lambda c: attempts.store_parameters(c, attempt, writes))
        for epoch, value in enumerate(values, start=1):
            database.transact(lambda c: simulation.record(c, attempt, metrics(epoch, value), history))
        return attempt

    return run
