"""Optimizers and learning rates."""

from typing import Any

import keras
import numpy as np
import pytest

from hpsearch.spec.hyperparameters import BASE_TABLE
from hpsearch.training.epoch import compile_steps, run_epoch
from hpsearch.training.loading import load
from hpsearch.training.optimizers import compute_learning_rate, make_optimizer
from tests.support.training_jobs import DIGITS

pytestmark = pytest.mark.tensorflow

SETTINGS: list[tuple[str, dict[str, Any]]] = [
    ("SGD", {"momentum": 0.9, "nesterov": True}),
    ("SGD", {"weight_decay": 0.1}),
    ("SGD", {"clipnorm": 0.01}),
    ("SGD", {"clipvalue": 0.001}),
    ("SGD", {"global_clipnorm": 0.01}),
    ("Adam", {"weight_decay": 0.1}),
    ("Adam", {"amsgrad": True}),
    ("Adagrad", {"clipnorm": 0.01}),
    ("RMSprop", {"clipvalue": 0.001}),
    ("AdamW", {}),
]


def make_model(**options: Any) -> keras.Model:
    """A softmax over the digits' pixels."""
    image = keras.Input((32, 32, 3))
    x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(image))
    start = keras.initializers.GlorotUniform(seed=1)
    return keras.Model(image, keras.layers.Dense(10, "softmax", kernel_initializer=start, **options)(x))


def assert_trained_as_by_keras(optimizer: str, settings: dict[str, Any], **options: Any) -> None:
    """Both after an epoch of our steps and after one of `keras.Model.fit` the variables are the same."""
    digits, models = load(DIGITS), [make_model(**options) for _ in range(2)]
    ours, theirs = (getattr(keras.optimizers, optimizer)(learning_rate=0.01, **settings) for _ in models)
    run_epoch(compile_steps(models[0], ours), *digits.inputs.training, np.arange(200), 30, lambda *_: True)
    models[1].compile(theirs, "sparse_categorical_crossentropy", jit_compile=False)
    models[1].fit(digits.x_train[:], digits.y_train, 30, shuffle=False, verbose=0)
    for mine, expected in zip(
        models[0].variables + ours.variables, models[1].variables + theirs.variables, strict=True
    ):
        assert np.allclose(mine, expected, rtol=1e-3, atol=1e-6), expected.path


@pytest.mark.parametrize(("optimizer", "settings"), SETTINGS, ids=str)
def test_settings_are_applied_as_keras_applies_them(optimizer: str, settings: dict[str, Any]) -> None:
    """No setting of an optimizer is dropped, whether a fused update knows it or not."""
    assert_trained_as_by_keras(optimizer, settings)


def test_constraint_of_a_weight_is_applied() -> None:
    """A kernel is projected after each step, as Keras does."""
    assert_trained_as_by_keras("SGD", {}, kernel_constraint=keras.constraints.MaxNorm(0.5))


@pytest.mark.parametrize(
    "setting", [{"use_ema": True}, {"loss_scale_factor": 2.0}, {"gradient_accumulation_steps": 2}], ids=str
)
def test_setting_that_the_loop_would_ignore_is_refused(setting: dict[str, Any]) -> None:
    """What our training loop does not implement is an error that names it."""
    (name,) = setting
    with pytest.raises(ValueError, match=f"does not implement {name}=.* of SGD"):
        compile_steps(make_model(), keras.optimizers.SGD(**setting))


@pytest.mark.parametrize("name", BASE_TABLE["optimizer"].choices)
def test_every_optimizer_builds(name: str) -> None:
    """Each optimizer takes the learning rate, and has all its variables before the first step."""
    digits, model = load(DIGITS), make_model()
    steps = compile_steps(model, make_optimizer(BASE_TABLE.fill_defaults({"optimizer": name, "learning_rate": 0.25})))
    assert float(keras.ops.convert_to_numpy(model.optimizer.learning_rate)) == 0.25
    before = len(model.optimizer.variables)
    run_epoch(steps, digits.x_train[:8], digits.y_train[:8], np.arange(8), 8, lambda *_: True)
    assert len(model.optimizer.variables) == before


@pytest.mark.parametrize(
    ("name", "momentum", "nesterov"), [("sgd", 0.0, False), ("momentum", 0.7, False), ("nesterov", 0.7, True)]
)
def test_momentum_belongs_to_its_optimizers(name: str, momentum: float, nesterov: bool) -> None:
    """Plain SGD ignores the momentum; Nesterov is SGD that looks ahead."""
    config = make_optimizer(BASE_TABLE.fill_defaults({"optimizer": name, "momentum": 0.7})).get_config()
    assert (config["momentum"], config["nesterov"]) == (momentum, nesterov)


def test_schedules() -> None:
    """constant stays; step is a tenth from the half, a hundredth from three quarters; cosine falls towards 0."""
    rates = {
        name: [compute_learning_rate(1.0, name, epoch, 8) for epoch in range(1, 9)]
        for name in ("constant", "step", "cosine")
    }
    assert rates["constant"] == [1.0] * 8
    assert rates["step"] == pytest.approx([1, 1, 1, 1, 0.1, 0.1, 0.01, 0.01])
    assert rates["cosine"][0] == 1.0
    assert rates["cosine"][4] == pytest.approx(0.5)
    assert 0 < rates["cosine"][-1] < 0.05
    assert compute_learning_rate(1.0, "step", 1, 1) == 1.0


def test_unknown_schedule_is_refused() -> None:
    """A schedule that is not implemented is not taken for a constant rate."""
    with pytest.raises(ValueError, match="no learning rate schedule is called 'linear'"):
        compute_learning_rate(0.1, "linear", 1, 2)
