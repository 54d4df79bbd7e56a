"""`[data]`: which images, and how they are split."""

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from hpsearch.formatting import join_words
from hpsearch.spec.datasets import Dataset, list_datasets
from hpsearch.spec.sections.model import check_known, check_reference
from hpsearch.spec.sections.samplers import INT32
from hpsearch.spec.sections.study import Count
from hpsearch.spec.validation import Section, make_error

DEFAULT_DATASET = "cifar10"

DEFAULT_SHARE = 0.2
"""Of a user's own images: what is held out for validation, and for the test."""

SOURCES = ("name", "path", "load")

MAX_PIXELS = 4096
"""Of height and of width."""


def read_part(raw: object) -> object:
    """Return a number of images or a fraction of them.

    Raises:
        ValueError: it is neither.
    """
    if isinstance(raw, bool) or not isinstance(raw, int | float | None):
        raise ValueError("is no number of images, such as 500, and no fraction of them, such as 0.2")
    is_fine = raw is None or (1 <= raw <= INT32 if isinstance(raw, int) else 0 < raw < 1)
    if not is_fine:
        raise ValueError("is out of bounds: a number of images, 1 or more, or a fraction between 0.0 and 1.0")
    return raw


def read_size(raw: object) -> object:
    """Return height and width in pixels; one number is both.

    Raises:
        ValueError: it is neither one nor two sizes.
    """
    pair = [raw, raw] if isinstance(raw, int) else list(raw) if isinstance(raw, list | tuple) else []
    sizes = [size for size in pair if isinstance(size, int) and not isinstance(size, bool) and 1 <= size <= MAX_PIXELS]
    if raw is not None and not len(sizes) == len(pair) == 2:
        raise ValueError(f"is no size: height and width, [96, 96], or 96 for both; from 1 to {MAX_PIXELS} pixels")
    return None if raw is None else tuple(sizes)


Part = Annotated[int | float | None, BeforeValidator(read_part)]


def _describe_holdouts() -> str:
    counts = [f"{dataset.validation} for {dataset.name}" for dataset in list_datasets().values()]
    return join_words(counts, "and")


class DataSection(Section):
    """`[data]`.

    Of `name`, `path` and `load` exactly one is not None. `validation` and `test` are numbers of images or, as floats,
    fractions; None, for images of the user's own, means the part that the data bring, else DEFAULT_SHARE.
    """

    name: str | None = Field(
        None,
        description=f"A built-in data set: {join_words(list(list_datasets()), 'or')}; {DEFAULT_DATASET} by default.",
    )
    path: str | None = Field(
        None,
        description="Instead: a folder of class folders, an .npz or a .csv; absolute, or below HPSEARCH_DATA_DIR.",
    )
    load: str | None = Field(None, description='Instead: a function of your own that loads arrays, "my_data.py:load".')
    image_size: Annotated[tuple[int, int] | None, BeforeValidator(read_size)] = Field(
        None, description="Height and width, [96, 96] or 96; required where the files have several sizes."
    )
    resize: Literal["crop", "pad", "stretch"] = Field(
        "crop", description="How an image of other proportions gets that size: crop, pad or stretch."
    )
    train_limit: Count | None = Field(None, description="Train on this many images only; all by default.")
    validation: Part = Field(
        None,
        description=f"Images held out of the training set, stratified: a number or a fraction; {_describe_holdouts()} "
        f"by default, {DEFAULT_SHARE} of your own images that bring no such part.",
    )
    test: Part = Field(
        None, description=f"Likewise for the test, of your own images; {DEFAULT_SHARE} where they bring no test part."
    )

    @property
    def title(self) -> str:
        """What to call the data."""
        return self.name or self.path or self.load or ""

    @property
    def dataset(self) -> Dataset | None:
        """The built-in data set; None for images of the user's own."""
        return list_datasets()[self.name] if self.name else None

    @property
    def remaining(self) -> int | None:
        """Images left to train on; None where only a worker that has the images knows."""
        dataset = self.dataset
        return dataset.images - self.validation if dataset and isinstance(self.validation, int) else None

    @field_validator("name")
    @classmethod
    def _require_known(cls, name: str | None) -> str | None:
        return check_known(name, list_datasets())

    @field_validator("path")
    @classmethod
    def _require_path(cls, path: str | None) -> str | None:
        if path is not None and (not path.strip() or not path.isprintable()):
            raise ValueError("is no path: give a folder, an .npz or a .csv")
        return path

    @field_validator("load")
    @classmethod
    def _require_reference(cls, load: str | None) -> str | None:
        return check_reference(load, "load")

    @model_validator(mode="before")
    @classmethod
    def _choose_source(cls, raw: dict[str, Any]) -> dict[str, Any]:
        sources = [source for source in SOURCES if raw.get(source) is not None]
        if len(sources) > 1:
            raise make_error([f"data: {join_words(sources, 'and')} are all given: keep one of them"])
        if not sources:
            raw = {**raw, "name": DEFAULT_DATASET}
        name = raw.get("name")
        dataset = list_datasets().get(name) if isinstance(name, str) else None
        if dataset is None:
            return raw
        validation = raw.get("validation")
        if validation is None:
            return {**raw, "validation": dataset.validation}
        if isinstance(validation, float) and 0 < validation < 1:
            return {**raw, "validation": round(validation * dataset.images)}
        return raw

    @model_validator(mode="after")
    def _fit_dataset(self) -> Self:
        parts = [part for part in (self.validation, self.test) if isinstance(part, float)]
        if sum(parts) >= 1:
            raise make_error([f"data.validation, data.test: {sum(parts):g} of the images leave none to train on"])
        dataset = self.dataset
        if dataset is None or not isinstance(self.validation, int):
            return self
        if self.test is not None or self.image_size is not None:
            key = "test" if self.test is not None else "image_size"
            raise make_error([f"data.{key}: is for images of your own, {self.name} brings its own: drop it"])
        # Each part of a stratified split needs an image of every class.
        images, classes, remaining = dataset.images, len(dataset.classes), dataset.images - self.validation
        if not classes <= self.validation <= images - classes:
            raise make_error(
                [
                    f"data.validation: {self.validation} of the {images} images of {self.name} cannot be held out: "
                    f"from {classes} to {images - classes}"
                ]
            )
        if self.train_limit is not None and not classes <= self.train_limit <= remaining:
            raise make_error(
                [
                    f"data.train_limit: {self.train_limit} is out of bounds: from {classes} to "
                    f"{remaining}, what {self.validation} validation images leave of {images}"
                ]
            )
        return self
