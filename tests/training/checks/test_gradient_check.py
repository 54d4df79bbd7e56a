"""The gradient and the numerical one."""

import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest

from hpsearch.spec.branches import Branch
from hpsearch.spec.hyperparameters import BASE_TABLE
from hpsearch.spec.models import list_models
from hpsearch.training import backends, epoch, loading, model_building
from hpsearch.training.backends import Steps
from hpsearch.training.checks import gradient_check, sanity_checks
from hpsearch.training.checks.check_context import CheckContext, CheckFault
from hpsearch.training.loading import PixelStatistics
from hpsearch.training.protocol import Check
from hpsearch.training.requests import BASE_MODEL
from tests.support.training_jobs import DIGITS, TINY

pytestmark = pytest.mark.tensorflow

SHAPE = (32, 32, 3)

SMALL = {"dropout": 0.0, **list_models()["cnn"].small}


@pytest.mark.parametrize("activation", BASE_TABLE["activation"].choices)
def test_gradient_of_every_activation_is_right(activation: str) -> None:
    """Maxout and PReLU with their kinks included; every weight tensor has a part in it."""
    agreement = gradient_check.check(
        BASE_MODEL, BASE_TABLE.fill_defaults({**SMALL, "activation": activation}), SHAPE, 10, 1
    )
    assert agreement.error <= gradient_check.TOLERANCE / 10
    assert agreement.compared >= 34
    assert agreement.unseen == ()


def test_single_precision_is_restored() -> None:
    """Models made after it compute in float32 as before."""
    gradient_check.check(BASE_MODEL, BASE_TABLE.fill_defaults(SMALL), SHAPE, 10, 1)
    assert (keras.config.floatx(), keras.config.dtype_policy().name) == ("float32", "float32")
    model = model_building.build(
        BASE_MODEL, BASE_TABLE.fill_defaults(TINY), SHAPE, 10, 1, PixelStatistics((0.0,) * 3, (1.0,) * 3)
    )
    assert {str(variable.dtype) for variable in model.trainable_variables} == {"float32"}


def compare(loss: Callable[[Any], Any], at: list[float], slopes: list[float]) -> gradient_check.GradientAgreement:
    """Compares `slopes` with the differences of `loss`, a function of one vector."""
    with backends.current.allow_double_precision():
        variable = keras.Variable(np.array(at), dtype="float64", name="w")
        weights = gradient_check.Weights([variable])
        generator = np.random.default_rng(0)
        return gradient_check.compare(lambda: float(loss(variable.numpy())), weights, [np.array(slopes)], generator)


def test_gradient_that_is_wrong_by_a_percent_is_found() -> None:
    """One coordinate among right ones is enough, also where the rest of the loss has kinks."""

    def loss(w: Any) -> Any:
        return (w**3).sum() + abs(w[0])

    assert compare(loss, [2.0, 3.0], [13.0, 27.0]).error < 1e-6
    agreement = compare(loss, [2.0, 3.0], [13.0, 27.27])
    assert agreement.error == pytest.approx(0.01, rel=0.02)
    assert agreement.where == "w[1]"


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_gradient_that_is_no_number_is_found(wrong: float) -> None:
    """Whatever comes after it."""
    assert compare(lambda w: (w**2).sum(), [1.0, 1.0, 1.0], [2.0, wrong, 2.0]).error == math.inf


def test_coordinate_at_a_kink_is_passed_over() -> None:
    """Where the slopes to either side differ, neither of them is held against the gradient."""
    agreement = compare(lambda w: np.maximum(w, 0).sum(), [0.0, 1.0, 4e-6], [0.0, 1.0, 1.0])
    assert (agreement.error < 1e-6, agreement.compared, agreement.kinks, agreement.unseen) == (True, 2, 1, ())
    assert compare(lambda w: abs(w).sum(), [0.0], [0.0]).unseen == ("w",)


def test_gradient_of_the_training_step_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    """A training step that went wrong, here by a tenth in the head, is found in the model's own check."""
    run_right = epoch.run_epoch

    def run_wrong(steps: Steps, *arguments: Any) -> Any:
        bias = steps.model.get_layer("head").bias
        before = bias.numpy()
        figures = run_right(steps, *arguments)
        bias.assign(before + 1.1 * (bias.numpy() - before))
        return figures

    monkeypatch.setattr(gradient_check, "run_epoch", run_wrong)
    branch = Branch(BASE_TABLE.fill_defaults(TINY), (0.003,))
    job = Check(DIGITS, 1, branch.values, (branch,), ("optimizer", "activation", "batch_norm"))
    with pytest.raises(CheckFault, match=r"not the numerical one at head/bias\[\d\]: relative error 9\.1e-02"):
        sanity_checks._check_gradient(CheckContext(loading.load(DIGITS), job), branch)
