"""The network: its weights, its choices, and that the same seed makes the same one."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import pytest

from hpsearch.errors import UsageError
from hpsearch.spec.hyperparameters import BASE_TABLE
from hpsearch.training import model_building
from hpsearch.training.loading import PixelStatistics
from hpsearch.training.models.cnn import MODEL
from hpsearch.training.requests import BASE_MODEL

pytestmark = pytest.mark.tensorflow

STATISTICS = PixelStatistics((100.0, 120.0, 140.0), (50.0, 60.0, 70.0))
PIXELS = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), dtype=np.uint8)


def make_model(seed: int = 0, shape: tuple[int, int, int] = (32, 32, 3), **values: Any) -> keras.Model:
    statistics = PixelStatistics(STATISTICS.mean[: shape[2]], STATISTICS.deviation[: shape[2]])
    return model_building.build(BASE_MODEL, BASE_TABLE.fill_defaults(values), shape, 10, seed, statistics)


def make_tiny_model(seed: int = 0, **values: Any) -> keras.Model:
    return make_model(seed, **{"filters": 2, "dense_units": 3, **values})


def weights(model: keras.Model, kind: str) -> list[int]:
    return [layer.count_params() for layer in model.layers if type(layer).__name__ == kind]


def test_base_model_has_1250858_weights() -> None:
    """An empty space trains the course project's network, layer by layer."""
    model = make_model()
    assert weights(model, "Conv2D") == [896, 9_248, 18_496, 36_928]
    assert weights(model, "Dense") == [1_180_160, 5_130]
    assert model.count_params() == 1_250_858
    assert [layer.rate for layer in model.layers if isinstance(layer, keras.layers.Dropout)] == [0.25] * 3
    assert model.output_shape == (None, 10)


@pytest.mark.parametrize(
    ("blocks", "filters"), [(1, [32, 32]), (3, [32, 32, 64, 64, 128, 128]), (4, [4, 4, 8, 8, 16, 16, 32, 32])]
)
def test_each_further_block_doubles_the_filters(blocks: int, filters: list[int]) -> None:
    """One block to four, which fit 32×32 pixels."""
    model = make_model(blocks=blocks, filters=filters[0], dense_units=8)
    assert [layer.filters for layer in model.layers if isinstance(layer, keras.layers.Conv2D)] == filters


@pytest.mark.parametrize("shape", [(28, 28, 1), (48, 64, 3), (10, 10, 4)])
def test_images_of_any_size_and_channels_fit(shape: tuple[int, int, int]) -> None:
    """Grey ones, others than squares, small ones, and more channels than three."""
    model = make_model(shape=shape, filters=2, dense_units=4, preprocessing="scale")
    assert model.input_shape == (None, *shape)
    assert model(np.zeros((2, *shape), np.uint8)).shape == (2, 10)


@pytest.mark.parametrize("blocks", [1, 2, 3, 4])
@pytest.mark.parametrize("size", [1, 2, 3, 5, 10])
def test_what_shrinks_the_image_to_nothing_is_refused(blocks: int, size: int) -> None:
    """The smallest image that is taken is one that Keras takes; for a pixel less the error says why not."""
    values: dict[str, Any] = {"blocks": blocks, "filter_size": size, "filters": 1, "dense_units": 1}
    known = BASE_TABLE.fill_defaults(values)
    side = next(side for side in range(1, 100) if MODEL.find_fault(known, (side, 100, 3)) is None)
    make_model(shape=(side, 100, 3), **values)
    message = (
        f"images of {side - 1}×100 are too small for blocks = {blocks} with filter_size = {size}: take fewer blocks, "
        "smaller filters or larger images"
    )
    with pytest.raises(UsageError, match=f"^{message}$"):
        make_model(shape=(side - 1, 100, 3), **values)


def test_prelu_has_an_alpha_a_unit() -> None:
    """PReLU adds a weight for every unit it follows, not one for each filter."""
    model = make_model(activation="prelu")
    assert weights(model, "PReLU") == [32 * 32 * 32, 30 * 30 * 32, 15 * 15 * 64, 13 * 13 * 64, 512]
    assert model.count_params() == 1_338_154


def test_maxout_is_the_maximum_of_two_layers() -> None:
    """Maxout doubles all layers but the head, and the two start from different kernels."""
    model = make_model(activation="maxout")
    assert weights(model, "Conv2D") == [896, 896, 9_248, 9_248, 18_496, 18_496, 36_928, 36_928]
    one, other = (
        layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D) and layer.count_params() == 896
    )
    assert not np.array_equal(one.get_weights()[0], other.get_weights()[0])


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("activation", BASE_TABLE["activation"].choices)
def test_every_activation_builds(activation: str, batch_norm: bool) -> None:
    """Each activation gives probabilities, with batch norm before it where that is on."""
    model = make_tiny_model(activation=activation, batch_norm=batch_norm)
    assert np.allclose(keras.ops.convert_to_numpy(model(PIXELS)).sum(axis=1), 1, atol=1e-5)
    kinds = [type(layer).__name__ for layer in model.layers]
    assert kinds.count("BatchNormalization") == batch_norm * (10 if activation == "maxout" else 5)
    if batch_norm and activation != "maxout":
        at = kinds.index("BatchNormalization")
        assert kinds[at - 1] == "Conv2D"
        assert kinds[at + 1] in ("Activation", "LeakyReLU", "PReLU")


@pytest.mark.parametrize(("size", "flat"), [(1, 8 * 8 * 4), (10, 1 * 1 * 4)])
def test_extreme_filters_fit(size: int, flat: int) -> None:
    """Filters of 1 and of 10 pixels both leave something to flatten."""
    model = make_tiny_model(filter_size=size)
    assert next(layer for layer in model.layers if isinstance(layer, keras.layers.Flatten)).output.shape == (None, flat)


@pytest.mark.parametrize("initializer", BASE_TABLE["initializer"].choices)
def test_seed_makes_the_weights(initializer: str) -> None:
    """The same seed gives the same kernels, another seed and another layer others."""
    same, again, other = (
        make_tiny_model(1, initializer=initializer),
        make_tiny_model(1, initializer=initializer),
        make_tiny_model(2, initializer=initializer),
    )
    for ours, theirs in zip(same.get_weights(), again.get_weights(), strict=True):
        assert np.array_equal(ours, theirs)
    assert not np.array_equal(same.get_weights()[0], other.get_weights()[0])


def test_seed_makes_dropout_and_augmentation() -> None:
    """What is random while training follows from the seed, too."""
    options: dict[str, Any] = {"dropout": 0.5, "augment": True}
    first, again, other = (
        keras.ops.convert_to_numpy(make_tiny_model(seed, **options)(PIXELS, training=True)) for seed in (1, 1, 2)
    )
    assert np.array_equal(first, again)
    assert not np.allclose(first, other)


def test_augmentation_rests_outside_training() -> None:
    """Validation and prediction see the images as they are."""
    model = make_tiny_model(augment=True, dropout=0.0)
    rest = [keras.ops.convert_to_numpy(model(PIXELS, training=False)) for _ in range(2)]
    assert np.array_equal(*rest)
    assert not np.allclose(rest[0], keras.ops.convert_to_numpy(model(PIXELS, training=True)))


@pytest.mark.parametrize("preprocessing", ["scale", "standardize"])
def test_preprocessing_is_in_the_model(preprocessing: str) -> None:
    """Raw pixels go in, of whatever number type; scaling has no weights and is what the table says."""
    model = make_tiny_model(preprocessing=preprocessing)
    scaling = next(layer for layer in model.layers if isinstance(layer, keras.layers.Rescaling))
    assert scaling.count_params() == 0
    scaled = keras.ops.convert_to_numpy(scaling(PIXELS))
    expected = PIXELS / 255 if preprocessing == "scale" else (PIXELS - STATISTICS.mean) / np.array(STATISTICS.deviation)
    assert np.allclose(scaled, expected, atol=1e-5)
    assert np.allclose(model.predict(PIXELS, verbose=0), model.predict(PIXELS.astype("float32"), verbose=0), atol=1e-6)


@pytest.mark.parametrize("values", [{"l1": 0.1}, {"l2": 0.1}, {"l1": 0.1, "l2": 0.2, "activation": "maxout"}])
def test_penalty_is_on_all_kernels_but_the_heads(values: Mapping[str, Any]) -> None:
    """l1 and l2 weigh on convolution and dense kernels, not on biases, batch norm or the head."""
    model = make_tiny_model(batch_norm=True, **values)
    kernels = [
        layer.get_weights()[0]
        for layer in model.layers
        if isinstance(layer, keras.layers.Conv2D | keras.layers.Dense) and layer.name != "head"
    ]
    expected = sum(
        values.get("l1", 0) * np.abs(kernel).sum() + values.get("l2", 0) * (kernel**2).sum() for kernel in kernels
    )
    assert float(sum(model.losses)) == pytest.approx(expected, rel=1e-4)


def test_layers_are_stock() -> None:
    """Nothing but Keras's own layers, so that a saved model needs no code of ours."""
    model = make_tiny_model(activation="prelu", batch_norm=True, augment=True, l1=0.1)
    assert {type(layer).__module__.split(".")[0] for layer in model.layers} == {"keras"}
