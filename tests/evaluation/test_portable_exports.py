"""Exported models in older versions of Keras: they load, and predict the same.

`make test-exports` makes the environments; each has Keras alone, beside the packages that are installed here.
"""

import inspect
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from hpsearch.spec.hyperparameters import make_model_table
from hpsearch.training import model_building
from hpsearch.training.files.portable_model import (
    ADDED_ARGUMENTS,
    ADDED_AUGMENTATIONS,
    ADDED_LAYERS,
    NEWEST,
    TRIED_VERSIONS,
    Portability,
    make_portable,
)
from hpsearch.training.loading import PixelStatistics
from hpsearch.training.requests import ModelRequest
from tests.conftest import skip_or_fail
from tests.support import keras_versions

pytestmark = pytest.mark.tensorflow

Saved = tuple[Path, dict[str, Portability]]
"""The directory of models, and what was done to each."""

ENVIRONMENTS = Path(__file__).parents[2] / "build" / "keras"
OLDER = TRIED_VERSIONS[:-1]
AUGMENTATION = {
    "flip": "both", "shift": 0.1, "rotation": 0.1, "zoom": 0.1, "color": 0.2, "randaugment": 0.3, "erasing": 0.2
}  # fmt: skip
INITIALIZERS = ("glorot_uniform", "glorot_normal", "he_uniform", "he_normal", "lecun_uniform", "lecun_normal")
ACTIVATIONS = ("sigmoid", "tanh", "relu", "leaky_relu", "prelu", "elu", "maxout")
PREPROCESSING = ("scale", "standardize", "none")
NOT_IN_MODELS = {"CutMix", "MixUp", "MaxNumBoundingBoxes"}
"""Layers that a model from images to probabilities cannot have: they take labels or boxes."""


def build(model: str, **values: Any) -> keras.Model:
    request = ModelRequest(model, weights="none" if model == "application" else None)
    known = make_model_table(model).fill_defaults(values)
    return model_building.build(request, known, (32, 32, 3), 10, 0, PixelStatistics((120.0,) * 3, (60.0,) * 3))


def build_own() -> keras.Model:
    """A model as a user may write it: a Sequential in it, integers in, and augmentation of its own."""
    layers = keras.layers
    inner = keras.Sequential([layers.RandomInvert(0.5, (0, 255)), layers.Resizing(8, 8), layers.Flatten()])
    image = keras.Input((32, 32, 3), dtype="uint8")
    x = layers.RandomContrast(0.1, value_range=(0, 1))(layers.RandomGrayscale(0.5)(image))
    x = keras.ops.stack([x[..., 2], x[..., 1], x[..., 0]], axis=-1)  # as applications do that take BGR
    x = layers.Rescaling(1 / 255)(inner(x))
    x = layers.Reshape((4, 48))(x)
    x = layers.Flatten()(layers.MultiHeadAttention(2, 4)(x, x))
    model = keras.Model(image, layers.Dense(10, "softmax", kernel_initializer="he_normal")(x))
    model.compile("adam", "sparse_categorical_crossentropy")
    return model


def save(model: keras.Model, directory: Path, name: str) -> Portability:
    """Save it as a trial does, with other weights than it begins with, and make it portable."""
    generator = np.random.default_rng(0)
    for weight in model.weights:
        weight.assign(weight + generator.uniform(0, 0.01, weight.shape))
    images = generator.integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    probabilities = keras.ops.convert_to_numpy(model(images.astype("float32"), training=False))
    np.savez(directory / f"{name}.npz", images=images, probabilities=probabilities)
    model.save(directory / f"{name}.keras")
    return make_portable(directory / f"{name}.keras")


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Saved:
    """Models that among them have every layer that a built-in one can have, and one of a user's own."""
    directory, tiny = tmp_path_factory.mktemp("models"), {"filters": 2, "dense_units": 8, "l1": 0.01, "l2": 0.01}
    models = {
        activation: build(
            "cnn",
            **tiny,
            activation=activation,
            batch_norm=number % 2 == 0,
            initializer=INITIALIZERS[number % len(INITIALIZERS)],
            preprocessing=PREPROCESSING[number % len(PREPROCESSING)],
        )
        for number, activation in enumerate(ACTIVATIONS)
    }
    models["augmented"] = build("cnn", **tiny, **AUGMENTATION)
    models["resnet"] = build("resnet", depth=1, width=2, l2=0.01)
    models["application"] = build("application", application="MobileNetV3Small")
    models["own"] = build_own()
    return directory, {name: save(model, directory, name) for name, model in models.items()}


def test_nothing_is_lost_but_augmentation(saved: Saved) -> None:
    """The files load in this Keras too; what was left out is named."""
    directory, portability = saved
    assert keras_versions.try_models(directory) == {}
    removed = {name: set(each.removed) for name, each in portability.items() if each.removed}
    assert removed == {
        "augmented": {"RandAugment", "RandomErasing", "RandomSaturation"},
        "own": {"RandomInvert", "RandomGrayscale", "RandomContrast"},
    }
    assert not any(each.unknown for each in portability.values())


@pytest.mark.parametrize("version", OLDER)
def test_models_load_in_older_versions(
    saved: tuple[Path, dict[str, Portability]], version: str, tmp_path: Path
) -> None:
    """Without hpsearch, on NumPy; and the tables have every parameter and class that 3.6 lacks."""
    if not (ENVIRONMENTS / version / "keras").is_dir():
        skip_or_fail(f"Keras {version} is not in {ENVIRONMENTS} (make test-exports puts it there)")
    environment = {**os.environ, "PYTHONPATH": str(ENVIRONMENTS / version), "KERAS_BACKEND": "numpy"}
    subprocess.run(
        [sys.executable, keras_versions.__file__, str(saved[0]), str(tmp_path / "out.json")],
        env=environment,
        check=True,
    )
    result = json.loads((tmp_path / "out.json").read_text())
    assert result["version"] == version
    assert result["wrong"] == {}
    if version == OLDER[0]:
        check_tables(result["parameters"])


def check_tables(old: dict[str, dict[str, Any]]) -> None:
    """The tables are the difference between the oldest version and this one."""
    assert keras.__version__.rpartition(".")[0] == NEWEST, "a newer Keras: look through what it added"
    in_files = {
        each.__name__
        for part in (keras.layers, keras.initializers)
        for each in vars(part).values()
        if isinstance(each, type)
    }
    every = json.loads(json.dumps(keras_versions.list_parameters(), default=repr))
    new = {name: parameters for name, parameters in every.items() if name in in_files}
    assert new.keys() - old.keys() == ADDED_LAYERS | ADDED_AUGMENTATIONS | NOT_IN_MODELS
    added = {
        name: {key: new[name][key] for key in new[name].keys() - old[name].keys()} for name in new.keys() & old.keys()
    }
    added["InputLayer"]["ragged"] = False  # in a file its None is that
    assert {name: arguments for name, arguments in added.items() if arguments} == ADDED_ARGUMENTS


@pytest.mark.parametrize("name", sorted(ADDED_AUGMENTATIONS))
def test_augmentation_that_is_left_out_changes_nothing_in_prediction(name: str) -> None:
    """Layer by layer, on pixels."""
    kind = getattr(keras.layers, name)
    options = {"factor": 4 if name == "RandomPosterization" else 0.5, "value_range": (0, 255)}
    options = {key: value for key, value in options.items() if key in inspect.signature(kind).parameters}
    images = np.random.default_rng(0).uniform(0, 255, (2, 16, 16, 3)).astype("float32")
    assert np.array_equal(keras.ops.convert_to_numpy(kind(**options)(images, training=False)), images)


def test_what_a_user_wrote_and_what_is_needed_is_kept(tmp_path: Path) -> None:
    """Arguments of a class of the user's own, and those that are not at their defaults, which are named."""

    @keras.saving.register_keras_serializable("mine")
    class Dense(keras.layers.Dense):  # type: ignore[misc] # Keras ships no types
        pass

    layers = keras.layers
    normalized = layers.BatchNormalization(renorm=True)(Dense(4)(keras.Input((32, 32, 3))))
    model = keras.Model(normalized._keras_history.operation.input._keras_history.operation.input, normalized)
    model.save(tmp_path / "model.keras")
    before = keras.models.load_model(tmp_path / "model.keras").get_config()
    portability = make_portable(tmp_path / "model.keras")
    assert portability.unknown == {"BatchNormalization.renorm", "BatchNormalization.renorm_clipping"}
    assert "quantization_config" in before["layers"][1]["config"]
    assert keras.models.load_model(tmp_path / "model.keras").get_config() == before
