"""`hpsearch init`: from a builder to a study file."""

from pathlib import Path

import pytest

from hpsearch.errors import ExitCode
from hpsearch.spec import loader
from tests.support.commands import hpsearch, one_line
from tests.support.study_files import OWN_CODE

pytestmark = pytest.mark.tensorflow


def test_study_file_is_ready_to_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One command leads from a builder of KerasTuner's shape to a study file; it overwrites none."""
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "net.py").write_text((OWN_CODE / "tuned.py").read_text())
    monkeypatch.chdir(tmp_path)
    ended = hpsearch("init", "code/net.py:mlp", "-o", "study.toml", "--data", "digits")
    assert ended.returncode == ExitCode.DONE, ended.stderr
    assert ended.stderr.startswith("study.toml is written")
    spec = loader.load(tmp_path / "study.toml")
    assert spec.model.build == "code/net.py:mlp"
    assert spec.data.name == "digits"
    assert spec.searched[0] == "num_layers"
    again = hpsearch("init", "code/net.py:mlp", "-o", "study.toml")
    assert one_line(again, ExitCode.USAGE) == "hpsearch: study.toml is there already: name another with -o"


def test_failing_builder_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With its file and line, above the traceback in their files; no study file is left."""
    (tmp_path / "net.py").write_text("def build(hp, input_shape, classes):\n    return hp.Integer('width', 1, 2)\n")
    monkeypatch.chdir(tmp_path)
    ended = hpsearch("init", "net.py:build", "--data", "digits")
    assert (ended.returncode, ended.stdout) == (ExitCode.USAGE, "")
    line, *traceback = ended.stderr.splitlines()
    assert line.startswith("hpsearch: net.py, line 2: AttributeError: ")
    assert traceback[:2] == [
        "  Traceback (most recent call last):",
        '    File "net.py", line 2, in build',
    ]
    assert not (tmp_path / "net.toml").exists()
