"""The command `hpsearch data`, and the process behind it."""

import subprocess
from pathlib import Path

import pytest

from hpsearch.errors import ExitCode
from tests.support.commands import hpsearch, one_line
from tests.support.image_files import draw, save

pytestmark = pytest.mark.tensorflow

STUDY = """
[study]
name = "flowers"
[data]
path = "flowers"
image_size = 12
validation = 0.25
[space]
learning_rate = { low = 1e-4, high = 1e-1, log = true }
"""


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """A directory with 40 images of two classes, and their study's file."""
    for label, name in enumerate(("daisy", "rose")):
        for number in range(20):
            save(tmp_path / "flowers" / name / f"{number}.png", draw(100 * label + number, 16, 20))
    (tmp_path / "flowers" / "daisy" / "notes.txt").write_text("mine")
    (tmp_path / "flowers.toml").write_text(STUDY)
    return tmp_path


def prepare(data_dir: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return hpsearch(
        "data",
        str(data_dir / "flowers.toml"),
        *arguments,
        HPSEARCH_DATA_DIR=str(data_dir),
        XDG_CACHE_HOME=str(data_dir / "cache"),
    )


def test_images_are_decoded_and_described(data_dir: Path) -> None:
    """Classes with counts for each part, sizes, what was passed over, and where the pixels are."""
    ended = prepare(data_dir)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith("flowers: 40 images of 12 × 12 × 3 in 2 classes\n")
    rows = [line.split() for line in ended.stdout.splitlines()]
    assert ["daisy", "11", "5", "4"] in rows
    assert ["all", "22", "10", "8"] in rows
    assert "passed over: 1 file (other kind (.txt): 1)\n" in ended.stdout
    (place,) = [line.split(" in ")[1] for line in ended.stdout.splitlines() if "MB of pixels" in line]
    assert place.startswith(str(data_dir / "cache"))
    assert (Path(place) / "pixels").stat().st_size == 40 * 12 * 12 * 3
    assert "warning" not in ended.stderr


def test_the_same_image_in_training_and_test_is_a_warning(data_dir: Path) -> None:
    """The pixels count, not the file's name or format."""
    save(data_dir / "flowers" / "rose" / "again.bmp", draw(0, 16, 20))
    for number in range(20):  # in every part
        save(data_dir / "flowers" / "daisy" / f"{number}.png", draw(0, 16, 20))
    ended = prepare(data_dir)
    assert ended.returncode == 0
    assert "have the same pixels as one of another part, as " in ended.stderr


def test_what_cannot_be_used_is_one_line_with_exit_3(data_dir: Path) -> None:
    """A broken file and a folder that is not there, as the reader names them."""
    (data_dir / "flowers" / "rose" / "0.png").write_bytes(b"no image")
    assert "0.png" in one_line(prepare(data_dir), ExitCode.NOT_FOUND)
    assert "nowhere" in one_line(prepare(data_dir, "--set", "data.path=nowhere"), ExitCode.NOT_FOUND)
