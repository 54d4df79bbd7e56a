"""What a study needs to know of a model without building it; each file of `training/models` describes one."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from types import MappingProxyType
from typing import Any

from hpsearch.spec.registry import MODELS, import_modules
from hpsearch.spec.rows import Hyperparameter, Value

DEFAULT_MODEL = "cnn"

IMAGENET, NO_WEIGHTS = "imagenet", "none"
"""What `[model] weights` may be besides a file."""


@dataclass(frozen=True)
class BuiltInModel:
    """The facts about a model that comes with the service, and how to build it."""

    name: str
    rows: tuple[Hyperparameter, ...]
    """Its own hyperparameters."""
    build: Callable[..., Any]
    """`build(hyperparameters, x, classes, seeds, layers)` returns the probabilities (batch, classes) as a KerasTensor.

    `x` are preprocessed images as a KerasTensor, `seeds` an iterator of whole numbers, `layers` are
    `training.backends.Layers`. It imports what it needs when it is called.
    """
    find_fault: Callable[[Mapping[str, Any], tuple[int, ...]], str | None] = lambda hyperparameters, shape: None
    """`find_fault(hyperparameters, shape)` says in a line why it cannot be built for images (height, width, channels)
    of that shape; None where it can."""
    limited_by: tuple[str, ...] = ()
    """Hyperparameters that `find_fault` reads; where one is a range, an end of it is what fits worst."""
    without: tuple[str, ...] = ()
    """Training rows that it does not have."""
    takes_weights: bool = False
    """Whether `[model] weights` says where it begins; `build` gets that as `weights`."""
    axes: tuple[str, ...] = ()
    """Hyperparameters that change the layers; `hpsearch check` builds every combination of their values."""
    depths: tuple[str, ...] = ()
    """Whole numbers of layers; where one is searched, `hpsearch check` builds its smallest and its largest value."""
    small: Mapping[str, Value] = field(default_factory=dict)
    """Values of the smallest model that has all of its layers: its gradient is compared with a numerical one."""
    largest: Mapping[str, int] = field(default_factory=dict)
    """The largest values with which a small batch is overfitted."""


@cache
def list_models() -> Mapping[str, BuiltInModel]:
    """Return every built-in model by its name."""
    models = [module.MODEL for module in import_modules(MODELS)]
    return MappingProxyType({model.name: model for model in models})
