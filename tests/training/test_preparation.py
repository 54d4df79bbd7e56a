"""What is read of a trial's hyperparameters."""

import pytest

from hpsearch.spec.hyperparameters import BASE_TABLE
from hpsearch.training import preparation
from hpsearch.training.loading import load
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
