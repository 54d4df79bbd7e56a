"""Optimizers and their settings."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest

from hpsearch.spec.hyperparameters import BASE_TABLE
from hpsearch.spec.training_rows import TRAINING_ROWS
from hpsearch.training.epoch import compile_steps, run_epoch
from hpsearch.training.loading import load
from hpsearch.training.recipe.optimizers import make_optimizer, use_averages
from hpsearch.training.recipe.schedules import Schedule
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
    ("Adam", {"gradient_accumulation_steps": 3, "weight_decay": 0.1}),
    ("Adagrad", {"clipnorm": 0.01}),
    ("RMSprop", {"clipvalue": 0.001}),
    ("AdamW", {}),
    ("AdamW", {"clipnorm": 0.01}),
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


@pytest.mark.parametrize("setting", [{"loss_scale_factor": 2.0}], ids=str)
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


@pytest.mark.parametrize(
    ("values", "settings"),
    [
        ({"optimizer": "adamw"}, {"weight_decay": 0.004, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7}),
        ({"optimizer": "adamw", "weight_decay": 0.0}, {"weight_decay": 0.0}),
        ({"optimizer": "lion"}, {"weight_decay": None, "beta_1": 0.9, "beta_2": 0.99}),
        ({"optimizer": "muon", "beta_2": 0.98}, {"momentum": 0.95, "adam_beta_2": 0.98, "adam_weight_decay": 0.004}),
        ({"optimizer": "muon", "weight_decay": 0.0}, {"weight_decay": None, "adam_weight_decay": None}),
        ({"optimizer": "rmsprop", "epsilon": 1e-3}, {"epsilon": 1e-3, "rho": 0.9}),
        ({"optimizer": "sgd"}, {"weight_decay": None, "clipnorm": None, "gradient_accumulation_steps": None}),
        ({"ema": 0.9, "gradient_accumulation": 4}, {"ema_momentum": 0.9, "gradient_accumulation_steps": 4}),
    ],
    ids=str,
)
def test_rows_are_settings_of_the_optimizer(values: dict[str, Any], settings: dict[str, Any]) -> None:
    """Each row reaches the optimizers that have it, and has their own default."""
    config = make_optimizer(BASE_TABLE.fill_defaults(values)).get_config()
    assert {name: config[name] for name in settings} == settings


@pytest.mark.parametrize("name", BASE_TABLE["optimizer"].choices)
def test_defaults_are_those_of_keras(name: str) -> None:
    """Nothing chosen but the optimizer is Keras's optimizer; momentum and nesterov have the momentum of the table."""
    optimizer = make_optimizer(BASE_TABLE.fill_defaults({"optimizer": name}))
    config, own = optimizer.get_config(), type(optimizer)(learning_rate=0.001).get_config()
    different = {key for key in own if config[key] != own[key]} - {"name"}
    assert different == {
        "momentum": {"momentum"},
        "nesterov": {"momentum", "nesterov"},
    }.get(name, set())


class Subclassed(keras.Model):  # type: ignore[misc] # Keras ships no types
    """A body and a classifier, made in this order."""

    def __init__(self) -> None:
        super().__init__()
        self.body = keras.layers.Dense(6, activation="relu", name="head")
        self.classifier = keras.layers.Dense(3, name="classifier")

    def call(self, x: Any) -> Any:
        return self.classifier(self.body(x))


def make_sequential() -> keras.Model:
    """Tokens that are embedded, a hidden layer as wide as the output, and logits."""
    layers = keras.layers
    words = layers.Embedding(5, 4, name="tokens")
    return keras.Sequential(
        [words, layers.Flatten(), layers.Dense(3), layers.Dense(3, name="logits"), layers.BatchNormalization()]
    )


def make_branched() -> keras.Model:
    """Two branches, of which the later made one is nearer to the image, and a softmax behind the logits."""
    image, layers = keras.Input((4,)), keras.layers
    last = layers.Dense(3, name="made_first")
    x = layers.Concatenate()([layers.Dense(3)(image), layers.Dense(3)(image)])
    return keras.Model(image, layers.Softmax()(last(x)))


@pytest.mark.parametrize(
    ("make", "by_adamw"),
    [
        (Subclassed, {"classifier"}),
        (make_sequential, {"tokens", "logits"}),
        (make_branched, {"made_first"}),
    ],
)
def test_muon_leaves_the_output_layer_to_adamw(make: Callable[[], keras.Model], by_adamw: set[str]) -> None:
    """It is found by where it is, whatever its name, also inside a trial's network; embeddings are left out too."""
    image, own = keras.Input((4,)), make()
    network = keras.Model(image, keras.layers.Activation("softmax")(own(image)))
    optimizer = make_optimizer(BASE_TABLE.fill_defaults({"optimizer": "muon"}), network=network)
    matrices = [weight for weight in network.trainable_variables if len(weight.shape) == 2]
    left = {weight.path.split("/")[-2] for weight in matrices if optimizer._should_use_adamw(weight)}
    assert left == by_adamw
    assert len(matrices) > len(left)


def test_averages_are_used_inside_only() -> None:
    """Inside the context the weights are the averages, afterwards what they were; without averages nothing changes."""
    digits, model = load(DIGITS), make_model()
    steps = compile_steps(model, make_optimizer(BASE_TABLE.fill_defaults({"ema": 0.9})))
    run_epoch(steps, *digits.inputs.training, np.arange(200), 50, lambda *_: True)
    trained = [np.array(value) for value in model.get_weights()]
    with use_averages(model):
        averages = [np.array(value) for value in model.get_weights()]
    assert all(np.array_equal(now, value) for now, value in zip(model.get_weights(), trained, strict=True))
    assert not np.allclose(averages[0], trained[0])
    plain = make_model()
    plain.compile(keras.optimizers.SGD())
    with use_averages(plain):
        assert np.array_equal(plain.get_weights()[0], make_model().get_weights()[0])


@pytest.mark.parametrize("name", [row.name for row in TRAINING_ROWS if row.used_with])
def test_a_row_says_with_which_optimizer_or_schedule_it_is_used(name: str) -> None:
    """With each of those that it names, and no other, another value makes another optimizer or rate."""
    row = BASE_TABLE[name]
    assert row.used_with is not None
    parent, used = row.used_with
    for value in BASE_TABLE[parent].choices:
        made = []
        for changed in (0.3, 0.4):
            values = BASE_TABLE.fill_defaults({parent: value, name: changed})
            rates = Schedule.read(values).make_rate(10)(9)
            made.append(({**make_optimizer(values).get_config(), "name": ""}, float(rates)))
        assert (made[0] != made[1]) == (value in used), value
