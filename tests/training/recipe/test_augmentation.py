"""Augmentation: what each row does to images, in training alone, and that its random numbers are seeded."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import pytest

from hpsearch.errors import UsageError
from hpsearch.spec.hyperparameters import BASE_TABLE
from hpsearch.spec.rows import Value
from hpsearch.training.model_layers import draw_seeds
from hpsearch.training.recipe import augmentation
from hpsearch.training.recipe.objective import Objective

pytestmark = pytest.mark.tensorflow

GENERATOR = np.random.default_rng(0)
LABELS = GENERATOR.integers(0, 10, 16)
COLOR = GENERATOR.integers(0, 256, (16, 20, 24, 3), dtype=np.uint8)
GREY = COLOR[..., :1]

ROWS: list[Mapping[str, Value]] = [
    {"flip": "horizontal"},
    {"flip": "vertical"},
    {"flip": "both"},
    {"shift": 0.3},
    {"rotation": 0.1},
    {"zoom": 0.3},
    {"color": 1.0},
    {"randaugment": 0.5},
    {"erasing": 1.0},
]


def make_model(values: Mapping[str, Value], images: np.ndarray[Any, Any] = COLOR, seed: int = 1) -> keras.Model:
    """The augmentation alone."""
    image = keras.Input(images.shape[1:])
    layers = augmentation.augment(image, BASE_TABLE.fill_defaults(values), draw_seeds(seed))
    return keras.Model(image, layers if values else keras.layers.Identity()(image))


def run(model: keras.Model, images: np.ndarray[Any, Any] = COLOR) -> Any:
    return keras.ops.convert_to_numpy(model(images, training=True))


@pytest.mark.parametrize("values", ROWS, ids=str)
def test_row_changes_images_in_training_alone(values: Mapping[str, Value]) -> None:
    """Pixels stay in 0..255, and most images change; outside training none does, to the bit."""
    model = make_model(values)
    changed = run(model)
    assert changed.shape == COLOR.shape
    assert changed.min() >= -1e-3
    assert changed.max() <= 255 + 1e-3
    assert (np.abs(changed - COLOR).max(axis=(1, 2, 3)) > 1).mean() >= 0.25
    assert np.array_equal(keras.ops.convert_to_numpy(model(COLOR, training=False)), COLOR)
    assert all(type(layer).__module__.startswith("keras.") for layer in model.layers)


@pytest.mark.parametrize("values", ROWS, ids=str)
def test_random_numbers_are_seeded(values: Mapping[str, Value]) -> None:
    """The same seed makes the same changes, another seed others, and so does the next step."""
    first, again, other = (make_model(values, seed=seed) for seed in (1, 1, 2))
    changed = run(first)
    assert np.array_equal(changed, run(again))
    assert not np.array_equal(changed, run(other))
    assert not np.array_equal(changed, run(first))


@pytest.mark.parametrize("values", [row for row in ROWS if "randaugment" not in row], ids=str)
def test_images_of_one_channel_are_augmented(values: Mapping[str, Value]) -> None:
    """Grey images have no saturation to change."""
    assert run(make_model(values, GREY), GREY).shape == GREY.shape


def test_randaugment_of_grey_images_is_refused() -> None:
    """It needs colors, and says so."""
    with pytest.raises(UsageError, match="randaugment needs images of 3 channels, these have 1: leave it at 0"):
        make_model({"randaugment": 0.5}, GREY)


def test_augment_is_short_for_flips_and_shifts() -> None:
    """It draws the numbers that it always drew; where a row is chosen, that is what counts."""
    image, seeds = keras.Input(COLOR.shape[1:]), draw_seeds(1)
    flipped = keras.layers.RandomFlip("horizontal", seed=next(seeds))(image)
    before = keras.Model(image, keras.layers.RandomTranslation(0.1, 0.1, seed=next(seeds))(flipped))
    short = run(make_model({"augment": True}))
    assert np.array_equal(short, run(before))
    assert np.array_equal(short, run(make_model({"flip": "horizontal", "shift": 0.1})))
    unflipped = run(make_model({"augment": True, "flip": "none"}))
    assert np.array_equal(unflipped, run(make_model({"shift": 0.1})))


def make_objective(values: Mapping[str, Value]) -> Objective:
    return Objective.read(BASE_TABLE.fill_defaults(values), LABELS, 10)


@pytest.mark.parametrize("values", [{"mixup": 1.0}, {"cutmix": 1.0}, {"mixup": 0.4, "cutmix": 0.5}], ids=str)
def test_mixing_follows_from_seed_and_epoch(values: Mapping[str, Value]) -> None:
    """The images of an epoch are mixed alike wherever it begins; the shares of a label add up to one."""
    one, other = make_objective(values), make_objective(values)
    one.start_epoch(3, 1)
    first, shares = map(keras.ops.convert_to_numpy, one.mix(COLOR, LABELS))
    assert not np.allclose(first, COLOR)
    assert np.allclose(shares.sum(axis=1), 1, atol=1e-5)
    for objective in (one, other):
        objective.start_epoch(3, 2)
    assert np.array_equal(*(keras.ops.convert_to_numpy(each.mix(COLOR, LABELS)[0]) for each in (one, other)))
    other.start_epoch(4, 1)
    assert not np.array_equal(first, keras.ops.convert_to_numpy(other.mix(COLOR, LABELS)[0]))


def test_without_mixing_images_and_labels_are_as_they_are() -> None:
    """Nothing is copied or encoded where no row asks for it."""
    images, labels = make_objective({}).mix(COLOR, LABELS)
    assert images is COLOR
    assert labels is LABELS
