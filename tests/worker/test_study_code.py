"""study_code.py: which studies' code runs on this host, and where it lies."""

import stat
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import text

from hpsearch.errors import UsageError
from hpsearch.spec import loader
from hpsearch.spec.code.archive import CodeReference
from hpsearch.spec.study_spec import StudySpec
from hpsearch.storage import studies, study_creation
from hpsearch.storage.database import Database
from hpsearch.storage.studies import Study
from hpsearch.worker.slot import Slot
from hpsearch.worker.study_code import CodeDirectories, unpack_locally
from tests.support.small_study import SMALL
from tests.support.study_files import OWN_CODE

OWN_MODEL = {"build": "my_model.py:build"}


def describe(name: str = "small", **packages: str) -> StudySpec:
    """Describe a study with a model of its own that needs `packages`, if any."""
    spec = loader.from_dict({**SMALL, "study": {"name": name}, "model": OWN_MODEL}, directory=OWN_CODE)
    assert spec.code is not None
    return replace(spec, code=replace(spec.code, packages={**spec.code.packages, **packages}))


@pytest.fixture
def lines() -> list[str]:
    """What is printed."""
    return []


@pytest.fixture
def make(database: Database, lines: list[str]) -> Iterator[Callable[[], CodeDirectories]]:
    """Make the directories of a worker."""
    made: list[CodeDirectories] = []

    def make() -> CodeDirectories:
        made.append(CodeDirectories(database, lines.append))
        return made[-1]

    yield make
    for directories in made:
        directories.close()


def start(database: Database, spec: StudySpec) -> Study:
    """Start a study as it comes from the database."""
    return study_creation.start(database, spec).study


def test_the_code_is_unpacked_once_into_a_private_directory(
    database: Database, make: Callable[[], CodeDirectories], lines: list[str]
) -> None:
    """Nobody else reads it, a second study with the same code shares it, and it goes with the worker."""
    first, second = start(database, describe("first")), start(database, describe("second"))
    code = make()
    assert code.prepare(first)
    place = code.find(first.spec.code)
    assert place is not None
    assert (place / "my_model.py").read_bytes() == (OWN_CODE / "my_model.py").read_bytes()
    assert stat.S_IMODE(place.parent.stat().st_mode) == 0o700
    database.transact(lambda connection: connection.execute(text("update hpsearch.code set archive = 'x'")))
    assert code.prepare(second)
    assert code.find(second.spec.code) == place
    code.close()
    assert not place.exists()
    assert lines == []


def test_a_study_without_code_needs_nothing(
    database: Database, make: Callable[[], CodeDirectories], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is served by every worker."""
    monkeypatch.setenv("HPSEARCH_CODE", "refuse")
    code, study = make(), start(database, loader.from_dict(SMALL))
    assert code.prepare(study)
    assert code.find(study.spec.code) is None
    assert not code.has_refused


def test_a_worker_may_refuse_all_code(
    database: Database, make: Callable[[], CodeDirectories], lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says so once for each study; any word but refuse and serve is an error."""
    monkeypatch.setenv("HPSEARCH_CODE", "refuse")
    code, study = make(), start(database, describe())
    assert not code.prepare(study)
    assert not code.prepare(study)
    assert lines == ["small is not served here: it has code of its own, and HPSEARCH_CODE=refuse is set"]
    assert code.has_refused
    monkeypatch.setenv("HPSEARCH_CODE", "serve")
    assert make().prepare(study)
    monkeypatch.setenv("HPSEARCH_CODE", "no")
    with pytest.raises(UsageError, match="HPSEARCH_CODE is 'no': set it to refuse, or to serve"):
        make()


def test_missing_packages_keep_a_study_from_being_served(
    database: Database, make: Callable[[], CodeDirectories], lines: list[str]
) -> None:
    """They are named with both versions, until the study is started again on a host as this one."""
    code = make()
    study = start(database, describe(numpy="0.1", surely_absent="3.2"))
    assert not code.prepare(study)
    numpy = __import__("numpy").__version__
    assert lines == [
        f"small is not served here: its code needs numpy 0.1 (here {numpy}), surely_absent 3.2 (not installed here): "
        "install what is missing and restart the worker, or start the study's file again where other versions are "
        "installed, which accepts them"
    ]
    study_creation.start(database, describe())
    study = database.transact(lambda connection: studies.read(connection, study.study_id))
    assert code.prepare(study)
    assert not code.has_refused


def test_a_changed_archive_is_refused(
    database: Database, make: Callable[[], CodeDirectories], lines: list[str]
) -> None:
    """In one line; nothing of it is unpacked."""
    study = start(database, describe())
    assert study.spec.code is not None
    other = describe("other").code
    assert other is not None
    assert other.archive is not None
    changed = other.archive.replace(b"my_model.py", b"my_madel.py")
    database.transact(
        lambda connection: connection.execute(text("update hpsearch.code set archive = :changed"), {"changed": changed})
    )
    code = make()
    assert not code.prepare(study)
    assert not code.prepare(study)
    (line,) = lines
    assert line.startswith("small is not served here: its archive has the SHA-256 ")
    assert line.endswith(": start the study's file again, then restart this worker")
    with pytest.raises(KeyError):
        code.find(study.spec.code)


def test_a_study_file_is_unpacked_without_a_database() -> None:
    """As `hpsearch check` needs it."""
    with unpack_locally(describe().code) as place:
        assert place is not None
        assert (place / "my_model.py").is_file()
    assert not place.exists()
    with unpack_locally(None) as place:
        assert place is None


def test_a_trainer_imports_the_code_of_one_study() -> None:
    """It is kept for the same code, taken over from studies without, and replaced for other code or none."""

    class Process:
        alive = True

        def close(self) -> None:
            self.alive = False

    shared: Any = type("Shared", (), {"start_trainer": staticmethod(Process)})
    slot = Slot(shared)
    one, other = CodeReference("1"), CodeReference("2")
    served = [slot._choose_trainer(code) for code in (None, None, one, CodeReference("1"), other, None, None)]
    slot.wakeup.close()
    assert [served.index(trainer) for trainer in served] == [0, 0, 0, 0, 4, 5, 5]
    assert [trainer.alive for trainer in (served[0], served[4], served[5])] == [False, False, True]
