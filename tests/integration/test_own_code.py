"""A study with code of its own: two workers that have no file of it, and what they make of its errors."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hpsearch.errors import ExitCode
from tests.support.commands import hpsearch

pytestmark = [pytest.mark.tensorflow, pytest.mark.timeout(600)]

STUDY = """
[study]
name = "mine"
[budget]
trials = 4
epochs = 2
[data]
load = "my_data.py:load"
[fixed]
batch_size = 32
dense_units = 8
filters = 4
[space]
learning_rate = { low = 1e-3, high = 1e-2, log = true }
"""

DATA = """
import numpy as np
from shapes import SHAPE

def load():
    print("loaded by", __file__)
    generator = np.random.default_rng(0)
    labels = np.arange(300) % 3
    images = (generator.integers(0, 64, (300, *SHAPE)) + labels[:, None, None, None] * 64).astype("uint8")
    return (images[:240], labels[:240]), (images[240:], labels[240:])
"""


@pytest.fixture
def study(storage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A study file with its code beside it."""
    monkeypatch.setenv("HPSEARCH_STORAGE", storage)
    directory = tmp_path / "project"
    directory.mkdir()
    (directory / "study.toml").write_text(STUDY)
    (directory / "my_data.py").write_text(DATA)
    (directory / "shapes.py").write_text("SHAPE = (32, 32, 3)\n")
    return directory / "study.toml"


def start_worker(directory: Path, **environment: str) -> subprocess.Popen[str]:
    """Start a worker that runs in `directory`, with a cache of its own."""
    directory.mkdir()
    return subprocess.Popen(
        [sys.executable, "-m", "hpsearch.cli.main", "worker", "--cpu", "--drain"],
        env={**os.environ, "XDG_CACHE_HOME": str(directory / "cache"), "TMPDIR": str(directory), **environment},
        cwd=directory,
        stderr=subprocess.PIPE,
        text=True,
    )


def read_results() -> Any:
    """Return what `hpsearch results --json` prints of the study."""
    return json.loads(hpsearch("results", "mine", "--json").stdout)


def test_two_workers_train_without_the_files(study: Path, tmp_path: Path) -> None:
    """The code comes from the database, whatever lies in the directory where a worker runs, and is removed after it."""
    assert hpsearch("start-study", str(study)).returncode == ExitCode.DONE
    for file in study.parent.iterdir():
        file.unlink()
    workers = [start_worker(tmp_path / name) for name in ("here", "there")]
    (tmp_path / "there" / "shapes.py").write_text("raise RuntimeError('this is not the study\\'s')\n")
    errors = [worker.communicate(timeout=500)[1] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], "\n".join(errors)
    results = read_results()
    assert results["study"]["status"] == "finished"
    assert results["study"]["counts"]["complete"] + results["study"]["counts"]["pruned"] == 4
    assert not list(tmp_path.rglob("hpsearch-run-*"))
    assert not list(tmp_path.rglob("my_data.py"))


def test_a_worker_that_refuses_code_leaves_the_study_to_others(study: Path, tmp_path: Path) -> None:
    """Draining, it leaves with the code of what is not found, and has claimed nothing."""
    assert hpsearch("start-study", str(study)).returncode == ExitCode.DONE
    worker = start_worker(tmp_path / "here", HPSEARCH_CODE="refuse")
    printed = worker.communicate(timeout=500)[1]
    assert worker.returncode == ExitCode.NOT_FOUND
    assert "mine is not served here: it has code of its own, and HPSEARCH_CODE=refuse is set" in printed
    assert read_results()["trials"] == []


def test_an_error_in_the_users_code_is_shown_in_their_file(study: Path, tmp_path: Path) -> None:
    """The trial has failed, with the line of their file; so has the check, with the traceback in their files."""
    (study.parent / "shapes.py").write_text("SHAPE = (32, 32, 3)\n\n\nassert False, 'not so'\n")
    checked = hpsearch("check", str(study), "--cpu")
    assert checked.returncode == ExitCode.USAGE
    assert "my_data.py cannot be imported: AssertionError: not so" in checked.stderr
    assert 'File "shapes.py", line 4, in <module>' in checked.stderr
    assert "hpsearch/training" not in checked.stderr
    assert hpsearch("start-study", str(study), "--trials", "1").returncode == ExitCode.DONE
    worker = start_worker(tmp_path / "here")
    worker.communicate(timeout=500)
    printed = hpsearch("results", "mine")
    assert "trial 0 failed: my_data.py cannot be imported: AssertionError: not so" in printed.stdout + printed.stderr
