"""What holds for each built-in model: it resumes, and its file predicts as it did."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest

from hpsearch.outcomes import TrainingEnd
from hpsearch.spec.hyperparameters import make_model_table
from hpsearch.spec.models import NO_WEIGHTS, list_models
from hpsearch.spec.rows import Value
from hpsearch.training import fit, loading, preparation
from hpsearch.training.protocol import Released, Train
from hpsearch.training.requests import ModelRequest
from tests.support.training_jobs import MakeJob
from tests.support.training_runs import Recorder, figures, run

pytestmark = pytest.mark.tensorflow

SMALL: Mapping[str, Mapping[str, Value]] = {
    "application": {"application": "MobileNetV3Small", "trainable": 1.0, "dropout": 0.5},
}
"""Where the smallest form of a model has not all that is to be tested."""


@pytest.fixture(params=list(list_models()))
def trial(request: pytest.FixtureRequest, job: MakeJob) -> Train:
    """A job of three epochs of a small form of each model."""
    facts = list_models()[request.param]
    model = ModelRequest(facts.name, weights=NO_WEIGHTS if facts.takes_weights else None)
    small = {**facts.small, **SMALL.get(facts.name, {}), "optimizer": "adam", "learning_rate": 0.003, "augment": True}
    return job(model=model, hyperparameters=make_model_table(request.param).fill_defaults(small))


def test_two_epochs_and_one_are_three(trial: Train, tmp_path: Path) -> None:
    """A training that goes on elsewhere after two epochs is the uninterrupted one, and ends with the same model."""
    end, whole = run(trial)
    released, before = run(trial, Recorder(stop_after=2))
    assert isinstance(released, Released)
    elsewhere = replace(trial, checkpoint=released.checkpoint, workdir=str(tmp_path / "elsewhere"))
    again, after = run(elsewhere)
    assert [epoch.epoch for epoch in after.epochs] == [3]
    assert figures(before.epochs + after.epochs) == pytest.approx(np.array(figures(whole.epochs)), rel=1e-3)
    assert isinstance(end, TrainingEnd)
    assert isinstance(again, TrainingEnd)
    images = loading.load(trial.data).x_val[:8]
    first, second = (keras.models.load_model(str(one.model)).predict(images, verbose=0) for one in (end, again))
    assert np.allclose(first, second, atol=1e-4)


def test_the_saved_model_predicts_as_the_trained_one(trial: Train) -> None:
    """The file is made of Keras's own layers and gives the probabilities that were measured in the best epoch."""
    data = loading.load(trial.data)
    wide = {**trial.hyperparameters, "precision": "float32"}
    training = preparation.prepare(replace(trial, epochs=1, hyperparameters=wide), data)
    recorder = Recorder()
    end = fit.train(training, recorder.report, recorder.progress)
    assert isinstance(end, TrainingEnd)
    saved = keras.models.load_model(str(end.model))
    trained = training.steps.predict(data.x_val[:])
    assert np.isfinite(trained).all()
    assert np.allclose(saved.predict(data.x_val[:], verbose=0), trained, atol=1e-4)
    assert {type(layer).__module__.split(".")[0] for layer in saved._flatten_layers()} == {"keras"}
