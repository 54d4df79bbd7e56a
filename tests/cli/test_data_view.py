"""What `data` prints of a study's images, and how a worker shows that they are being decoded."""

import io
from typing import Any

import pytest
from rich.console import Console

from hpsearch.cli import data_view
from hpsearch.cli.training_progress import LiveProgress, PlainProgress
from hpsearch.spec.datasets import DataFacts
from hpsearch.training.protocol import DataPrepared, DataProgress, Duplicates

FACTS = DataFacts((96, 64, 3), ("daisy", "[bold]rose"), (1200, 2400), (300, 600), (300, 600))
PREPARED = DataPrepared(
    FACTS,
    99_532_800,
    "/cache/images/ab12",
    {"hidden": 2, "other kind (.txt)": 1},
    Duplicates(1234, "train/[a]/1.png", "test/a/2.png"),
)


def test_classes_are_a_table_and_duplicates_a_warning(capsys: pytest.CaptureFixture[str]) -> None:
    """Counts for each part and their sums on stdout; the warning on stderr, with two of the files."""
    data_view.print_prepared("flowers", PREPARED)
    printed = capsys.readouterr()
    lines = [line.rstrip() for line in printed.out.splitlines() if line.strip("─ ")]
    assert lines[0] == "flowers: 5,400 images of 96 × 64 × 3 in 2 classes"
    assert [line.split() for line in lines[1:5]] == [
        ["class", "training", "validation", "test"],
        ["daisy", "1,200", "300", "300"],
        ["[bold]rose", "2,400", "600", "600"],
        ["all", "3,600", "900", "900"],
    ]
    assert lines[5:] == [
        "passed over: 3 files (hidden: 2, other kind (.txt): 1)",
        "99.5 MB of pixels in /cache/images/ab12",
    ]
    assert printed.err == (
        "warning: 1,234 images have the same pixels as one of another part, as train/[a]/1.png and test/a/2.png: "
        "what was trained on is no test\n"
    )


def test_a_built_in_data_set_has_no_files(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is said of a cache or of files where there are none, and there is no warning."""
    data_view.print_prepared("digits", DataPrepared(FACTS, 2_000_000))
    printed = capsys.readouterr()
    assert printed.out.endswith("\n2.0 MB of pixels\n")
    assert "passed over" not in printed.out
    assert printed.err == ""


class FakeAttempt:
    """As much of an attempt as its display reads."""

    trial_id, trial_number, number, epochs = 7, 3, 1, ()

    class study:
        name = "flowers"

        class spec:
            class budget:
                trials, epochs = 10, 5


def test_a_log_says_once_that_images_are_prepared() -> None:
    """A worker whose output is a file writes a line, however many messages there are."""
    out, attempt = io.StringIO(), FakeAttempt()
    display = PlainProgress(Console(file=out))
    shown: Any = attempt
    display.start_trial(shown, {})
    before = out.getvalue()
    for done in (0, 1200):
        display.show_loading(shown, DataProgress(done, 5000))
    assert out.getvalue().removeprefix(before) == "flowers trial 3 prepares 5,000 images\n"


def test_a_terminal_shows_how_many_are_done() -> None:
    """The trial's live line has the count."""
    display, shown = LiveProgress(Console(file=io.StringIO())), FakeAttempt()
    attempt: Any = shown
    display.start_trial(attempt, {})
    display.show_loading(attempt, DataProgress(1200, 5000))
    (task,) = display._bars.tasks
    assert task.fields["state"] == "preparing images 1,200 of 5,000"
