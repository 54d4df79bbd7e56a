"""A search with complete trials, and an evaluation of it whose models predict as they are told."""

from collections.abc import Sequence
from dataclasses import replace
from math import isnan
from pathlib import Path

import numpy as np

from hpsearch.evaluation.evaluation import Evaluation
from hpsearch.sampling import suggest
from hpsearch.sampling.readonly_storage import ReadOnlyStorage
from hpsearch.storage import attempts
from hpsearch.storage.artifacts.study_artifacts import StudyArtifacts
from hpsearch.storage.attempts import Attempt
from hpsearch.storage.database import Database
from hpsearch.storage.studies import Study
from hpsearch.storage.workers import WorkerIdentity
from hpsearch.training.predictions import Predictions, save
from tests.support import simulation
from tests.support.small_study import claim, metrics

NAN = float("nan")
IMAGES = 60
CLASSES = ("cat", "<b>dog</b>", "frog")
LABELS = np.arange(IMAGES) % 3
WORKER = WorkerIdentity("w", "somewhere", "CPU")


def trained(database: Database, held: Attempt, values: Sequence[float]) -> None:
    """A held trial is sampled, and has an epoch of each value; NaN is one that was not validated."""
    history = ReadOnlyStorage(held.study.study_id, "maximize")
    database.transact(history.refresh)
    _, writes = suggest.suggest(held.study.spec, history, held.trial_id, held.trial_number)
    database.transact(lambda c: attempts.store_parameters(c, held, writes))
    for epoch, value in enumerate(values, start=1):
        made = metrics(epoch, value)
        made = replace(made, val_loss=NAN) if isnan(value) else made
        database.transact(lambda c: simulation.record(c, held, made, history))


def hold(database: Database, found: Study) -> Attempt:
    held = claim(database, found, WORKER)
    assert held is not None
    return held


def probabilities(seed: int, right: float) -> np.ndarray:
    """Of a model that is right in about that fraction of the images."""
    generator = np.random.default_rng(seed)
    guesses = np.where(generator.random(IMAGES) < right, LABELS, generator.integers(0, 3, IMAGES))
    raw = generator.random((IMAGES, 3)) + 2 * np.eye(3)[guesses]
    shares: np.ndarray = raw / raw.sum(axis=1, keepdims=True)
    return shares.astype(np.float32)


def train(database: Database, asked: Evaluation, file: Path, right: float = 0.8) -> np.ndarray:
    """A trial of the evaluation is trained and tested; what it predicted."""
    assert asked.study is not None
    held = hold(database, asked.study)
    given = probabilities(held.trial_number, right)
    epochs = asked.study.spec.budget.epochs
    trained(database, held, [NAN] * (epochs - 1) + [float((given.argmax(axis=1) == LABELS).mean())])
    save(Predictions(given, LABELS, CLASSES), file)
    file.with_suffix(".keras").write_bytes(b"model")
    depot = StudyArtifacts(database, asked.study.artifacts)
    depot.open()
    depot.finish(held, {}, file.with_suffix(".keras"), file)
    return given
