"""The sanity checks, with real training: what is sound passes, and every kind of fault is found."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import keras
import numpy as np
import pytest

from hpsearch.spec.branches import Branch
from hpsearch.spec.hyperparameters import TABLE, fill_defaults
from hpsearch.spec.rows import Value
from hpsearch.training import backends, epoch, gradient_check, loading, sanity_checks, throughput
from hpsearch.training.backends import Steps
from hpsearch.training.loading import PixelStatistics
from hpsearch.training.models import cnn
from hpsearch.training.protocol import Check, Checking, DataRequest, Finding, Network

pytestmark = pytest.mark.tensorflow

SHAPE = (32, 32, 3)
DIGITS = DataRequest("digits", train_limit=200, validation=100, seed=0)
TINY: dict[str, Value] = {
    "filters": 4,
    "dense_units": 16,
    "batch_size": 32,
    "learning_rate": 0.003,
    "optimizer": "adam",
}


def branch(rates: Sequence[float] = (0.003,), **values: Any) -> Branch:
    return Branch(fill_defaults({**TINY, **values}), tuple(rates))


def checked(*branches: Branch) -> tuple[list[Network | Checking], dict[tuple[str, str], Finding]]:
    """What the checks say, and their findings by check and branch."""
    said = list(sanity_checks.check(Check(DIGITS, 1, branches[0].values, branches)))
    findings = {(each.check, each.branch): each for each in said if isinstance(each, Finding)}
    return [each for each in said if not isinstance(each, Finding)], findings


def test_sound_branches_pass_every_check() -> None:
    """Each branch, network and optimizer is checked once, announced, and found without fault; figures make sense."""
    sgd = branch([1e-4, 1e-2], optimizer="sgd", activation="tanh", batch_norm=True)
    said, findings = checked(branch(), sgd)
    networks = ["activation=relu batch_norm=false", "activation=tanh batch_norm=true"]
    whole = [f"optimizer={name} {network}" for name, network in zip(("adam", "sgd"), networks, strict=True)]
    assert list(findings) == [
        *(("build", name) for name in whole),
        *((check, name) for check in ("start", "gradient", "heart") for name in networks),
        *(("optimizer", name) for name in whole),
        *(("speed", name) for name in networks),
    ]
    assert [(each.check, each.branch) for each in said if isinstance(each, Checking)] == list(findings)
    assert [finding.fault for finding in findings.values()] == [None] * len(findings)
    for name in networks:
        assert abs(findings["start", name].figures["scaled"] - math.log(10)) < 0.1 * math.log(10)
        assert findings["gradient", name].figures["error"] <= gradient_check.TOLERANCE
        assert findings["heart", name].figures["loss"] < 0.1
        assert findings["speed", name].figures["seconds"] > 0
        assert findings["speed", name].figures["resident"] > 2**27  # a framework is in it
    assert findings["optimizer", whole[1]].figures["rate"] == 1e-2  # nearer to where SGD learns than 1e-4


def test_the_network_is_told_layer_by_layer() -> None:
    """The layers come with their shapes and weights, which add up to the model's."""
    given = branch(dropout=0.5)
    network = next(sanity_checks.check(Check(DIGITS, 1, given.values, (given,))))
    assert isinstance(network, Network)
    described = [(layer.name, layer.shape, layer.weights) for layer in network.layers]
    assert described[2] == ("Conv2D 3×3 same", (32, 32, 4), 3 * 3 * 3 * 4 + 4)
    assert described[-1] == ("Dense softmax", (10,), 16 * 10 + 10)
    assert ("Dropout 0.5", (6, 6, 8), 0) in described
    made = cnn.build(fill_defaults(TINY), SHAPE, 10, 1, PixelStatistics((0.0,) * 3, (1.0,) * 3))
    assert sum(weights for _, _, weights in described) == made.count_params()


def test_the_loss_at_the_start_is_that_of_the_untrained_model() -> None:
    """Both figures are the cross-entropy of the first images, recomputed from what the model predicts."""
    images = loading.load(DIGITS)
    values = fill_defaults({**TINY, "dropout": 0.0})
    made = cnn.build(values, SHAPE, 10, 1, images.statistics)
    head = made.get_layer("head")
    expected = {}
    for name, scale in (("loss", 1.0), ("scaled", 0.01)):
        head.kernel.assign(head.kernel * scale)
        right = made.predict(images.x_train[:128], verbose=0)[np.arange(128), images.y_train[:128]]
        expected[name] = -np.log(right.astype(float)).mean()
    assert sanity_checks._start(sanity_checks._Subject(images, 1), branch()) == pytest.approx(expected, rel=1e-4)


def test_a_learning_rate_that_does_not_learn_is_found() -> None:
    """SGD at rates of 5 and 10 lowers no loss, and the fault says what it did at each."""
    with pytest.raises(
        sanity_checks.CheckFault, match=r"of 4 batches is not lowered in 4 passes: 2\.3.* at 5, 2\.3.* at 10$"
    ):
        sanity_checks._optimizer(sanity_checks._Subject(loading.load(DIGITS), 1), branch([10.0, 5.0], optimizer="sgd"))


def test_one_good_learning_rate_is_enough() -> None:
    """A range whose far end is hopeless is no fault."""
    found = sanity_checks._optimizer(
        sanity_checks._Subject(loading.load(DIGITS), 1), branch([10.0, 1e-5], optimizer="sgd")
    )
    assert found["rate"] == 1e-5
    assert found["after"] < found["before"]


def test_a_branch_that_does_not_build_is_found_and_the_next_is_checked() -> None:
    """Filters larger than the image are Keras's error; the other branch passes all the same."""
    broken = branch(filter_size=40, activation="tanh")
    said, findings = checked(broken, branch())
    assert not any(isinstance(each, Network) for each in said)
    for (_, name), finding in findings.items():
        if "tanh" in name:
            assert finding.fault is not None
            assert finding.fault.startswith("ValueError: ")
        else:
            assert finding.fault is None


def test_a_loss_far_from_a_guess_is_found() -> None:
    """Pixels a million times too large give a head that is sure before it has learnt anything."""
    images = loading.load(DIGITS)
    loud = replace(images, x_train=images.x_train.astype("float32") * 1e6)  # type: ignore[arg-type]  # no dataset has such pixels
    with pytest.raises(sanity_checks.CheckFault, match=r"not within 10% of ln\(10\) = 2\.303") as found:
        sanity_checks._start(sanity_checks._Subject(loud, 1), branch())
    assert found.value.figures["loss"] > found.value.figures["scaled"] > 2.6


def test_images_that_cannot_be_learnt_by_heart_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the steps do not suffice, the fault says how far they led; a network of single units never gets there."""
    monkeypatch.setattr(sanity_checks, "HEART_STEPS", 60)  # the real limit is for those that learn slowly
    with pytest.raises(
        sanity_checks.CheckFault, match=r"^32 images are not learnt by heart: after 60 steps of adam at 0\.001"
    ):
        sanity_checks._heart(sanity_checks._Subject(loading.load(DIGITS), 1), branch(filters=1, dense_units=1))


class TestGradient:
    """The gradient and its numerical double."""

    @pytest.mark.parametrize("activation", TABLE["activation"].choices)
    def test_of_every_activation_is_right(self, activation: str) -> None:
        """Maxout and PReLU with their kinks included; every weight tensor has a part in it."""
        found = gradient_check.check(fill_defaults({"activation": activation, "dropout": 0.0}), SHAPE, 10, 1)
        assert found.error <= gradient_check.TOLERANCE / 10
        assert found.compared >= 34
        assert found.unseen == ()

    def test_leaves_single_precision_behind(self) -> None:
        """Models made after it compute in float32 as before."""
        gradient_check.check(fill_defaults({"dropout": 0.0}), SHAPE, 10, 1)
        assert (keras.config.floatx(), keras.config.dtype_policy().name) == ("float32", "float32")
        made = cnn.build(fill_defaults(TINY), SHAPE, 10, 1, PixelStatistics((0.0,) * 3, (1.0,) * 3))
        assert {str(variable.dtype) for variable in made.trainable_variables} == {"float32"}

    @staticmethod
    def compared(loss: Callable[[Any], Any], at: list[float], slopes: list[float]) -> gradient_check.GradientAgreement:
        """Compares `slopes` with the differences of `loss`, a function of one vector."""
        with backends.current.allow_double_precision():
            variable = keras.Variable(np.array(at), dtype="float64", name="w")
            weights = gradient_check.Weights([variable])
            generator = np.random.default_rng(0)
            return gradient_check.compare(lambda: float(loss(variable.numpy())), weights, [np.array(slopes)], generator)

    def test_that_is_wrong_by_a_percent_is_found(self) -> None:
        """One coordinate among right ones is enough, also where the rest of the loss has kinks."""

        def loss(w: Any) -> Any:
            return (w**3).sum() + abs(w[0])

        assert self.compared(loss, [2.0, 3.0], [13.0, 27.0]).error < 1e-6
        found = self.compared(loss, [2.0, 3.0], [13.0, 27.27])
        assert found.error == pytest.approx(0.01, rel=0.02)
        assert found.where == "w[1]"

    @pytest.mark.parametrize("wrong", [math.nan, math.inf])
    def test_that_is_no_number_is_found(self, wrong: float) -> None:
        """Whatever comes after it."""
        assert self.compared(lambda w: (w**2).sum(), [1.0, 1.0, 1.0], [2.0, wrong, 2.0]).error == math.inf

    def test_at_a_kink_is_passed_over(self) -> None:
        """Where the slopes to either side differ, neither of them is held against the gradient."""
        found = self.compared(lambda w: np.maximum(w, 0).sum(), [0.0, 1.0, 4e-6], [0.0, 1.0, 1.0])
        assert (found.error < 1e-6, found.compared, found.kinks, found.unseen) == (True, 2, 1, ())
        assert self.compared(lambda w: abs(w).sum(), [0.0], [0.0]).unseen == ("w",)

    def test_of_the_training_step_is_what_is_compared(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A training step that went wrong, here by a tenth in the head, is found in the model's own check."""
        whole = epoch.run_epoch

        def astray(steps: Steps, *arguments: Any) -> Any:
            bias = steps.model.get_layer("head").bias
            before = bias.numpy()
            figures = whole(steps, *arguments)
            bias.assign(before + 1.1 * (bias.numpy() - before))
            return figures

        monkeypatch.setattr(gradient_check, "run_epoch", astray)
        with pytest.raises(
            sanity_checks.CheckFault, match=r"not the numerical one at head/bias\[\d\]: relative error 9\.1e-02"
        ):
            sanity_checks._gradient(sanity_checks._Subject(loading.load(DIGITS), 1), branch())


def test_an_epoch_cut_short_is_extrapolated() -> None:
    """The time of a long pass is that of its first batch and as many of the others as there are."""
    clock = iter(range(0, 10_000, 2))

    def run(watch: Callable[[int, float], bool]) -> None:
        batch = 1
        while watch(batch, 0.0) and batch < 1000:
            batch += 1

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "monotonic", lambda: next(clock))
        assert throughput._timed(32 * 1000, 32, run) == 2 * 1000
