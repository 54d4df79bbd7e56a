"""The README beside exported models, in Markdown."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpsearch.evaluation.evaluation import Evaluation
from hpsearch.evaluation.spreads import Spread
from hpsearch.formatting import format_count, join_words
from hpsearch.markdown import escape
from hpsearch.metrics import METRICS
from hpsearch.storage.studies import Study
from hpsearch.training.files.portable_model import NEWEST, OLDEST, TRIED_VERSIONS, Portability, is_newer
from hpsearch.training.user.custom_objects import CustomObject


@dataclass(frozen=True)
class ModelCardEntry:
    """A model's `file`, the `trial` that made it, its accuracy with Wilson's interval, parameters, and versions.

    `value` is the study's metric of it where that is not the accuracy, and is known.
    """

    file: str
    trial: int
    value: float | None
    accuracy: float
    low: float
    high: float
    params: Mapping[str, Any]
    versions: Mapping[str, str]


@dataclass(frozen=True)
class ModelCard:
    """The models of `study`, the best first, with accuracies on so many `images`.

    Those are test images where the models are of an `evaluation`, else validation images.
    """

    study: Study
    evaluation: Evaluation | None
    models: tuple[ModelCardEntry, ...]
    images: int
    classes: tuple[str, ...]


@dataclass(frozen=True)
class Needs:
    """What the models need to be loaded.

    `custom` is of the user's own code, which is beside them and imported from the directories `roots`; with
    `has_lambdas` a file holds Python code. With `serving`, each is there as a SavedModel too.
    """

    portability: Portability
    custom: Sequence[CustomObject] = ()
    roots: Sequence[str] = ()
    has_lambdas: bool = False
    serving: bool = False


def render(card: ModelCard, needs: Needs) -> str:
    """Return the whole README."""
    usage, serving = _usage(card, needs), _serving(card) if needs.serving else ()
    versions = ["", *_versions(needs.portability)]
    return "\n".join([*_head(card), "", *_table(card), "", *usage, *versions, *serving, "", *_origin(card)]) + "\n"


def _head(card: ModelCard) -> Iterator[str]:
    search = card.evaluation.evaluated if card.evaluation else card.study
    yield f"# Image classifiers for {card.study.spec.data.title}"
    yield ""
    models = format_count(len(card.models), "model")
    yield f"{models} from the hyperparameter search {escape(search.name)}, made with hpsearch."
    if search.spec.study.description:
        yield ""
        yield from (f"> {escape(line)}" for line in search.spec.study.description.splitlines())
    yield ""
    yield from _describe_test(card, card.evaluation) if card.evaluation else _describe_validation(card)


def _describe_test(card: ModelCard, evaluation: Evaluation) -> Iterator[str]:
    assert evaluation.result is not None
    result, seeds = evaluation.result, card.study.spec.budget.repeats
    yield (
        "The search's best configurations were trained anew on its training and validation images together: "
        f"{format_count(result.epochs, 'epoch')} each, with {format_count(seeds, 'seed')}. The accuracies below are on "
        f"the **{card.images:,} test images**, which had no part in the search or the training."
    )
    if evaluation.number > 1:
        yield (
            f"It is evaluation {evaluation.number} of that search: the test images had been looked at before, and "
            "these figures may be a little optimistic."
        )
    yield ""
    for number, configuration in enumerate(result.configurations):
        accuracy = configuration.accuracy
        if accuracy is not None:
            trials = {model.trial for model in configuration.models}
            names = ", ".join(f"`{model.file}`" for model in card.models if model.trial in trials) or "No file"
            figures = f"Test accuracy {_format_spread(accuracy)}"
            if result.metric and (spread := result.metric.spreads[number]):
                figures += f", {METRICS[result.metric.name].test_title} {_format_spread(spread)}"
            deviation = " (mean ± standard deviation over seeds)" if accuracy.std is not None else ""
            yield f"- {names}: {_format_params(configuration.params)}. {figures}{deviation}."
    ensemble = result.ensemble
    also = f", {METRICS[result.metric.name].quantity} {result.metric.ensemble.value:.4f}" if result.metric else ""
    yield (
        f"- All {result.models} together, by the mean of their probabilities: accuracy {ensemble.accuracy:.4f} "
        f"(95% interval {ensemble.low:.4f} to {ensemble.high:.4f}){also}."
    )


def _describe_validation(card: ModelCard) -> Iterator[str]:
    yield (
        f"These are the search's best models. The figures below are on its **{card.images:,} validation images**, by "
        f"whose {METRICS[card.study.spec.study.metric].quantity} the search chose these very models and epochs: they "
        "are optimistic. `hpsearch evaluate` measures them on test images."
    )


def _table(card: ModelCard) -> Iterator[str]:
    images, metric = "test" if card.evaluation else "validation", METRICS[card.study.spec.study.metric]
    has_values = any(model.value is not None for model in card.models)
    own = f" {metric.title} |" if has_values else ""
    yield f"| file |{own} {images} accuracy | 95% interval | parameters |"
    yield f"|---|{'---|' if has_values else ''}---|---|---|"
    for model in card.models:
        interval = f"{model.low:.4f} to {model.high:.4f}"
        value = "" if not has_values else " |" if model.value is None else f" {model.value:.4f} |"
        yield f"| `{model.file}` |{value} {model.accuracy:.4f} | {interval} | {_format_params(model.params)} |"
    yield ""
    yield (
        f"The interval is Wilson's of the accuracy, for a sample of {card.images:,} images; it does not include other "
        "seeds."
    )


def _usage(card: ModelCard, needs: Needs) -> Iterator[str]:
    spec, custom, roots, has_lambdas = card.study.spec, needs.custom, needs.roots, needs.has_lambdas
    height, width, channels = spec.image_shape
    colors = "grey" if channels == 1 else "red, green, blue"
    yield "## How to use them"
    yield ""
    yield (
        f"Each is a {'Keras' if custom else 'stock Keras'} model: images in, shape (n, {height}, {width}, {channels}), "
        f"pixels from 0 to 255 as they are in the file, {colors}; probabilities out, shape (n, {len(card.classes)}). "
        "The preprocessing is in the model."
    )
    if spec.data.image_size:
        yield f'Larger and smaller images were brought to {height} × {width} by `resize = "{spec.data.resize}"`.'
    modules = list(dict.fromkeys(part.module for part in custom))
    if modules:
        files = join_words([f"`{module}`" for module in modules])
        yield f"Its own layers are in {files}, beside this file, which has to be imported before a model is loaded."
    if has_lambdas:
        yield "A Lambda layer in it is Python code, which loading runs: load only files that you trust."
    yield ""
    yield "```python"
    yield "import keras, numpy"
    if any(root != "." for root in roots):
        yield "import sys"
        yield from (f"sys.path.insert(0, {json.dumps(root)})" for root in roots)
    yield from (f"import {module}" for module in modules)
    unregistered = [f'"{part.name}": {part.module}.{part.name}' for part in custom if not part.is_registered]
    objects = f", custom_objects={{{', '.join(unregistered)}}}" if unregistered else ""
    objects += ", safe_mode=False" if has_lambdas else ""
    yield f'model = keras.models.load_model("{card.models[0].file}"{objects})'
    yield f"images = numpy.zeros((1, {height}, {width}, {channels}), dtype=numpy.uint8)  # yours"
    yield f"classes = {json.dumps(list(card.classes))}"
    yield "print([classes[best] for best in model.predict(images, verbose=0).argmax(axis=1)])"
    yield "```"


def _versions(portability: Portability) -> Iterator[str]:
    tried = join_words([*TRIED_VERSIONS])
    yield (
        f"They were written by Keras {join_words(sorted(portability.versions))}, without the arguments at their "
        f"defaults that older versions refuse. Files like these were loaded in Keras {tried}, and predicted the same."
    )
    if any(is_newer(version) for version in portability.versions):
        yield f"Those that a Keras after {NEWEST} writes were not tried in others."
    if portability.removed:
        yield (
            f"{join_words([f'`{name}`' for name in sorted(portability.removed)])}, which Keras {OLDEST} lacks and "
            "which changes images in training only, was left out."
        )
    if portability.unknown:
        yield (
            f"Keras {OLDEST} lacks {join_words([f'`{name}`' for name in sorted(portability.unknown)])}, which these "
            "models need: they load in newer versions only."
        )


def _serving(card: ModelCard) -> Iterator[str]:
    name = Path(card.models[0].file).stem
    yield ""
    yield "## How to serve them"
    yield ""
    yield (
        f"Each is also a TensorFlow SavedModel, `{name}/1` and so on, where TensorFlow Serving looks for version 1 "
        "of a model. It needs TensorFlow, but neither Keras nor code of yours: pixels as float32 in, probabilities out."
    )
    yield ""
    yield "```python"
    yield "import numpy, tensorflow"
    yield f'model = tensorflow.saved_model.load("{name}/1")'
    height, width, channels = card.study.spec.image_shape
    yield f"images = numpy.zeros((1, {height}, {width}, {channels}), dtype=numpy.float32)  # yours"
    yield "print(model.serve(images).numpy())"
    yield "```"


def _origin(card: ModelCard) -> Iterator[str]:
    study = card.study
    yield "## How they were made"
    yield ""
    yield f"- study: {escape(study.name)}, fingerprint `{study.fingerprint}`"
    if study.data_fingerprint:
        yield f"- data: {study.spec.data.title}, fingerprint `{study.data_fingerprint}`"
    versions = {", ".join(f"{name} {version}" for name, version in model.versions.items()) for model in card.models}
    yield from (f"- with {line}" for line in sorted(versions) if line)
    fixed = {name: value for name, value in study.spec.list_unsearched().items() if value is not None}
    yield f"- not searched, the same in all: {_format_params(fixed)}"


def _format_spread(spread: Spread) -> str:
    return f"{spread.mean:.4f}" + (f" ± {spread.std:.4f}" if spread.std is not None else "")


def _format_params(params: Mapping[str, Any]) -> str:
    """Return `learning_rate 0.00123456, batch_norm on`: every digit, unlike `formatting.format_params`."""
    return ", ".join(escape(f"{name} {_format_value(value)}") for name, value in params.items()) or "the base model"


def _format_value(value: Any) -> str:
    return ("on" if value else "off") if isinstance(value, bool) else str(value)
