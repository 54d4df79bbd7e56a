"""An evaluation of a search, whose models predict given probabilities."""

import json
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import isnan
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpsearch.evaluation import evaluation, results
from hpsearch.evaluation.evaluation import Evaluation
from hpsearch.metrics import METRICS, Direction
from hpsearch.sampling import suggest
from hpsearch.sampling.readonly_storage import ReadOnlyStorage
from hpsearch.storage import attempts
from hpsearch.storage.artifacts.study_artifacts import StudyArtifacts
from hpsearch.storage.attempts import Attempt
from hpsearch.storage.database import Database
from hpsearch.storage.studies import Study
from hpsearch.storage.workers import WorkerIdentity
from hpsearch.training.files.predictions import Predictions, save
from tests.support import simulation
from tests.support.small_study import claim, finish_trial, metrics

NAN = float("nan")
IMAGES = 60
CLASSES = ("cat", "<b>dog</b>", "frog")
LABELS = np.arange(IMAGES) % 3
WORKER = WorkerIdentity("w", "somewhere", "CPU")


def add_epochs(database: Database, attempt: Attempt, values: Sequence[float]) -> None:
    """Sample a claimed trial, and store an epoch of each value; NaN is one that was not validated."""
    history = ReadOnlyStorage(attempt.study.study_id, Direction.MAXIMIZE)
    database.transact(history.refresh)
    _, writes = suggest.suggest(attempt.study.spec, history, attempt.trial_id, attempt.trial_number)
    database.transact(lambda c: attempts.store_parameters(c, attempt, writes))
    for number, value in enumerate(values, start=1):
        epoch = metrics(number, value)
        epoch = replace(epoch, val_metric=value) if METRICS[attempt.study.spec.study.metric].is_own else epoch
        epoch = replace(epoch, val_loss=NAN) if isnan(value) else epoch
        database.transact(lambda c: simulation.record(c, attempt, epoch, history))


def claim_trial(database: Database, study: Study) -> Attempt:
    """Claim a trial of a study that has one left."""
    attempt = claim(database, study, WORKER)
    assert attempt is not None
    return attempt


def draw_probabilities(seed: int, accuracy: float) -> np.ndarray:
    """Return the probabilities (images × classes) of a model that is right in about that fraction of the images."""
    generator = np.random.default_rng(seed)
    guesses = np.where(generator.random(IMAGES) < accuracy, LABELS, generator.integers(0, 3, IMAGES))
    raw = generator.random((IMAGES, 3)) + 2 * np.eye(3)[guesses]
    shares: np.ndarray = raw / raw.sum(axis=1, keepdims=True)
    return shares.astype(np.float32)


def write_model(file: Path, name: str = "model") -> None:
    """Write what a `.keras` file consists of, without a layer."""
    with zipfile.ZipFile(file, "w") as content:
        content.writestr("metadata.json", json.dumps({"keras_version": "3.15.1"}))
        content.writestr("config.json", json.dumps({"module": "keras", "class_name": name, "config": {}}))
        content.writestr("model.weights.h5", b"weights")


def train_trial(
    database: Database,
    requested: Evaluation,
    file: Path,
    accuracy: float = 0.8,
    made_by: Mapping[str, Any] | None = None,
) -> np.ndarray:
    """Complete a trial of the evaluation, and return what its model predicted for the test images."""
    assert requested.study is not None
    attempt = claim_trial(database, requested.study)
    if made_by:
        database.transact(lambda connection: attempts.describe(connection, attempt, 10, made_by))
    probabilities = draw_probabilities(attempt.trial_number, accuracy)
    epochs = requested.study.spec.budget.epochs
    add_epochs(database, attempt, [NAN] * (epochs - 1) + [float((probabilities.argmax(axis=1) == LABELS).mean())])
    save(Predictions(probabilities, LABELS, CLASSES), file)
    write_model(file.with_suffix(".keras"))
    artifacts = StudyArtifacts(database, requested.study.artifacts)
    artifacts.open()
    artifacts.finish(attempt, {}, file.with_suffix(".keras"), file)
    return probabilities


@pytest.fixture
def finished_search(database: Database, started: Callable[..., Study]) -> Callable[..., Study]:
    """A search whose complete trials have these values of each of their epochs; sgd at that many hundredths."""

    def make(
        *trials: Sequence[float], rates: Sequence[float] = (0.01, 0.02, 0.03, 0.04, 0.05), **sections: Any
    ) -> Study:
        baselines = [{"optimizer": "sgd", "learning_rate": rate} for _, rate in zip(trials, rates, strict=False)]
        budget = {"trials": len(trials), "epochs": 3, "early_stopping": 2, "hours": 3.0}
        study = started(**{"budget": budget, "baseline": baselines, **sections})
        for values in trials:
            attempt = claim_trial(database, study)
            add_epochs(database, attempt, values)
            finish_trial(database, attempt)
        assert claim(database, study, WORKER) is None  # and so it is finished
        return study

    return make


def request_evaluation(database: Database, name: str = "small", **options: Any) -> Evaluation:
    """Return the evaluation of a study, made now or before."""
    return evaluation.request_evaluation(database, name, **options)[0]


def read_result(database: Database, requested: Evaluation) -> Any:
    """Return the result as `evaluate --json` prints it."""
    return results.make_document(results.read_status(database, requested))["result"]
