"""evaluation_tables.py: the result of an evaluation as tables and remarks."""

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from hpsearch.cli import console
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
        for table in [*tables, evaluation_tables.make_confusion_table(widened)]:
            out.print(console.make_table(table.columns, table.rows))
        printed = file.getvalue()
    assert "…" not in printed
    assert all(f" {number} {name} " in printed for number, name in enumerate(classes))
    assert "learning_rate 0.02" in printed
