"""Builders as users of KerasTuner write them, trained as they are."""

from dataclasses import replace
from typing import Any

import pytest

from hpsearch.errors import UserCodeError
from hpsearch.outcomes import TrainingEnd, TrialOutcome
from hpsearch.training import loading, preparation
from hpsearch.training.requests import ModelRequest
from tests.support.training_jobs import DIGITS, MakeJob
from tests.support.training_runs import run

pytestmark = pytest.mark.tensorflow

TRIALS: dict[str, tuple[str, dict[str, Any], list[str]]] = {
    "deep mlp": (
        "mlp",
        {"num_layers": 2, "units_0": 64, "units_1": 32, "activation": "tanh", "dropout": False, "learning_rate": 0.01},
        ["Rescaling", "Flatten", "Dense 64", "Dense 32", "Dense 10"],
    ),
    "mlp with dropout": (
        "mlp",
        {"num_layers": 1, "units_0": 32, "dropout": True, "rate": 0.2, "learning_rate": 0.001},
        ["Rescaling", "Flatten", "Dense 32", "Dropout", "Dense 10"],
    ),
    "conditional mlp": (
        "cnn",
        {"kind": "mlp", "units": 16},
        ["Rescaling", "Flatten", "Dense 16", "Dense 16", "Dense 10"],
    ),
    "conditional cnn": (
        "cnn",
        {"kind": "cnn", "blocks": 1, "block_0/filters": 4, "block_0/pooling": "avg", "learning_rate": 0.01},
        ["Rescaling", "Conv2D", "AveragePooling2D", "Flatten", "Dense 16", "Dense 10"],
    ),
}


@pytest.mark.parametrize("name", TRIALS)
def test_trial_trains_what_its_values_say(own_job: MakeJob, name: str) -> None:
    """Loops over hp.Int, conditional scopes and names in scopes give the layers that KerasTuner would get."""
    function, values, layers = TRIALS[name]
    trial = own_job(function, values, epochs=2, model=ModelRequest(None, f"tuned.py:{function}"))
    chosen = tuple(name for name in trial.chosen if name != "width")
    hyperparameters = {name: value for name, value in trial.hyperparameters.items() if name != "width"}
    trial = replace(trial, chosen=chosen, hyperparameters=hyperparameters)
    training = preparation.prepare(trial, loading.load(DIGITS))
    own = training.model.layers[1]
    kinds = [type(layer).__name__ for layer in own.layers]
    units = [f" {layer.units}" if hasattr(layer, "units") else "" for layer in own.layers]
    assert [kind + unit for kind, unit in zip(kinds, units, strict=True)] == layers
    assert bool(training.fitting) == (function == "mlp")
    end, recorder = run(trial)
    assert isinstance(end, TrainingEnd)
    assert end.outcome is TrialOutcome.COMPLETED
    assert recorder.epochs[-1].learning_rate == pytest.approx(values.get("learning_rate", 0.001))


def test_value_of_an_inactive_branch_is_refused(own_job: MakeJob) -> None:
    """What the study file searches without `when` and this trial's builder does not ask for is named."""
    trial = own_job("cnn", {"kind": "mlp", "units": 16, "blocks": 2}, model=ModelRequest(None, "tuned.py:cnn"))
    hyperparameters = {**trial.hyperparameters, "width": 16}
    with pytest.raises(UserCodeError, match=r"^nothing reads blocks in this trial: write `when = "):
        preparation.prepare(replace(trial, hyperparameters=hyperparameters), loading.load(DIGITS))
