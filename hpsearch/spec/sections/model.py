"""`[model]`: a built-in model, or a function of the user's that builds one."""

import re
from collections.abc import Iterable
from typing import Any

from pydantic import Field, field_validator, model_validator

from hpsearch.formatting import join_words
from hpsearch.spec.models import DEFAULT_MODEL, IMAGENET, NO_WEIGHTS, list_models
from hpsearch.spec.validation import Section, make_error

REFERENCE = re.compile(r"[^:\0]+\.py:[A-Za-z_][A-Za-z0-9_]*")
"""`file.py:function`."""

WEIGHTS_FILES = (".h5", ".keras")
"""How the name of a file of weights ends."""


class ModelSection(Section):
    """`[model]`."""

    name: str | None = Field(
        None, description=f"A built-in model: {join_words(list(list_models()), 'or')}; {DEFAULT_MODEL} by default."
    )
    build: str | None = Field(
        None, description='Instead: a function of your own that builds the model, "my_model.py:build".'
    )
    preprocess: bool = Field(
        True, description="false: your model gets the image as it is; augmentation and preprocessing are off."
    )

    weights: str | None = Field(
        None,
        description="Of the model application, where it begins: imagenet, its default; none, for random weights; or a "
        ".weights.h5 or .keras file of the application without its top, absolute or below HPSEARCH_DATA_DIR.",
    )

    @property
    def title(self) -> str:
        """What to call it."""
        return self.build or self.name or DEFAULT_MODEL

    @property
    def begins_from_file(self) -> bool:
        """Whether its weights begin as those in a file of the user's."""
        return self.weights not in (None, IMAGENET, NO_WEIGHTS)

    @field_validator("name")
    @classmethod
    def _require_known(cls, name: str | None) -> str | None:
        return check_known(name, list_models())

    @field_validator("build")
    @classmethod
    def _require_reference(cls, build: str | None) -> str | None:
        return check_reference(build, "build")

    @field_validator("weights")
    @classmethod
    def _require_weights(cls, weights: str | None) -> str | None:
        if weights is None or weights in (IMAGENET, NO_WEIGHTS):
            return weights
        if not weights.endswith(WEIGHTS_FILES) or not weights.isprintable():
            raise ValueError("is unknown: imagenet, none, or the path of a .weights.h5 or .keras file")
        return weights

    @model_validator(mode="before")
    @classmethod
    def _choose_one(cls, raw: dict[str, Any]) -> dict[str, Any]:
        if raw.get("name") is None and raw.get("build") is None:
            return {**raw, "name": DEFAULT_MODEL}
        if raw.get("name") is not None and raw.get("build") is not None:
            raise make_error(["model: name and build are both given: keep one of them"])
        if raw.get("build") is None and raw.get("preprocess") is False:
            raise make_error(["model.preprocess: is for a model of your own: drop it"])
        model = list_models().get(raw["name"]) if isinstance(raw.get("name"), str) else None
        if model is not None and model.takes_weights:
            return {**raw, "weights": raw.get("weights", IMAGENET)}
        if raw.get("weights") is not None:
            raise make_error(["model.weights: is for the model application: drop it"])
        return raw


def check_known(name: str | None, known: Iterable[str]) -> str | None:
    """Return `name` where it is None or among `known`.

    Raises:
        ValueError: it is neither.
    """
    names = list(known)
    if name is not None and name not in names:
        raise ValueError(f"is unknown: one of {join_words([repr(word) for word in names], 'or')}")
    return name


def check_reference(reference: str | None, function: str) -> str | None:
    """Return `reference` where it is None or names a function in a Python file.

    Raises:
        ValueError: it is neither; the message names `function` as an example.
    """
    if reference is not None and not REFERENCE.fullmatch(reference):
        raise ValueError(f'is no function in a file: write "my_file.py:{function}"')
    return reference
