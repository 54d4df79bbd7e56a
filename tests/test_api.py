"""What a notebook can do, as docs/notebook.md shows it."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hpsearch
from hpsearch.errors import NotFoundError, RefusedError, StudyFileError
from hpsearch.metrics import EpochMetrics
from hpsearch.outcomes import TrialOutcome
from hpsearch.sampling import suggest
from hpsearch.sampling.readonly_storage import ReadOnlyStorage
from hpsearch.storage import attempts, results, studies
from hpsearch.storage.database import Database
from hpsearch.storage.workers import WorkerIdentity
from tests.support import simulation
from tests.support.small_study import claim

Enrol = Callable[[str], WorkerIdentity]

PAGE = Path(__file__).parents[1] / "docs" / "notebook.md"
ACCURACY = {"nesterov": (0.5, 0.52, 0.51), "adam": (0.7, 0.74, 0.72)}


def train(database: Database, name: str, worker: WorkerIdentity) -> None:
    """End every trial of the study, with accuracies by optimizer."""
    study = database.transact(lambda c: studies.find(c, name))
    history = ReadOnlyStorage(study.study_id, study.spec.direction)
    seen = dict.fromkeys(ACCURACY, 0)
    while (attempt := claim(database, study, worker)) is not None:
        database.transact(history.refresh)
        params, writes = suggest.suggest(study.spec, history, attempt.trial_id, attempt.trial_number)
        value = ACCURACY[params["optimizer"]][seen[params["optimizer"]]]
        seen[params["optimizer"]] += 1
        database.transact(lambda c: attempts.store_parameters(c, attempt, writes))
        for epoch, reached in enumerate((value / 2, value, value - 0.1), start=1):
            metrics = EpochMetrics(epoch, 1.0, reached + 0.05, 1.1, reached, 0.01, 2.0)
            database.transact(lambda c: simulation.record(c, attempt, metrics, history))
        database.transact(lambda c: attempts.finish(c, attempt, TrialOutcome.COMPLETED, {"weights": 7}))


def test_page_runs_as_it_stands(
    database: Database,
    storage: str,
    holder: Enrol,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The blocks of docs/notebook.md run in order, and say what the trials say."""
    monkeypatch.setenv("HPSEARCH_STORAGE", storage)
    monkeypatch.chdir(tmp_path)
    first, *rest = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(first, str(PAGE), "exec"), names)
    assert capsys.readouterr().out == "optimizers has 6 trials\n"
    train(database, "optimizers", holder("w"))
    for block in rest:
        exec(compile(block, str(PAGE), "exec"), names)
    output = capsys.readouterr().out
    assert "Trial 3 is best: val_accuracy 74.0% at epoch 2, the highest of 6, with" in output
    assert "optimizer: adam ends 21.0 ± " in output
    assert "Learning curves by optimizer" in (tmp_path / "curves.html").read_text()


def test_figures_are_the_reports_plots(database: Database, storage: str, holder: Enrol) -> None:
    """Each plot of the report is a plotly figure, with the trials' means in it."""
    hpsearch.start_study(STUDY, storage)
    train(database, "grid", holder("w"))
    figures = hpsearch.figures("grid", storage)
    assert {"curves-optimizer", "rate-optimizer", "time-optimizer", "seconds", "gap", "timeline"} <= set(figures)
    drawn = [trace for trace in figures["curves-optimizer"].data if trace.y is not None and len(trace.y) == 3]
    mean = np.mean(ACCURACY["adam"])
    assert any(np.allclose(np.array(trace.y, dtype=float), [mean / 2, mean, mean - 0.1]) for trace in drawn)


def test_tables_are_the_trials_and_epochs(database: Database, storage: str, holder: Enrol) -> None:
    """The tables have a row a trial and a row an epoch, with the figures that results have."""
    hpsearch.start_study(STUDY, storage)
    train(database, "grid", holder("w"))
    trials, epochs = hpsearch.trials("grid", storage), hpsearch.epochs("grid", storage)
    _, stored = database.transact(lambda c: results.read(c, "grid"))
    assert list(trials.index) == [0, 1, 2, 3, 4, 5]
    assert list(trials["value"]) == [trial.value for trial in stored]
    assert trials.groupby("optimizer")["value"].mean().to_dict() == pytest.approx(
        {name: np.mean(values) for name, values in ACCURACY.items()}
    )
    assert list(trials["epochs"]) == [3] * 6
    assert list(trials["seconds_per_epoch"]) == [2.0] * 6
    assert list(trials["device"]) == ["CPU"] * 6
    assert len(epochs) == 18
    last = epochs.groupby("trial").last()
    assert list(last["val_accuracy"]) == [trial.epochs[-1].val_accuracy for trial in stored]


def test_a_started_study_is_not_made_twice(storage: str) -> None:
    """The same dict finds the study that is there; another search under its name is refused."""
    assert hpsearch.start_study(STUDY, storage).created
    again = hpsearch.start_study(STUDY, storage)
    assert not again.created
    assert again.changes == ()
    with pytest.raises(RefusedError, match="grid is in the database with another search"):
        hpsearch.start_study({**STUDY, "space": {"optimizer": ["sgd"]}}, storage)


def test_faults_are_lines(storage: str) -> None:
    """A dict with faults names each of them; a study that is not there is one line."""
    with pytest.raises(StudyFileError) as faults:
        hpsearch.start_study(
            {"study": {"name": "x"}, "space": {"optimizer": ["adm"]}, "budget": {"trials": 0}}, storage
        )
    assert len(faults.value.faults) == 2
    for read in (hpsearch.trials, hpsearch.epochs, hpsearch.answer, hpsearch.importances, hpsearch.figures):
        with pytest.raises(NotFoundError, match="there is no study nix: hpsearch start-study makes the first one"):
            read("nix", storage)


def test_a_study_without_trials_has_empty_tables(storage: str) -> None:
    """Before a trial is claimed there are columns and no epochs, and the answer says so."""
    hpsearch.start_study({**STUDY, "sampler": {"name": "random"}, "budget": {"trials": 1}}, storage)
    assert len(hpsearch.trials("grid", storage)) == 0
    assert "val_accuracy" in hpsearch.epochs("grid", storage).columns
    assert hpsearch.answer("grid", storage).sentences.answer == ("No trial has ended: there is nothing to tell yet.",)


def test_import_is_light() -> None:
    """`import hpsearch` loads neither pandas, Optuna nor SQLAlchemy; what it offers is listed all the same."""
    code = (
        "import hpsearch, sys; assert {'trials', 'start_study', 'answer'} <= set(dir(hpsearch));"
        "sys.exit(sorted({'pandas', 'optuna', 'sqlalchemy', 'scipy'} & set(sys.modules)) or None)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr


STUDY: dict[str, Any] = {
    "study": {"name": "grid"},
    "budget": {"epochs": 3, "repeats": 3},
    "data": {"name": "digits"},
    "space": {"optimizer": list(ACCURACY)},
    "sampler": {"name": "grid"},
}
