"""results.py: the result of an evaluation, and what becomes of it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import f1_score, precision_score, recall_score
from sqlalchemy import text

from hpsearch.errors import RefusedError, StoreError
from hpsearch.evaluation import evaluation, results
from hpsearch.outcomes import TrialOutcome
from hpsearch.storage import studies, study_control, study_deletion
from hpsearch.storage.database import Database
from tests.support.commands import hpsearch
from tests.support.evaluated_study import (
    CLASSES,
    IMAGES,
    LABELS,
    add_epochs,
    claim_trial,
    read_result,
    request_evaluation,
    train_trial,
)
from tests.support.small_study import finish_trial


def test_result_is_what_numpy_makes_of_the_predictions(
    database: Database, finished_search: Any, tmp_path: Path
) -> None:
    """Accuracies, intervals, figures of each class, confusion matrices and ensembles, recomputed otherwise."""
    finished_search([0.5], [0.6])
    requested = request_evaluation(database, seeds=3)
    probabilities = [train_trial(database, requested, tmp_path / "p.npz") for _ in range(6)]
    document = read_result(database, requested)
    assert (document["images"], document["models"], document["classes"]) == (IMAGES, 6, list(CLASSES))
    for number, configuration in enumerate(document["configurations"]):
        mine = probabilities[number::2]
        accuracies = [float((each.argmax(axis=1) == LABELS).mean()) for each in mine]
        assert [each["accuracy"] for each in configuration["models"]] == accuracies
        assert [each["trial"] for each in configuration["models"]] == [number, number + 2, number + 4]
        spread = configuration["accuracy"]
        low, high = stats.t.interval(0.95, 2, np.mean(accuracies), stats.sem(accuracies))
        assert (spread["mean"], spread["std"]) == pytest.approx((np.mean(accuracies), np.std(accuracies, ddof=1)))
        assert (spread["low"], spread["high"]) == pytest.approx((max(low, 0.0), min(high, 1.0)))
        for index, each in enumerate(configuration["classes"]):
            for figure, of in (("precision", precision_score), ("recall", recall_score), ("f1", f1_score)):
                values = [of(LABELS, p.argmax(axis=1), labels=[index], average="macro") for p in mine]
                assert each[figure]["mean"] == pytest.approx(np.mean(values))
            assert (each["name"], each["images"]) == (CLASSES[index], 20)
        assert configuration["confusion"] == [
            [sum(int(((p.argmax(axis=1) == j) & (i == LABELS)).sum()) for p in mine) for j in range(3)]
            for i in range(3)
        ]
        check_ensemble(configuration["ensemble"], mine)
    check_ensemble(document["ensemble"], probabilities)


def check_ensemble(ensemble: Any, models: Sequence[np.ndarray]) -> None:
    guesses = sum(models).argmax(axis=1)  # type: ignore[union-attr]
    right, z = int((guesses == LABELS).sum()), stats.norm.ppf(0.975)
    share = right / IMAGES
    assert ensemble["accuracy"] == share
    middle, scale = share + z**2 / (2 * IMAGES), 1 + z**2 / IMAGES
    half = z * np.sqrt(share * (1 - share) / IMAGES + z**2 / (4 * IMAGES**2))
    assert (ensemble["low"], ensemble["high"]) == pytest.approx(((middle - half) / scale, (middle + half) / scale))
    assert np.trace(ensemble["confusion"]) == right


def test_what_failed_is_left_out_and_said(database: Database, finished_search: Any, tmp_path: Path) -> None:
    """Figures are over the trials that completed; a retry that completes later is counted in."""
    finished_search([0.5], [0.6])
    requested = request_evaluation(database, top=1, seeds=3)
    assert requested.study is not None
    for ending in (TrialOutcome.DIVERGED, TrialOutcome.ERROR):
        attempt = claim_trial(database, requested.study)
        add_epochs(database, attempt, [])
        finish_trial(database, attempt, ending)
    train_trial(database, requested, tmp_path / "p.npz")
    (only,) = read_result(database, requested)["configurations"]
    assert only["missing"] == [{"trial": 0, "outcome": "diverged"}, {"trial": 1, "outcome": "error"}]
    assert (only["accuracy"]["models"], only["accuracy"]["std"], only["accuracy"]["low"]) == (1, None, None)
    shown = hpsearch("evaluate", "small", "--storage", database.url.render_as_string(hide_password=False))
    assert "configuration 1 is without trial 0 (diverged), trial 1 (error)" in shown.stderr

    database.transact(lambda c: study_control.retry(c, "small evaluation"))
    assert read_result(database, request_evaluation(database)) is None  # it is being trained again
    train_trial(database, requested, tmp_path / "p.npz")
    (only,) = read_result(database, request_evaluation(database))["configurations"]
    assert only["accuracy"]["models"] == 2
    assert only["missing"] == [{"trial": 0, "outcome": "diverged"}]  # trial 3 made up for trial 1
    with pytest.raises(RefusedError, match="is finished: hpsearch evaluate --again makes another"):
        database.transact(lambda c: study_control.resume(c, "small evaluation"))


def test_evaluation_without_a_model_is_refused_and_may_be_made_again(database: Database, finished_search: Any) -> None:
    """Where every trial failed there is nothing to show; the test images were not used."""
    finished_search([0.5])
    requested = request_evaluation(database, top=1, seeds=1)
    assert requested.study is not None
    attempt = claim_trial(database, requested.study)
    finish_trial(database, attempt, TrialOutcome.ERROR)
    with pytest.raises(RefusedError, match=r"\(1 error\)"):
        results.read_status(database, requested)
    again = request_evaluation(database, again=True)
    assert again.number == 2
    assert results.read_status(database, again).uses == 0


def test_second_call_shows_what_is_stored(database: Database, finished_search: Any, tmp_path: Path) -> None:
    """It makes no study and counts nothing anew: the result stands also when the predictions are gone."""
    finished_search([0.5])
    assert evaluation.request_evaluation(database, "small", 1, 2)[1]
    requested, is_new = evaluation.request_evaluation(database, "small", 3, 4)
    assert (is_new, len(requested.configurations)) == (False, 1)
    assert read_result(database, requested) is None
    for _ in range(2):
        train_trial(database, requested, tmp_path / "p.npz")
    first = read_result(database, requested)
    database.transact(lambda c: c.execute(text("delete from hpsearch.files")))
    assert read_result(database, request_evaluation(database)) == first
    assert len(database.transact(studies.list_all)) == 2


def test_again_is_counted(database: Database, finished_search: Any, tmp_path: Path) -> None:
    """Each evaluation whose models saw the test images is a use of them, also after its study was deleted."""
    study = finished_search([0.5])
    first = request_evaluation(database, seeds=1)
    with pytest.raises(RefusedError, match="small evaluation is not over yet"):
        request_evaluation(database, again=True)
    train_trial(database, first, tmp_path / "p.npz")
    kept = read_result(database, first)
    second = request_evaluation(database, seeds=1, again=True)
    assert second.study is not None
    assert (second.number, second.study.name) == (2, "small evaluation 2")
    assert results.read_status(database, second).uses == 1
    train_trial(database, second, tmp_path / "p.npz")
    assert results.read_status(database, second).uses == 2

    assert first.study is not None
    for trainer in (first.study, second.study):
        database.transact(lambda c: study_deletion.delete(c, trainer.study_id))
    left = database.transact(lambda c: evaluation.list_evaluations(c, study))
    assert [(each.number, each.study, each.is_used) for each in left] == [(1, None, True), (2, None, True)]
    assert left[0].result is not None
    assert left[0].result.to_json() == kept
    third = request_evaluation(database, seeds=1, again=True)
    assert third.number == 3
    assert results.read_status(database, third).uses == 2


def test_use_is_remembered_without_a_result(database: Database, finished_search: Any, tmp_path: Path) -> None:
    """Whoever deletes an evaluation halfway may have seen what its first models came to."""
    finished_search([0.5])
    requested = request_evaluation(database, seeds=2)
    assert requested.study is not None
    trainer = requested.study.study_id
    train_trial(database, requested, tmp_path / "p.npz")
    database.transact(lambda c: study_deletion.delete(c, trainer))
    second = request_evaluation(database, seeds=1)
    assert (second.number, results.read_status(database, second).uses) == (2, 1)
    train_trial(database, second, tmp_path / "p.npz")
    assert results.read_status(database, second).uses == 2


def test_unreachable_home_is_no_result(database: Database, finished_search: Any, tmp_path: Path) -> None:
    """Predictions that cannot be read from here are no reason to call a trial failed."""
    root = tmp_path / "root"
    root.mkdir()
    finished_search([0.5])
    requested = request_evaluation(database, seeds=1)
    train_trial(database, requested, tmp_path / "p.npz")
    database.transact(
        lambda c: c.execute(
            text("update hpsearch.files set content = null, artifacts = :home where key like 'predictions/%'"),
            {"home": (root / "gone").as_uri()},
        )
    )
    with pytest.raises(StoreError, match="is not there"):
        results.read_status(database, requested)
    assert database.transact(lambda c: c.scalar(text("select result from hpsearch.evaluations"))) is None
