"""The sanity checks of a study's branches, before GPU days are spent on them.

After "Before learning: sanity checks" in the notes of Stanford's cs231n: the loss at the start, the gradient, whether
the model overfits a small batch; and that everything builds and what it costs.
"""

import math
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from hpsearch.errors import HpsearchError
from hpsearch.spec.branches import Branch, select_one_each
from hpsearch.spec.hyperparameters import fill_optimizer_defaults
from hpsearch.spec.models import DEFAULT_MODEL, BuiltInModel, list_models
from hpsearch.spec.training_rows import TRAINING_ROWS
from hpsearch.training import backends, loading
from hpsearch.training.backends import Steps
from hpsearch.training.checks import gradient_check, resume_check, throughput
from hpsearch.training.epoch import run_epoch
from hpsearch.training.images.cache import Progress
from hpsearch.training.images.parts import Images, Labels
from hpsearch.training.loading import ImageArrays
from hpsearch.training.preparation import build_and_compile, build_stock
from hpsearch.training.protocol import Check, Checking, Finding, Layer, ModelRequest, Network, Train

START_IMAGES = 128
HEAD_SCALE = 0.01
START_TOLERANCE = 0.1
"""How far from ln(classes), relatively, the loss may be where the head predicts all classes alike."""

OVERFIT_IMAGES = 32
OVERFIT_RATE = 0.001
OVERFIT_LOSS = 0.1
OVERFIT_STEPS = 2000
"""Adam at 0.001 overfits 32 images in 40 to 120 steps; sigmoid takes 160 to 260, and 760 in the worst case that was
measured (8 filters, random_normal kernels, no batch norm)."""
OVERFIT_INTERVAL = 20  # steps between two looks at the loss

RATE_BATCHES, RATE_BATCH, RATE_PASSES = 4, 32, 4

Figures = dict[str, float]


class CheckFault(Exception):  # noqa: N818 - what a check looks for is not an error of the program
    """What is wrong with a branch, and the figures that show it."""

    def __init__(self, message: str, figures: Figures | None = None) -> None:
        super().__init__(message)
        self.figures = figures or {}


@dataclass(frozen=True, eq=False)
class _CheckContext:
    """The images and the seed of every check."""

    dataset: ImageArrays
    job: Check

    @property
    def seed(self) -> int:
        return self.job.seed

    @property
    def request(self) -> ModelRequest:
        return self.job.model

    @property
    def facts(self) -> BuiltInModel:
        return list_models()[self.request.name or DEFAULT_MODEL]

    def simplify(self, values: Mapping[str, Any], **others: Any) -> dict[str, Any]:
        """Return `values` with nothing random and no penalty, so that the cross-entropy is left, and with `others`."""
        plain = {row.name: row.plain for row in (*TRAINING_ROWS, *self.facts.rows) if row.plain is not None}
        return {**values, **{name: value for name, value in plain.items() if name in values}, **others}

    @property
    def shape(self) -> tuple[int, int, int]:
        height, width, channels = self.dataset.x_train.shape[1:]
        return height, width, channels

    def model(self, values: Mapping[str, Any]) -> keras.Model:
        return build_stock(self.request, values, self.dataset, self.seed)

    def compiled(self, values: Mapping[str, Any]) -> tuple[keras.Model, Steps]:
        return build_and_compile(self.request, values, self.dataset, self.seed)


def check(job: Check, progress: Progress = loading.ignore_progress) -> Iterator[Network | Checking | Finding]:
    """Run every check over every branch it concerns; a fault ends none of them.

    The figures of a Finding are, by check: `start` (loss, scaled), `overfit` (steps, loss), `optimizer` (rate, before,
    after), `gradient` (error, compared), `resume` (resumed, loaded), `speed` (seconds, resident, device where known).
    Losses are in nats, memory is in bytes.

    Raises:
        NotFoundError: the images are not to be had on this host.
    """
    code = Path(job.code) if job.code else None
    context = _CheckContext(loading.load(job.data, code, progress), job)
    axes, layer_axes = job.axes, job.axes[1:]
    layers = select_one_each(job.branches, layer_axes, job.base, axes)
    optimizers = select_one_each(job.branches, ("optimizer",), job.base, axes)
    yield from _describe_network(context, job.base)
    yield from _run("build", _check_build, context, job.branches, axes)
    yield from _run("start", _check_start, context, layers, layer_axes)
    yield from _run("gradient", _check_gradient, context, layers, layer_axes)
    yield from _run("overfit", _check_overfit, context, layers, layer_axes)
    yield from _run("optimizer", _check_optimizer, context, optimizers, axes)
    yield from _run("resume", _check_resume, context, select_one_each(job.branches, (), job.base, axes), axes)
    yield from _run("speed", _measure_speed, context, layers, layer_axes)


def _run(
    name: str,
    run_check: Callable[[_CheckContext, Branch], Figures],
    context: _CheckContext,
    branches: Sequence[Branch],
    axes: Sequence[str],
) -> Iterator[Checking | Finding]:
    for number, branch in enumerate(branches, 1):
        branch_name = branch.format_name(axes)
        yield Checking(name, branch_name, number, len(branches))
        try:
            yield Finding(name, branch_name, run_check(context, branch))
        except CheckFault as fault:
            yield Finding(name, branch_name, fault.figures, str(fault))
        except Exception as error:  # noqa: BLE001 a branch may break in any way, and the next is checked all the same
            yield Finding(name, branch_name, {}, _describe(error))
        backends.current.free_memory()


def _describe(error: Exception) -> str:
    if backends.is_out_of_memory(error):
        return "it does not fit into the memory of this device"
    if isinstance(error, HpsearchError):
        return str(error)
    return textwrap.shorten(f"{type(error).__name__}: {error}", 300)


def _describe_network(context: _CheckContext, base: Mapping[str, Any]) -> Iterator[Network]:
    """Yield the base configuration's layers; nothing where it does not build, which the checks report."""
    try:
        network = context.model(base)
    except Exception:  # noqa: BLE001 see above
        return
    yield Network(
        tuple(
            Layer(_describe_layer(layer), tuple(layer.output.shape[1:]), layer.count_params())
            for layer in network.layers
        )
    )
    backends.current.free_memory()


def _describe_layer(layer: keras.layers.Layer) -> str:
    """Return the layer's kind, and those of its settings that a table shows."""
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


def _check_build(context: _CheckContext, branch: Branch) -> Figures:
    """Build the model and all of its optimizer's variables."""
    context.compiled(branch.values)
    return {}


def _check_start(context: _CheckContext, branch: Branch) -> Figures:
    """Check the loss before the first step: finite, and near ln(classes) with a head whose kernel is nearly zero."""
    network = context.model(context.simplify(branch.values))
    images, labels = context.dataset.x_train[:START_IMAGES], context.dataset.y_train[:START_IMAGES]
    whole = _loss(network, images, labels)
    head = network.get_layer("head")
    head.kernel.assign(head.kernel * HEAD_SCALE)
    figures = {"loss": whole, "scaled": _loss(network, images, labels)}
    classes = len(context.dataset.classes)
    expected = math.log(classes)
    if not math.isfinite(whole):
        raise CheckFault(f"the loss at the start is {whole}", figures)
    if not abs(figures["scaled"] - expected) <= START_TOLERANCE * expected:
        raise CheckFault(
            f"the loss at the start is {figures['scaled']:.3f} with the head's kernel scaled by {HEAD_SCALE}, not "
            f"within {START_TOLERANCE:.0%} of ln({classes}) = {expected:.3f} (unscaled {whole:.3f})",
            figures,
        )
    return figures


def _loss(network: keras.Model, images: Images, labels: Labels) -> float:
    """Return the cross-entropy in training mode, where batch norm takes the images' own mean and variance."""
    return float(keras.losses.SparseCategoricalCrossentropy()(labels, network(images, training=True)))


def _check_gradient(context: _CheckContext, branch: Branch) -> Figures:
    """Check that the gradient agrees with a numerical one, on a small model."""
    values = context.simplify(branch.values, **context.facts.small)
    classes = len(context.dataset.classes)
    agreement = gradient_check.check(context.request, values, context.shape, classes, context.seed)
    figures: Figures = {"error": agreement.error, "compared": agreement.compared}
    if agreement.error > gradient_check.TOLERANCE:
        raise CheckFault(
            f"the gradient is not the numerical one at {agreement.where}: relative error {agreement.error:.1e}, over "
            f"{gradient_check.TOLERANCE:g}",
            figures,
        )
    if agreement.unseen:
        raise CheckFault(
            f"the gradient of {', '.join(agreement.unseen)} could not be compared: too many kinks", figures
        )
    return figures


def _check_overfit(context: _CheckContext, branch: Branch) -> Figures:
    """Check that the model overfits a small batch: the loss falls below OVERFIT_LOSS, and every answer is right.

    The figures are those of training, where batch norm takes the mean and variance of the batch.
    """
    smaller = {name: min(most, int(branch.values[name])) for name, most in context.facts.largest.items()}
    values = context.simplify(branch.values, **smaller, **fill_optimizer_defaults("adam", OVERFIT_RATE))
    _, model_steps = context.compiled(values)
    images, labels = context.dataset.x_train[:OVERFIT_IMAGES], context.dataset.y_train[:OVERFIT_IMAGES]
    order = np.tile(np.arange(len(labels)), OVERFIT_INTERVAL)  # each step sees all of the images
    loss, accuracy = math.nan, math.nan
    for steps in range(OVERFIT_INTERVAL, OVERFIT_STEPS + 1, OVERFIT_INTERVAL):
        figures = run_epoch(model_steps, images, labels, order, len(labels), lambda *_: True)
        assert figures is not None
        loss, accuracy = figures.loss, figures.accuracy
        if accuracy == 1 and loss < OVERFIT_LOSS:
            return {"steps": steps, "loss": loss}
        if not math.isfinite(loss):
            break
    raise CheckFault(
        f"a batch of {len(labels)} images is not overfitted: after {steps} steps of adam at {OVERFIT_RATE} the "
        f"training accuracy is {accuracy:.3f} and the loss {loss:.3f}",
        {"steps": steps, "loss": loss},
    )


def _check_optimizer(context: _CheckContext, branch: Branch) -> Figures:
    """Check that the optimizer lowers the loss of a few batches, at any of the branch's learning rates."""
    count = RATE_BATCHES * RATE_BATCH
    images, labels = context.dataset.x_train[:count], context.dataset.y_train[:count]
    tried = []
    for rate in _sort_rates(branch):
        network, steps = context.compiled(context.simplify(branch.values, learning_rate=rate))
        # Before the first step: a mean over the first pass would hide a loss that this pass raised.
        before, after = _loss_by_batches(network, images, labels), math.nan
        for _ in range(RATE_PASSES):
            trained = run_epoch(steps, images, labels, np.arange(len(labels)), RATE_BATCH, lambda *_: True)
            assert trained is not None
            after = trained.loss
        figures = {"rate": rate, "before": before, "after": after}
        if after < before:
            return figures
        tried.append(f"{before:.3f} to {after:.3f} at {rate:.3g}")
        backends.current.free_memory()
    raise CheckFault(
        f"the loss of {RATE_BATCHES} batches is not lowered in {RATE_PASSES} passes: {', '.join(tried)}", figures
    )


def _loss_by_batches(network: keras.Model, images: Images, labels: Labels) -> float:
    """Return the loss as a pass measures it: batch norm makes a batch's loss depend on the images in it."""
    parts = [slice(start, start + RATE_BATCH) for start in range(0, len(labels), RATE_BATCH)]
    losses = [_loss(network, images[part], labels[part]) for part in parts]
    return float(np.average(losses, weights=[len(labels[part]) for part in parts]))


def _sort_rates(branch: Branch) -> list[float]:
    """Return the branch's learning rates, those first with which its optimizer usually learns."""
    usual = 0.01 if branch.values["optimizer"] in ("sgd", "momentum", "nesterov", "adagrad") else 0.001
    return sorted(branch.rates, key=lambda rate: abs(math.log(rate / usual)))


def _check_resume(context: _CheckContext, branch: Branch) -> Figures:
    """Check that two epochs, a resume and a third equal three in one go, and that the saved model predicts the same."""
    values = {**branch.values, "learning_rate": min(branch.rates)}
    try:
        agreement = resume_check.check(make_job(context.job, values), context.dataset)
    except resume_check.ResumeError as error:
        raise CheckFault(str(error)) from None
    figures: Figures = {"resumed": agreement.resumed, "loaded": agreement.loaded}
    if not agreement.resumed <= resume_check.TOLERANCE:
        raise CheckFault(
            f"a training that is resumed after {resume_check.STOP_AFTER} epochs is not the one in one go: its "
            f"predictions differ by up to {agreement.resumed:.2g}. State outside variables is lost with a stop: "
            "keep it in a variable, and random numbers in a keras.random.SeedGenerator",
            figures,
        )
    if not agreement.loaded <= resume_check.TOLERANCE:
        raise CheckFault(
            f"the saved model does not predict what it did in training: it differs by up to {agreement.loaded:.2g}. A "
            "custom layer's get_config has to hold all that its call depends on",
            figures,
        )
    return figures


def make_job(check: Check, values: Mapping[str, Any]) -> Train:
    """Return a training of these hyperparameters as a trial of the study has it."""
    return Train(
        hyperparameters=values,
        data=check.data,
        seed=check.seed,
        epochs=1,
        metric="val_loss",
        patience=1,
        early_stopping=None,
        workdir="",
        model=check.model,
        code=check.code,
        chosen=check.chosen,
    )


def _measure_speed(context: _CheckContext, branch: Branch) -> Figures:
    """Measure seconds per epoch and memory, of the branch as a trial would train it."""
    measured = throughput.measure(context.request, branch.values, context.dataset, context.seed)
    figures: Figures = {"seconds": measured.seconds, "resident": measured.resident}
    return figures if measured.device is None else {**figures, "device": measured.device}
