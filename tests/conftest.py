"""The fixtures of the whole suite: a real Postgres, a database per test, and the real images where they are.

A missing service skips a test locally and fails it in CI (`CI=true`).
"""

import os
import re
import shutil
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NoReturn

import psycopg2
import pytest

from hpsearch.storage import embedded
from hpsearch.storage.embedded.account import SYSTEM_DIRECTORY
from hpsearch.storage.embedded.cluster import NAME
from tests.support import artifact_places

# a test's data need not survive a power cut, and a checkpoint would only slow the others down
FAST_SETTINGS = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "autovacuum": "off",
    "max_wal_size": "4GB",
    "checkpoint_timeout": "1h",
}

# what would send a test to the developer's own studies
SETTINGS = (
    *("HPSEARCH_STORAGE", "HPSEARCH_ARTIFACTS", "HPSEARCH_CODE", "HPSEARCH_DASHBOARD_PASSWORD"),
    *("HPSEARCH_WEBHOOK_URL", "HPSEARCH_WEBHOOK_SECRET"),
)
DEVELOPERS_VARIABLES = (*SETTINGS, *(f"{name}_FILE" for name in SETTINGS), "PGPORT")


pytest_plugins = ["tests.support.study_fixtures", "tests.support.evaluated_study", "tests.support.browser_fixtures"]

SERVICES = {"server": "postgres", "chromium": "browser"}
"""The marker of each test that uses the fixture, directly or through others."""


LONGEST = ("integration", "fault_injection")
"""The directories of the tests that take a minute or more each."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for fixture, marker in SERVICES.items():
            if fixture in getattr(item, "fixturenames", ()):
                item.add_marker(marker)
    training = {item.path for item in items if item.get_closest_marker("tensorflow")}
    # The longest files first: at the end of a run they would keep one core busy and leave the others idle.
    items.sort(key=lambda item: (item.path.parent.name not in LONGEST, item.path not in training))


@pytest.fixture(autouse=True)
def _no_stray_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in DEVELOPERS_VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def _forget_user_code() -> Iterator[None]:
    """A process runs the code of one study only, but this one that of many tests."""
    found, before = list(sys.path), set(sys.modules)
    yield
    user_code = sys.modules.get("hpsearch.training.user.code")
    directories = getattr(user_code, "_directories", [])
    if directories:
        for name in set(sys.modules) - before:
            file = getattr(sys.modules[name], "__file__", None)
            if file and any(Path(file).is_relative_to(directory) for directory in directories):
                del sys.modules[name]
        directories.clear()
        sys.path[:] = found


def skip_or_fail(what: str) -> NoReturn:
    """Skip the test for want of a service; in CI, fail it."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{what}, and CI must have it")
    pytest.skip(what)


@contextmanager
def _scratch_directory() -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="hps-")).resolve()
    directory.chmod(0o711)
    try:
        yield directory
    finally:
        for link in directory.rglob(NAME):
            if link.is_symlink() and link.resolve().is_relative_to(SYSTEM_DIRECTORY):
                shutil.rmtree(link.resolve().parent, ignore_errors=True)
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def scratch() -> Iterator[Path]:
    """A directory with a short path that another user may enter, as Postgres under root has to."""
    with _scratch_directory() as directory:
        yield directory


@pytest.fixture(scope="session")
def session_scratch() -> Iterator[Path]:
    """The same, for what the tests of a session share."""
    with _scratch_directory() as directory:
        yield directory


def replace_database(url: str, database: str) -> str:
    return re.sub(r"^(\w+://[^/?]*)(/[^?]*)?", rf"\1/{database}", url)


def execute(url: str, *statements: str) -> None:
    """Run statements outside a transaction, as CREATE DATABASE wants."""
    with closing(psycopg2.connect(url)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)


@pytest.fixture(scope="session")
def server(session_scratch: Path) -> Iterator[str]:
    """The URL of a server where databases may be made: HPSEARCH_TEST_STORAGE, else our own."""
    if url := os.environ.get("HPSEARCH_TEST_STORAGE"):
        yield url
        return
    with embedded.start(session_scratch / "server", FAST_SETTINGS) as running:
        yield running.url


@contextmanager
def create_database(server: str, name: str, template: str, options: str = "") -> Iterator[str]:
    execute(server, f'CREATE DATABASE "{name}" TEMPLATE "{template}" {options}')
    try:
        yield replace_database(server, name)
    finally:
        execute(server, f'DROP DATABASE "{name}" WITH (FORCE)')


def _make_name(prefix: str) -> str:
    return f"{prefix}_{uuid.uuid4().hex[:12]}"  # the server may be shared with another run of the suite


@pytest.fixture(scope="session")
def template(server: str) -> Iterator[str]:
    """The name of a database with all tables in it, to be cloned: migrating each test's own takes seconds."""
    from hpsearch.storage.database import Database  # not for those who only want an empty one: it imports Optuna

    name = _make_name("hpsearch_template")
    with create_database(server, name, "template0") as url:
        with closing(Database(url)) as database:  # a template that somebody is connected to cannot be cloned
            database.migrate()
        yield name


@pytest.fixture
def storage(server: str, template: str) -> Iterator[str]:
    """The URL of a database of the test's own, migrated and without a study."""
    with create_database(server, _make_name("test"), template) as url:
        yield url


@pytest.fixture
def empty_storage(server: str) -> Iterator[str]:
    """The URL of a database of the test's own without a single table."""
    with create_database(server, _make_name("test"), "template0") as url:
        yield url


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """The URL of a server that speaks S3."""
    with artifact_places.s3_server() as url:
        yield url


@pytest.fixture
def data_dir() -> Path:
    """The directory that holds the real CIFAR-10."""
    variable = os.environ.get("HPSEARCH_DATA_DIR")
    directory = Path(variable).expanduser() if variable else None
    archives = ("cifar-10-batches-py", "cifar-10-python.tar.gz")
    if directory is None or not any((directory / archive).exists() for archive in archives):
        skip_or_fail("CIFAR-10 is not in HPSEARCH_DATA_DIR")
    return directory


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of a Chromium that can be driven."""
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        skip_or_fail("there is no Chromium")
    return path
