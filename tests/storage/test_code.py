"""The archives of studies' code in the database: stored once, compared, refreshed, removed with their last study."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from threading import Thread

import pytest
from sqlalchemy import Connection, text

from hpsearch.errors import ExitCode, RefusedError
from hpsearch.spec import loader
from hpsearch.spec.code import archive
from hpsearch.spec.study_spec import StudySpec
from hpsearch.storage import studies, study_creation, study_deletion
from hpsearch.storage.database import Database
from hpsearch.storage.tables import code
from tests.support.small_study import SMALL
from tests.support.worker_processes import wait_until

SOURCE = "import numpy\n\n\ndef build(hp, input_shape, classes):\n    return None\n"

Describe = Callable[..., StudySpec]


@pytest.fixture
def describe(tmp_path: Path) -> Describe:
    """Describe the small study, with code of its own."""

    def describe(name: str = "small", source: str = SOURCE, **versions: str) -> StudySpec:
        (tmp_path / "my_model.py").write_text(source)
        packed = archive.pack({"model.build": "my_model.py:build"}, tmp_path)
        spec = loader.from_dict({**SMALL, "study": {"name": name}})
        return replace(spec, code=replace(packed, packages={**packed.packages, **versions}))

    return describe


def count_archives(database: Database) -> int:
    """Count the archives in the database."""
    return database.transact(lambda connection: int(connection.scalar(text("select count(*) from hpsearch.code")) or 0))


def test_the_code_is_stored_with_the_study(database: Database, describe: Describe) -> None:
    """The study's spec has its SHA-256 and the packages, the table the archive."""
    spec = describe()
    assert spec.code is not None
    study = study_creation.start(database, spec).study
    assert study.spec.code == spec.code
    assert study.spec.code is not None
    assert study.spec.code.archive is None
    assert study.spec.code.packages == spec.code.packages
    assert list(study.spec.code.packages) == ["numpy"]
    sha256 = study.spec.code.sha256
    assert database.transact(lambda connection: code.fetch(connection, sha256)) == spec.code.archive
    assert study.fingerprint == spec.fingerprint


def test_the_fingerprint_covers_the_code(describe: Describe) -> None:
    """Other code is another search, other packages are not; without code the fingerprint is as before."""
    spec = describe()
    assert spec.fingerprint != describe(source=SOURCE + "\n").fingerprint
    assert spec.fingerprint == describe(numpy="0.1").fingerprint
    assert "code" not in replace(spec, code=None).to_json()
    assert StudySpec.from_json(spec.to_json()).fingerprint == spec.fingerprint


def test_changed_code_under_an_old_name_is_refused_with_what_changed(database: Database, describe: Describe) -> None:
    """File by file, in lines; not by two hashes."""
    study_creation.start(database, describe())
    with pytest.raises(RefusedError) as refused:
        study_creation.start(database, describe(source=SOURCE.replace("None", "1") + "# more\n"))
    assert refused.value.exit_code == ExitCode.REFUSED
    assert str(refused.value).splitlines()[1:] == ["  code: my_model.py: +2 -1 lines"]
    assert count_archives(database) == 1


def test_starting_the_file_again_takes_the_packages_over(database: Database, describe: Describe) -> None:
    """Which is how other versions are accepted, and it is said."""
    study = study_creation.start(database, describe(numpy="1.0", torch="2.0")).study
    again = study_creation.start(database, describe(numpy="1.1"))
    assert again.changes == ("package numpy: 1.0 becomes 1.1", "package torch: 2.0 becomes no version")
    read = database.transact(lambda connection: studies.read(connection, study.study_id))
    assert read.spec.code is not None
    assert read.spec.code.packages == {"numpy": "1.1"}
    assert study_creation.start(database, describe(numpy="1.1")).changes == ()


def test_an_archive_goes_with_the_last_study_that_has_it(database: Database, describe: Describe) -> None:
    """Studies with the same code share one."""
    first, second = (study_creation.start(database, describe(name)).study for name in ("first", "second"))
    other = study_creation.start(database, describe("other", SOURCE + "\n")).study
    assert count_archives(database) == 2
    for study, left in ((first, 2), (second, 1), (other, 0)):
        study_id = study.study_id
        database.transact(lambda connection: study_deletion.delete(connection, study_id))
        assert count_archives(database) == left


def test_a_study_made_of_another_has_its_code(database: Database, describe: Describe) -> None:
    """As an evaluation has: its spec comes from the database, without the archive."""
    study = study_creation.start(database, describe()).study
    derived = replace(study.spec, study=study.spec.study.model_copy(update={"name": "small evaluation"}), evaluation=1)
    made = database.transact(lambda connection: study_creation.create(connection, derived, None))
    assert made.spec.code == study.spec.code
    assert made.spec.code is not None
    assert list(made.spec.code.packages) == ["numpy"]
    database.transact(lambda connection: study_deletion.delete(connection, study.study_id))
    assert count_archives(database) == 1
    database.transact(lambda connection: study_deletion.delete(connection, made.study_id))
    with pytest.raises(RefusedError, match="no longer in the database"):
        database.transact(lambda connection: study_creation.create(connection, derived, None))


def test_a_changed_archive_is_repaired_by_starting_the_file_again(database: Database, describe: Describe) -> None:
    """Who has the right files puts them back; who has others learns that there is nothing to compare with."""
    spec = describe()
    assert spec.code is not None
    sha256 = spec.code.sha256
    study_creation.start(database, spec)
    database.transact(lambda connection: connection.execute(text("update hpsearch.code set archive = 'x'")))
    with pytest.raises(RefusedError, match="code: another one; what is in the database cannot be compared"):
        study_creation.start(database, describe(source=SOURCE + "\n"))
    study_creation.start(database, spec)
    assert database.transact(lambda connection: code.fetch(connection, sha256)) == spec.code.archive


def test_an_evaluation_takes_the_packages_over_too(database: Database, describe: Describe) -> None:
    """Else its trials would wait for versions that no host has any more."""
    study = study_creation.start(database, describe(numpy="1.0")).study
    section = study.spec.study.model_copy(update={"name": "small evaluation"})
    derived = replace(study.spec, study=section, evaluation=1)
    made = database.transact(lambda connection: study_creation.create(connection, derived, None))
    insert = text(
        "insert into hpsearch.evaluations (evaluated, number, study_id, configurations) "
        "values (:evaluated, 1, :id, '[]')"
    )
    database.transact(lambda connection: connection.execute(insert, {"evaluated": study.study_id, "id": made.study_id}))
    study_creation.start(database, describe(numpy="1.1"))
    made = database.transact(lambda connection: studies.read(connection, made.study_id))
    assert made.spec.code is not None
    assert made.spec.code.packages == {"numpy": "1.1"}


def test_a_study_that_is_started_meanwhile_keeps_the_archive(database: Database, describe: Describe) -> None:
    """Deleting the last study with it waits for a start that is about to commit."""
    first, second = describe("first"), describe("second")
    assert second.code is not None
    study = study_creation.start(database, first).study
    deletion = Thread(
        target=lambda: database.transact(lambda connection: study_deletion.delete(connection, study.study_id))
    )

    def start(connection: Connection) -> None:
        study_creation.create(connection, second, None)
        deletion.start()
        wait_until(lambda: database.execute(is_waiting), "the deletion waits for the archive's row")

    def is_waiting(connection: Connection) -> bool:
        query = "select exists (select 1 from pg_stat_activity where wait_event_type = 'Lock' and query like :query)"
        return bool(connection.scalar(text(query), {"query": "%hpsearch.code%for update%"}))

    database.transact(start)
    deletion.join(60)
    assert not deletion.is_alive()
    assert count_archives(database) == 1
    names = [study.name for study in database.transact(studies.list_all)]
    assert names == ["second"]
