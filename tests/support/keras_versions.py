"""Loads `.keras` files in another version of Keras: `python keras_versions.py DIRECTORY OUT`.

DIRECTORY has NAME.keras, and NAME.npz with `images` and the `probabilities` expected for them. OUT gets, as JSON, the
version, what went wrong by name, and the parameters of each class's constructor. It imports nothing of hpsearch.
"""

import inspect
import json
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np


def try_models(directory: Path) -> dict[str, str]:
    """Return what is wrong with the models that do not load, or predict something else."""
    wrong = {}
    for file in sorted(directory.glob("*.keras")):
        expected = np.load(file.with_suffix(".npz"))
        try:
            model = keras.models.load_model(file)
            predicted = keras.ops.convert_to_numpy(model(expected["images"].astype("float32"), training=False))
        except Exception as error:  # noqa: BLE001 whatever it is, the others are tried
            wrong[file.stem] = " ".join(f"{type(error).__name__}: {error}".split())[-300:]
            continue
        if not np.allclose(predicted, expected["probabilities"], atol=1e-5):
            wrong[file.stem] = f"predicts {predicted}, not {expected['probabilities']}"
    return wrong


def list_parameters() -> dict[str, dict[str, Any]]:
    """Return the parameters of each layer's and initializer's constructor, inherited ones too, by all its names."""
    classes = {}
    for module in (keras.layers, keras.initializers, keras.regularizers, keras.constraints):
        for alias, each in vars(module).items():
            if inspect.isclass(each):
                classes[alias] = classes[each.__name__] = list_constructor(each)
    return classes


def list_constructor(kind: type) -> dict[str, Any]:
    """Return the parameters of a constructor and of those that it passes others on to, with their defaults."""
    parameters: dict[str, Any] = {}
    for ancestor in kind.__mro__:
        if "__init__" not in vars(ancestor) or ancestor is object:
            continue
        inner = inspect.signature(vars(ancestor)["__init__"]).parameters.values()
        named = [each for each in inner if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)][1:]
        for each in named:
            parameters.setdefault(each.name, None if each.default is each.empty else each.default)
        if not any(each.kind is each.VAR_KEYWORD for each in inner):
            break
    return parameters


if __name__ == "__main__":
    result = {"version": keras.__version__, "wrong": try_models(Path(sys.argv[1])), "parameters": list_parameters()}
    Path(sys.argv[2]).write_text(json.dumps(result, default=repr))
