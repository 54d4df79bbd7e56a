"""Datasets and models are found by their files, so that adding one is adding a file.

The package `spec` lies below `training` and must not import it statically: a study is read where Keras is not
imported. The files of `training/datasets` and `training/models` import nothing heavy at their top.
"""

import importlib
import pkgutil
from types import ModuleType

DATASETS = "hpsearch.training.datasets"
MODELS = "hpsearch.training.models"


def import_modules(package: str) -> list[ModuleType]:
    """Return the modules of `package`, in the order of their names."""
    names = sorted(info.name for info in pkgutil.iter_modules(importlib.import_module(package).__path__))
    return [importlib.import_module(f"{package}.{name}") for name in names]
