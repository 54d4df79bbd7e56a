"""The example at the top of docs/your-own-model.md, as a reader would run it."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from hpsearch.errors import ExitCode
from tests.support.commands import hpsearch

pytestmark = [pytest.mark.tensorflow, pytest.mark.timeout(600)]

PAGE = Path(__file__).parents[2] / "docs" / "your-own-model.md"


def test_the_pages_example_runs(storage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its files and commands give models that load without hpsearch."""
    monkeypatch.setenv("HPSEARCH_STORAGE", storage)
    monkeypatch.chdir(tmp_path)
    text = PAGE.read_text("utf-8")
    for name, content in re.findall(r"```\w+\n# (study\.toml|my_model\.py)\n(.*?)```", text, re.DOTALL):
        (tmp_path / name).write_text(content)
    [commands, *_] = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    for command in commands.splitlines():
        program, *arguments = command.split()
        assert program == "hpsearch"
        ended = hpsearch(*arguments)
        assert ended.returncode == ExitCode.DONE, ended.stderr
    trials = json.loads(hpsearch("results", "mine", "--json").stdout)["trials"]
    assert len(trials) == 4
    assert {trial["state"] for trial in trials} <= {"complete", "pruned"}
    readme = (tmp_path / "models" / "README.md").read_text()
    [code] = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    loaded = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path / "models",
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert loaded.returncode == 0, loaded.stderr
