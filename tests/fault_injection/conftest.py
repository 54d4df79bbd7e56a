"""What the tests of faults share: a database, what it says, and real workers on it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from hpsearch.storage.database import Database
from tests.support.attempt_records import Ledger
from tests.support.worker_processes import Crew, crew


@pytest.fixture
def ledger(storage: str) -> Iterator[Ledger]:
    """A migrated database of the test's own."""
    opened = Database(storage)
    yield Ledger(opened)
    opened.close()


@pytest.fixture
def workers(storage: str, tmp_path: Path) -> Iterator[Crew]:
    """Starts workers, which are gone after the test."""
    with crew(storage, tmp_path) as hired:
        yield hired
