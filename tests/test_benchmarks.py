"""The benchmarks, which no test runs to their end."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LISTED = re.search(r"^bench:.*\n\t@for each in (.*);", (ROOT / "Makefile").read_text(), re.MULTILINE)
assert LISTED
BENCHMARKS = LISTED[1].split()


@pytest.mark.parametrize("name", BENCHMARKS)
def test_each_says_what_it_measures(name: str) -> None:
    """What `make bench` runs can be started, has a short form, and tells how it is called."""
    command = [sys.executable, f"benchmarks/{name}.py", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert f"benchmarks/{name}.py" in done.stdout
    assert "--quick" in done.stdout


def test_none_is_forgotten() -> None:
    """Every file of benchmarks/ with options of its own is among those that `make bench` runs."""
    programs = {file.stem for file in (ROOT / "benchmarks").glob("*.py") if "ArgumentParser" in file.read_text()}
    assert programs == set(BENCHMARKS)
