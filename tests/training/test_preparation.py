"""What is read of a trial's hyperparameters."""

from pathlib import Path

import pytest

from hpsearch.metrics import EpochMetrics
from hpsearch.spec.hyperparameters import BASE_TABLE
from hpsearch.training import preparation
from hpsearch.training.files import checkpoint
from hpsearch.training.loading import load
from hpsearch.training.precision import choices
from hpsearch.training.precision.choices import PrecisionChoice
from tests.support.training_jobs import DIGITS, MakeJob

pytestmark = pytest.mark.tensorflow


@pytest.mark.parametrize("optimizer", BASE_TABLE["optimizer"].choices)
def test_every_row_of_the_table_is_read(job: MakeJob, optimizer: str) -> None:
    """No hyperparameter is ignored, whichever branch it belongs to."""
    preparation.prepare(job({"optimizer": optimizer}), load(DIGITS))


def test_hyperparameter_that_nothing_reads_is_refused(job: MakeJob) -> None:
    """A row that no part of training implements is an error that names it, and no trial is trained without it."""
    known = job().hyperparameters
    with pytest.raises(ValueError, match=r"^nothing in training reads the hyperparameter lookahead, sharpness$"):
        preparation.prepare(job(hyperparameters={**known, "lookahead": 5, "sharpness": 0.1}), load(DIGITS))


def test_precision_of_a_checkpoint_is_not_measured_again(job: MakeJob, monkeypatch: pytest.MonkeyPatch) -> None:
    """A trial that goes on waits for no measurement of what it will not take."""
    monkeypatch.setattr(choices, "choose", lambda kind: pytest.fail("measured"))
    train = job()
    compiled = preparation.compile_model(train.model, train.hyperparameters, load(DIGITS), 1, precision="float32")
    assert compiled.precision == "float32"


def test_a_trial_goes_on_in_its_precision(job: MakeJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a host that would choose another one too; an earlier version's checkpoint says nothing of it."""
    monkeypatch.setattr(choices, "choose", lambda kind: PrecisionChoice("mixed_bfloat16", {}))
    begun = preparation.prepare(job(), load(DIGITS))
    assert begun.precision == "mixed_bfloat16"
    epochs = (EpochMetrics(1, 1.0, 0.5, 1.0, 0.5, 0.1, 1.0),)
    monkeypatch.setattr(choices, "choose", lambda kind: PrecisionChoice("float32", {}))
    for precision, resumed in (("mixed_bfloat16", "mixed_bfloat16"), ("", "float32")):
        state = checkpoint.capture(begun.trained, epochs, (), precision=precision)
        checkpoint.save(state, tmp_path / "checkpoint")
        training = preparation.prepare(job(checkpoint=str(tmp_path / "checkpoint")), load(DIGITS))
        assert training.precision == resumed
        assert training.epochs == epochs
