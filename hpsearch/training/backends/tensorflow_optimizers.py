"""The updates of Keras's optimizers in one pass over the weights, by a kernel of TensorFlow's.

Keras writes each as up to a dozen passes. A kernel implements a few settings of its optimizer; where another one is set
(clipping, averages, AMSGrad, ...), or a weight has a constraint, Keras's own update is taken.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

Update = Callable[[Sequence[tf.Tensor]], None]
"""Changes the weights by their gradients, and the optimizer's variables with them."""


@dataclass(frozen=True)
class FusedRule:
    """An optimizer's update by one kernel a weight."""

    apply: Callable[[Any, tf.Tensor, keras.Variable, int], None]
    """Update one weight: of optimizer, gradient, weight and the weight's position."""
    settings: frozenset[str]
    """The names in the optimizer's configuration that `apply` heeds, whatever their values."""


def choose_update(optimizer: keras.optimizers.Optimizer, weights: Sequence[keras.Variable]) -> Update:
    """Return the fastest update that heeds all that is set in `optimizer`, which has been built for `weights`."""
    rule = FUSED.get(type(optimizer))
    if rule is None or list_ignored(optimizer, rule) or any(not _is_plain(weight) for weight in weights):
        return lambda gradients: optimizer.apply(gradients, weights)

    def update(gradients: Sequence[tf.Tensor]) -> None:
        optimizer._apply_weight_decay(weights)
        for position, (gradient, weight) in enumerate(zip(gradients, weights, strict=True)):
            rule.apply(optimizer, gradient, weight, position)
        optimizer.iterations.assign_add(1)

    return update


def list_ignored(optimizer: keras.optimizers.Optimizer, rule: FusedRule) -> list[str]:
    """Return the names of the optimizer's settings that are not Keras's defaults and that `rule` does not heed."""
    defaults = type(optimizer)().get_config()
    return [
        name
        for name, value in optimizer.get_config().items()
        if name not in rule.settings and (name not in defaults or value != defaults[name])
    ]


def _is_plain(weight: keras.Variable) -> bool:
    return weight.dtype == "float32" and weight.constraint is None


def _read_rate(optimizer: Any) -> tf.Tensor:
    """Return the rate of this step: a variable's, or that of a schedule."""
    return tf.cast(keras.ops.convert_to_tensor(optimizer.learning_rate), tf.float32)


def _sgd(optimizer: Any, gradient: tf.Tensor, weight: keras.Variable, position: int) -> None:
    rate = _read_rate(optimizer)
    if not optimizer.momentum:
        tf.raw_ops.ResourceApplyGradientDescent(var=weight.value.handle, alpha=rate, delta=gradient)
        return
    tf.raw_ops.ResourceApplyKerasMomentum(
        var=weight.value.handle,
        accum=optimizer.momentums[position].value.handle,
        lr=rate,
        grad=gradient,
        momentum=optimizer.momentum,
        use_nesterov=optimizer.nesterov,
    )


def _adam(optimizer: Any, gradient: tf.Tensor, weight: keras.Variable, position: int) -> None:
    step = tf.cast(optimizer.iterations.value + 1, tf.float32)
    tf.raw_ops.ResourceApplyAdam(
        var=weight.value.handle,
        m=optimizer._momentums[position].value.handle,
        v=optimizer._velocities[position].value.handle,
        beta1_power=tf.pow(optimizer.beta_1, step),
        beta2_power=tf.pow(optimizer.beta_2, step),
        lr=_read_rate(optimizer),
        beta1=optimizer.beta_1,
        beta2=optimizer.beta_2,
        epsilon=optimizer.epsilon,
        grad=gradient,
    )


def _adagrad(optimizer: Any, gradient: tf.Tensor, weight: keras.Variable, position: int) -> None:
    tf.raw_ops.ResourceApplyAdagradV2(
        var=weight.value.handle,
        accum=optimizer._accumulators[position].value.handle,
        lr=_read_rate(optimizer),
        epsilon=optimizer.epsilon,
        grad=gradient,
    )


_COMMON = frozenset({"name", "learning_rate", "weight_decay"})
_ADAM = FusedRule(_adam, _COMMON | {"beta_1", "beta_2", "epsilon"})

FUSED: Mapping[type, FusedRule] = {
    keras.optimizers.SGD: FusedRule(_sgd, _COMMON | {"momentum", "nesterov"}),
    keras.optimizers.Adam: _ADAM,
    keras.optimizers.AdamW: _ADAM,
    keras.optimizers.Adagrad: FusedRule(_adagrad, _COMMON | {"initial_accumulator_value"}),
}
