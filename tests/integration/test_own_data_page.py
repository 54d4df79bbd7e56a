"""docs/your-own-data.md: its example, run as it stands on images of several sizes."""

import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hpsearch.cli.main import main  # noqa: F401  the commands are those of this checkout
from tests.support import commands

pytestmark = [pytest.mark.tensorflow, pytest.mark.slow, pytest.mark.timeout(900)]

PAGE = Path(__file__).parents[2] / "docs" / "your-own-data.md"


def read_block(kind: str) -> str:
    """Return the page's first block of code of a kind."""
    found = re.search(rf"^```{kind}\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert found, kind
    return found[1]


def write_flowers(directory: Path) -> None:
    """Write photographs of two kinds, of several sizes: noise, one kind brighter in the middle."""
    generator = np.random.default_rng(0)
    for name, brightness, ending in (("daisy", 0, "jpg"), ("tulip", 100, "png")):
        (directory / name).mkdir(parents=True)
        for number in range(40):
            height, width = generator.integers(60, 120, 2)
            pixels = generator.integers(0, 156, (height, width, 3))
            pixels[20:-20, 20:-20] += brightness
            Image.fromarray(pixels.astype(np.uint8)).save(directory / name / f"{number:03}.{ending}")


def test_the_example_runs_as_it_stands(storage: str, tmp_path: Path) -> None:
    """Each line of the page's commands, with fewer and shorter trials of a smaller model."""
    write_flowers(tmp_path / "data" / "flowers")
    study = tmp_path / "flowers.toml"
    study.write_text(read_block("toml"))
    smaller = ("budget.trials=2", "budget.epochs=1", "space.batch_size=[8]", "fixed={width=4}")
    environment = {
        "HPSEARCH_DATA_DIR": str(tmp_path / "data"),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "HPSEARCH_STORAGE": storage,
    }
    printed: dict[str, subprocess.CompletedProcess[str]] = {}
    lines = [line.partition("#")[0].split() for line in read_block("sh").splitlines()]
    for _, command, *arguments in (words for words in lines if words[0] == "hpsearch"):
        arguments = [str(study) if argument == study.name else argument for argument in arguments]
        if command in ("data", "start-study"):
            arguments += [word for override in smaller for word in ("--set", override)]
        printed[command] = commands.hpsearch(command, *arguments, **environment)
        assert printed[command].returncode == 0, printed[command].stderr
    assert list(printed) == ["data", "start-study", "worker", "answer"]
    assert re.search(r"daisy.*24.*8.*8", printed["data"].stdout)
    assert "2 trials" in printed["answer"].stdout
    assert "crashed" not in printed["worker"].stderr
