"""evaluation_tables.py: the result of an evaluation as tables and remarks."""

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from hpsearch.cli.tables import FittedTable
from hpsearch.evaluation import results
from hpsearch.evaluation.scores import EvaluationResult
from hpsearch.report import evaluation_tables
from hpsearch.spec.datasets import list_datasets
from hpsearch.storage import study_creation
from hpsearch.storage.database import Database
from tests.support.evaluated_study import (
    add_epochs,
    claim_trial,
    request_evaluation,
    train_trial,
)
from tests.support.small_study import finish_trial


def test_search_that_went_on_is_told(database: Database, finished_search: Any, tmp_path: Path) -> None:
    """An evaluation does not know the trials that an extended search has completed since."""
    study = finished_search([0.5])
    requested = request_evaluation(database, seeds=1)
    train_trial(database, requested, tmp_path / "p.npz")
    assert not any(
        "gone on" in line for line in evaluation_tables.list_remarks(results.read_status(database, requested))
    )
    budget = study.spec.budget.model_copy(update={"trials": 2})
    study_creation.start(database, replace(study.spec, budget=budget))
    attempt = claim_trial(database, study)
    add_epochs(database, attempt, [0.9])
    finish_trial(database, attempt)
    (line,) = (
        line
        for line in evaluation_tables.list_remarks(results.read_status(database, request_evaluation(database)))
        if "gone on" in line
    )
    assert "its 1 later complete trial had no part" in line


def test_models_of_different_precisions_are_told(database: Database, finished_search: Any, tmp_path: Path) -> None:
    """A configuration may have done better for the host that trained it, and a line says so."""
    finished_search([0.5])
    requested = request_evaluation(database, seeds=3)
    for number, precision in enumerate(("float32", "mixed_bfloat16", "float32")):
        train_trial(database, requested, tmp_path / f"{number}.npz", made_by={"precision": precision})
    status = results.read_status(database, requested)
    lines = list(evaluation_tables.list_remarks(status))
    assert sum("2 trials in float32 and 1 trial in mixed_bfloat16" in line for line in lines) == 1
    assert status.evaluation.result
    same = replace(status.evaluation, result=replace(status.evaluation.result, precisions={"float32": 3}))
    assert not any("precision" in line for line in evaluation_tables.list_remarks(replace(status, evaluation=same)))


def test_tables_fit_a_terminal(database: Database, finished_search: Any, tmp_path: Path) -> None:
    """Nothing is cut off at 80 columns, also with the long names of CIFAR-10's classes and large counts."""
    finished_search([0.5], [0.6])
    requested = request_evaluation(database, seeds=2)
    for _ in range(4):
        train_trial(database, requested, tmp_path / "p.npz")
    standing = results.read_status(database, requested)
    classes = list_datasets()["cifar10"].classes
    assert standing.evaluation.result is not None
    counts = (np.eye(10, dtype=int) * 949 + 5).tolist()
    named = standing.evaluation.result.to_json() | {"classes": classes}
    named["ensemble"] |= {"confusion": counts, "accuracy": 0.5, "low": 0.4, "high": 0.6}
    named["configurations"][0]["classes"][0]["name"] = max(classes, key=len)
    widened = EvaluationResult.from_json(named)
    tables = evaluation_tables.make_tables(replace(standing.evaluation, result=widened))
    with io.StringIO() as file:
        out = Console(file=file, width=80)
        confusion = evaluation_tables.make_confusion_table(widened)
        assert confusion is not None
        for table in [*tables, confusion]:
            out.print(FittedTable(table.columns, table.rows))
        printed = file.getvalue()
    assert "…" not in printed
    assert all(f" {number} {name} " in printed for number, name in enumerate(classes))
    assert "learning_rate 0.02" in printed


def test_many_classes_are_cut_and_said(database: Database, finished_search: Any, tmp_path: Path) -> None:
    """Of 60 classes the worst are shown; of more than a hundred there is no confusion matrix."""
    finished_search([0.5])
    requested = request_evaluation(database, seeds=1)
    train_trial(database, requested, tmp_path / "p.npz")
    standing = results.read_status(database, requested)
    assert standing.evaluation.result is not None
    plain = standing.evaluation.result.to_json()
    row = plain["configurations"][0]["classes"][0]

    def widen(size: int, *, has_matrix: bool) -> EvaluationResult:
        named = plain | {"classes": [f"c{label}" for label in range(size)]}
        rows = [{**row, "name": f"c{label}", "f1": {**row["f1"], "mean": (label + 1) / 1000}} for label in range(size)]
        counts = (np.eye(size, dtype=int) * 9 + np.eye(size, k=1, dtype=int) * np.arange(size)).tolist()
        named["configurations"] = [{**plain["configurations"][0], "classes": rows}]
        named["ensemble"] = {**plain["ensemble"], "confusion": counts if has_matrix else []}
        return EvaluationResult.from_json(named)

    wide = widen(60, has_matrix=True)
    classes = list(evaluation_tables.make_tables(replace(standing.evaluation, result=wide)))[-1]
    assert classes.caption == "the 40 of 60 classes with the lowest F1, with configuration 1"
    assert [cells[0] for cells in classes.rows] == [f"c{label}" for label in range(40)]
    confusion = evaluation_tables.make_confusion_table(wide)
    assert confusion is not None
    assert confusion.caption.endswith("the 10 of 60 classes with the most errors")
    assert [cells[0] for cells in confusion.rows] == [f"c{label}" for label in range(49, 59)]
    assert confusion.rows[0][1:3] == ("9", "50")
    huge = widen(1000, has_matrix=False)
    assert evaluation_tables.make_confusion_table(huge) is None
    status = replace(standing, evaluation=replace(standing.evaluation, result=huge))
    assert "there are 1,000 classes: confusion matrices are of up to 100" in list(
        evaluation_tables.list_remarks(status)
    )
