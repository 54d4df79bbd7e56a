"""What a study needs to know of a dataset without its images."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class DatasetInfo:
    """How many images a dataset has to train and validate on, how many of them validate by default, and of what."""

    images: int
    validation: int
    classes: tuple[str, ...]


CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
DATASETS: Mapping[str, DatasetInfo] = MappingProxyType(
    {"cifar10": DatasetInfo(50_000, 5_000, CIFAR10), "digits": DatasetInfo(1_437, 300, tuple("0123456789"))}
)
