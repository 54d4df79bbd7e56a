"""What the tests of faults share: a database, what it says, and real workers on it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from hpsearch.storage.database import Database
from tests.support.attempt_records import StoredRecords
from tests.support.worker_processes import WorkerGroup, run_workers


@pytest.fixture
def records(storage: str) -> Iterator[StoredRecords]:
    """A migrated database of the test's own."""
    opened = Database(storage)
    yield StoredRecords(opened)
    opened.close()


@pytest.fixture
def workers(storage: str, tmp_path: Path) -> Iterator[WorkerGroup]:
    """Starts workers, which are gone after the test."""
    with run_workers(storage, tmp_path) as group:
        yield group
