"""An application of Keras, built anew for each trial from a blueprint that is made once.

A blueprint is the application's configuration and its weights in host memory. So a trial's network has seeds, precision
and batch norm of its own, and a search reads the weights once.
"""

import copy
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from hpsearch.spec.models import NO_WEIGHTS
from hpsearch.training import model_layers
from hpsearch.training.backends import Layers
from hpsearch.training.pretrained import weights as weight_files
from hpsearch.training.pretrained.weights import WeightsFile

PIXEL_LAYERS = ("Rescaling", "Normalization")
"""Layers that compute with pixels, in Keras's default precision as all preprocessing."""

DROPOUT_RATES = {"rate", "drop_path_rate"}
"""What layers call the share that they drop in training."""

BATCH_NORM = "hpsearch>BatchNormalization"


@dataclass(frozen=True, eq=False)
class Blueprint:
    """An application without its top; `weights` by layer, None where they are drawn anew."""

    config: Mapping[str, Any]
    weights: Mapping[str, list[npt.NDArray[Any]]] | None


def preprocess(name: str, image: Any) -> Any:
    """Return images of 0..255, grey or RGB, as the application takes them; its own function says how."""
    rgb = keras.layers.Concatenate()([image] * 3) if image.shape[-1] == 1 else image
    return sys.modules[getattr(keras.applications, name).__module__].preprocess_input(rgb)


def build(
    name: str, weights: str, shape: tuple[int, int, int], trained: float, seeds: Iterator[int], layers: Layers
) -> keras.Model:
    """Return the application without its top, in the backend's layers.

    Args:
        name: in `keras.applications`.
        weights: as in `[model]`.
        shape: of an RGB image.
        trained: the share of its layers with weights that are trained, from the last one.
        seeds: of what is drawn: kernels, dropout.
        layers: its precision and batch norm.

    Raises:
        NotFoundError: the weights are not on this host, or are not its.
    """
    blueprint = _draw_blueprint(name, weights, weight_files.find_file(weights), shape)
    default = keras.config.dtype_policy().name
    norm = type(layers.batch_norm(momentum=model_layers.BATCH_NORM_MOMENTUM))
    config = copy.deepcopy(dict(blueprint.config))
    for layer in config["layers"]:
        if layer["class_name"] != "InputLayer" and "dtype" in layer["config"]:  # an operation has none
            pixels = layer["class_name"] in PIXEL_LAYERS
            layer["config"]["dtype"] = default if pixels else layers.precision or default
        if layer["class_name"] == "BatchNormalization":
            layer["config"]["momentum"] = model_layers.BATCH_NORM_MOMENTUM
            if norm is not keras.layers.BatchNormalization:
                layer["registered_name"] = BATCH_NORM
        if not trained:  # what is frozen only infers
            layer["config"].update(dict.fromkeys(DROPOUT_RATES & layer["config"].keys(), 0.0))
        _fill_seeds(layer["config"], seeds)
    network = keras.Model.from_config(config, custom_objects={BATCH_NORM: norm})
    _seed_generators(network, seeds)
    if blueprint.weights is not None:
        for layer_name, arrays in blueprint.weights.items():
            network.get_layer(layer_name).set_weights(arrays)
    _freeze(network, trained, norms=blueprint.weights is not None)
    return network


def _freeze(network: keras.Model, trained: float, norms: bool) -> None:
    """Freeze the layers before those that are trained, and with `norms` each batch norm."""
    # A call with training=False would not do for the batch norms: a functional model around it overrides that.
    weighted = [layer for layer in network.layers if layer.weights]
    for number, layer in enumerate(weighted, 1):
        frozen = number <= len(weighted) - round(trained * len(weighted))
        if frozen or (norms and isinstance(layer, keras.layers.BatchNormalization)):
            layer.trainable = False


@lru_cache(maxsize=1)  # a search may have several applications, and the weights of one are up to 1.3 GB
def _draw_blueprint(name: str, weights: str, file: WeightsFile | None, shape: tuple[int, int, int]) -> Blueprint:
    with _plain_policy(), keras.device("cpu:0"):  # the device has room for one network
        network, source = weight_files.construct(name, weights, file, shape)
        arrays = None
        if weights != NO_WEIGHTS:
            arrays = {layer.name: layer.get_weights() for layer in source.layers if layer.weights}
        return Blueprint({**network.get_config(), "name": name}, arrays)


@contextmanager
def _plain_policy() -> Iterator[None]:
    """Make layers in float32: the gradient check has another default."""
    floatx, policy = keras.config.floatx(), keras.config.dtype_policy()
    keras.config.set_floatx("float32")
    keras.config.set_dtype_policy("float32")
    try:
        yield
    finally:
        keras.config.set_floatx(floatx)
        keras.config.set_dtype_policy(policy)


def _fill_seeds(config: Any, seeds: Iterator[int]) -> None:
    """Give every initializer in a layer's configuration a seed."""
    if isinstance(config, list):
        for inner in config:
            _fill_seeds(inner, seeds)
    elif isinstance(config, dict):
        for key, value in config.items():
            if key == "seed" and value is None:
                config[key] = next(seeds)
            else:
                _fill_seeds(value, seeds)


def _seed_generators(network: keras.Model, seeds: Iterator[int]) -> None:
    """Seed what is drawn in training: not every layer has a seed in its configuration."""
    weights = {id(weight) for weight in network.weights}
    for state in network.variables:
        if id(state) not in weights:
            state.assign(np.array([next(seeds), 0], state.dtype))
