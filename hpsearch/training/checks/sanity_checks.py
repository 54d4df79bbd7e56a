"""The sanity checks of a study's branches, before GPU days are spent on them.

After "Before learning: sanity checks" in the notes of Stanford's cs231n: the loss at the start, the gradient, whether
the model overfits a small batch; and that everything builds and what it costs.
"""

import math
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras

from hpsearch.errors import HpsearchError, NotFoundError, UserCodeError
from hpsearch.spec.branches import Branch, select_one_each
from hpsearch.training import backends, loading
from hpsearch.training.checks import gradient_check, learning_checks, resume_check, throughput
from hpsearch.training.checks.check_context import CheckContext, CheckFault, CheckSkip, Figures, compute_loss
from hpsearch.training.images.cache import Progress
from hpsearch.training.protocol import Calling, Check, Checking, Finding, Layer, Network, Train
from hpsearch.training.user.code import describe_error, explain_error, is_in_user_code, load_function

START_IMAGES = 128
HEAD_SCALE = 0.01
START_TOLERANCE = 0.1
"""How far from ln(classes), relatively, the loss may be where the head predicts all classes alike."""
START_FACTOR = 5.0
"""How many times ln(classes) the loss of a user's own model may be: with pixels of 0..255 that nothing scales it is 10
and more."""


Message = Network | Calling | Checking | Finding


def check(job: Check, progress: Progress = loading.ignore_progress) -> Iterator[Message]:
    """Run every check over every branch it concerns; a branch that does not build is not checked further.

    The figures of a Finding are, by check: `start` (loss, scaled), `overfit` (steps, loss), `optimizer` (rate, before,
    after), `gradient` (error, compared), `resume` (resumed, loaded), `speed` (seconds, resident, device where known).
    Losses are in nats, memory is in bytes.

    Raises:
        NotFoundError: the images are not to be had on this host.
        UserCodeError: the model's builder cannot be imported.
    """
    code = Path(job.code) if job.code else None
    context = CheckContext(loading.load(job.data, code, progress), job)
    axes, layer_axes = job.axes, job.axes[1:]
    if code and job.model.build:
        yield Calling(f"importing {job.model.build}")
        load_function(code, job.model.build)
    yield from _describe_network(context, job.base)
    branches = yield from _run("build", _check_build, context, job.branches, axes)
    layers = select_one_each(branches, layer_axes, job.base, axes)
    optimizers = select_one_each(branches, ("optimizer",), job.base, axes)
    yield from _run("start", _check_start, context, layers, layer_axes)
    yield from _run("gradient", _check_gradient, context, layers, layer_axes)
    yield from _run("overfit", learning_checks.check_overfit, context, layers, layer_axes)
    yield from _run("optimizer", learning_checks.check_optimizer, context, optimizers, axes)
    resumed = layers if context.is_own else select_one_each(branches, (), job.base, axes)
    yield from _run("resume", _check_resume, context, resumed, axes)
    yield from _run("speed", _measure_speed, context, layers, layer_axes)


def _run(
    name: str,
    run_check: Callable[[CheckContext, Branch], Figures],
    context: CheckContext,
    branches: Sequence[Branch],
    axes: Sequence[str],
) -> Generator[Message, None, tuple[Branch, ...]]:
    """Run a check over some branches; return those without a fault."""
    passed = []
    for number, branch in enumerate(branches, 1):
        branch_name = branch.format_name(axes)
        yield Checking(name, branch_name, number, len(branches))
        if name == "build" and context.request.build:
            yield Calling(context.request.build)
        try:
            yield Finding(name, branch_name, run_check(context, branch))
            passed.append(branch)
        except NotFoundError:  # what every branch needs is not on this host
            raise
        except CheckFault as fault:
            yield Finding(name, branch_name, fault.figures, str(fault))
        except CheckSkip as skip:
            yield Finding(name, branch_name, {}, note=str(skip))
        except Exception as error:  # noqa: BLE001 a branch may break in any way, and the next is checked all the same
            yield _describe(error, name, branch_name, context.job.code)
        backends.current.free_memory()
    return tuple(passed)


def _describe(error: Exception, name: str, branch_name: str, code: str | None) -> Finding:
    traceback = ""
    if backends.is_out_of_memory(error):
        fault = "it does not fit into the memory of this device"
    elif code and (isinstance(error, UserCodeError) or is_in_user_code(error)):
        failure = explain_error(error, Path(code))
        fault, traceback = str(failure), failure.traceback
    else:
        fault = str(error) if isinstance(error, HpsearchError) else describe_error(error)
    return Finding(name, branch_name, {}, fault, traceback=traceback)


def _describe_network(context: CheckContext, base: Mapping[str, Any]) -> Iterator[Network | Calling]:
    """Yield the base configuration's layers; nothing where it does not build, which the checks report."""
    if context.request.build:
        yield Calling(context.request.build)
    try:
        network = context.build(base)
    except NotFoundError:
        raise
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
    kind = layer.name if isinstance(layer, keras.Model) else type(layer).__name__
    if isinstance(layer, keras.layers.Conv2D):
        return f"{kind} {layer.kernel_size[0]}×{layer.kernel_size[1]} {layer.padding}"
    if isinstance(layer, keras.layers.MaxPooling2D):
        return f"{kind} {layer.pool_size[0]}×{layer.pool_size[1]}"
    if isinstance(layer, keras.layers.Activation):
        return f"{kind} {layer.activation.__name__}"
    if isinstance(layer, keras.layers.Dropout):
        return f"{kind} {layer.rate:g}"
    return f"{kind} softmax" if layer.name == "head" else kind


def _check_build(context: CheckContext, branch: Branch) -> Figures:
    """Build the model and all of its optimizer's variables."""
    context.compile(branch.values)
    return {}


def _check_start(context: CheckContext, branch: Branch) -> Figures:
    """Check the loss before the first step: finite, and near ln(classes) with a head whose kernel is nearly zero.

    The head of a user's own model is not known; its loss may be a few times ln(classes).
    """
    network = context.build(context.simplify(branch.values))
    images, labels = context.dataset.x_train[:START_IMAGES], context.dataset.y_train[:START_IMAGES]
    loss, classes = compute_loss(network, images, labels), len(context.dataset.classes)
    if not math.isfinite(loss):
        raise CheckFault(f"the loss at the start is {loss}", {"loss": loss})
    if context.is_own:
        if loss > START_FACTOR * math.log(classes):
            raise CheckFault(
                f"the loss at the start is {loss:.3f}, over {START_FACTOR:g} times ln({classes}) = "
                f'{math.log(classes):.3f}: scale the pixels, as with preprocessing = "scale" in [fixed]',
                {"loss": loss},
            )
        return {"loss": loss}
    head = network.get_layer("head")
    head.kernel.assign(head.kernel * HEAD_SCALE)
    figures = {"loss": loss, "scaled": compute_loss(network, images, labels)}
    expected = math.log(classes)
    if not abs(figures["scaled"] - expected) <= START_TOLERANCE * expected:
        raise CheckFault(
            f"the loss at the start is {figures['scaled']:.3f} with the head's kernel scaled by {HEAD_SCALE}, not "
            f"within {START_TOLERANCE:.0%} of ln({classes}) = {expected:.3f} (unscaled {loss:.3f})",
            figures,
        )
    return figures


def _check_gradient(context: CheckContext, branch: Branch) -> Figures:
    """Check that the gradient agrees with a numerical one, on a small model."""
    values = context.simplify(branch.values, **(context.facts.small if context.facts else {}))
    classes = len(context.dataset.classes)
    try:
        agreement = gradient_check.check(context.request, values, context.shape, classes, context.seed)
    except gradient_check.NotComparableError as error:
        raise CheckSkip(f"the gradient is not compared with a numerical one: {error}") from None
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


def _check_resume(context: CheckContext, branch: Branch) -> Figures:
    """Check that two epochs, a resume and a third equal three in one go, and that the saved model predicts the same."""
    values = {**branch.values, "learning_rate": min(branch.rates)}
    try:
        agreement = resume_check.check(make_job(context.job, values), context.dataset)
    except resume_check.ResumeError as error:
        raise CheckFault(str(error)) from None
    figures: Figures = {"resumed": agreement.resumed, "loaded": agreement.loaded}
    if not agreement.resumed <= resume_check.TOLERANCE:
        raise CheckFault(
            f"a training that is resumed after {resume_check.STOP_AFTER} epochs is not that in one go: its validation "
            f"loss differs by {agreement.resumed:.2g}. State outside variables is lost with a stop: "
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


def _measure_speed(context: CheckContext, branch: Branch) -> Figures:
    """Measure seconds per epoch and memory, of the branch as a trial would train it."""
    measured = throughput.measure(context, branch.values)
    figures: Figures = {"seconds": measured.seconds, "resident": measured.resident}
    return figures if measured.device is None else {**figures, "device": measured.device}
