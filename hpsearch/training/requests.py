"""What a job of the trainer is about: which images, and which model.

Imports neither Keras nor Optuna nor pydantic.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hpsearch.spec.models import DEFAULT_MODEL

if TYPE_CHECKING:
    from hpsearch.spec.study_spec import StudySpec


@dataclass(frozen=True)
class DataRequest:
    """Which images: see the study file's `[data]`.

    Exactly one of `name`, `path` and `load` is not None. `validation` and `test_part` are numbers of images, fractions
    where they are floats, None for the default. `test`: train on the training and validation images together, and look
    at the test images once, after the last epoch.
    """

    name: str | None
    train_limit: int | None
    validation: int | float | None
    seed: int
    test: bool = False
    path: str | None = None
    load: str | None = None
    image_size: tuple[int, int] | None = None
    resize: str = "crop"
    test_part: int | float | None = None

    @property
    def title(self) -> str:
        """What to call the data."""
        return self.name or self.path or self.load or ""


@dataclass(frozen=True)
class ModelRequest:
    """Which model: see the study file's `[model]`. Exactly one of `name` and `build` is not None.

    The trainer adds what it needs to build one of the user's own: `code` and `chosen`, as in `Train`.
    """

    name: str | None = DEFAULT_MODEL
    build: str | None = None
    preprocess: bool = True
    code: str | None = None
    chosen: tuple[str, ...] = ()
    weights: str | None = None


BASE_MODEL = ModelRequest()
"""That of a study that names no model."""


def make_data_request(spec: "StudySpec") -> DataRequest:
    """Return which images the trials of a study see."""
    data = spec.data
    return DataRequest(
        data.name,
        data.train_limit,
        data.validation,
        spec.study.seed,
        spec.evaluation > 0,
        data.path,
        data.load,
        data.image_size,
        data.resize,
        data.test,
    )


def make_model_request(spec: "StudySpec") -> ModelRequest:
    """Return which model the trials of a study train."""
    return ModelRequest(spec.model.name, spec.model.build, spec.model.preprocess, weights=spec.model.weights)
