"""A model that a function of the user's own builds: called, checked, and put between the image and probabilities."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from hpsearch.errors import UserCodeError
from hpsearch.training import model_building, model_layers
from hpsearch.training.images.parts import Images
from hpsearch.training.loading import PixelStatistics
from hpsearch.training.requests import ModelRequest
from hpsearch.training.user.code import describe_error, load_function
from hpsearch.training.user_models import heads
from hpsearch.training.user_models.hyperparameters import BuilderHyperparameters

HEAD_IMAGES = 8
"""For how many images a model predicts where only its outputs tell probabilities from logits."""


@dataclass(frozen=True, eq=False)
class UserModel:
    """A model of the user's own and what is around it.

    `network` goes from raw pixels 0..255 to probabilities; `front` from raw pixels to what the model itself, `own`,
    takes, None where that is the same.
    """

    network: keras.Model
    front: keras.Model | None
    own: keras.Model
    gives_logits: bool

    @property
    def is_compiled(self) -> bool:
        """Whether the builder compiled the model: its own loss, optimizer and metrics train it."""
        return bool(self.own.compiled)

    @property
    def is_fitted(self) -> bool:
        """Whether Keras's `fit` trains the model: it is compiled, or has training code of its own."""
        return self.is_compiled or has_own_training(self.own)


def build(
    model: ModelRequest,
    hyperparameters: Mapping[str, Any],
    images: Images,
    classes: int,
    seed: int,
    statistics: PixelStatistics,
    precision: str | None,
) -> UserModel:
    """Return the untrained model of the user's own.

    Args:
        model: whose builder, in which directory, and what the study file chooses of its hyperparameters.
        hyperparameters: every row of the table.
        images: a few of the study's, (n, height, width, channels) of 0..255.
        classes: how many there are.
        seed: of all that is random in the building; the same seed gives the same weights.
        statistics: of the training images, for `preprocessing = "standardize"`.
        precision: the dtype policy that the builder finds; None: the current one.

    Raises:
        UserCodeError: the builder cannot be imported, or returns no model of images into classes.
        Exception: whatever the builder raises.
    """
    assert model.build is not None
    assert model.code is not None
    builder = load_function(Path(model.code), model.build)
    seeds = model_layers.draw_seeds(seed)
    image = keras.Input(images.shape[1:], name="image")
    x = model_building.prepare_image(image, hyperparameters, statistics, seeds) if model.preprocess else image
    keras.utils.set_random_seed(next(seeds))
    with model_layers.compute_in(precision):
        own = call_builder(builder, BuilderHyperparameters(hyperparameters, model.chosen), images.shape[1:], classes)
    if own.built and len(own.inputs or [1]) != 1:
        raise UserCodeError(f"{model.build} returns a model of {len(own.inputs)} inputs: give it one, the image")
    output = own(x)
    heads.check_output(output, classes)
    front = None if x is image else keras.Model(image, x, name="front")
    logits = heads.gives_logits(own, _predict_few(own, front, images[:HEAD_IMAGES]))
    end = keras.layers.Activation("softmax" if logits else "linear", dtype=keras.config.floatx(), name="probabilities")
    built = UserModel(keras.Model(image, end(output), name="trial"), front, own, logits)
    _check_serializable(built)
    return built


def call_builder(
    builder: Callable[..., Any], hp: BuilderHyperparameters, input_shape: tuple[int, ...], classes: int
) -> keras.Model:
    """Return the model of `build(hp, input_shape, classes)`, or of KerasTuner's `build(hp)`.

    Raises:
        UserCodeError: the function takes something else, or returns no model.
        Exception: whatever the function raises.
    """
    name, signature = getattr(builder, "__name__", "build"), inspect.signature(builder)
    given = {"input_shape": input_shape, "classes": classes}
    named = {key: value for key, value in given.items() if key in signature.parameters}
    calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = [((hp,), named), ((hp, input_shape, classes), {})]
    for arguments, keywords in calls:
        try:
            signature.bind(*arguments, **keywords)
        except TypeError:
            continue
        model = builder(*arguments, **keywords)
        if not isinstance(model, keras.Model):
            what = "nothing" if model is None else f"a {type(model).__name__}"
            raise UserCodeError(f"{name} returns {what}, not a keras.Model: end it with `return model`")
        return model
    raise UserCodeError(f"{name} cannot be called as {name}(hp, input_shape, classes): take these arguments")


def has_own_training(model: keras.Model) -> bool:
    """Return whether a model has training code that only Keras's `fit` runs."""
    return has_own_step(model) or type(model).compute_loss is not keras.Model.compute_loss


def has_own_step(model: keras.Model) -> bool:
    """Return whether a model has a `train_step` of its own."""
    return type(model).train_step is not keras.Model.train_step


def _predict_few(own: keras.Model, front: keras.Model | None, images: Images) -> Any:
    if heads.find_activation(own) is not None:
        return None
    x = images.astype(np.float32)
    return keras.ops.convert_to_numpy(own(front(x) if front else x, training=False))


def _check_serializable(built: UserModel) -> None:
    """Raise where the model could not be saved at the end of its training.

    Raises:
        UserCodeError: it could not.
    """
    compiled, built.own.compiled = built.own.compiled, False  # it is saved without its loss and optimizer
    try:
        built.network.get_config()
    except Exception as error:  # a get_config of the user's own may raise anything
        raise UserCodeError(f"the model cannot be saved: {describe_error(error)}") from error
    finally:
        built.own.compiled = compiled
