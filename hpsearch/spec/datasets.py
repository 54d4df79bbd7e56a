"""What a study needs to know of a dataset without its images; each file of `training/datasets` describes one."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from functools import cache
from types import MappingProxyType
from typing import Any

from hpsearch.spec.registry import DATASETS, import_modules


@dataclass(frozen=True)
class Dataset:
    """The facts about a dataset, and how to read its images."""

    name: str
    images: int
    """To train and validate on; test images are not counted."""
    validation: int
    """How many of `images` validate by default."""
    shape: tuple[int, int, int]
    """Height, width and channels of an image."""
    classes: tuple[str, ...]
    """Names, in the order of the labels."""
    read: Callable[[], tuple[Any, ...]]
    """Returns all of it as `training.loading.RawImages`; imports what it needs when it is called."""


@dataclass(frozen=True)
class DataFacts:
    """What is known of a study's images once a worker has loaded them."""

    shape: tuple[int, int, int]
    """Height, width and channels of an image."""
    classes: tuple[str, ...]
    training: tuple[int, ...]
    """Images of each class; the same in the next two."""
    validation: tuple[int, ...]
    test: tuple[int, ...]

    def to_json(self) -> dict[str, Any]:
        """Return plain values, for `from_json`."""
        return asdict(self)

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> "DataFacts":
        """Return the facts that `to_json` wrote."""
        return cls(*(tuple(stored[field.name]) for field in fields(cls)))


@cache
def list_datasets() -> Mapping[str, Dataset]:
    """Return every dataset by its name."""
    datasets = [module.DATASET for module in import_modules(DATASETS)]
    return MappingProxyType({dataset.name: dataset for dataset in datasets})
