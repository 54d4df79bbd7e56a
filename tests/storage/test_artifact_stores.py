"""Homes of files outside Postgres, in a real directory and on a server that speaks S3."""

import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import boto3
import pytest

from hpsearch.errors import ExitCode, StoreError
from hpsearch.settings import Setting
from hpsearch.storage.artifacts import stores
from hpsearch.storage.artifacts.table import make_checkpoint_key
from tests.support import artifact_places
from tests.support.artifact_places import content

KEY = make_checkpoint_key(7, 1, 3)
PUT = """
import sys
from pathlib import Path
from hpsearch.storage.artifacts import stores
stores.open_store(sys.argv[1]).put(sys.argv[2], Path(sys.argv[3]))
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A local file."""
    path = tmp_path / "local"
    path.write_bytes(b"content")
    return path


@pytest.fixture
def directory(tmp_path: Path) -> Setting:
    """A directory, as HPSEARCH_ARTIFACTS names it."""
    root = tmp_path / "root"
    root.mkdir()
    return Setting(str(root), "HPSEARCH_ARTIFACTS")


def one_line(error: StoreError) -> str:
    """The only line of an error, which ends a command as bad usage does and keeps secrets."""
    assert error.exit_code is ExitCode.USAGE
    line = str(error)
    assert "\n" not in line
    assert artifact_places.SECRET not in line
    return line


@contextmanager
def nobody() -> Iterator[None]:
    """Without root's right to write everywhere."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_file_comes_back_as_it_went(place: Setting, file: Path, tmp_path: Path) -> None:
    """What is put is got under its key, until it is removed; removing it again is fine."""
    home = stores.create_store(place, "small")
    home.put(KEY, file)
    again = stores.open_store(home.url)
    again.check()
    assert again.get(KEY, tmp_path / "back") is True
    assert (tmp_path / "back").read_bytes() == b"content"
    again.remove(KEY)
    again.remove(KEY)
    assert again.get(KEY, tmp_path / "back") is False


def test_file_put_again_replaces_the_first(place: Setting, file: Path, tmp_path: Path) -> None:
    """The same key twice holds what was put last."""
    home = stores.create_store(place, "small")
    home.put(KEY, file)
    file.write_bytes(b"more content")
    home.put(KEY, file)
    home.get(KEY, tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == b"more content"


def test_each_study_has_a_home_of_its_own(place: Setting, file: Path) -> None:
    """Two studies of one name, as two databases may have, share a place and no file; a home goes with all its files."""
    first, second = stores.create_store(place, "../ü b?#"), stores.create_store(place, "../ü b?#")
    first.put(KEY, file)
    second.put(KEY, file)
    first.clear()
    first.clear()
    assert set(content(place)) == {f"{second.name}/study", f"{second.name}/{_stored(place)}"}
    second.clear()
    assert content(place) == {}
    if not place.value.startswith("s3://"):
        assert not list(Path(place.value).iterdir())


def _stored(place: Setting) -> str:
    return KEY if place.value.startswith("s3://") else "checkpoint-7-1-3"


def test_home_that_is_not_there_is_refused(place: Setting) -> None:
    """Where the home is missing, as on a host that has not mounted the directory, one line says so."""
    home = stores.create_store(place, "small")
    home.clear()
    with pytest.raises(StoreError, match="is not there: see that this") as refused:
        stores.open_store(home.url).check()
    assert home.url in one_line(refused.value)


def test_home_of_another_is_refused(directory: Setting) -> None:
    """A directory in the home's stead, marked as another's, is not taken for it."""
    home, other = stores.create_store(directory, "small"), stores.create_store(directory, "small")
    shutil.rmtree(Path(directory.value) / home.name)
    (Path(directory.value) / other.name).rename(Path(directory.value) / home.name)
    with pytest.raises(StoreError, match=f"is the home of '{other.name}'"):
        home.check()


def test_home_that_cannot_be_written_is_refused(scratch: Path) -> None:
    """A directory that this user may only read is refused, with the reason."""
    scratch.chmod(0o755)
    home = stores.create_store(Setting(str(scratch), "HPSEARCH_ARTIFACTS"), "small")
    (scratch / home.name).chmod(0o555)
    with nobody(), pytest.raises(StoreError, match="Permission denied") as refused:
        home.check()
    one_line(refused.value)


def test_disk_that_is_full_leaves_the_former_file(directory: Setting, file: Path, tmp_path: Path) -> None:
    """A write that fails halfway leaves nothing of itself, and what was there before."""
    home = stores.create_store(directory, "small")
    home.put(KEY, file)
    before = content(directory)
    file.write_bytes(bytes(100_000))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    try:
        with pytest.raises(StoreError, match="File too large"):
            home.put(KEY, file)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert content(directory) == before


def test_killed_writer_leaves_nothing_that_could_be_read(directory: Setting, tmp_path: Path) -> None:
    """A writer killed halfway has stored nothing, and what it has begun goes with the key."""
    home, pipe = stores.create_store(directory, "small"), tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = subprocess.Popen([sys.executable, "-c", PUT, home.url, KEY, str(pipe)])
    with pipe.open("wb") as half:
        half.write(bytes(2**20))  # more than a pipe holds: the writer has read, and waits for more
        writer.send_signal(signal.SIGKILL)
        writer.wait()
    assert home.get(KEY, tmp_path / "back") is False
    home.remove(KEY)
    assert set(content(directory)) == {f"{home.name}/study"}


@pytest.mark.parametrize(
    ("value", "remedy"),
    [
        ("relative/path", "write a directory"),
        ("ftp://host/path", "write a directory"),
        ("file://relative", "write a directory"),
        ("s3://", "write a directory"),
        ("s3://user:pass@bucket/prefix", "write a directory"),
        ("/no/such/directory", "/no/such/directory is not a directory here: make it"),
        ("file:///no/such/directory", "/no/such/directory is not a directory here: make it"),
    ],
)
def test_place_that_is_none_is_refused(value: str, remedy: str) -> None:
    """What is no directory and no bucket is refused in one line that names the setting and says what one looks like."""
    with pytest.raises(StoreError, match=f"^HPSEARCH_ARTIFACTS: .*{remedy}") as refused:
        stores.create_store(Setting(value, "HPSEARCH_ARTIFACTS"), "small")
    assert "user:pass" not in one_line(refused.value)


def test_directory_may_be_a_url(directory: Setting) -> None:
    """`file://` and a path are the same place."""
    url = Path(directory.value).as_uri()
    home = stores.create_store(Setting(url, "HPSEARCH_ARTIFACTS"), "small")
    assert home.url == f"{url}/{home.name}"
    assert set(content(directory)) == {f"{home.name}/study"}


def test_bucket_that_is_not_there_is_refused(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bucket that nobody made is named in one line."""
    artifact_places.use(s3, monkeypatch)
    with pytest.raises(StoreError, match="NoSuchBucket") as refused:
        stores.create_store(Setting("s3://nobodys-bucket", "HPSEARCH_ARTIFACTS"), "small")
    assert one_line(refused.value).startswith("HPSEARCH_ARTIFACTS: s3://nobodys-bucket/small-")


def test_s3_server_that_does_not_answer_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that is not there is one line, within seconds."""
    with closing(socket.socket()) as taken:  # and not listening
        taken.bind(("127.0.0.1", 0))
        artifact_places.use(f"http://127.0.0.1:{taken.getsockname()[1]}", monkeypatch)
        with pytest.raises(StoreError, match="Could not connect to the endpoint") as refused:
            stores.create_store(Setting("s3://bucket", "HPSEARCH_ARTIFACTS"), "small")
    one_line(refused.value)


def test_s3_without_credentials_is_refused(s3: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A host where boto3 finds no credentials says so."""
    artifact_places.use(s3, monkeypatch)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    with pytest.raises(StoreError, match="Unable to locate credentials"):
        stores.create_store(Setting("s3://bucket", "HPSEARCH_ARTIFACTS"), "small")


def test_s3_without_boto3_says_what_to_install() -> None:
    """A host that lacks boto3 learns its name."""
    program = (
        "import sys; sys.modules['boto3'] = None\n"
        "from hpsearch.storage.artifacts import stores\n"
        "try: stores.open_store('s3://bucket/home')\n"
        "except stores.StoreError as error: print(error)\n"
    )
    output = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert output.strip() == "s3://bucket/home needs boto3: pip install boto3"


def test_large_file_is_one_request(s3: str, monkeypatch: pytest.MonkeyPatch, file: Path) -> None:
    """20 MB leave no upload in parts behind, not even a finished one's mark."""
    artifact_places.use(s3, monkeypatch)
    home = stores.create_store(artifact_places.bucket(), "small")
    file.write_bytes(os.urandom(20_000_000))
    home.put(KEY, file)
    bucket, _, prefix = home.url.removeprefix("s3://").partition("/")
    head = boto3.client("s3").head_object(Bucket=bucket, Key=f"{prefix}/{KEY}")
    assert head["ContentLength"] == 20_000_000
    assert "-" not in head["ETag"]
