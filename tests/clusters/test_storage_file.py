"""The file with the database's URL that jobs read."""

from pathlib import Path

import pytest

from hpsearch.clusters import storage_file
from hpsearch.errors import RefusedError, UsageError
from hpsearch.settings import Setting
from hpsearch.storage.database import Database

URL = "postgresql://me:secret@db/hpsearch"


def keep(url: str, directory: Path, source: str = "HPSEARCH_STORAGE") -> Path:
    return storage_file.keep_storage(Setting(url, source), Database(url), directory)


def test_url_goes_to_a_file_that_nobody_else_reads(tmp_path: Path) -> None:
    """One for each database, whose password may change; its name tells nothing of it."""
    first = keep(URL, tmp_path)
    assert first.read_text() == URL + "\n"
    assert first.stat().st_mode & 0o777 == 0o600
    changed = URL.replace("secret", "other")
    assert keep(changed, tmp_path, "--storage") == first
    assert first.read_text() == changed + "\n"
    assert keep(URL + "2", tmp_path) != first
    assert len(list(tmp_path.iterdir())) == 2


def test_users_own_file_is_used_where_it_is_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is named by its whole path; one that others can read is refused, with the command that mends it."""
    file = tmp_path / "url"
    file.write_text(URL)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HPSEARCH_STORAGE_FILE", "url")
    file.chmod(0o640)
    with pytest.raises(UsageError, match=f"chmod 600 {file}"):
        keep(URL, tmp_path, "HPSEARCH_STORAGE_FILE")
    file.chmod(0o600)
    assert keep(URL, tmp_path, "HPSEARCH_STORAGE_FILE") == file


def test_jobs_need_a_server_and_its_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The embedded server is refused, and a password that would stay behind in the environment."""
    with pytest.raises(RefusedError, match="serves this host only"):
        storage_file.require_server(None)
    monkeypatch.setenv("PGPASSWORD", "secret")
    assert keep(URL, tmp_path)
    with pytest.raises(UsageError, match="jobs do not get PGPASSWORD"):
        keep("postgresql://me@db/hpsearch", tmp_path)
