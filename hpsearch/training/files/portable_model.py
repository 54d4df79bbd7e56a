"""A `.keras` file changed such that Keras 3.6 and everything after it load it.

Keras writes every argument of a layer, and refuses those that it does not know. So a file says arguments that a newer
version added, at their defaults, and an older one does not load it, although the model needs nothing of them. A file
without them means the same in every version. The tables are what the constructors of 3.15 have and those of 3.6 lack;
`make test-exports` compares them.
"""

import json
import shutil
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

OLDEST = "3.6"
"""The first version of Keras that loads the files."""

NEWEST = "3.15"
"""The last version whose constructors the tables know."""

TRIED_VERSIONS = ("3.6.0", "3.10.0", "3.14.0", "3.15.1")
"""Those that `make test-exports` loads every kind of model in."""

_LORA = {"lora_alpha": None}
_QUANTIZED = {**_LORA, "quantization_config": None}
_SCALED = {"input_axes": None, "output_axes": None}
_ATTENTION = {"flash_attention": None, "use_gate": False, "sliding_window": None}
_HASHED = {"salt": None, "oov_method": "floormod"}
ADDED_ARGUMENTS: Mapping[str, Mapping[str, Any]] = {
    "BatchNormalization": {"renorm": False, "renorm_clipping": None, "renorm_momentum": 0.99},
    "Conv1D": _LORA,
    "Conv2D": _LORA,
    "Conv3D": _LORA,
    "Dense": _QUANTIZED,
    "EinsumDense": {**_QUANTIZED, "gptq_unpacked_column_size": None},
    "Embedding": _QUANTIZED,
    "FlaxLayer": {"native_serialization_platforms": None},
    "GlorotNormal": _SCALED,
    "GlorotUniform": _SCALED,
    "GroupedQueryAttention": {**_ATTENTION, "seed": None},
    "HeNormal": _SCALED,
    "HeUniform": _SCALED,
    "InputLayer": {"ragged": False},
    "IntegerLookup": _HASHED,
    "JaxLayer": {"native_serialization_platforms": None},
    "LecunNormal": _SCALED,
    "LecunUniform": _SCALED,
    "MultiHeadAttention": _ATTENTION,
    "RandomContrast": {"value_range": [0, 255]},
    "Resizing": {"antialias": False},
    "StringLookup": _HASHED,
    "TorchModuleWrapper": {"output_shape": None},
    "VarianceScaling": _SCALED,
}
"""Arguments that 3.6 does not know, with the value in a file that means the same as none, by class."""

ADDED_LAYERS = frozenset(
    {
        "AdaptiveAveragePooling1D",
        "AdaptiveAveragePooling2D",
        "AdaptiveAveragePooling3D",
        "AdaptiveMaxPooling1D",
        "AdaptiveMaxPooling2D",
        "AdaptiveMaxPooling3D",
        "ContrastLimitedAdaptiveHistogramEqualization",
        "Equalization",
        "RMSNormalization",
        "ReversibleEmbedding",
        "STFT",
        "STFTSpectrogram",
    }
)
"""Classes that 3.6 does not know, and that change what a model predicts."""

ADDED_AUGMENTATIONS = frozenset(
    {
        "AugMix",
        "RandAugment",
        "RandomColorDegeneration",
        "RandomColorJitter",
        "RandomElasticTransform",
        "RandomErasing",
        "RandomGaussianBlur",
        "RandomGrayscale",
        "RandomHue",
        "RandomInvert",
        "RandomPerspective",
        "RandomPosterization",
        "RandomSaturation",
        "RandomSharpness",
        "RandomShear",
    }
)
"""Layers that 3.6 does not know, and that change an image in training only."""


class DamagedModelError(Exception):
    """A file is not that of a model, or not whole."""


@dataclass(frozen=True)
class Portability:
    """What files lost and what they have that 3.6 does not know, by name, and which `versions` of Keras wrote them."""

    removed: frozenset[str]
    unknown: frozenset[str]
    versions: frozenset[str]


def make_portable(model: Path) -> Portability:
    """Write a model's file anew without what older versions of Keras would refuse for no reason.

    Only what is Keras's own is changed. Augmentation that 3.6 lacks becomes a Rescaling by 1, which predicts the same.

    Raises:
        DamagedModelError: it is no model's file, or not whole.
        OSError: the file cannot be written.
    """
    draft = model.with_name(f"{model.name}.draft")
    try:
        removed, unknown, version = _rewrite(model, draft)
    except (zipfile.BadZipFile, KeyError, ValueError, EOFError) as error:
        raise DamagedModelError(str(error)) from None
    draft.replace(model)
    return Portability(removed, unknown, frozenset({version}))


def merge(parts: Iterable[Portability]) -> Portability:
    """Return what is said of several files, as of one."""
    parts = list(parts)
    return Portability(
        *(frozenset().union(*found) for found in zip(*((p.removed, p.unknown, p.versions) for p in parts), strict=True))
    )


def _rewrite(model: Path, draft: Path) -> tuple[frozenset[str], frozenset[str], str]:
    with zipfile.ZipFile(model) as source, zipfile.ZipFile(draft, "w") as target:
        config = json.loads(source.read("config.json"))
        version = str(json.loads(source.read("metadata.json"))["keras_version"])
        removed, unknown = _clean(config)
        for entry in source.infolist():
            if entry.filename == "config.json":
                target.writestr(entry, json.dumps(config))
            else:
                with source.open(entry) as content, target.open(entry, "w", force_zip64=True) as copy:
                    shutil.copyfileobj(content, copy)
    return removed, unknown, version


def is_newer(version: str) -> bool:
    """Return whether a version of Keras is newer than those that the tables know."""
    return _parse(version) > _parse(NEWEST)


def _parse(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2])


def _clean(config: Any) -> tuple[frozenset[str], frozenset[str]]:
    removed, unknown = set(), set()
    for part in list(_walk(config)):
        name, arguments = part["class_name"], part["config"]
        if part["module"].startswith("keras.src.ops.") and len(arguments) > 1:
            arguments.pop("name", None)  # before 3.15 operations with arguments take no name
        for argument, default in ADDED_ARGUMENTS.get(name, {}).items():
            if argument in arguments and arguments[argument] == default:
                del arguments[argument]
        kept = [argument for argument in ADDED_ARGUMENTS.get(name, {}) if argument in arguments]
        if name in ADDED_AUGMENTATIONS or (name == "RandomContrast" and kept):
            _neutralize(part)
            removed.add(name)
        elif name in ADDED_LAYERS:
            unknown.add(name)
        else:
            unknown.update(f"{name}.{argument}" for argument in kept)
    return frozenset(removed), frozenset(unknown)


def _neutralize(layer: dict[str, Any]) -> None:
    """Make a layer the one that returns its input as numbers of its own type, as augmentation does in prediction."""
    kept = {name: layer["config"][name] for name in ("name", "trainable", "dtype") if name in layer["config"]}
    layer.update(module="keras.layers", class_name="Rescaling", config={**kept, "scale": 1.0, "offset": 0.0})


def _walk(config: Any) -> Iterator[dict[str, Any]]:
    """Yield each of Keras's own objects in a configuration, the outer before the inner ones."""
    if isinstance(config, dict):
        module = config.get("module")
        if isinstance(module, str) and module.split(".")[0] == "keras" and isinstance(config.get("config"), dict):
            yield config
    inner = config.values() if isinstance(config, dict) else config if isinstance(config, list) else ()
    for part in inner:
        yield from _walk(part)
