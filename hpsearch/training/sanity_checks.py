"""The sanity checks of a study's branches, before GPU days are spent on them.

After "Before learning: sanity checks" in the notes of Stanford's cs231n: the loss at the start, the gradient, a tiny
part of the images learnt by heart; and that everything builds and what it costs.
"""

import math
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from hpsearch.spec.branches import AXES, LAYERS, Branch, select_one_each
from hpsearch.training import backends, fit, gradient_check, loading, throughput
from hpsearch.training.backends import Steps
from hpsearch.training.epoch import run_epoch
from hpsearch.training.loading import ImageArrays, Images, Labels
from hpsearch.training.models import cnn
from hpsearch.training.protocol import Check, Checking, Finding, Layer, Network

PLAIN: Mapping[str, Any] = {"dropout": 0.0, "dense_dropout": 0.0, "augment": False, "l1": 0.0, "l2": 0.0}
"""No chance and no penalty: what is left is the loss of the images alone."""

LARGEST: Mapping[str, int] = {"filters": 32, "dense_units": 512}
"""Learning by heart is tried with a network no larger than the base model."""

START_IMAGES = 128
HEAD_SCALE = 0.01
CLOSE = 0.1
"""How far from ln(classes) the loss may be where the head says nothing yet."""

HEART_IMAGES = 32
HEART_RATE = 0.001
HEART_LOSS = 0.1
HEART_STEPS = 2000
"""Adam at 0.001 learns 32 images by heart in 40 to 120 steps; sigmoid takes 160 to 260, and 760 in the worst case that
was measured (8 filters, random_normal kernels, no batch norm)."""
HEART_PART = 20  # steps between two looks

RATE_BATCHES, RATE_BATCH, RATE_PASSES = 4, 32, 4

Figures = dict[str, float]


class CheckFault(Exception):  # noqa: N818 - it is what a check looks for, not an error of the program
    """What is wrong with a branch, and the figures that show it."""

    def __init__(self, said: str, figures: Figures | None = None) -> None:
        super().__init__(said)
        self.figures = figures or {}


@dataclass(frozen=True, eq=False)
class _Subject:
    """What every check needs to know."""

    dataset: ImageArrays
    seed: int

    @property
    def shape(self) -> tuple[int, int, int]:
        height, width, channels = self.dataset.x_train.shape[1:]
        return height, width, channels

    def model(self, values: Mapping[str, Any]) -> keras.Model:
        data = self.dataset
        return cnn.build(values, self.shape, len(data.classes), self.seed, data.statistics)

    def compiled(self, values: Mapping[str, Any]) -> tuple[keras.Model, Steps]:
        return fit.build_and_compile(values, self.dataset, self.seed)


def check(job: Check) -> Iterator[Network | Checking | Finding]:
    """Every check over every branch it concerns; a fault ends none of them.

    The figures of a Finding are, by check: `start` (loss, scaled), `heart` (steps, loss), `optimizer` (rate, before,
    after), `gradient` (error, compared), `speed` (seconds, resident, device where known). Losses are in nats, memory is
    in bytes.

    Raises:
        NotFoundError: the images are not to be had on this host.
    """
    subject = _Subject(loading.load(job.data), job.seed)
    layers = select_one_each(job.branches, LAYERS, job.base)
    optimizers = select_one_each(job.branches, ("optimizer",), job.base)
    yield from _network(subject, job.base)
    yield from _each("build", _build, subject, job.branches, AXES)
    yield from _each("start", _start, subject, layers, LAYERS)
    yield from _each("gradient", _gradient, subject, layers, LAYERS)
    yield from _each("heart", _heart, subject, layers, LAYERS)
    yield from _each("optimizer", _optimizer, subject, optimizers, AXES)
    yield from _each("speed", _speed, subject, layers, LAYERS)


def _each(
    name: str,
    run: Callable[[_Subject, Branch], Figures],
    subject: _Subject,
    branches: Sequence[Branch],
    axes: Sequence[str],
) -> Iterator[Checking | Finding]:
    for number, branch in enumerate(branches, 1):
        called = branch.format_name(axes)
        yield Checking(name, called, number, len(branches))
        try:
            yield Finding(name, called, run(subject, branch))
        except CheckFault as fault:
            yield Finding(name, called, fault.figures, str(fault))
        except Exception as error:  # noqa: BLE001 a branch may break in any way, and the next is checked all the same
            yield Finding(name, called, {}, _said(error))
        backends.current.free_memory()


def _said(error: Exception) -> str:
    if backends.is_out_of_memory(error):
        return "it does not fit into the memory of this device"
    return textwrap.shorten(f"{type(error).__name__}: {error}", 300)


def _network(subject: _Subject, base: Mapping[str, Any]) -> Iterator[Network]:
    """The base configuration's layers; nothing where it does not build, which the checks will say."""
    try:
        network = subject.model(base)
    except Exception:  # noqa: BLE001 see above
        return
    yield Network(
        tuple(Layer(_layer(layer), tuple(layer.output.shape[1:]), layer.count_params()) for layer in network.layers)
    )
    backends.current.free_memory()


def _layer(layer: keras.layers.Layer) -> str:
    """Its kind, and what of its settings the reader of a table wants to know."""
    kind = type(layer).__name__
    if isinstance(layer, keras.layers.Conv2D):
        return f"{kind} {layer.kernel_size[0]}×{layer.kernel_size[1]} {layer.padding}"
    if isinstance(layer, keras.layers.MaxPooling2D):
        return f"{kind} {layer.pool_size[0]}×{layer.pool_size[1]}"
    if isinstance(layer, keras.layers.Activation):
        return f"{kind} {layer.activation.__name__}"
    if isinstance(layer, keras.layers.Dropout):
        return f"{kind} {layer.rate:g}"
    return f"{kind} softmax" if layer.name == "head" else kind


def _build(subject: _Subject, branch: Branch) -> Figures:
    """The model and all of its optimizer's variables."""
    subject.compiled(branch.values)
    return {}


def _start(subject: _Subject, branch: Branch) -> Figures:
    """The loss before the first step, as it is, and with a head that says next to nothing: then it is ln(classes)."""
    network = subject.model({**branch.values, **PLAIN})
    images, labels = subject.dataset.x_train[:START_IMAGES], subject.dataset.y_train[:START_IMAGES]
    whole = _loss(network, images, labels)
    head = network.get_layer("head")
    head.kernel.assign(head.kernel * HEAD_SCALE)
    figures = {"loss": whole, "scaled": _loss(network, images, labels)}
    expected = math.log(len(subject.dataset.classes))
    if not math.isfinite(whole):
        raise CheckFault(f"the loss at the start is {whole}", figures)
    if not abs(figures["scaled"] - expected) <= CLOSE * expected:
        raise CheckFault(
            f"the loss at the start is {figures['scaled']:.3f} with the head's kernel scaled by {HEAD_SCALE}, not "
            f"within {CLOSE:.0%} of ln({len(subject.dataset.classes)}) = {expected:.3f} (unscaled {whole:.3f})",
            figures,
        )
    return figures


def _loss(network: keras.Model, images: Images, labels: Labels) -> float:
    """The cross-entropy in training mode, where batch norm takes the images' own mean and variance."""
    return float(keras.losses.SparseCategoricalCrossentropy()(labels, network(images, training=True)))


def _gradient(subject: _Subject, branch: Branch) -> Figures:
    """Whether the gradient agrees with a numerical one, on a small model."""
    values = {**branch.values, **PLAIN}
    found = gradient_check.check(values, subject.shape, len(subject.dataset.classes), subject.seed)
    figures: Figures = {"error": found.error, "compared": found.compared}
    if found.error > gradient_check.TOLERANCE:
        raise CheckFault(
            f"the gradient is not the numerical one at {found.where}: relative error {found.error:.1e}, over "
            f"{gradient_check.TOLERANCE:g}",
            figures,
        )
    if found.unseen:
        raise CheckFault(f"the gradient of {', '.join(found.unseen)} could not be compared: too many kinks", figures)
    return figures


def _heart(subject: _Subject, branch: Branch) -> Figures:
    """Whether a handful of images can be learnt by heart: the loss goes to nearly nothing, every answer is right.

    Figures are those of training, where batch norm takes the mean and variance of the batch.
    """
    smaller = {name: min(most, int(branch.values[name])) for name, most in LARGEST.items()}
    values = {**branch.values, **PLAIN, **smaller, "optimizer": "adam", "learning_rate": HEART_RATE}
    _, taken = subject.compiled(values)
    images, labels = subject.dataset.x_train[:HEART_IMAGES], subject.dataset.y_train[:HEART_IMAGES]
    order = np.tile(np.arange(len(labels)), HEART_PART)  # each step sees all of the images
    loss, accuracy = math.nan, math.nan
    for steps in range(HEART_PART, HEART_STEPS + 1, HEART_PART):
        found = run_epoch(taken, images, labels, order, len(labels), lambda *_: True)
        assert found is not None
        loss, accuracy = found.loss, found.accuracy
        if accuracy == 1 and loss < HEART_LOSS:
            return {"steps": steps, "loss": loss}
        if not math.isfinite(loss):
            break
    raise CheckFault(
        f"{len(labels)} images are not learnt by heart: after {steps} steps of adam at {HEART_RATE} the training "
        f"accuracy is {accuracy:.3f} and the loss {loss:.3f}",
        {"steps": steps, "loss": loss},
    )


def _optimizer(subject: _Subject, branch: Branch) -> Figures:
    """Whether the optimizer lowers the loss of a few batches, at any of the branch's learning rates."""
    count = RATE_BATCHES * RATE_BATCH
    images, labels = subject.dataset.x_train[:count], subject.dataset.y_train[:count]
    tried = []
    for rate in _likely_first(branch):
        network, taken = subject.compiled({**branch.values, **PLAIN, "learning_rate": rate})
        # Before the first step: a mean over the first pass would hide what that pass broke.
        before, after = _loss_by_batches(network, images, labels), math.nan
        for _ in range(RATE_PASSES):
            found = run_epoch(taken, images, labels, np.arange(len(labels)), RATE_BATCH, lambda *_: True)
            assert found is not None
            after = found.loss
        figures = {"rate": rate, "before": before, "after": after}
        if after < before:
            return figures
        tried.append(f"{before:.3f} to {after:.3f} at {rate:.3g}")
        backends.current.free_memory()
    raise CheckFault(
        f"the loss of {RATE_BATCHES} batches is not lowered in {RATE_PASSES} passes: {', '.join(tried)}", figures
    )


def _loss_by_batches(network: keras.Model, images: Images, labels: Labels) -> float:
    """As a pass measures it: batch norm makes a batch's loss depend on the images in it."""
    parts = [slice(start, start + RATE_BATCH) for start in range(0, len(labels), RATE_BATCH)]
    losses = [_loss(network, images[part], labels[part]) for part in parts]
    return float(np.average(losses, weights=[len(labels[part]) for part in parts]))


def _likely_first(branch: Branch) -> list[float]:
    """The branch's learning rates, those first with which its optimizer usually learns."""
    usual = 0.001 if branch.values["optimizer"] in ("adam", "rmsprop") else 0.01
    return sorted(branch.rates, key=lambda rate: abs(math.log(rate / usual)))


def _speed(subject: _Subject, branch: Branch) -> Figures:
    """Seconds an epoch and memory, of the branch as a trial would train it."""
    found = throughput.measure(branch.values, subject.dataset, subject.seed)
    figures: Figures = {"seconds": found.seconds, "resident": found.resident}
    return figures if found.device is None else {**figures, "device": found.device}
