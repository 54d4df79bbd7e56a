"""The report of a study in Postgres, its figures recomputed by numpy from SQL."""

import io
import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from hpsearch.errors import UsageError
from hpsearch.outcomes import TrialOutcome
from hpsearch.report import report
from hpsearch.report.material import read_source
from hpsearch.storage.database import Database
from tests.support.grid_report import GRID, read_material, write_report
from tests.support.simulation import Simulation

CONDITIONAL: dict[str, Any] = {
    "study": {"name": "tpe"},
    "budget": {"trials": 14, "epochs": 3},
    "space": {
        "learning_rate": {"low": 1e-4, "high": 1e-2, "log": True},
        "optimizer": ["sgd", "momentum", "adam"],
        "momentum": {"low": 0.5, "high": 0.99, "when": {"optimizer": ["momentum"]}},
    },
    "pruner": {"name": "none"},
}
MARKUP = '<b>"x"</b> & | `a` *b* [c](d) $e$ %{y} ünï 日本 </script>'


def test_report_of_a_grid_with_repeats(database: Database, grid: Simulation, tmp_path: Path) -> None:
    """Both forms have every section, the question, the answer with its interval, and a picture a figure."""
    html, markdown = write_report(database, "grid", tmp_path / "out")
    titles = re.findall(r"<h2>(.*?)</h2>", html)
    assert titles == re.findall(r"^## (.*)$", markdown, re.MULTILINE)
    assert titles[:5] == ["The question", "The answer", "Importance", "Effects", "Learning curves"]
    for phrase in (
        "Which optimizer is best?",
        "adam ends",
        "95% confidence interval over 3 seeds",
        "6 of 6 trials have ended",
    ):
        assert phrase in html
        assert phrase in markdown
    assert "tensorflow 2.21.0" in markdown
    pictures = re.findall(r"!\[.*?\]\((pictures/.*?\.png)\)", markdown)
    assert len(pictures) == len(set(pictures)) == html.count("<figure") >= 9
    for picture in pictures:
        assert Image.open(io.BytesIO((tmp_path / "out" / picture).read_bytes())).format == "PNG"
    assert "://" not in re.sub(r"<script.*?</script>", "", html, flags=re.DOTALL)  # nothing to fetch, or to follow


@pytest.mark.parametrize(
    ("trials", "endings", "phrase"),
    [
        (0, (), "No trial has ended: there is nothing to tell yet."),
        (1, (), "Trial 0 is best"),
        (4, (TrialOutcome.CRASHED, TrialOutcome.ERROR), "None of the 4 ended trials is complete (4 failed)"),
        (12, (), "Levels are compared by a model of all trials"),
    ],
    ids=["empty", "single", "all failed", "still running"],
)
def test_report_of_any_study(
    database: Database, tmp_path: Path, trials: int, endings: tuple[TrialOutcome, ...], phrase: str
) -> None:
    """A study with conditional hyperparameters has a report when it is empty, as it runs, and when all has failed."""
    simulation = Simulation(database, CONDITIONAL)
    simulation.run(trials, endings)
    if trials:
        simulation.begin()
    html, markdown = write_report(database, "tpe", tmp_path / "out")
    assert phrase in html
    assert "The study is running" in markdown
    assert f"{trials} of 14 trials have ended" in markdown
    assert (" 1 running)" in markdown) == (trials > 0)
    if endings:
        assert "ValueError: &lt;b&gt;no&lt;/b&gt; &amp; no" in html
        assert r"ValueError: \<b\>no\</b\> \& no" in markdown
    if trials == 12:
        assert '<figure id="effects">' in html
        assert "learning_rate" in markdown
        assert "where optimizer is momentum" in markdown


def test_names_with_markup_are_shown_letter_by_letter(database: Database, tmp_path: Path) -> None:
    """A name, a question and a worker's host full of markup are text in both forms."""
    described = {**GRID, "study": {"name": MARKUP, "description": f"Why {MARKUP}?"}, "budget": {"epochs": 2}}
    simulation = Simulation(database, described, ("<i>h</i>$x$",))
    simulation.run(2)
    place = tmp_path / report.choose_directory(MARKUP)
    html, markdown = write_report(database, MARKUP, place)
    assert "<b>" not in html
    assert html.count("</script>") == html.count("<script")
    assert "<i>h" not in html
    assert "&lt;b&gt;&#34;x&#34;&lt;/b&gt; &amp; | `a` *b* [c](d)" in html
    assert r"\<b\>" in markdown
    assert r"\`a\` \*b\* \[c\](d) \$e\$" in markdown
    assert "<i>" not in re.sub(r"\\<", "", markdown)
    figures = [json.loads(text) for text in re.findall(r'<script type="application/json">(.*?)</script>', html)]
    names = [tick for figure in figures for tick in figure["layout"]["yaxis"].get("ticktext", [])]
    assert "&lt;i&gt;h&lt;/i&gt;$x$, GPU 0" in names


def test_report_replaces_only_reports(database: Database, tmp_path: Path) -> None:
    """An older report and an empty directory are replaced; whatever else is there is left alone, in one line."""
    Simulation(database, CONDITIONAL)
    place = tmp_path / "out"
    place.mkdir()
    write_report(database, "tpe", place)
    (place / "pictures" / "old.png").write_bytes(b"")
    write_report(database, "tpe", place)
    assert not (place / "pictures" / "old.png").exists()
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["out"]
    (place / "notes.txt").write_text("mine")
    source = database.transact(lambda connection: read_source(connection, "tpe"))
    with pytest.raises(UsageError, match="holds something else than a report: name another with --out"):
        report.write(source, place)
    assert (place / "notes.txt").read_text() == "mine"
    file = tmp_path / "file"
    file.write_text("mine")
    with pytest.raises(UsageError, match="is not a directory"):
        report.write(source, file)


def test_broken_report_leaves_the_old_one(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A report that cannot be finished leaves nothing behind, and the one before as it was."""
    Simulation(database, CONDITIONAL)
    place = tmp_path / "out"
    write_report(database, "tpe", place)
    before = (place / "report.html").read_bytes()
    write = Path.write_text

    def full(self: Path, *arguments: Any, **named: Any) -> int:
        if self.name == "report.md":
            raise OSError(28, "No space left on device")
        return write(self, *arguments, **named)

    monkeypatch.setattr(Path, "write_text", full)
    source = database.transact(lambda connection: read_source(connection, "tpe"))
    with pytest.raises(UsageError, match="No space left on device"):
        report.write(source, place)
    assert (place / "report.html").read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]


@pytest.mark.slow
def test_command_says_where_the_report_is(storage: str, database: Database, tmp_path: Path) -> None:
    """`hpsearch report` writes to a directory named after the study, says so, and fails in one line."""

    Simulation(database, GRID)

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "hpsearch.cli.main", "report", *arguments, "--storage", storage]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    done = run("grid")
    assert (done.returncode, done.stdout) == (0, "")
    assert str(tmp_path / "grid-report" / "report.html") in done.stderr
    assert (tmp_path / "grid-report" / "report.md").exists()
    missing = run("gird")
    assert missing.returncode == 3
    assert missing.stderr.count("\n") == 1
    refused = run("grid", "--out", ".")
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1


@pytest.mark.parametrize("name", ["a/b", "../x", ".", "日本", "a b", "x" * 300, "-rf"])
def test_directory_is_a_plain_name(name: str) -> None:
    """Any study's directory is a short name in this one, which no other study's is."""
    place = report.choose_directory(name)
    assert re.fullmatch(r"[A-Za-z0-9_.][A-Za-z0-9_.-]{0,90}-report", str(place))
    assert place.parent == Path()
    assert place != report.choose_directory(name + "!")
    assert str(report.choose_directory("learning-rate")) == "learning-rate-report"


def test_one_of_a_thing_is_told_in_the_singular(database: Database) -> None:
    """A study of one trial of one epoch, which two attempts made, has no `1 trials`, `1 epochs` or `1 failed ones`."""
    one = {"study": {"name": "one"}, "budget": {"trials": 1, "epochs": 1}, "space": {"optimizer": ["adam"]}}
    Simulation(database, one).run(1)
    material = read_material(database, "one")
    (trial,) = material.trials
    again = replace(trial, history=(*trial.history, *trial.history), retry_of=0)
    sections = str(report.list_sections(replace(material, trials=[again])))
    assert "1 trial of up to 1 epoch on cifar10" in sections
    assert "1 trial took more than one attempt; 1 failed trial was retried." in sections
    assert re.findall(r"(?<![\d.,])1 (?:epochs|trials|attempts|failed ones)\b", sections) == []
