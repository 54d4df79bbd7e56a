"""Whether a model ends in probabilities or in logits."""

from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from hpsearch.errors import UserCodeError

TOLERANCE = 0.01
"""How far from 1 the probabilities of an image may sum: bfloat16 has 8 bits."""

ADVICE = 'end in keras.layers.Dense(classes, activation="softmax"), or without the activation'


def check_output(output: Any, classes: int) -> None:
    """Raise where the symbolic output of a model is not (batch, classes).

    Raises:
        UserCodeError: it is not.
    """
    if not keras.utils.is_keras_tensor(output):
        raise UserCodeError(f"the model has several outputs, or none: {ADVICE}")
    if tuple(output.shape[1:]) != (classes,):
        shape = " × ".join(str(size) for size in output.shape[1:]) or "nothing"
        raise UserCodeError(
            f"the model gives {shape} for an image, not a number for each of {classes} classes: {ADVICE}"
        )


def gives_logits(model: keras.Model, outputs: npt.NDArray[np.floating] | None) -> bool:
    """Return whether a model gives logits, not probabilities: by its last activation, else by what it gave for images.

    Args:
        model: built.
        outputs: (images, classes) of the untrained model; None where its last activation is all there is to see.

    Raises:
        UserCodeError: it ends in sigmoids, which are neither.
    """
    activation = find_activation(model)
    if activation == "sigmoid":
        raise UserCodeError(f"the model ends in sigmoids, whose values do not sum to 1: {ADVICE}")
    if activation is not None or outputs is None:
        return activation != "softmax"
    rows = outputs.astype(np.float64)
    return bool((rows < 0).any() or (np.abs(rows.sum(axis=1) - 1) > TOLERANCE).any())


def find_activation(model: keras.Model) -> str | None:
    """Return the name of the function that a model ends in; None where its layers do not show it."""
    layer: Any = model
    while isinstance(layer, keras.Model):
        if isinstance(layer, keras.Sequential):
            layer = layer.layers[-1] if layer.layers else None
        else:
            names = getattr(layer, "output_names", None) or []
            inside = {inner.name: inner for inner in layer.layers}
            layer = inside.get(names[0]) if len(names) == 1 else None
    if isinstance(layer, keras.layers.Softmax):
        return "softmax"
    if isinstance(layer, keras.layers.Dense | keras.layers.Activation):
        return getattr(layer.activation, "__name__", None)
    return None
