"""Starting a study with code of its own, as a user types it."""

import json
from pathlib import Path

import pytest

from hpsearch.errors import ExitCode
from tests.support.commands import hpsearch, one_line

STUDY = '[study]\nname = "mine"\n[data]\nname = "digits"\n[model]\nbuild = "my_model.py:build"\n'
BUILD = "def build(hp, input_shape, classes):\n    return None\n"


@pytest.fixture
def study(storage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A study file with a model beside it; the command is given elsewhere."""
    monkeypatch.setenv("HPSEARCH_STORAGE", storage)
    (tmp_path / "study.toml").write_text(STUDY)
    (tmp_path / "my_model.py").write_text(BUILD)
    return tmp_path / "study.toml"


def test_changed_code_is_refused_by_what_changed(study: Path) -> None:
    """Exit 5, with the lines of each file; the same code is the same study."""
    assert hpsearch("start-study", str(study)).returncode == ExitCode.DONE
    assert "with the same search" in hpsearch("start-study", str(study)).stderr
    (study.parent / "my_model.py").write_text("import helper\n" + BUILD)
    (study.parent / "helper.py").write_text("")
    refused = hpsearch("start-study", str(study))
    assert refused.returncode == ExitCode.REFUSED
    assert refused.stderr.splitlines() == [
        "hpsearch: mine is in the database with another search; give this one another --name, or undo:",
        "  code: helper.py (new): +0 -0 lines",
        "  code: my_model.py: +1 -0 lines",
    ]


def test_a_broken_file_is_one_line_and_starts_nothing(study: Path) -> None:
    """The study file names what is missing in the code; nothing is stored."""
    (study.parent / "my_model.py").write_text("def built():\n    pass\n")
    assert one_line(hpsearch("start-study", str(study)), ExitCode.USAGE) == (
        "hpsearch: model.build: my_model.py defines no build: write it there, or name what it does define"
    )
    assert json.loads(hpsearch("status", "--json").stdout)["studies"] == []


def test_secrets_in_the_code_are_warned_of(study: Path) -> None:
    """Before the study is stored, which it is all the same."""
    (study.parent / "my_model.py").write_text("KEY = 'AKIA" + "ABCDEFGHIJKLMNOP'\n" + BUILD)
    started = hpsearch("start-study", str(study))
    assert started.returncode == ExitCode.DONE
    assert started.stderr.splitlines()[0] == (
        "warning: the code has my_model.py, which seems to hold an AWS key: whoever reads the database can read it"
    )


def test_a_worker_with_another_word_for_refuse_does_not_start(study: Path) -> None:
    """It would else run what its owner meant to keep out."""
    line = one_line(hpsearch("worker", "--cpu", HPSEARCH_CODE="off"), ExitCode.USAGE)
    assert line == "hpsearch: HPSEARCH_CODE is 'off': set it to refuse, or to serve, which is the default"
