"""What a saved model needs besides Keras: the classes and functions of the user's own in a `.keras` file."""

import json
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class CustomObject:
    """A class or function: the module that has it, and, where it is registered with Keras, that importing suffices."""

    module: str
    name: str
    is_registered: bool


def list_custom_objects(model: Path) -> list[CustomObject]:
    """Return what the file of a model names that is not Keras's, sorted by module and name."""
    with zipfile.ZipFile(model) as file:
        config = json.loads(file.read("config.json"))
    return sorted(set(_walk(config)), key=lambda part: (part.module, part.name))


def contains_lambda(model: Path) -> bool:
    """Return whether a model has a Lambda layer of Python code, which Keras loads only with `safe_mode=False`."""
    with zipfile.ZipFile(model) as file:
        return any(
            part.get("class_name") == "__lambda__" for part in _walk_tables(json.loads(file.read("config.json")))
        )


def import_custom_objects(model: Path) -> dict[str, Any]:
    """Return what the file of a model names that is not Keras's, by its name, for `keras.models.load_model`.

    Raises:
        ImportError: a module is not there.
        AttributeError: it has no such class or function.
    """
    objects = list_custom_objects(model)
    return {each.name: getattr(import_module(each.module), each.name) for each in objects if not each.is_registered}


def find_root(module: str, directory: Path) -> Path | None:
    """Return the directory below `directory` from which `module` is imported; None where it is not in there."""
    parts = module.split(".")
    for path in sorted((*directory.rglob(f"{parts[-1]}.py"), *directory.rglob(f"{parts[-1]}/__init__.py"))):
        place = path.parent if path.name == "__init__.py" else path.with_suffix("")
        relative = place.relative_to(directory).parts
        if list(relative[-len(parts) :]) == parts:
            return Path(*relative[: -len(parts)])
    return None


def _walk(config: Any) -> Iterator[CustomObject]:
    for part in _walk_tables(config):
        module, name, registered = (part.get(key) for key in ("module", "class_name", "registered_name"))
        if name == "function":
            name = part.get("config")
        if isinstance(module, str) and isinstance(name, str) and module.split(".")[0] not in ("keras", "builtins"):
            yield CustomObject(module, name, is_registered=registered not in (None, name))


def _walk_tables(config: Any) -> Iterator[Mapping[str, Any]]:
    """Yield every table in a configuration, the outer before the inner ones."""
    if isinstance(config, dict):
        yield config
    inner = config.values() if isinstance(config, dict) else config if isinstance(config, list) else ()
    for part in inner:
        yield from _walk_tables(part)
