"""The sanity checks, with real training: what is sound passes, and every kind of fault is found."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from hpsearch.spec.branches import Branch
from hpsearch.spec.hyperparameters import BASE_TABLE
from hpsearch.training import loading, model_building
from hpsearch.training.checks import gradient_check, learning_checks, sanity_checks
from hpsearch.training.checks.check_context import CheckContext, CheckFault
from hpsearch.training.images.parts import ArraySource, ImagePart
from hpsearch.training.loading import PixelStatistics
from hpsearch.training.protocol import Check, Checking, Finding, Network
from hpsearch.training.requests import BASE_MODEL
from tests.support.training_jobs import DIGITS, TINY

pytestmark = pytest.mark.tensorflow

SHAPE = (32, 32, 3)

AXES = ("optimizer", "activation", "batch_norm")


def branch(rates: Sequence[float] = (0.003,), **values: Any) -> Branch:
    return Branch(BASE_TABLE.fill_defaults({**TINY, **values}), tuple(rates))


JOB = Check(DIGITS, 1, branch().values, (branch(),), AXES)


def checked(*branches: Branch) -> tuple[list[sanity_checks.Message], dict[tuple[str, str], Finding]]:
    """What the checks say, and their findings by check and branch."""
    messages = list(sanity_checks.check(Check(DIGITS, 1, branches[0].values, branches, AXES)))
    findings = {(finding.check, finding.branch): finding for finding in messages if isinstance(finding, Finding)}
    return [each for each in messages if not isinstance(each, Finding)], findings


@pytest.mark.slow
def test_sound_branches_pass_every_check() -> None:
    """Each branch, network and optimizer is checked once, announced, and found without fault; figures make sense."""
    sgd = branch([1e-4, 1e-2], optimizer="sgd", activation="elu", batch_norm=True)
    messages, findings = checked(branch(), sgd)
    networks = ["activation=relu batch_norm=false", "activation=elu batch_norm=true"]
    whole = [f"optimizer={name} {network}" for name, network in zip(("adam", "sgd"), networks, strict=True)]
    assert list(findings) == [
        *(("build", name) for name in whole),
        *((check, name) for check in ("start", "gradient", "overfit") for name in networks),
        *(("optimizer", name) for name in whole),
        ("resume", whole[0]),
        *(("speed", name) for name in networks),
    ]
    assert [(each.check, each.branch) for each in messages if isinstance(each, Checking)] == list(findings)
    assert [finding.fault for finding in findings.values()] == [None] * len(findings)
    for name in networks:
        assert abs(findings["start", name].figures["scaled"] - math.log(10)) < 0.1 * math.log(10)
        assert findings["gradient", name].figures["error"] <= gradient_check.TOLERANCE
        assert findings["overfit", name].figures["loss"] < 0.1
        assert findings["speed", name].figures["seconds"] > 0
        assert findings["speed", name].figures["resident"] > 2**27  # a framework is in it
    assert findings["resume", whole[0]].figures == {"resumed": 0.0, "loaded": 0.0}
    assert findings["optimizer", whole[1]].figures["rate"] == 1e-2  # nearer to where SGD learns than 1e-4


def test_the_network_is_told_layer_by_layer() -> None:
    """The layers come with their shapes and weights, which add up to the model's."""
    base = branch(dropout=0.5)
    network = next(sanity_checks.check(Check(DIGITS, 1, base.values, (base,), AXES)))
    assert isinstance(network, Network)
    described = [(layer.name, layer.shape, layer.weights) for layer in network.layers]
    assert described[2] == ("Conv2D 3×3 same", (32, 32, 4), 3 * 3 * 3 * 4 + 4)
    assert described[-1] == ("Dense softmax", (10,), 16 * 10 + 10)
    assert ("Dropout 0.5", (6, 6, 8), 0) in described
    model = model_building.build(
        BASE_MODEL, BASE_TABLE.fill_defaults(TINY), SHAPE, 10, 1, PixelStatistics((0.0,) * 3, (1.0,) * 3)
    )
    assert sum(weights for _, _, weights in described) == model.count_params()


def test_the_loss_at_the_start_is_that_of_the_untrained_model() -> None:
    """Both figures are the cross-entropy of the first images, recomputed from what the model predicts."""
    images = loading.load(DIGITS)
    values = BASE_TABLE.fill_defaults({**TINY, "dropout": 0.0})
    model = model_building.build(BASE_MODEL, values, SHAPE, 10, 1, images.statistics)
    head = model.get_layer("head")
    expected = {}
    for name, scale in (("loss", 1.0), ("scaled", 0.01)):
        head.kernel.assign(head.kernel * scale)
        right = model.predict(images.x_train[:128], verbose=0)[np.arange(128), images.y_train[:128]]
        expected[name] = -np.log(right.astype(float)).mean()
    assert sanity_checks._check_start(CheckContext(images, JOB), branch()) == pytest.approx(expected, rel=1e-4)


def test_a_learning_rate_that_does_not_learn_is_found() -> None:
    """SGD at rates of 5 and 10 lowers no loss, and the fault says what it did at each."""
    with pytest.raises(CheckFault, match=r"of 4 batches is not lowered in 4 passes: 2\.3.* at 5, 2\.3.* at 10$"):
        learning_checks.check_optimizer(CheckContext(loading.load(DIGITS), JOB), branch([10.0, 5.0], optimizer="sgd"))


def test_one_good_learning_rate_is_enough() -> None:
    """A range with rates that are far too high is no fault."""
    figures = learning_checks.check_optimizer(
        CheckContext(loading.load(DIGITS), JOB), branch([10.0, 1e-5], optimizer="sgd")
    )
    assert figures["rate"] == 1e-5
    assert figures["after"] < figures["before"]


def test_a_branch_that_does_not_build_is_found_and_the_next_is_checked() -> None:
    """Filters larger than the image are a fault that says so; the other branch passes all the same."""
    broken = branch(filter_size=40, activation="tanh")
    messages, findings = checked(broken, branch())
    assert not any(isinstance(each, Network) for each in messages)
    for (_, name), finding in findings.items():
        if "tanh" in name:
            assert finding.fault is not None
            assert finding.fault.startswith("images of 32×32 are too small for blocks = 2 with filter_size = 40: ")
        else:
            assert finding.fault is None


def test_a_loss_far_from_a_guess_is_found() -> None:
    """Pixels a million times too large give a head that is sure before it has learned anything."""
    images = loading.load(DIGITS)
    pixels: Any = images.x_train[:].astype("float32") * 1e6
    huge = replace(images, x_train=ImagePart(ArraySource(pixels), np.arange(len(pixels))))
    vars(huge)["statistics"] = images.statistics  # those of bytes only are known
    with pytest.raises(CheckFault, match=r"not within 10% of ln\(10\) = 2\.303") as raised:
        sanity_checks._check_start(CheckContext(huge, JOB), branch())
    assert raised.value.figures["loss"] > raised.value.figures["scaled"] > 2.6


def test_batch_that_cannot_be_overfitted_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the steps do not suffice, the fault says how far they led; a network of single units never gets there."""
    monkeypatch.setattr(learning_checks, "OVERFIT_STEPS", 60)  # the real limit is for those that learn slowly
    with pytest.raises(CheckFault, match=r"^a batch of 32 images is not overfitted: after 60 steps of adam at 0\.001"):
        learning_checks.check_overfit(CheckContext(loading.load(DIGITS), JOB), branch(filters=1, dense_units=1))


@pytest.mark.slow
def test_recipe_is_left_out_of_what_it_would_hide() -> None:
    """Randomness, penalties and weights are off in the checks of learning, whatever is fixed: see `plain`."""
    recipe: dict[str, Any] = {
        "dropout": 0.5,
        "augment": True,
        "randaugment": 0.5,
        "erasing": 0.5,
        "mixup": 1.0,
        "cutmix": 1.0,
        "label_smoothing": 0.5,
        "class_weight": "balanced",
        "weight_decay": 1.0,
        "clipnorm": 0.01,
        "ema": 0.9,
        "gradient_accumulation": 8,
        "schedule": "one_cycle",
        "optimizer": "adamw",
    }
    context, studied = CheckContext(loading.load(DIGITS), JOB), branch([0.001], **recipe)
    for run in (
        sanity_checks._check_start,
        sanity_checks._check_gradient,
        learning_checks.check_overfit,
        learning_checks.check_optimizer,
    ):
        assert run(context, studied)
