"""The README beside exported models, in Markdown."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from hpsearch.evaluation.evaluation import Evaluation
from hpsearch.storage.studies import Study

SHAPE = (32, 32, 3)
"""Of an image of every dataset: height, width, channels."""

SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~&])")
"""What Markdown, or the HTML in it, would take for its own."""


@dataclass(frozen=True)
class ModelCardEntry:
    """A model's `file`, the `trial` that made it, its accuracy with Wilson's interval, parameters, and versions."""

    file: str
    trial: int
    accuracy: float
    low: float
    high: float
    params: Mapping[str, Any]
    versions: Mapping[str, Any]


@dataclass(frozen=True)
class ModelCard:
    """What is to be said of models of `study`, the best first: they were `tested`, or only validated, on `images`."""

    study: Study
    tested: Evaluation | None
    models: tuple[ModelCardEntry, ...]
    images: int
    classes: tuple[str, ...]


def render(told: ModelCard) -> str:
    """The whole README."""
    return "\n".join([*_head(told), "", *_table(told), "", *_use(told), "", *_made(told)]) + "\n"


def _head(told: ModelCard) -> Iterator[str]:
    data, found = told.study.spec.data.name, told.tested.evaluated if told.tested else told.study
    yield f"# Image classifiers for {data}"
    yield ""
    models = _many(len(told.models), "model")
    yield f"{models} from the hyperparameter search {_escaped(found.name)}, made with hpsearch."
    if found.spec.study.description:
        yield ""
        yield from (f"> {_escaped(line)}" for line in found.spec.study.description.splitlines())
    yield ""
    yield from _tested(told) if told.tested else _validated(told)


def _tested(told: ModelCard) -> Iterator[str]:
    assert told.tested is not None
    assert told.tested.result is not None
    result, seeds = told.tested.result, told.study.spec.budget.repeats
    yield (
        "The search's best configurations were trained anew on its training and validation images together: "
        f"{_many(result['epochs'], 'epoch')} each, with {_many(seeds, 'seed')}. The accuracies below are on the "
        f"**{told.images:,} test images**, which had no part in the search or the training."
    )
    if told.tested.number > 1:
        yield (
            f"It is evaluation {told.tested.number} of that search: the test images had been looked at before, and "
            "these figures may be a little optimistic."
        )
    yield ""
    for each in result["configurations"]:
        spread = each["accuracy"]
        if spread is not None:
            numbers = {model["trial"] for model in each["models"]}
            names = ", ".join(f"`{model.file}`" for model in told.models if model.trial in numbers) or "No file"
            deviation = f" ± {spread['std']:.4f} (standard deviation over seeds)" if spread["std"] is not None else ""
            yield f"- {names}: {_parameters(each['params'])}. Test accuracy {spread['mean']:.4f}{deviation}."
    together = result["ensemble"]
    yield (
        f"- All {result['models']} together, by the mean of their probabilities: {together['accuracy']:.4f} "
        f"(95% interval {together['low']:.4f} to {together['high']:.4f})."
    )


def _validated(told: ModelCard) -> Iterator[str]:
    yield (
        f"These are the search's best models. The accuracies below are on its **{told.images:,} validation images**, "
        "by which the search chose these very models and epochs: they are optimistic. `hpsearch evaluate` measures "
        "them on test images."
    )


def _table(told: ModelCard) -> Iterator[str]:
    where = "test" if told.tested else "validation"
    yield f"| file | {where} accuracy | 95% interval | parameters |"
    yield "|---|---|---|---|"
    for model in told.models:
        interval = f"{model.low:.4f} to {model.high:.4f}"
        yield f"| `{model.file}` | {model.accuracy:.4f} | {interval} | {_parameters(model.params)} |"
    yield ""
    yield f"The interval is Wilson's, for a sample of {told.images:,} images; it knows nothing of other seeds."


def _use(told: ModelCard) -> Iterator[str]:
    height, width, channels = SHAPE
    yield "## How to use them"
    yield ""
    yield (
        f"Each is a stock Keras model: images in, shape (n, {height}, {width}, {channels}), pixels from 0 to 255 as "
        f"they are in the file, red, green, blue; probabilities out, shape (n, {len(told.classes)})."
    )
    yield ""
    yield "```python"
    yield "import keras, numpy"
    yield f'model = keras.models.load_model("{told.models[0].file}")'
    yield f"images = numpy.zeros((1, {height}, {width}, {channels}), dtype=numpy.uint8)  # yours"
    yield f"classes = {json.dumps(list(told.classes))}"
    yield "print([classes[best] for best in model.predict(images, verbose=0).argmax(axis=1)])"
    yield "```"


def _made(told: ModelCard) -> Iterator[str]:
    yield "## How they were made"
    yield ""
    yield f"- study: {_escaped(told.study.name)}, fingerprint `{told.study.fingerprint}`"
    if told.study.data_fingerprint:
        yield f"- data: {told.study.spec.data.name}, fingerprint `{told.study.data_fingerprint}`"
    versions = {", ".join(f"{name} {version}" for name, version in model.versions.items()) for model in told.models}
    yield from (f"- with {each}" for each in sorted(versions) if each)
    fixed = {name: value for name, value in told.study.spec.fixed_values().items() if value is not None}
    yield f"- not searched, the same in all: {_parameters(fixed)}"


def _many(count: int, noun: str) -> str:
    return f"{count} {noun}" + ("" if count == 1 else "s")


def _parameters(params: Mapping[str, Any]) -> str:
    return (
        ", ".join(f"{_escaped(name)} {_escaped(_shown(value))}" for name, value in params.items()) or "the base model"
    )


def _shown(value: Any) -> str:
    return ("on" if value else "off") if isinstance(value, bool) else str(value)


def _escaped(said: str) -> str:
    return SPECIAL.sub(r"\\\1", said)
