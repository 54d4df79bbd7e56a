"""Whether a branch learns: it overfits a small batch, and its optimizer lowers the loss of a few."""

import math

import numpy as np

from hpsearch.spec.branches import Branch
from hpsearch.spec.hyperparameters import fill_optimizer_defaults
from hpsearch.training import backends
from hpsearch.training.checks.check_context import BranchTraining, CheckContext, CheckFault, Figures, compute_loss
from hpsearch.training.epoch import EpochFigures

OVERFIT_IMAGES = 32
OVERFIT_RATE = 0.001
OVERFIT_LOSS = 0.1
OVERFIT_STEPS = 2000
"""Adam at 0.001 overfits 32 images in 40 to 120 steps; sigmoid takes 160 to 260, and 760 in the worst case that was
measured (8 filters, random_normal kernels, no batch norm)."""
OVERFIT_INTERVAL = 20  # steps between two looks at the loss

RATE_BATCHES, RATE_BATCH, RATE_PASSES = 4, 32, 4

SLOW_OPTIMIZERS = ("sgd", "momentum", "nesterov", "adagrad")
"""Those that usually learn at 0.01; the others do at 0.001."""


def check_overfit(context: CheckContext, branch: Branch) -> Figures:
    """Check that the model overfits a small batch: the loss falls below OVERFIT_LOSS, and every answer is right.

    The figures are those of training, where batch norm takes the mean and variance of the batch; of a user's own model,
    whose dropout cannot be turned off, those of its predictions will do as well. A loss of its own may end anywhere.
    """
    caps = context.facts.largest if context.facts else {}
    smaller = {name: min(most, int(branch.values[name])) for name, most in caps.items()}
    values = context.simplify(branch.values, **smaller, **fill_optimizer_defaults("adam", OVERFIT_RATE))
    training = context.train_on_few(values, OVERFIT_IMAGES)
    images = len(training.labels)
    order = np.tile(np.arange(images), OVERFIT_INTERVAL)  # each step sees all of the images
    for steps in range(OVERFIT_INTERVAL, OVERFIT_STEPS + 1, OVERFIT_INTERVAL):
        figures = training.run_whole(order, images)
        if _is_overfitted(figures, training):
            return {"steps": steps, "loss": figures.loss}
        if context.is_own and _is_overfitted(validated := training.validate(), training):
            return {"steps": steps, "loss": validated.loss}
        if not math.isfinite(figures.loss):
            break
    how = "its own optimizer" if training.fitting else f"adam at {OVERFIT_RATE}"
    accuracy = training.validate().accuracy if math.isnan(figures.accuracy) else figures.accuracy
    raise CheckFault(
        f"a batch of {images} images is not overfitted: after {steps} steps of {how} the training accuracy is "
        f"{accuracy:.3f} and the loss {figures.loss:.3f}",
        {"steps": steps, "loss": figures.loss},
    )


def _is_overfitted(figures: EpochFigures, training: BranchTraining) -> bool:
    return figures.accuracy == 1 and (figures.loss < OVERFIT_LOSS or training.fitting is not None)


def check_optimizer(context: CheckContext, branch: Branch) -> Figures:
    """Check that the optimizer lowers the loss of a few batches, at any of the branch's learning rates."""
    tried = []
    for rate in _sort_rates(branch):
        values = context.simplify(branch.values, learning_rate=rate)
        training = context.train_on_few(values, RATE_BATCHES * RATE_BATCH)
        before, after = _measure_passes(training)
        rate = training.fitting.read_learning_rate() if training.fitting else rate
        figures = {"rate": rate, "before": before, "after": after}
        if after < before:
            return figures
        tried.append(f"{before:.3f} to {after:.3f} at {rate:.3g}")
        backends.current.free_memory()
    raise CheckFault(
        f"the loss of {RATE_BATCHES} batches is not lowered in {RATE_PASSES} passes: {', '.join(tried)}", figures
    )


def _measure_passes(training: BranchTraining) -> tuple[float, float]:
    """Return the loss before the first step and after a few passes, both as a pass measures it.

    Of what Keras's `fit` trains, whose loss may be another one, both are the cross-entropy of its predictions.
    """
    # Before the first step: a mean over the first pass would hide a loss that this pass raised.
    before = training.validate().loss if training.fitting else _compute_loss_by_batches(training)
    for _ in range(RATE_PASSES):
        trained = training.run_whole(np.arange(len(training.labels)), RATE_BATCH)
    return before, training.validate().loss if training.fitting else trained.loss


def _compute_loss_by_batches(training: BranchTraining) -> float:
    """Return the loss as a pass measures it: batch norm makes a batch's loss depend on the images in it."""
    parts = [slice(start, start + RATE_BATCH) for start in range(0, len(training.labels), RATE_BATCH)]
    losses = [compute_loss(training.model, training.images[part], training.labels[part]) for part in parts]
    return float(np.average(losses, weights=[len(training.labels[part]) for part in parts]))


def _sort_rates(branch: Branch) -> list[float]:
    """Return the branch's learning rates, those first with which its optimizer usually learns."""
    usual = 0.01 if branch.values["optimizer"] in SLOW_OPTIMIZERS else 0.001
    return sorted(branch.rates, key=lambda rate: abs(math.log(rate / usual)))
