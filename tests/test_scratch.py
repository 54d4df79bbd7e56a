"""Temporary directories: removed after use, by the next process where theirs was killed, and never in use."""

import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from hpsearch import scratch


@pytest.fixture(autouse=True)
def _own_tmpdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def test_what_a_killed_process_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    """Its directories go, also full ones; ours, a link's target, a file and other names stay."""
    program = (
        "import os, pathlib\nfrom hpsearch import scratch\n"
        "with scratch.make_directory('code') as code, scratch.make_directory('trial'):\n"
        "    (code / 'package').mkdir()\n    (code / 'package' / 'x.py').touch()\n    os.kill(os.getpid(), 9)"
    )
    killed = subprocess.run([sys.executable, "-c", program], env={**os.environ, "TMPDIR": str(tmp_path)}, check=False)
    assert killed.returncode == -9
    assert len(list(tmp_path.glob("hpsearch-run-*"))) == 2
    (tmp_path / "target").mkdir()
    (tmp_path / "hpsearch-run-link").symlink_to(tmp_path / "target")
    (tmp_path / "hpsearch-run-file").touch()
    (tmp_path / "hpsearch-0-sockets").mkdir()
    with scratch.make_directory("trial") as ours:
        assert ours.stat().st_mode & 0o777 == 0o700
        scratch.sweep()
        left = {path.name for path in tmp_path.iterdir()}
        assert left == {"target", "hpsearch-run-link", "hpsearch-run-file", "hpsearch-0-sockets", ours.name}
    assert not ours.exists()


def test_another_users_directory_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What belongs to somebody else is not ours to remove, whatever our rights."""
    (tmp_path / "hpsearch-run-theirs").mkdir()
    monkeypatch.setattr(os, "geteuid", lambda: (tmp_path / "hpsearch-run-theirs").stat().st_uid + 1)
    scratch.sweep()
    assert (tmp_path / "hpsearch-run-theirs").exists()


def test_no_directory_is_swept_as_it_is_made() -> None:
    """However many sweep meanwhile, each directory that was made is there until its block ends."""
    done = threading.Event()

    def sweep() -> None:
        while not done.is_set():
            scratch.sweep()

    threads = [threading.Thread(target=sweep) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for number in range(300):
            with scratch.make_directory("trial") as directory:
                (directory / "file").write_text(str(number))
                assert (directory / "file").read_text() == str(number)
    finally:
        done.set()
        for thread in threads:
            thread.join()


def test_without_a_temporary_directory_nothing_is_swept(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sweep is no reason to end: whoever needs a directory meets the error again."""

    def find_none() -> str:
        raise FileNotFoundError("No usable temporary directory")

    monkeypatch.setattr(tempfile, "gettempdir", find_none)
    scratch.sweep()
