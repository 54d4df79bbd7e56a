"""The training of an evaluation: on training and validation images together, then the test images, once."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hpsearch.outcomes import TrainingEnd, TrialOutcome
from hpsearch.training import fit, loading, preparation
from hpsearch.training.datasets import digits
from hpsearch.training.files import sealed_arrays
from hpsearch.training.files.predictions import load
from hpsearch.training.protocol import Released
from tests.support.training_jobs import DIGITS, MakeJob
from tests.support.training_runs import Recorder, figures, predictions, run

pytestmark = pytest.mark.tensorflow


SEARCH = DIGITS
TEST = replace(SEARCH, test=True)


def rows(images: np.ndarray) -> list[bytes]:
    return sorted(image.tobytes() for image in images)


def test_data_are_the_searchs_and_the_test_images() -> None:
    """The training images are the search's two parts, each image once; what is validated on are the test images."""
    search = loading.load(SEARCH)
    tested = loading.load(TEST)
    assert len(tested.y_train) == 300
    assert rows(tested.x_train[:]) == rows(np.concatenate([search.x_train[:], search.x_val[:]]))
    assert np.bincount(tested.y_train).tolist() == (np.bincount(search.y_train) + np.bincount(search.y_val)).tolist()
    assert np.array_equal(tested.x_val[:], search.x_test[:])
    assert np.array_equal(tested.y_val, search.y_test)
    assert not set(rows(tested.x_train[:])) & set(rows(tested.x_val[:]))
    assert search.fingerprint != tested.fingerprint
    assert tested.fingerprint.endswith(f"+{search.fingerprint}")


def test_fingerprint_covers_the_test_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another test image is other data for an evaluation, and none for a search."""

    def fingerprints() -> tuple[str, str]:
        loading.forget()
        return loading.load(SEARCH).fingerprint, loading.load(TEST).fingerprint

    before = fingerprints()
    x, y, x_test, y_test, classes = digits.read_images()
    x_test[7, 3, 3] ^= 1
    changed = replace(digits.DATASET, read=lambda: (x, y, x_test, y_test, classes))
    monkeypatch.setattr(loading, "list_datasets", lambda: {"digits": changed})
    after = fingerprints()
    loading.forget()
    assert before[0] == after[0]
    assert before[1] != after[1]


def test_test_images_are_seen_after_the_last_epoch_only(job: MakeJob) -> None:
    """Earlier epochs have no validation figures; the last one's are those of the stored predictions."""
    end, recorder = run(job(data=TEST, epochs=3))
    assert isinstance(end, TrainingEnd)
    assert end.outcome is TrialOutcome.COMPLETED
    assert [epoch.validated for epoch in recorder.epochs] == [False, False, True]
    assert all(math.isnan(epoch.val_loss) for epoch in recorder.epochs[:2])
    assert {batches for _, _, batches in recorder.batches} == {10}  # 300 images by 32
    saved = load(Path(str(end.predictions)))
    assert saved is not None
    images = loading.load(SEARCH)
    assert np.array_equal(saved.labels, images.y_test)
    assert saved.classes == images.classes
    assert np.allclose(saved.probabilities.sum(axis=1), 1, atol=1e-5)
    assert recorder.epochs[-1].val_accuracy == (saved.probabilities.argmax(axis=1) == images.y_test).mean()
    right = saved.probabilities[np.arange(len(images.y_test)), images.y_test].astype(np.float64)
    assert recorder.epochs[-1].val_loss == pytest.approx(-np.log(right).mean())


def test_predictions_are_those_of_the_model_that_is_kept(job: MakeJob) -> None:
    """The saved model, loaded again, gives each test image the stored probabilities."""
    import keras

    trial = job({"dropout": 0.5, "batch_norm": True}, data=TEST, epochs=2)
    end, _ = run(trial)
    assert isinstance(end, TrainingEnd)
    saved = load(Path(str(end.predictions)))
    assert saved is not None
    again = keras.models.load_model(end.model).predict(loading.load(TEST).x_test[:], batch_size=128, verbose=0)
    assert np.allclose(saved.probabilities, again, atol=1e-6)


@pytest.mark.parametrize("stop", [1, 2])
def test_interrupted_evaluation_is_the_uninterrupted_one(job: MakeJob, tmp_path: Path, stop: int) -> None:
    """Stopped after an epoch and gone on elsewhere, the curve and the predictions are the same."""
    trial = job({"dropout": 0.5}, data=TEST, epochs=3)
    end, whole = run(trial)
    released, before = run(trial, Recorder(stop_after=stop))
    assert isinstance(released, Released)
    elsewhere = replace(trial, checkpoint=released.checkpoint, workdir=str(tmp_path / "elsewhere"))
    training = preparation.prepare(elsewhere, loading.load(trial.data))
    assert [epoch.epoch for epoch in training.epochs] == list(range(1, stop + 1))
    recorder = Recorder()
    again = fit.train(training, recorder.report, recorder.progress)
    ours = np.array(figures(before.epochs + recorder.epochs))
    assert np.allclose(ours, np.array(figures(whole.epochs)), rtol=1e-4, equal_nan=True)
    assert isinstance(end, TrainingEnd)
    assert isinstance(again, TrainingEnd)
    theirs, mine = load(Path(str(end.predictions))), load(Path(str(again.predictions)))
    assert theirs is not None
    assert mine is not None
    assert np.allclose(theirs.probabilities, mine.probabilities, atol=1e-5)


def test_evaluation_that_was_only_to_be_told_predicts_again(job: MakeJob) -> None:
    """From a checkpoint of the last epoch nothing is trained; the predictions are there all the same."""
    trial = job(data=TEST, epochs=2)
    end, recorder = run(trial)
    assert isinstance(end, TrainingEnd)
    first = load(Path(str(end.predictions)))
    Path(str(end.predictions)).unlink()
    again, silent = run(replace(trial, checkpoint=recorder.checkpoints[-1]))
    assert again == end
    assert silent.epochs == []
    second = load(Path(str(end.predictions)))
    assert first is not None
    assert second is not None
    assert np.array_equal(first.probabilities, second.probabilities)


def test_model_is_the_last_epochs(job: MakeJob) -> None:
    """Nothing is chosen by the test images: there is one look, after which there is one model to keep."""
    end, recorder = run(job(data=TEST, epochs=2, metric="val_loss"))
    assert isinstance(end, TrainingEnd)
    arrays = sealed_arrays.load(Path(str(recorder.checkpoints[-1])))
    assert arrays is not None
    assert "best-0" not in arrays  # the last is the best
    assert arrays["confusion"].sum() == 360
    assert predictions(end.model).shape == (1, 10)


def test_predictions_that_cannot_be_written_fail_the_trial(job: MakeJob, tmp_path: Path) -> None:
    """A model nobody has tested is of no use to an evaluation: a full disk is an error there."""
    (tmp_path / "file").write_text("in the way")
    end, _ = run(job(data=TEST, epochs=1, workdir=str(tmp_path / "file" / "work")))
    assert isinstance(end, TrainingEnd)
    assert (end.outcome, end.traceback) == (TrialOutcome.ERROR, None)
    assert end.detail.endswith(f"cannot be written: Not a directory, in {tmp_path / 'file'}")
