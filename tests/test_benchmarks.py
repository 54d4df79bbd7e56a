"""The benchmarks, which no test runs to their end."""

import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from hpsearch.spec.dimension import Choices, Dimension, Range

if TYPE_CHECKING:
    from answers_grid import GridTruth

ROOT = Path(__file__).parents[1]
LISTED = re.search(r"^bench:.*\n\t@for each in (.*);", (ROOT / "Makefile").read_text(), re.MULTILINE)
assert LISTED
MEASURED = ROOT / "benchmarks" / "measured"
PERFORMANCE = (ROOT / "docs" / "performance.md").read_text("utf-8")
BENCHMARKS = LISTED[1].split()


@pytest.mark.slow
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


def test_the_documented_search_tables_are_those_of_the_records() -> None:
    """Every row that is computed from benchmarks/measured is in docs/performance.md."""
    documented = _rows(PERFORMANCE)
    for dataset in ("cifar10", "digits"):
        command = ["benchmarks/search.py", "table", "--dataset", dataset, "--records", str(MEASURED / "search")]
        main, ablated = _run(command).split("each default off on its own")
        computed = _rows(main) + [row[:3] + row[4:5] + row[6:] for row in _rows(ablated) if row[0].startswith("…")]
        assert len(computed) == 11
        assert [row for row in computed if row not in documented] == []


def test_the_documented_precision_table_is_that_of_the_records() -> None:
    """The bfloat16 table of docs/performance.md is what is computed from benchmarks/measured."""
    command = ["benchmarks/precision.py", "--table", "--records", str(MEASURED / "precision")]
    longer = _rows(_run([*command, "--images", "3000", "--epochs", "4"]))
    computed = [["base model, 3,000 images", *row[1:]] for row in longer] + _rows(_run(command))
    documented = (
        PERFORMANCE.partition("### bfloat16")[2].partition("within the seeds' spread |")[2].partition("\n\n")[0]
    )
    assert computed == _rows(documented)


def test_the_records_are_small() -> None:
    """The records hold what the tables are computed from: less than 300 kB."""
    assert sum(file.stat().st_size for file in MEASURED.rglob("*") if file.is_file()) < 300_000


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_table_of_answers_has_a_row_for_each_landscape() -> None:
    """The short form of the benchmark of answers searches two landscapes, and judges what is said of each."""
    shares, rung, end = (part for part in _run(["benchmarks/answers.py", "--quick"], 800).split("\n\n") if "|" in part)
    for part in (shares, rung, end):
        assert [row[0] for row in _rows(part)[1:]] == ["additive", "own-rates", "all"]
    searches = [row[2].split("/") for row in _rows(shares)[1:]]
    assert [int(count) for _, count in searches] == [2, 2, 4]
    assert all(0 <= int(shown) <= int(count) for shown, count in searches)


@pytest.mark.slow
@pytest.mark.tensorflow
@pytest.mark.timeout(900)
def test_the_short_form_on_real_training_holds_a_search_against_a_grid() -> None:
    """A small grid is trained twice, and a search of its space is judged by it."""
    shares, levels, *_ = (
        part for part in _run(["benchmarks/answers_training.py", "--quick"], 800).split("\n\n") if "|" in part
    )
    assert {row[0] for row in _rows(shares)} >= {"learning_rate", "optimizer"}
    assert {row[0] for row in _rows(levels)} >= {"optimizer: sgd", "optimizer: adam", "learning_rate: 1e-3 to 3e-3"}


def test_the_documented_truth_on_real_training_is_that_of_the_records() -> None:
    """What docs/answers.md says is true of levels and shares is computed from benchmarks/measured."""
    documented = [row[:3] for row in _rows((ROOT / "docs" / "answers.md").read_text("utf-8"))]
    recorded = [file.stem for file in (MEASURED / "answers").glob("*.jsonl")]
    assert recorded
    for dataset in recorded:
        shares, levels, *_ = (
            part
            for part in _run(["benchmarks/answers_training.py", "table", "--dataset", dataset]).split("\n\n")
            if "|" in part
        )
        computed = [row[:3] for row in _rows(shares)[1:] + _rows(levels)[1:]]
        assert [row for row in computed if row not in documented] == []


def test_a_grid_says_what_is_true_of_ranges_and_choices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shares and differences are those of the function that the grid was computed from, ranges interpolated."""
    values = _make_grid(monkeypatch, noise=0.0)
    rate, optimizer = 0.3**2 / 12, 0.1**2 / 4
    assert values.shares["learning_rate"] == pytest.approx(rate / (rate + optimizer), abs=0.001)
    assert values.shares["optimizer"] == pytest.approx(optimizer / (rate + optimizer), abs=0.001)
    assert values.compare("optimizer", "adam", "sgd", "space") == pytest.approx(0.1)
    assert values.compare("learning_rate", "1e-2 to 1e-1", "1e-3 to 1e-2", "good") == pytest.approx(0.15)
    assert values.share_errors["optimizer"] == pytest.approx(0.0)


def test_the_noise_of_a_grid_is_no_share_of_its_variance(monkeypatch: pytest.MonkeyPatch) -> None:
    """Noise as large as the effects leaves the shares where they are, within the standard errors that are stated."""
    exact, noisy = (_make_grid(monkeypatch, noise) for noise in (0.0, 0.1))
    for name, share in exact.shares.items():
        assert abs(noisy.shares[name] - share) < 3 * noisy.share_errors[name] < 0.2
    assert noisy.noise == pytest.approx(0.1, rel=0.1)


@pytest.mark.parametrize(
    ("bfloat16", "lines"),
    [
        (
            2.0,
            ["takes bfloat16 here: 2.00 CPU-s; in float32 it is 3.00, 1.50×", "1.00: met", "1.10: met", "15: MISSED"],
        ),
        (
            2.2,
            ["takes bfloat16 here: 2.20 CPU-s; in float32 it is 3.00, 1.36×", "1.00: met", "0: MISSED", "15: MISSED"],
        ),
        (
            6.0,
            ["takes float32 here: 3.00 CPU-s; in bfloat16 it is 6.00, 2.00×", "1.00: MISSED", "not here", "15: MISSED"],
        ),
    ],
)
def test_the_targets_are_judged_by_the_best_of_plain_fit(
    monkeypatch: pytest.MonkeyPatch, bfloat16: float, lines: list[str]
) -> None:
    """What a trainer takes by itself is compared with `fit`'s best setting, and with the smaller floor."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    from training_verdicts import judge

    costs = {"plain": [4.0], "plain steps": [3.9], "plain bfloat16": [2.3, 2.5], "plain both": [2.2, 2.4]}
    costs |= {"ours float32": [3.0], "ours bfloat16": [bfloat16], "floor float32": [2.5], "floor bfloat16": [1.5]}
    chosen = "bfloat16" if bfloat16 < 3 else "float32"
    judged = list(judge(costs, chosen, {side: side for side in costs}))
    assert [line.endswith(end) for line, end in zip(judged, lines, strict=True)] == [True] * 4, judged
    assert "its best (plain both)" in judged[1]


def _make_grid(monkeypatch: pytest.MonkeyPatch, noise: float) -> "GridTruth":
    """Return what is true of a function that rises with the rate's logarithm, and is higher with adam."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    from answers_grid import GridTruth

    space: dict[str, Dimension] = {
        "learning_rate": Range(1e-3, 1e-1, log=True),
        "optimizer": Choices(("sgd", "adam")),
        "batch_size": Choices(tuple(range(1, 101))),
    }
    points = {name: dimension.list_points() for name, dimension in space.items() if isinstance(dimension, Choices)}
    points = {"learning_rate": (1e-3, 1e-2, 1e-1), **points}
    mean = 0.3 * np.array([0.0, 0.5, 1.0])[:, None, None] + 0.1 * np.array([0.0, 1.0])[:, None] + np.zeros(100)
    values = mean + noise * np.random.default_rng(3).normal(size=(2, *mean.shape))
    return GridTruth(space, points, values)


@pytest.mark.slow
def test_the_gpu_check_without_a_gpu_says_what_it_left_out() -> None:
    """On a CPU every row of a part is right or left out, and the last line counts them."""
    printed = _run(["benchmarks/gpu.py", "--quick", "--cpu", "--parts", "pinning", "memory"], 200)
    rows = [row for row in _rows(printed) if row[0] in ("pinning", "memory")]
    assert [row[3].partition(":")[0] for row in rows] == ["left out", "ok", "ok", "left out"]
    assert "ok: 2, WRONG: 0, failed: 0, left out: 2, measured: 0" in printed


def _run(command: list[str], timeout: float = 120) -> str:
    return subprocess.run(
        [sys.executable, *command], capture_output=True, text=True, cwd=ROOT, check=True, timeout=timeout
    ).stdout


def _rows(text: str) -> list[list[str]]:
    """Return the cells of the rows of Markdown tables, without their heads."""
    lines = [line for line in text.splitlines() if line.startswith("| ") and not line.startswith(("| ---", "|---"))]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [row for row in rows if row[0] not in ("side", "configuration")]
