"""`[model]`: a built-in model, or a function of the user's that builds one."""

import re
from typing import Any

from pydantic import Field, field_validator, model_validator

from hpsearch.formatting import join_words
from hpsearch.spec.models import DEFAULT_MODEL, list_models
from hpsearch.spec.validation import Section, make_error

REFERENCE = re.compile(r"[^:\0]+\.py:[A-Za-z_][A-Za-z0-9_]*")
"""`file.py:function`."""


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

    @property
    def title(self) -> str:
        """What to call it."""
        return self.build or self.name or DEFAULT_MODEL

    @field_validator("name")
    @classmethod
    def _require_known(cls, name: str | None) -> str | None:
        if name is not None and name not in list_models():
            raise ValueError(f"is unknown: one of {join_words([repr(known) for known in list_models()], 'or')}")
        return name

    @field_validator("build")
    @classmethod
    def _require_reference(cls, build: str | None) -> str | None:
        return check_reference(build, "build")

    @model_validator(mode="before")
    @classmethod
    def _choose_one(cls, raw: dict[str, Any]) -> dict[str, Any]:
        if raw.get("name") is None and raw.get("build") is None:
            return {**raw, "name": DEFAULT_MODEL}
        if raw.get("name") is not None and raw.get("build") is not None:
            raise make_error(["model: name and build are both given: keep one of them"])
        if raw.get("build") is None and raw.get("preprocess") is False:
            raise make_error(["model.preprocess: is for a model of your own: drop it"])
        return raw


def check_reference(reference: str | None, function: str) -> str | None:
    """Return `reference` where it is None or names a function in a Python file.

    Raises:
        ValueError: it is neither; the message names `function` as an example.
    """
    if reference is not None and not REFERENCE.fullmatch(reference):
        raise ValueError(f'is no function in a file: write "my_file.py:{function}"')
    return reference
