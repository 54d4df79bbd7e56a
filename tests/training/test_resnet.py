"""The residual network: its size, and what its blocks begin as."""

from typing import Any

import keras
import numpy as np
import pytest

from hpsearch.spec.hyperparameters import make_model_table
from hpsearch.training import model_building
from hpsearch.training.loading import PixelStatistics
from hpsearch.training.requests import ModelRequest

pytestmark = pytest.mark.tensorflow

TABLE = make_model_table("resnet")


def make_model(seed: int = 0, shape: tuple[int, ...] = (32, 32, 3), **values: Any) -> keras.Model:
    statistics = PixelStatistics((0.0,) * shape[2], (1.0,) * shape[2])
    return model_building.build(ModelRequest("resnet"), TABLE.fill_defaults(values), shape, 10, seed, statistics)


def count_trainable(model: keras.Model) -> int:
    return sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)


@pytest.mark.parametrize(("depth", "layers", "weights"), [(3, 20, 0.27e6), (5, 32, 0.46e6), (9, 56, 0.85e6)])
def test_the_networks_are_those_of_he_et_al(depth: int, layers: int, weights: float) -> None:
    """ResNet-20, 32 and 56 have the layers and weights of their table 6; two projections more are not counted there."""
    model = make_model(depth=depth)
    projections = [
        layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D) and layer.kernel_size[0] == 1
    ]
    weighted = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D | keras.layers.Dense)]
    assert (len(projections), len(weighted) - len(projections)) == (2, layers)
    own = sum(layer.count_params() for layer in projections) + 2 * (32 + 64)  # with their batch norms
    assert count_trainable(model) - own == pytest.approx(weights, rel=0.01)


def test_every_block_begins_as_the_identity() -> None:
    """The last batch norm of a block starts with gamma 0, so that only the shortcut is left."""
    model = make_model(depth=1)
    add = next(layer for layer in model.layers if isinstance(layer, keras.layers.Add))
    parts = keras.Model(model.input, list(add.input))(np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3)))
    shortcut, residual = map(keras.ops.convert_to_numpy, parts)
    assert np.abs(shortcut).max() > 0
    assert np.abs(residual).max() == 0


def test_seed_makes_the_kernels() -> None:
    """The same seed gives the same kernels, another seed others."""
    first, again, other = (make_model(seed, depth=1, width=2).get_weights() for seed in (1, 1, 2))
    assert all(np.array_equal(ours, theirs) for ours, theirs in zip(first, again, strict=True))
    assert not np.array_equal(first[0], other[0])


@pytest.mark.parametrize("shape", [(8, 8, 1), (1, 1, 3), (33, 50, 3)])
def test_images_of_any_size_fit(shape: tuple[int, ...]) -> None:
    """Odd sizes and single pixels too: nothing is cut off at an edge."""
    assert make_model(shape=shape, depth=1, width=2)(np.zeros((2, *shape), np.uint8)).shape == (2, 10)


def test_penalty_is_on_convolutions_alone() -> None:
    """l2 weighs on every convolution, not on batch norm or the head."""
    model = make_model(depth=1, width=2, l2=0.1)
    kernels = [layer.get_weights()[0] for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    assert float(sum(model.losses)) == pytest.approx(0.1 * sum((kernel**2).sum() for kernel in kernels), rel=1e-4)
