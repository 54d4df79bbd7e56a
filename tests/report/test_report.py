"""The report of a study in Postgres, its figures recomputed by numpy from SQL."""

import io
import json
import math
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy import stats
from sqlalchemy import text

from hpsearch.errors import UsageError
from hpsearch.evaluation import evaluation, results
from hpsearch.outcomes import TrialOutcome
from hpsearch.plotting import confusion_matrix, hyperparameter_plots, timeline
from hpsearch.plotting.chart import Heatmap, Series
from hpsearch.report import document, hyperparameter_sections, report, run_sections
from hpsearch.report.material import ReportMaterial, prepare_material, read_source
from hpsearch.storage import attempts
from hpsearch.storage.database import Database
from hpsearch.storage.studies import Study
from hpsearch.storage.trials import CONFUSION
from tests.support.evaluated_study import LABELS, add_epochs, claim_trial, train_trial
from tests.support.simulation import Simulation

GRID: dict[str, Any] = {
    "study": {"name": "grid", "description": "Which optimizer is best?"},
    "budget": {"epochs": 4, "repeats": 3, "patience": 9},
    "space": {"optimizer": ["sgd", "adam"]},
    "sampler": {"name": "grid"},
}
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


def read_material(database: Database, name: str) -> ReportMaterial:
    """What a report of the study is written from."""
    return prepare_material(database.transact(lambda connection: read_source(connection, name)))


def write_report(database: Database, name: str, place: Path) -> tuple[str, str]:
    """The report as HTML without plotly's own script, and as Markdown."""
    source = database.transact(lambda connection: read_source(connection, name))
    page = report.write(source, place)
    html = re.sub(r"<script>/\*\*.*?</script>", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    return html, (page.parent / "report.md").read_text(encoding="utf-8")


def rows(database: Database, query: str) -> list[Any]:
    return database.transact(lambda connection: list(connection.execute(text(query)).all()))


def by_optimizer(database: Database, query: str) -> dict[str, list[Any]]:
    """Rows of (trial's number, ...) by the trial's optimizer."""
    names = dict(rows(database, "select number, param_value from trials join trial_params using (trial_id)"))
    found: dict[str, list[Any]] = {"sgd": [], "adam": []}
    for number, *rest in rows(database, query):
        found[("sgd", "adam")[int(names[number])]].append(rest)
    return found


@pytest.fixture
def grid(database: Database) -> Simulation:
    """A finished grid of two optimizers with three seeds each, trained by two workers in turns."""
    simulation = Simulation(database, GRID, ("a", "b"))
    simulation.run(6)
    return simulation


def half(values: np.ndarray) -> float:
    return float(stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values)))


def test_effects_are_those_of_the_tables(database: Database, grid: Simulation) -> None:
    """Means and intervals of value, seconds and gap, in charts and tables, are those that SQL and numpy find."""
    material = read_material(database, "grid")
    values = by_optimizer(database, "select number, value from trials join trial_values using (trial_id)")
    epochs = by_optimizer(
        database,
        "select t.number, array_agg(e.seconds order by epoch), (array_agg(train_accuracy - val_accuracy order by "
        "epoch))[4] from trials t join hpsearch.epochs e using (trial_id) group by t.number",
    )
    for quantity, expected in {
        "value": {name: np.array([value for (value,) in found]) for name, found in values.items()},
        "seconds": {name: np.array([np.median(each[1:]) for each, _ in found]) for name, found in epochs.items()},
        "gap": {name: np.array([each for _, each in found]) for name, found in epochs.items()},
    }.items():
        chart = hyperparameter_plots.plot_effects(material.compared, quantity, material.metric)  # type: ignore[arg-type]
        (means,) = chart.panels[0].marks
        assert isinstance(means, Series)
        assert means.x == pytest.approx([expected["sgd"].mean(), expected["adam"].mean()])
        assert means.low is not None
        assert means.low[1] == pytest.approx(expected["adam"].mean() - half(expected["adam"]))
    table = next(
        block
        for block in hyperparameter_sections.describe_effects(material).blocks
        if isinstance(block, document.Table)
    )
    adam = np.array([value for (value,) in values["adam"]])
    cell = f"{adam.mean() * 100:.1f} ± {half(adam) * 100:.1f}"
    assert re.match(rf"{cell[:-1]}\d*% \(n = 3\)", table.rows[1][3])
    assert table.rows[1][:3] == ("adam", "3", "3")


def test_curves_and_rate_are_those_of_the_tables(database: Database, grid: Simulation) -> None:
    """The mean curves, the accuracy by time and the epochs to an accuracy are those of the stored epochs."""
    material = read_material(database, "grid")
    found = by_optimizer(
        database,
        "select number, array_agg(e.val_accuracy order by epoch), array_agg(e.seconds order by epoch) "
        "from trials join hpsearch.epochs e using (trial_id) group by number",
    )
    accuracies = {name: np.array([curve for curve, _ in each]) for name, each in found.items()}
    seconds = {name: np.array([np.cumsum(each) for _, each in found[name]]) for name in found}
    (effect,) = material.compared
    panels = hyperparameter_plots.plot_curves(effect, material.trials).panels
    line = next(mark for mark in panels[1].marks if isinstance(mark, Series) and mark.label == "validation")
    assert line.y == pytest.approx(accuracies["adam"].mean(axis=0))
    timed = hyperparameter_plots.plot_accuracy_by_time(effect, material.trials).panels[0].marks[-1]
    assert isinstance(timed, Series)
    assert timed.x == pytest.approx(seconds["adam"].mean(axis=0))
    milestone = material.findings.accuracies[0]
    first = [int(np.argmax(curve >= milestone)) for curve in accuracies["adam"]]
    reached = hyperparameter_plots.plot_rate(effect).panels[1].marks[-1]
    assert isinstance(reached, Series)
    assert reached.y[0] == pytest.approx(np.median([seconds["adam"][i][epoch] for i, epoch in enumerate(first)]))


def test_confusion_matrix_is_the_stored_one(database: Database, grid: Simulation) -> None:
    """The best trial's matrix has the stored counts and percents; compared configurations are sums over their seeds."""
    material = read_material(database, "grid")
    best = rows(database, "select number from trials join trial_values using (trial_id) order by value desc limit 1")
    stored = {
        number: np.array(json.loads(value))
        for number, value in rows(
            database,
            "select number, value_json from trials join trial_system_attributes using (trial_id) "
            f"where key = '{CONFUSION}'",
        )
    }
    assert material.findings.best is not None
    own = confusion_matrix.make_trial_matrix(material.findings.best)
    assert own is not None
    heat = confusion_matrix.plot_matrices([own], material.classes).panels[0].marks[0]
    assert isinstance(heat, Heatmap)
    counts = stored[best[0][0]]
    assert np.array(heat.shades) == pytest.approx(counts / counts.sum(axis=1, keepdims=True))
    assert heat.texts[3][3] == f"{counts[3, 3]}\n{counts[3, 3] / counts[3].sum():.0%}"
    names = by_optimizer(database, "select number, number from trials")
    sums = {each.label: np.array(each.counts) for each in confusion_matrix.sum_by_configuration(material.trials)}
    assert (sums["optimizer adam"] == sum(stored[number] for (number,) in names["adam"])).all()


def test_utilization_is_held_time_by_time_there(database: Database, grid: Simulation) -> None:
    """A worker's utilization is the time it held a trial by that from its first attempt to the end of its last."""
    material = read_material(database, "grid")
    used = {use.worker: use for use in timeline.measure_utilization(timeline.list_bars(material.trials, material.now))}
    stored = rows(
        database,
        "select worker_id, sum(extract(epoch from ended_at - opened_at))::float / 3600, "
        "extract(epoch from max(ended_at) - min(opened_at))::float / 3600 from hpsearch.attempts group by worker_id",
    )
    assert len(stored) == 2
    for worker, held, there in stored:
        assert used[worker].busy == pytest.approx(held)
        assert used[worker].span == pytest.approx(there)
        assert used[worker].share == pytest.approx(held / there)
    assert "2 workers" in run_sections.describe_utilization(material).blocks[0].text  # type: ignore[union-attr]


def test_report_of_a_grid_with_repeats(database: Database, grid: Simulation, tmp_path: Path) -> None:
    """Both forms have every section, the question, the answer with its interval, and a picture a figure."""
    html, markdown = write_report(database, "grid", tmp_path / "out")
    titles = re.findall(r"<h2>(.*?)</h2>", html)
    assert titles == re.findall(r"^## (.*)$", markdown, re.MULTILINE)
    assert titles[:5] == ["The question", "The answer", "Importance", "Effects", "Learning curves"]
    for said in (
        "Which optimizer is best?",
        "adam ends",
        "95% confidence interval over 3 seeds",
        "6 of 6 trials have ended",
    ):
        assert said in html
        assert said in markdown
    assert "tensorflow 2.21.0" in markdown
    pictures = re.findall(r"!\[.*?\]\((pictures/.*?\.png)\)", markdown)
    assert len(pictures) == len(set(pictures)) == html.count("<figure") >= 9
    for picture in pictures:
        assert Image.open(io.BytesIO((tmp_path / "out" / picture).read_bytes())).format == "PNG"
    assert "://" not in re.sub(r"<script.*?</script>", "", html, flags=re.DOTALL)  # nothing to fetch, or to follow


@pytest.mark.parametrize(
    ("trials", "endings", "said"),
    [
        (0, (), "No trial has ended: there is nothing to tell yet."),
        (1, (), "Trial 0 is best"),
        (4, (TrialOutcome.CRASHED, TrialOutcome.ERROR), "None of the 4 ended trials is complete (4 failed)"),
        (12, (), "Seed noise was not measured"),
    ],
    ids=["empty", "single", "all failed", "still running"],
)
def test_report_of_any_study(
    database: Database, tmp_path: Path, trials: int, endings: tuple[TrialOutcome, ...], said: str
) -> None:
    """A study with conditional hyperparameters has a report when it is empty, as it runs, and when all has failed."""
    simulation = Simulation(database, CONDITIONAL)
    simulation.run(trials, endings)
    if trials:
        simulation.begin()
    html, markdown = write_report(database, "tpe", tmp_path / "out")
    assert said in html
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
    figures = [json.loads(found) for found in re.findall(r'<script type="application/json">(.*?)</script>', html)]
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


def test_evaluation_is_told_with_its_study(database: Database, started: Callable[..., Study], tmp_path: Path) -> None:
    """The report of an evaluated study has the test's figures and the ensemble's confusion matrix; so has its own."""
    found = started(budget={"trials": 1, "epochs": 2}, baseline=[{"optimizer": "sgd", "learning_rate": 0.01}])
    held = claim_trial(database, found)
    add_epochs(database, held, [0.3, 0.4])
    database.transact(lambda c: attempts.finish(c, held, TrialOutcome.COMPLETED, {}))
    asked, _ = evaluation.request_evaluation(database, "small", top=1, seeds=2)
    assert asked.study is not None
    assert "has no result yet: 0 trials of it have ended" in write_report(database, "small", tmp_path / "before")[1]
    probabilities = [train_trial(database, asked, tmp_path / "predictions.npz") for _ in range(2)]
    results.read_status(database, asked)
    html, markdown = write_report(database, "small", tmp_path / "after")
    accuracies = [(each.argmax(axis=1) == LABELS).mean() for each in probabilities]
    assert f"{np.mean(accuracies):.4f} ± {np.std(accuracies, ddof=1):.4f}" in markdown
    assert "> The test images have been used once for this study." in markdown
    figure = re.search(r'<figure id="confusion-test-1">.*?json">(.*?)</script>', html, re.DOTALL)
    assert figure is not None
    together = np.mean(probabilities, axis=0).argmax(axis=1)
    counts = [[int(((i == LABELS) & (together == j)).sum()) for j in range(3)] for i in range(3)]
    texts = json.loads(figure[1])["data"][0]["text"]
    assert [[int(cell.split("<")[0]) for cell in row] for row in texts] == counts
    assert "&lt;b&gt;dog&lt;/b&gt;" in json.loads(figure[1])["layout"]["yaxis"]["ticktext"]
    own = write_report(database, asked.study.name, tmp_path / "own")[1]
    assert "It is an evaluation of another study" in own
    assert "reaches test accuracy" in own


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
