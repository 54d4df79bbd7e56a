"""Jobs of a trainer whose model is the user's own."""

from typing import Any

import pytest

from hpsearch.spec.own_rows import make_table
from hpsearch.spec.sections.model import ModelSection
from hpsearch.training.protocol import Train
from hpsearch.training.requests import ModelRequest
from tests.support.study_files import OWN_CODE
from tests.support.training_jobs import MakeJob


@pytest.fixture
def own_job(job: MakeJob) -> MakeJob:
    """Make a job of `own_models.py:FUNCTION`, whose hyperparameters are all fixed; see `MakeJob`."""

    def make(function: str, values: dict[str, Any] | None = None, *, preprocess: bool = True, **fields: Any) -> Train:
        fixed = {"width": 8, "batch_size": 32, **(values or {})}
        model = ModelSection(build=f"own_models.py:{function}", preprocess=preprocess)
        defaults: dict[str, Any] = {
            "hyperparameters": make_table(model, fixed).fill_defaults(fixed),
            "model": ModelRequest(None, model.build, preprocess),
            "code": str(OWN_CODE),
            "chosen": tuple(fixed),
        }
        return job(**{**defaults, **fields})

    return make
