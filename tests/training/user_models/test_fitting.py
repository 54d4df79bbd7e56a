"""Training a model of the user's own: by our steps, or by Keras's `fit` where it is compiled or trains itself."""

from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest

from hpsearch.outcomes import TrainingEnd, TrialOutcome
from hpsearch.training import fit, loading, preparation
from hpsearch.training.protocol import Released
from tests.support.training_jobs import MakeJob
from tests.support.training_runs import Recorder, figures, run

pytestmark = pytest.mark.tensorflow

KINDS = {
    "functional": {"learning_rate": 0.01, "optimizer": "adam"},
    "lazy": {"learning_rate": 0.01, "augment": True},
    "subclassed": {"learning_rate": 0.003, "optimizer": "adam"},
    "compiled": {"learning_rate": 0.01, "augment": True},
    "compiled_sparse": {},
    "own_loss": {"learning_rate": 0.01, "schedule": "cosine"},
}


@pytest.mark.parametrize("kind", KINDS)
def test_two_epochs_a_resume_and_one_more_equal_three(own_job: MakeJob, tmp_path: Path, kind: str) -> None:
    """Stopped in the middle of epoch 3 and gone on elsewhere, weights and figures are those of one go, bit by bit."""
    trial = own_job(kind, KINDS[kind], epochs=3)
    end, whole = run(trial)
    released, before = run(trial, Recorder(stop_in=(3, 4)))
    assert isinstance(released, Released), released
    assert released.epoch == 2
    elsewhere = replace(trial, checkpoint=released.checkpoint, workdir=str(tmp_path / "elsewhere"))
    training = preparation.prepare(elsewhere, loading.load(trial.data))
    recorder = Recorder()
    again = fit.train(training, recorder.report, recorder.progress)
    assert isinstance(end, TrainingEnd)
    assert isinstance(again, TrainingEnd)
    assert end.outcome is again.outcome is TrialOutcome.COMPLETED
    resumed, one_go = (np.array(figures(epochs)) for epochs in (before.epochs + recorder.epochs, whole.epochs))
    assert np.array_equal(resumed[:, 1:], one_go[:, 1:], equal_nan=True)
    # A float32 sum over the epoch, in parts that depend on how fast the machine is.
    assert np.allclose(resumed[:, 0], one_go[:, 0], rtol=1e-6)
    ours, theirs = (keras.models.load_model(each.model).get_weights() for each in (again, end))
    assert all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))
    assert whole.epochs[-1].train_loss < whole.epochs[0].train_loss
