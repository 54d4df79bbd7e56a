"""The weights that an application starts from: Keras's own from ImageNet, or those in a file of the user's."""

import hashlib
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import keras

from hpsearch import settings
from hpsearch.errors import NotFoundError
from hpsearch.spec.models import IMAGENET, NO_WEIGHTS
from hpsearch.training.images.cache import hold_lock
from hpsearch.training.images.downloads import StoppedError, report_waiting, watch_downloads
from hpsearch.training.images.image_sets import find_place

FIXED_SIZE = ("NASNetLarge", "NASNetMobile")
"""Keras loads their ImageNet weights into a network for the images of ImageNet only; the weights fit any size."""


@dataclass(frozen=True)
class WeightsFile:
    """A file of weights as it is on this host."""

    path: Path
    sha256: str


def find_file(weights: str | None) -> WeightsFile | None:
    """Return the user's file that `[model] weights` names; None where it names none.

    Raises:
        NotFoundError: it is not on this host, or cannot be read.
    """
    if weights in (None, IMAGENET, NO_WEIGHTS):
        return None
    path = find_place(str(weights))
    try:
        status = path.stat()
        return WeightsFile(path, _hash(path, status.st_size, status.st_mtime_ns))
    except OSError as error:
        raise NotFoundError(f"{path} cannot be read ({error.strerror or error})") from None


def add_file(fingerprint: str, weights: str | None) -> str:
    """Return the fingerprint of the data and of the user's file of weights; that of the data where there is none.

    Raises:
        NotFoundError: the file is not on this host, or cannot be read.
    """
    file = find_file(weights)
    if file is None:
        return fingerprint
    # In an evaluation it has two parts, of which the second is the search's.
    parts = (hashlib.sha256(f"{part} {file.sha256}".encode()).hexdigest() for part in fingerprint.split("+"))
    return "+".join(parts)


def construct(
    name: str, weights: str | None, file: WeightsFile | None, shape: tuple[int, int, int]
) -> tuple[keras.Model, keras.Model]:
    """Return the application without its top for images of `shape`, and one with its weights: most often the same.

    Raises:
        NotFoundError: the weights are not on this host, or are not its.
        StoppedError: they are not wanted any more.
    """
    if weights == NO_WEIGHTS:
        network = _call(name, weights=None, input_shape=shape)
        return network, network
    try:
        if file:
            network = _call(name, weights=str(file.path), input_shape=shape)
            return network, network
        with _downloading():
            if name not in FIXED_SIZE:
                network = _call(name, weights=IMAGENET, input_shape=shape)
                return network, network
            return _call(name, weights=None, input_shape=shape), _call(name, weights=IMAGENET)
    except (MemoryError, StoppedError):
        raise
    except Exception as error:  # noqa: BLE001 get_file raises bare Exception, a file of weights may break in any way
        reason = " ".join(str(error).split()) or type(error).__name__
        raise NotFoundError(_describe(name, file, reason[:300])) from None


def _call(name: str, **options: Any) -> keras.Model:
    with warnings.catch_warnings():
        # That ImageNet's images had another size is no news: the convolutions fit any.
        warnings.filterwarnings("ignore", message=".*Weights for input shape")
        # Of a file that has not all of them Keras loads the others, and warns.
        warnings.filterwarnings("error", message="(?s).*(freshly-initialized|could not be loaded|Skipping)")
        return getattr(keras.applications, name)(include_top=False, **options)


def _describe(name: str, file: WeightsFile | None, reason: str) -> str:
    if file:
        return (
            f"{file.path} does not hold the weights of {name} without its top ({reason}): save them with Keras's "
            "save_weights"
        )
    return (
        f"the ImageNet weights of {name} cannot be had on this host ({reason}): let it download them, or put Keras's "
        'file whole into the directory "models" of KERAS_HOME, by default ~/.keras'
    )


@lru_cache(maxsize=8)
def _hash(path: Path, size: int, changed: int) -> str:
    """Return the SHA-256 of a file of `size`, last changed at `changed`."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _downloading() -> Iterator[None]:
    """Let one process of this host download at a time: Keras writes to the file's place at once."""
    root = settings.find_cache_dir()
    root.mkdir(parents=True, exist_ok=True)
    with hold_lock(root / "weights.lock", report_waiting), watch_downloads():
        yield
