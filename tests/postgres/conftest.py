"""What the tests of the database share: a migrated database, a small study in it, and workers that claim from it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import places
import pytest
from small import SMALL

from hpsearch import roster, spec, study
from hpsearch.database import Database
from hpsearch.roster import Holder
from hpsearch.settings import Setting
from hpsearch.study import Study


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
        return study.start(database, spec.from_dict(described), place).study

    return start


@pytest.fixture
def holder(database: Database) -> Callable[[str], Holder]:
    """A worker of that name, enrolled."""

    def enrol(name: str) -> Holder:
        made = Holder(name, f"host-{name}", "CPU")
        database.transact(lambda connection: roster.enrol(connection, made, 1))
        return made

    return enrol


@pytest.fixture(params=["directory", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Setting:
    """A directory or a bucket of the test's own, as HPSEARCH_ARTIFACTS names it."""
    if request.param == "s3":
        places.use(request.getfixturevalue("s3"), monkeypatch)
        return places.bucket()
    root = tmp_path / "shared files"
    root.mkdir()
    return Setting(str(root), "HPSEARCH_ARTIFACTS")
