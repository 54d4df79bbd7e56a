"""The JAX backend: its training steps and what it knows of the device; see `backends.Backend`."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import jax
import keras
import numpy as np
import numpy.typing as npt

from hpsearch.training.backends import BFLOAT16, FLOAT32, UnbiasedBatchNorm, jax_cache, list_moving_averages
from hpsearch.training.recipe.objective import Objective
from hpsearch.training.recipe.optimizers import get_step_count

BFLOAT16_CAPABILITY = 8.0
"""The compute capability from which NVIDIA's tensor cores multiply bfloat16 (Ampere)."""


def limit_memory(limit: int) -> None:
    """Do nothing: JAX reads its share of the memory from `settings.make_trainer_environment`."""


def keep_compiled(directory: Path) -> None:
    jax_cache.keep_compiled(directory)


def read_peak_memory(*, reset: bool = False) -> int | None:
    """Return the peak since the start: JAX cannot reset it."""
    return (jax.local_devices()[0].memory_stats() or {}).get("peak_bytes_in_use")


def list_precisions() -> tuple[str, ...]:
    # On a CPU, XLA computes bfloat16 in float32, with conversions on top.
    device = jax.local_devices()[0]
    fast = device.platform == "gpu" and float(getattr(device, "compute_capability", 0)) >= BFLOAT16_CAPABILITY
    return (BFLOAT16 if fast else FLOAT32,)


def make_dropout(rate: float, seed: int) -> keras.layers.Layer:
    return keras.layers.Dropout(rate, seed=seed)


def make_batch_norm(momentum: float, gamma_initializer: str = "ones") -> UnbiasedBatchNorm:
    return UnbiasedBatchNorm(momentum=momentum, gamma_initializer=gamma_initializer)


def copy_to_device(array: npt.NDArray[Any]) -> jax.Array:
    return jax.device_put(array)


class JaxSteps:
    """See `backends.Steps`."""

    def __init__(self, model: keras.Model, optimizer: keras.optimizers.Optimizer, objective: Objective) -> None:
        self.model, self.objective, self._optimizer = model, objective, optimizer
        momenta = {id(average): momentum for average, momentum in list_moving_averages(model)}
        kept = [momenta.get(id(variable)) for variable in model.non_trainable_variables]
        # On a CPU, XLA's convolutions take ten times as long inside a loop (github.com/jax-ml/jax/issues/12868), and a
        # launch costs little: there each step is one.
        self._loops = jax.local_devices()[0].platform != "cpu"
        step = partial(_step, model, optimizer, objective, kept)
        self._train = jax.jit(partial(_loop, step) if self._loops else step, donate_argnums=0)
        self._predict = jax.jit(partial(_predict, model))

    def train(self, images: Any, labels: Any, order: Any, first: int, last: int) -> tuple[float, float]:
        carried = (self._state(), jax.numpy.zeros((2,), keras.config.floatx()))
        # First and last are arguments and no shapes: other numbers of steps compile nothing anew.
        launches = [(first, last)] if self._loops else [(number,) for number in range(first, last)]
        for bounds in launches:
            carried = self._train(carried, images, labels, order, *bounds)
        state, (entropy, right) = carried
        for variables, values in zip(self._variables(), state, strict=True):
            for variable, value in zip(variables, values, strict=True):
                variable.assign(value)
        return float(entropy), float(right)

    def predict(self, images: Any) -> npt.NDArray[np.float32]:
        model = self.model
        values = [
            [variable.value for variable in part] for part in (model.trainable_variables, model.non_trainable_variables)
        ]
        return np.asarray(self._predict(*values, images), np.float32)

    def _variables(self) -> tuple[Sequence[keras.Variable], ...]:
        model = self.model
        others = model.non_trainable_variables
        return model.trainable_variables, others, self._optimizer.variables, self.objective.variables

    def _state(self) -> "State":
        weights, others, optimizer, mixing = ([variable.value for variable in part] for part in self._variables())
        return weights, others, optimizer, mixing


State = tuple[list[jax.Array], list[jax.Array], list[jax.Array], list[jax.Array]]
"""The values of a model's trainable and other variables, of its optimizer's, and of its objective's."""

Carried = tuple[State, jax.Array]
"""What a step hands to the next: the state, and (2,) the sums of cross-entropy and of right answers."""

Kept = Sequence[float | None]
"""What each of a model's other variables keeps of itself in a step; None: it is no moving average of batch norm."""


def _loop(step: Callable[..., Carried], carried: Carried, *arguments: jax.Array) -> Carried:
    """Take the steps from `first` to before `last` in one loop on the device; `arguments` ends with these two."""
    *batches, first, last = arguments
    return jax.lax.fori_loop(  # type: ignore[no-any-return]
        first, last, lambda number, carried: step(carried, *batches, number), carried
    )


def _step(
    model: keras.Model,
    optimizer: keras.optimizers.Optimizer,
    objective: Objective,
    kept: Kept,
    carried: Carried,
    images: jax.Array,
    labels: jax.Array,
    order: jax.Array,
    number: int,
) -> Carried:
    (weights, others, optimized, mixing), sums = carried
    with keras.StatelessScope(zip(objective.variables, mixing, strict=True)) as scope:
        x, y = objective.mix(images[order[number]], labels[order[number]])
    mixing = [scope.get_current_value(variable) for variable in objective.variables]

    def loss_of(weights: list[jax.Array]) -> tuple[jax.Array, Any]:
        probabilities, after, penalties = model.stateless_call(weights, others, x, training=True, return_losses=True)
        loss, entropies = objective.measure(y, probabilities)
        right = probabilities.argmax(axis=1) == objective.choose_classes(y)
        return loss + sum(penalties), (after, jax.numpy.stack([entropies.sum(), right.sum()]))

    (_, (then, more)), gradients = jax.value_and_grad(loss_of, has_aux=True)(weights)
    weights, optimized = optimizer.stateless_apply(optimized, gradients, weights)
    step = optimized[_index(get_step_count(optimizer), optimizer.variables)]
    followed = [
        after if momentum is None else before + (after - before) / (1 - momentum**step)
        for momentum, before, after in zip(kept, others, then, strict=True)
    ]
    return (weights, followed, optimized, mixing), sums + more


def _index(wanted: keras.Variable, variables: Sequence[keras.Variable]) -> int:
    return next(index for index, variable in enumerate(variables) if variable is wanted)


def _predict(model: keras.Model, weights: list[jax.Array], others: list[jax.Array], images: jax.Array) -> jax.Array:
    probabilities: jax.Array = model.stateless_call(weights, others, images, training=False)[0]
    return probabilities


def make_steps(model: keras.Model, optimizer: keras.optimizers.Optimizer, objective: Objective) -> JaxSteps:
    return JaxSteps(model, optimizer, objective)


def compile_call(model: keras.Model) -> Callable[[Any], Any]:
    call = jax.jit(lambda weights, others, images: model.stateless_call(weights, others, images, training=True)[0])
    return lambda images: call(
        [variable.value for variable in model.trainable_variables],
        [variable.value for variable in model.non_trainable_variables],
        images,
    )


def free_memory() -> None:
    keras.backend.clear_session()  # and that collects the garbage
    jax_cache.sweep_if_due()


@contextmanager
def allow_double_precision() -> Iterator[None]:
    # Where two types meet, Keras on JAX says float32 even with JAX's switch on. Nothing public changes that; imported
    # here, because no training needs it.
    from keras.src.backend.common import dtypes

    wide, met = jax.config.jax_enable_x64, dtypes.BIT64_TO_BIT32_DTYPE["float64"]
    jax.config.update("jax_enable_x64", True)
    dtypes.BIT64_TO_BIT32_DTYPE["float64"] = "float64"
    try:
        yield
    finally:
        dtypes.BIT64_TO_BIT32_DTYPE["float64"] = met
        jax.config.update("jax_enable_x64", wide)
