"""test_section.py: the result on the test images in a report."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np

from hpsearch.evaluation import evaluation, results
from hpsearch.outcomes import TrialOutcome
from hpsearch.storage import attempts
from hpsearch.storage.database import Database
from hpsearch.storage.studies import Study
from tests.support.evaluated_study import LABELS, add_epochs, claim_trial, train_trial
from tests.support.grid_report import write_report


def test_evaluation_is_told_with_its_study(database: Database, started: Callable[..., Study], tmp_path: Path) -> None:
    """The report of an evaluated study has the test's figures and the ensemble's confusion matrix; so has its own."""
    study = started(budget={"trials": 1, "epochs": 2}, baseline=[{"optimizer": "sgd", "learning_rate": 0.01}])
    attempt = claim_trial(database, study)
    add_epochs(database, attempt, [0.3, 0.4])
    database.transact(lambda c: attempts.finish(c, attempt, TrialOutcome.COMPLETED, {}))
    requested, _ = evaluation.request_evaluation(database, "small", top=1, seeds=2)
    assert requested.study is not None
    assert "has no result yet: 0 trials of it have ended" in write_report(database, "small", tmp_path / "before")[1]
    probabilities = [train_trial(database, requested, tmp_path / "predictions.npz") for _ in range(2)]
    results.read_status(database, requested)
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
    own = write_report(database, requested.study.name, tmp_path / "own")[1]
    assert "It is an evaluation of another study" in own
    assert "reaches test accuracy" in own
