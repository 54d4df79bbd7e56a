"""The training loop: its endings, and that a resumed training is the one that was never stopped."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from hpsearch.metrics import EpochMetrics
from hpsearch.outcomes import Confusion, TrainingEnd, TrialOutcome
from hpsearch.training import fit, loading, preparation
from hpsearch.training.files import sealed_arrays
from hpsearch.training.protocol import Released, Stop, Train
from hpsearch.training.scoring import compute_metric
from tests.support.training_jobs import MakeJob
from tests.support.training_runs import Recorder, figures, predictions, run

pytestmark = pytest.mark.tensorflow


def test_training_learns_and_completes(job: MakeJob) -> None:
    """All epochs are reported in order, and the digits are told apart a little better each time."""
    end, recorder = run(job(epochs=5, checkpoint_every=1e9))
    assert isinstance(end, TrainingEnd)
    assert end.outcome is TrialOutcome.COMPLETED
    assert [epoch.epoch for epoch in recorder.epochs] == [1, 2, 3, 4, 5]
    assert recorder.epochs[-1].val_accuracy > 0.3
    assert recorder.epochs[-1].train_loss < recorder.epochs[0].train_loss
    assert recorder.checkpoints == [None] * 5  # none is due in so short a time
    assert {batches for _, _, batches in recorder.batches} == {7}  # 200 images by 32
    assert all(epoch.seconds > 0 for epoch in recorder.epochs)


def test_same_seed_gives_the_same_curve(job: MakeJob) -> None:
    """A trial can be repeated: everything random in it follows from its seed."""
    first, again, other = (figures(run(job(epochs=2, seed=seed))[1].epochs) for seed in (1, 1, 2))
    assert np.allclose(first, again, rtol=1e-4)
    assert not np.allclose(first, other, rtol=1e-2)


STATEFUL = {
    "dropout and momentum": {"dropout": 0.5, "optimizer": "nesterov", "learning_rate": 0.02},
    "augmentation": {"augment": True, "optimizer": "rmsprop"},
    "batch norm and cosine": {"batch_norm": True, "schedule": "cosine", "activation": "prelu"},
    "mixing, averages and warmup": {
        "mixup": 0.4,
        "cutmix": 1.0,
        "ema": 0.9,
        "schedule": "cosine",
        "warmup": 0.6,
        "gradient_accumulation": 3,
        "optimizer": "nadam",
    },
    "every augmentation of one kind": {
        "flip": "both",
        "shift": 0.1,
        "rotation": 0.1,
        "zoom": 0.1,
        "color": 0.2,
        "erasing": 0.5,
    },
}


@pytest.mark.parametrize("name", STATEFUL)
def test_resumed_training_is_the_uninterrupted_one(job: MakeJob, tmp_path: Path, name: str) -> None:
    """Stopped in the middle of epoch 3 and gone on elsewhere, the curve and the weights are the same."""
    trial = job(STATEFUL[name], epochs=4)
    end, whole = run(trial)
    released, before = run(trial, Recorder(stop_in=(3, 4)))
    assert isinstance(released, Released)
    assert released.epoch == 2
    elsewhere = replace(trial, checkpoint=released.checkpoint, workdir=str(tmp_path / "elsewhere"))
    training = preparation.prepare(elsewhere, loading.load(trial.data))
    assert list(training.epochs) == before.epochs
    recorder = Recorder()
    again = fit.train(training, recorder.report, recorder.progress)
    assert [epoch.epoch for epoch in recorder.epochs] == [3, 4]
    assert figures(before.epochs + recorder.epochs) == pytest.approx(np.array(figures(whole.epochs)), rel=1e-4)
    assert isinstance(end, TrainingEnd)
    assert isinstance(again, TrainingEnd)
    ours, theirs = (predictions(each.model) for each in (again, end))
    assert np.allclose(ours, theirs, atol=1e-4)


WHOLE_RECIPE = {
    "ema": 0.9,
    "mixup": 0.4,
    "cutmix": 1.0,
    "flip": "horizontal",
    "erasing": 0.5,
    "gradient_accumulation": 3,
    "schedule": "one_cycle",
    "warmup": 0.4,
    "weight_decay": 0.01,
    "batch_norm": True,
    "dropout": 0.3,
}
"""All rows that keep something from step to step or draw random numbers, but RandAugment: it takes long to compile."""


@pytest.mark.parametrize("rows", [{"optimizer": "muon"}, {"optimizer": "lion", "randaugment": 0.3}], ids=str)
def test_a_training_with_the_whole_recipe_is_resumed_bit_for_bit(
    job: MakeJob, tmp_path: Path, rows: dict[str, Any]
) -> None:
    """Two epochs, a checkpoint and a third epoch are three in one go: what is validated, and every output of the model.

    The training loss is a sum over launches, whose lengths follow the clock, so that its last bit may differ.
    """
    trial = job({**WHOLE_RECIPE, **rows}, epochs=3)
    end, whole = run(trial)
    released, before = run(trial, Recorder(stop_in=(3, 2)))
    assert isinstance(released, Released)
    elsewhere = replace(trial, checkpoint=released.checkpoint, workdir=str(tmp_path / "elsewhere"))
    again, recorder = run(elsewhere)
    assert [epoch.epoch for epoch in recorder.epochs] == [3]
    resumed, straight = (np.array(figures(epochs)) for epochs in (before.epochs + recorder.epochs, whole.epochs))
    assert np.array_equal(resumed[:, 1:], straight[:, 1:])
    assert np.allclose(resumed[:, 0], straight[:, 0], rtol=1e-6)
    assert isinstance(end, TrainingEnd)
    assert isinstance(again, TrainingEnd)
    ours, theirs = (predictions(each.model) for each in (again, end))
    assert np.array_equal(ours, theirs)


def test_checkpoint_is_on_disk_before_its_epoch(job: MakeJob) -> None:
    """Whoever hears of an epoch finds its checkpoint already there, and the one before it gone."""
    seen: list[list[str]] = []
    recorder = Recorder()

    def report(epoch: EpochMetrics, path: str | None, confusion: Confusion | None) -> Stop | None:
        assert path is not None
        seen.append([file.name for file in Path(path).parent.iterdir()])
        return recorder.report(epoch, path, confusion)

    trial = job(epochs=2)
    fit.train(preparation.prepare(trial, loading.load(trial.data)), report, recorder.progress)
    assert seen == [["epoch-1.npz"], ["epoch-2.npz"]]


def test_confusion_is_told_of_epochs_that_are_best_so_far(job: MakeJob) -> None:
    """A matrix counts every validation image once, its diagonal is the accuracy; a worse epoch sends none."""
    trial = job(epochs=5)
    _, recorder = run(trial)
    images = len(loading.load(trial.data).y_val)
    highest = 0.0
    for metrics, matrix in zip(recorder.epochs, recorder.confusions, strict=True):
        assert (matrix is not None) == (metrics.val_accuracy > highest)
        if matrix is not None:
            assert sum(map(sum, matrix)) == images
            assert sum(matrix[i][i] for i in range(10)) / images == pytest.approx(metrics.val_accuracy)
        highest = max(highest, metrics.val_accuracy)


def test_stop_without_a_checkpoint_writes_none(job: MakeJob, tmp_path: Path) -> None:
    """A trial that nobody will go on with costs no file."""
    released, _ = run(job(checkpoint_every=1e9), Recorder(stop_after=2, checkpoint=False))
    assert released == Released(2, None)
    assert not (tmp_path / "work").exists()


def test_stop_in_the_first_epoch_has_nothing_to_keep(job: MakeJob) -> None:
    """Before an epoch is over there is no state worth keeping."""
    released, recorder = run(job(), Recorder(stop_in=(1, 2)))
    assert released == Released(0, None)
    assert recorder.batches[-1][0] == 1
    assert recorder.batches[-1][1] >= 2  # several batches may be one launch


def test_stop_while_validating_is_obeyed(job: MakeJob) -> None:
    """The validation images are no reason to keep anybody waiting; their epoch is not finished."""
    recorder = Recorder()

    def progress(epoch: int, batch: int, batches: int) -> Stop | None:
        recorder.progress(epoch, batch, batches)
        return Stop(True) if recorder.batches.count((2, 7, 7)) == 2 else None  # once for training, then for validating

    trial = job()
    released = fit.train(preparation.prepare(trial, loading.load(trial.data)), recorder.report, progress)
    assert isinstance(released, Released)
    assert released.epoch == 1


def test_stop_before_the_first_epoch_keeps_what_was_there(job: MakeJob) -> None:
    """A trial adopted and handed on at once loses nothing."""
    trial = job()
    released, _ = run(trial, Recorder(stop_after=2))
    assert isinstance(released, Released)
    training = preparation.prepare(replace(trial, checkpoint=released.checkpoint), loading.load(trial.data))
    left = fit.release(training, Stop(checkpoint=True))
    assert left.epoch == 2
    assert (
        preparation.prepare(replace(trial, checkpoint=left.checkpoint), loading.load(trial.data)).epochs
        == training.epochs
    )
    assert fit.release(preparation.prepare(trial, loading.load(trial.data)), Stop(checkpoint=True)) == Released(0, None)


@pytest.mark.parametrize("damage", ["missing", "empty", "cut off", "text", "another model", "no epochs"])
def test_unreadable_checkpoint_means_from_the_beginning(
    job: MakeJob, tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    """A checkpoint that is no good is as none: the training starts over, and says so by bringing no epochs."""
    trial = job(epochs=1)
    other = {"filters": 5} if damage == "another model" else {}
    _, recorder = run(job(other, epochs=1))
    path = Path(str(recorder.checkpoints[0]))
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    elif damage == "no epochs":
        sealed_arrays.save({**(sealed_arrays.load(path) or {}), "epochs": np.array("[]")}, path)
    elif damage != "another model":
        path.write_bytes({"empty": b"", "cut off": content[: len(content) // 2], "text": b"hello"}[damage])
    training = preparation.prepare(replace(trial, checkpoint=str(path)), loading.load(trial.data))
    assert caplog.messages[-1] == "its checkpoint cannot be read: the training begins at epoch 1"
    assert training.epochs == ()
    assert training.start is None


def test_finished_checkpoint_ends_without_training(job: MakeJob) -> None:
    """One that holds all epochs gives the same end and the best epoch's model straight away."""
    trial = job(epochs=2)
    end, recorder = run(trial)
    assert isinstance(end, TrainingEnd)
    expected = predictions(end.model)
    Path(str(end.model)).unlink()
    again, silent = run(replace(trial, checkpoint=recorder.checkpoints[-1]))
    assert again == end
    assert (silent.epochs, silent.batches) == ([], [])
    assert np.allclose(predictions(end.model), expected)


def test_saved_model_is_of_the_best_epoch(job: MakeJob) -> None:
    """With a metric that only gets worse the first epoch's weights are kept, whatever came after."""
    trial = job({"optimizer": "sgd", "learning_rate": 0.5, "schedule": "constant"}, epochs=4, metric="val_loss", seed=3)
    end, recorder = run(trial)
    assert isinstance(end, TrainingEnd)
    best = min(recorder.epochs, key=lambda epoch: epoch.val_loss)
    assert best.epoch < 4  # or it would show nothing
    digits = loading.load(trial.data)
    import keras

    model = keras.models.load_model(end.model)
    model.compile(loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    assert model.evaluate(digits.x_val[:], digits.y_val, verbose=0)[0] == pytest.approx(best.val_loss, rel=1e-3)


def test_saved_model_needs_only_keras(job: MakeJob) -> None:
    """Any program with Keras can load the model and classify raw pixels, without this package."""
    values = {"activation": "prelu", "batch_norm": True, "augment": True, "preprocessing": "standardize", "l2": 1e-4}
    end, _ = run(job(values, epochs=1))
    assert isinstance(end, TrainingEnd)
    program = (
        "import sys; sys.modules['hpsearch'] = None\n"
        "import keras, numpy\n"
        f"model = keras.models.load_model({end.model!r})\n"
        "print(model.predict(numpy.zeros((2, 32, 32, 3), 'uint8'), verbose=0).shape)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd="/", check=False)
    assert done.stdout.strip() == "(2, 10)", done.stderr


def test_infinite_loss_ends_at_once(diverging: Train) -> None:
    """A loss that is not a number never comes back: the rest of the epoch is spared."""
    end, recorder = run(diverging)
    assert isinstance(end, TrainingEnd)
    assert end.outcome is TrialOutcome.DIVERGED
    assert "not finite by batch" in end.detail
    assert recorder.epochs == []


def test_guessing_for_patience_epochs_ends_a_training(job: MakeJob) -> None:
    """A rate that moves nothing stays at chance, and is given up after `patience` epochs."""
    end, recorder = run(job({"optimizer": "sgd", "learning_rate": 1e-9, "activation": "sigmoid"}, epochs=9, patience=2))
    assert isinstance(end, TrainingEnd)
    assert (end.outcome, len(recorder.epochs)) == (TrialOutcome.AT_CHANCE, 2)
    assert end.detail == "no better than guessing for 2 epochs in a row"
    assert end.model is None


def test_guessing_through_all_epochs_is_complete(job: MakeJob) -> None:
    """A training of all its epochs is complete although it is at chance throughout, and leaves its model."""
    end, recorder = run(job({"optimizer": "sgd", "learning_rate": 1e-9, "activation": "sigmoid"}, epochs=2, patience=2))
    assert isinstance(end, TrainingEnd)
    assert (end.outcome, end.detail, len(recorder.epochs)) == (TrialOutcome.COMPLETED, "", 2)
    assert end.model is not None


def test_loss_leaves_the_penalty_out(job: MakeJob) -> None:
    """Losses are cross-entropies, so that a study of l2 compares like with like."""
    _, plain = run(job({"optimizer": "sgd", "learning_rate": 1e-9}, epochs=1))
    _, heavy = run(job({"optimizer": "sgd", "learning_rate": 1e-9, "l1": 1.0, "l2": 1.0}, epochs=1))
    assert np.allclose(figures(plain.epochs), figures(heavy.epochs), rtol=1e-3)


def test_learning_rate_follows_the_schedule(job: MakeJob) -> None:
    """The rate in force is the reported one, epoch by epoch."""
    trial = job({"schedule": "step", "learning_rate": 0.01}, epochs=4)
    _, recorder = run(trial)
    assert [epoch.learning_rate for epoch in recorder.epochs] == pytest.approx([0.01, 0.01, 0.001, 0.0001])


def test_rate_of_each_step_is_reported_at_the_end_of_its_epoch(job: MakeJob) -> None:
    """7 steps an epoch: in the last of the first epoch 6 of 14 steps of the warmup are behind, and so on."""
    _, recorder = run(job({"warmup": 0.5, "learning_rate": 0.014}, epochs=4))
    rates = [epoch.learning_rate for epoch in recorder.epochs]
    assert rates == pytest.approx([0.006, 0.013, 0.014, 0.014])


def test_averages_are_validated_and_saved(job: MakeJob) -> None:
    """The averaged weights are what an epoch is judged by, and what its model has, while the others train on."""
    import keras

    values = {"ema": 0.98, "learning_rate": 0.01}
    _, plain = run(job({**values, "ema": 0.0}, epochs=2, metric="val_loss"))
    end, recorder = run(job(values, epochs=2, metric="val_loss"))
    assert isinstance(end, TrainingEnd)
    assert [epoch.train_loss for epoch in recorder.epochs] == pytest.approx(
        [epoch.train_loss for epoch in plain.epochs], rel=1e-2
    )
    best, other = (min(epoch.val_loss for epoch in each.epochs) for each in (recorder, plain))
    assert best != pytest.approx(other, rel=1e-2)
    digits = loading.load(job().data)
    model = keras.models.load_model(end.model)
    right = model.predict(digits.x_val[:], verbose=0)[np.arange(len(digits.y_val)), digits.y_val]
    assert -np.log(right.astype(float)).mean() == pytest.approx(best, rel=1e-3)


def test_mixing_is_off_in_validation_and_in_the_saved_model(job: MakeJob) -> None:
    """Validation images are whole ones, and the model has no layer that mixes."""
    import keras

    end, recorder = run(job({"mixup": 1.0, "cutmix": 1.0, "batch_size": 20}, epochs=6, metric="val_loss"))
    assert isinstance(end, TrainingEnd)
    assert recorder.epochs[-1].val_loss < recorder.epochs[-1].train_loss
    kinds = {type(layer).__name__ for layer in keras.models.load_model(end.model).layers}
    assert not kinds & {"MixUp", "CutMix"}


def test_full_disk_costs_the_checkpoint_not_the_training(
    job: MakeJob, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Where nothing can be written the training goes on, warns once, and says what there is not and why."""
    (tmp_path / "file").write_text("in the way")
    trial = job(epochs=2, workdir=str(tmp_path / "file" / "work"))
    reason = f"Not a directory, in {tmp_path / 'file'}"
    end, recorder = run(trial)
    assert isinstance(end, TrainingEnd)
    assert (end.outcome, end.model, recorder.checkpoints) == (TrialOutcome.COMPLETED, None, [None, None])
    assert end.lost == reason
    assert caplog.messages == [f"no checkpoint of epoch 1 can be written: {reason}"]
    released, _ = run(trial, Recorder(stop_after=1))
    assert released == Released(1, None, lost=reason)


@pytest.mark.parametrize("metric", ["val_f1", "val_auroc", "val_top5_accuracy"])
def test_the_studys_own_metric_decides_the_best_epoch(job: MakeJob, tmp_path: Path, metric: str) -> None:
    """Each epoch has it, as of the validation predictions; it survives a checkpoint, and its best epoch is saved."""
    trial = job(epochs=3, metric=metric)
    end, recorder = run(trial)
    values = [epoch.val_metric for epoch in recorder.epochs]
    assert isinstance(end, TrainingEnd)
    assert all(value is not None and 0 < value < 1 for value in values)
    assert [epoch.value(metric) for epoch in recorder.epochs] == values
    data = loading.load(trial.data)
    assert end.model is not None
    model = keras.models.load_model(end.model)
    best = compute_metric(metric, model.predict(data.x_val[:], verbose=0), data.y_val)
    assert best == pytest.approx(max(value for value in values if value is not None), abs=2e-3)

    released, before = run(trial, Recorder(stop_in=(3, 4)))
    assert isinstance(released, Released)
    elsewhere = replace(trial, checkpoint=released.checkpoint, workdir=str(tmp_path / "elsewhere"))
    assert list(preparation.prepare(elsewhere, data).epochs) == before.epochs


def test_epochs_at_chance_are_counted_through_a_checkpoint(job: MakeJob, tmp_path: Path) -> None:
    """A training resumed after one epoch at chance ends after the next, as the uninterrupted one does."""
    trial = job({"learning_rate": 1e-9}, epochs=5, patience=2)
    end, whole = run(trial)
    assert isinstance(end, TrainingEnd)
    assert (end.outcome, len(whole.epochs)) == (TrialOutcome.AT_CHANCE, 2)
    released, _ = run(trial, Recorder(stop_after=1))
    assert isinstance(released, Released)
    elsewhere = replace(trial, checkpoint=released.checkpoint, workdir=str(tmp_path / "elsewhere"))
    again, rest = run(elsewhere)
    assert isinstance(again, TrainingEnd)
    assert (again.outcome, [epoch.epoch for epoch in rest.epochs]) == (TrialOutcome.AT_CHANCE, [2])
