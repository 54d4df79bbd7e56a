"""The gradient of a model, and whether a numerical one agrees with it.

After "Gradient checks" in the notes of Stanford's cs231n: central differences in double precision, few images, dropout
and penalties off, the relative error |a - n| / max(|a|, |n|), and care about kinks.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from hpsearch.spec.hyperparameters import fill_optimizer_defaults
from hpsearch.training import backends, model_building
from hpsearch.training.backends import Steps
from hpsearch.training.epoch import compile_steps, run_epoch
from hpsearch.training.images.parts import Images, Labels
from hpsearch.training.loading import PixelStatistics
from hpsearch.training.recipe.optimizers import make_optimizer
from hpsearch.training.requests import ModelRequest
from hpsearch.training.user.code import describe_error
from hpsearch.training.user_models import building
from hpsearch.training.user_models.fitting import get_unseeded_generator

Array = npt.NDArray[np.float64]

TOLERANCE = 1e-3
"""The largest relative error of a right gradient."""

STEP_SIZES = (1e-5, 1e-6)
"""Of a central difference; the second where the first takes a unit over a kink. Measured over all activations, with and
without batch norm, and over seeds, the relative error is at most 3e-5 with 1e-5, and 3e-4 with 1e-6, from rounding.
With 1e-4 kinks would make it 1e-1."""

SMALLEST_GRADIENT = 1e-5
"""A gradient below it counts as this large: the difference's rounding, 1e-10, has to stay far below the tolerance."""

COORDINATES = 40
"""How many coordinates of a model are compared; at least one of each weight tensor."""

MAX_DRAWN = 30
"""How many coordinates of a weight tensor are tried at most, where some have a kink close by."""

IMAGES = 4
NOISE = 0.1
"""Standard deviation of the noise added to the weights. At the start biases and PReLU's alphas are all zero, so that
units are exactly at a kink."""


MAX_TENSORS = 60
"""Of how many weight tensors coordinates are compared; a user's own model may have hundreds."""

FINE_STEP, COARSENESS = 1e-9, 0.05
"""In double precision a difference over so small a step is the slope within this, relatively; in single it is not."""


class NotComparableError(Exception):
    """Why a user's own model has no gradient in double precision."""


@dataclass(frozen=True)
class GradientAgreement:
    """How far two gradients agree: the largest relative error, where it is, and how many coordinates were compared.

    `kinks` are the coordinates passed over, because the loss has a kink within a step of them; `unseen` the weight
    tensors of which none was left.
    """

    error: float
    where: str
    compared: int
    kinks: int
    unseen: tuple[str, ...]


def check(
    model: ModelRequest, hyperparameters: Mapping[str, Any], input_shape: tuple[int, int, int], classes: int, seed: int
) -> GradientAgreement:
    """Compare the gradient of the loss of a model of `hyperparameters` with differences of that loss.

    A gradient is right or wrong whatever the width, so it had better be a small one.

    The images are noise: in a real one equal pixels make ties in the pooling, and each tie is a kink.

    Args:
        model: which.
        hyperparameters: every row of the table.
        input_shape: (height, width, channels) of an image.
        classes: width of the softmax.
        seed: of the images, the labels, the weights and the coordinates.

    Raises:
        NotComparableError: a layer of the user's own does not compute in double precision.
    """
    generator = np.random.default_rng(seed)
    images = generator.integers(0, 256, (IMAGES, *input_shape), dtype=np.uint8)
    labels = generator.integers(0, classes, IMAGES)
    values = {**hyperparameters, **fill_optimizer_defaults("sgd", 1.0)}
    with _double_precision():
        channels = input_shape[-1]
        statistics = PixelStatistics((127.5,) * channels, (73.6,) * channels)
        if model.build is None:
            network = model_building.build(model, values, input_shape, classes, seed, statistics)
        else:
            network = _build_own(model, values, images, classes, seed, statistics)
        steps = compile_steps(network, make_optimizer(values, network=network))
        for variable in network.trainable_variables:
            variable.assign(_array(variable) + generator.normal(0, NOISE, variable.shape))
        weights = Weights(network.trainable_variables)
        state = _RandomState(network)
        gradient = _gradient(network, steps, images, labels)
        loss = _make_loss(network, images, labels, state)
        agreement = compare(loss, weights, gradient, generator)
        if agreement.error > TOLERANCE and model.build is not None and _is_coarse(loss, weights, gradient):
            raise NotComparableError("a layer computes in less than double precision")
        return agreement


def _build_own(
    model: ModelRequest, values: Mapping[str, Any], images: Images, classes: int, seed: int, statistics: PixelStatistics
) -> keras.Model:
    """Return the network around the user's own model, in double precision.

    Raises:
        NotComparableError: a layer of it has another.
    """
    try:
        network = building.build(model, values, images, classes, seed, statistics, "float64").network
    except Exception as error:  # it builds in single precision: another check has seen to that
        raise NotComparableError(f"the model does not build in double precision ({describe_error(error)})") from error
    for layer in network._flatten_layers():  # also those in a layer of the user's own, which nothing public lists
        if layer.compute_dtype != "float64":
            raise NotComparableError(f"the layer {layer.name} computes in {layer.compute_dtype}, not double precision")
    return network


class _RandomState:
    """The variables that no training changes, random numbers' among them, which each look at the loss starts from."""

    def __init__(self, network: keras.Model) -> None:
        self._variables = [*network.non_trainable_variables, get_unseeded_generator().state]
        self._values = [np.array(keras.ops.convert_to_numpy(variable)) for variable in self._variables]

    def restore(self) -> None:
        """Put all of them back."""
        for variable, value in zip(self._variables, self._values, strict=True):
            variable.assign(value)


def _is_coarse(loss: Callable[[], float], weights: "Weights", gradient: Sequence[Array]) -> bool:
    """Return whether the loss does not follow a step that double precision would, where it is steepest."""
    tensor = max(range(len(gradient)), key=lambda number: float(np.abs(gradient[number]).max(initial=0.0)))
    coordinate, center = int(np.abs(gradient[tensor]).argmax()), loss()
    slopes = []
    for step in (STEP_SIZES[0], FINE_STEP):
        weights.move(tensor, coordinate, step)
        slopes.append((loss() - center) / step)
    weights.move(tensor, coordinate, 0.0)
    return not abs(slopes[0] - slopes[1]) <= COARSENESS * max(abs(slopes[0]), SMALLEST_GRADIENT)


def _gradient(network: keras.Model, steps: Steps, images: Images, labels: Labels) -> list[Array]:
    """Return the gradient of the loss by the trainable weights, which stay as they were.

    A step of plain SGD at rate 1 subtracts it: this is the gradient that the training step itself uses.
    """
    before = [_array(variable) for variable in network.trainable_variables]
    run_epoch(steps, images, labels, np.arange(len(labels)), len(labels), lambda *_: True)
    after = [_array(variable) for variable in network.trainable_variables]
    for variable, start in zip(network.trainable_variables, before, strict=True):
        variable.assign(start)
    return [start - end for start, end in zip(before, after, strict=True)]


@contextmanager
def _double_precision() -> Iterator[None]:
    """Let models made inside the context compute in float64."""
    floatx, policy = keras.config.floatx(), keras.config.dtype_policy()
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    try:
        with backends.current.allow_double_precision():
            yield
    finally:
        keras.config.set_dtype_policy(policy)
        keras.config.set_floatx(floatx)


class Weights:
    """The trainable weights, a coordinate at a time."""

    def __init__(self, variables: Sequence[Any]) -> None:
        self._variables = variables
        self.names = [variable.path for variable in variables]
        self.values = [_array(variable) for variable in variables]

    def move(self, tensor: int, coordinate: int, by: float) -> None:
        """Move one coordinate by `by` from its original value, and put all others back to theirs."""
        moved = self.values[tensor].copy()
        moved.flat[coordinate] += by
        self._variables[tensor].assign(moved)


def compare(
    loss: Callable[[], float], weights: Weights, gradient: Sequence[Array], generator: np.random.Generator
) -> GradientAgreement:
    """Compare sampled coordinates of `gradient` with central differences of `loss`.

    A coordinate with a kink within a step is passed over for another one of the same tensor. There the slopes to
    either side differ; where they agree within half the tolerance, the true gradient lies between them and no kink
    can look like a fault. `gradient` itself does not enter that decision.
    """
    center, worst, where, compared, kinks, unseen = loss(), 0.0, "", 0, 0, []
    share = max(1, round(COORDINATES / len(gradient)))
    chosen = list(range(len(gradient)))
    if len(gradient) > MAX_TENSORS:
        chosen = sorted(map(int, generator.permutation(len(gradient))[:MAX_TENSORS]))
    for tensor in chosen:
        analytic, count = gradient[tensor], 0
        for coordinate in map(int, generator.permutation(analytic.size)[:MAX_DRAWN]):
            numeric = _difference(loss, center, weights, tensor, coordinate)
            if numeric is None:
                kinks += 1
                continue
            exact = float(analytic.flat[coordinate])
            error = abs(numeric - exact) / max(abs(exact), abs(numeric), SMALLEST_GRADIENT)
            error = error if math.isfinite(error) else math.inf
            if error >= worst:
                worst, where = error, f"{weights.names[tensor]}[{coordinate}]"
            count += 1
            if count == share:
                break
        compared += count
        if not count:
            unseen.append(weights.names[tensor])
    return GradientAgreement(worst, where, compared, kinks, tuple(unseen))


def _difference(
    loss: Callable[[], float], center: float, weights: Weights, tensor: int, coordinate: int
) -> float | None:
    """Return the central difference of `loss`, whose unmoved value is `center`; None where each step crosses a kink."""
    for step in STEP_SIZES:
        weights.move(tensor, coordinate, step)
        above = (loss() - center) / step
        weights.move(tensor, coordinate, -step)
        below = (center - loss()) / step
        weights.move(tensor, coordinate, 0.0)
        middle = (above + below) / 2
        if not abs(above - below) > TOLERANCE / 2 * max(abs(middle), SMALLEST_GRADIENT):  # NaN passes
            return middle
    return None


def _make_loss(network: keras.Model, images: Images, labels: Labels, state: _RandomState) -> Callable[[], float]:
    entropy, call = keras.losses.SparseCategoricalCrossentropy(), backends.current.compile_call(network)

    def loss() -> float:
        state.restore()
        # As in training, where batch norm takes the mean and variance of the batch, and the gradient goes through them.
        return float(entropy(labels, call(images)))

    return loss


def _array(variable: Any) -> Array:
    return np.array(keras.ops.convert_to_numpy(variable), dtype=np.float64)
