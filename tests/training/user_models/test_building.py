"""What is made of the model that a builder of the user's own returns, and what is refused."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from hpsearch.errors import UserCodeError
from hpsearch.outcomes import TrainingEnd, TrialOutcome
from hpsearch.training import loading, preparation
from hpsearch.training.epoch import score
from hpsearch.training.precision import choices
from hpsearch.training.precision.choices import PrecisionChoice
from hpsearch.training.preparation import compile_model
from hpsearch.training.protocol import Train, complete_request
from hpsearch.training.user.code import format_user_traceback, load_function
from tests.support.study_files import OWN_CODE
from tests.support.training_jobs import DIGITS, MakeJob
from tests.support.training_runs import run

pytestmark = pytest.mark.tensorflow

KINDS = ("functional", "lazy", "subclassed", "unregistered", "compiled", "compiled_sparse", "own_loss", "of_hp_alone")


def compile_job(job: Train) -> preparation.CompiledModel:
    return compile_model(complete_request(job), job.hyperparameters, loading.load(DIGITS), job.seed)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_model_gives_probabilities(own_job: MakeJob, kind: str) -> None:
    """Pixels of 0..255 in, probabilities of each class out, whatever the model ends in; the same for the same seed."""
    first, again, other = (compile_job(own_job(kind, seed=seed)) for seed in (1, 1, 2))
    images = loading.load(DIGITS).x_val[:16]
    predictions = [compiled.steps.predict(images) for compiled in (first, again, other)]
    assert predictions[0].shape == (16, 10)
    assert np.allclose(predictions[0].sum(axis=1), 1, atol=1e-5)
    assert (predictions[0] >= 0).all()
    assert np.array_equal(predictions[0], predictions[1])
    assert not np.array_equal(predictions[0], predictions[2])
    assert first.user_model is not None
    assert first.user_model.gives_logits == (kind in ("lazy", "compiled"))


@pytest.mark.parametrize("kind", KINDS)
def test_saved_model_predicts_as_the_trained_one(own_job: MakeJob, kind: str) -> None:
    """The file loads by Keras alone, with the user's classes at hand, and neither loss nor optimizer is in it."""
    values = {"learning_rate": 1e-5} if kind in ("unregistered", "subclassed") else {}
    job = own_job(kind, values, epochs=1)
    end, recorder = run(job)
    assert isinstance(end, TrainingEnd)
    assert end.outcome is TrialOutcome.COMPLETED
    assert end.model is not None
    own = {"Unregistered": load_function(OWN_CODE, "own_models.py:Unregistered")} if kind == "unregistered" else None
    model = keras.models.load_model(end.model, custom_objects=own)
    data = loading.load(DIGITS)
    guesses = model.predict(data.x_val[:], verbose=0)
    figures = score(guesses, data.y_val)
    assert figures.accuracy == pytest.approx(recorder.epochs[0].val_accuracy)
    assert figures.loss == pytest.approx(recorder.epochs[0].val_loss, rel=1e-4)
    assert not any(part.compiled for part in (model, model.layers[1]))


REFUSED = {
    "nothing": r"nothing returns nothing, not a keras\.Model: end it with `return model`",
    "number": r"number returns a int, not a keras\.Model.*",
    "stranger": r"stranger cannot be called as stranger\(hp, input_shape, classes\): take these arguments",
    "one_unit": r"the model gives 1 for an image, not a number for each of 10 classes: end in .*softmax.*",
    "sigmoids": r"the model ends in sigmoids, whose values do not sum to 1: end in .*softmax.*",
    "two_inputs": r"own_models\.py:two_inputs returns a model of 2 inputs: give it one, the image",
    "two_outputs": r"the model has several outputs, or none: end in .*",
    "unsaveable": r"the model cannot be saved: .*get_config.*",
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_model_of_images_into_classes_is_refused(own_job: MakeJob, kind: str) -> None:
    """One line says what the builder should write."""
    with pytest.raises(UserCodeError, match=rf"^{REFUSED[kind]}$"):
        compile_job(own_job(kind))


def test_an_error_of_the_builder_is_shown_in_its_file(own_job: MakeJob) -> None:
    """The traceback is cut to the user's lines."""
    with pytest.raises(AttributeError) as raised:
        compile_job(own_job("broken"))
    text = format_user_traceback(raised.value, OWN_CODE)
    assert 'File "own_models.py"' in text
    assert "no_such_thing" in text
    assert "hpsearch" not in text


UNREAD: dict[str, tuple[dict[str, Any], str]] = {
    "functional": ({"depth": 3, "bias": True}, r"nothing reads depth and bias in this trial: write `when = .*"),
    "compiled_sparse": (
        {"learning_rate": 0.1, "schedule": "cosine"},
        r"own_models\.py:compiled_sparse compiles its model, so that learning_rate and schedule of the study file "
        r"would do nothing: read them in the builder through hp, or take them out",
    ),
}


@pytest.mark.parametrize("kind", UNREAD)
def test_hyperparameter_that_nothing_reads_is_refused(own_job: MakeJob, kind: str) -> None:
    """Neither one of the model's that its builder passes over, nor a training row beside a compiled model."""
    values, message = UNREAD[kind]
    with pytest.raises(UserCodeError, match=rf"^{message}$"):
        compile_job(own_job(kind, values))


def test_rows_before_the_model(own_job: MakeJob) -> None:
    """Preprocessing and augmentation are before the model, and with `preprocess = false` nothing is."""
    standardized = compile_job(own_job("functional", {"preprocessing": "standardize", "augment": True})).user_model
    bare = compile_job(own_job("functional", preprocess=False)).user_model
    assert standardized is not None
    assert bare is not None
    assert standardized.front is not None
    assert bare.front is None
    kinds = [type(layer).__name__ for layer in standardized.front.layers]
    assert kinds[0] == "InputLayer"
    assert kinds[-1] == "Rescaling"
    assert len(bare.network.layers) == 3


def test_precision_is_the_builders_where_it_is_chosen(own_job: MakeJob, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model is float32 unless the study file says auto; the saved one always is."""
    monkeypatch.setattr(choices, "choose", lambda kind: PrecisionChoice("mixed_bfloat16", {}))
    policies: Callable[[Any], set[str]] = lambda network: {  # noqa: E731 - a function of one expression
        layer.dtype_policy.name for layer in network.layers[1].layers
    }
    usual, fast = own_job("compiled", epochs=1), own_job("compiled", {"precision": "auto"}, epochs=1)
    assert policies(compile_job(usual).model) == {"float32"}
    assert policies(compile_job(fast).model) == {"mixed_bfloat16"}
    end, _ = run(fast)
    assert isinstance(end, TrainingEnd)
    assert end.model is not None
    assert policies(keras.models.load_model(end.model)) == {"float32"}


def test_train_step_without_a_loss_is_an_error(own_job: MakeJob) -> None:
    """No figure is made up for an epoch of unknown loss."""
    with pytest.raises(UserCodeError, match=r"^the train_step of SilentStep returns no loss: return it as 'loss'$"):
        run(own_job("silent_step"))


def test_the_user_file_is_imported_once(own_job: MakeJob) -> None:
    """Building again runs the builder, not the file."""
    compile_job(own_job("lazy"))
    module = sys.modules["own_models"]
    compile_job(own_job("lazy"))
    assert sys.modules["own_models"] is module
    assert Path(str(module.__file__)).parent == OWN_CODE
