"""CIFAR-10 on disk: where it is, and reading its official python layout without trusting it.

The layout (https://www.cs.toronto.edu/~kriz/cifar.html): six batches, each a pickled dictionary of 10,000 rows of
3,072 bytes (the red, green and blue planes of 32x32) and as many labels, and a dictionary with the class names; in
a directory, or in the archive it is published as.
"""

import gzip
import io
import logging
import pickle
import socket
import tarfile
import tempfile
import zlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpsearch import settings
from hpsearch.errors import NotFoundError
from hpsearch.spec.datasets import Dataset

if TYPE_CHECKING:
    from hpsearch.training.images.parts import Images, Labels, RawImages

log = logging.getLogger(__name__)

DIRECTORY = "cifar-10-batches-py"
ARCHIVE = "cifar-10-python.tar.gz"
# The archive and checksum that keras.datasets.cifar10 uses.
ORIGIN = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
SHA256 = "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"
TIMEOUT = 60.0
"""Seconds without a byte, after which the download is given up."""
TRAIN = tuple(f"data_batch_{number}" for number in range(1, 6))
TEST = "test_batch"
META = "batches.meta"
BATCH_IMAGES = 10_000
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


@cache
def _list_allowed() -> Mapping[tuple[str, str], Any]:
    """Return all that a pickled dictionary of byte strings, lists and one uint8 array refers to.

    That is numpy's own reconstruction, under its names of numpy 1 and 2, and how Python 3 writes bytes in protocol 2.
    """
    import numpy as np

    return {
        (module, name): value
        for modules, name, value in (
            (("numpy.core.multiarray", "numpy._core.multiarray"), "_reconstruct", np.empty(0).__reduce__()[0]),
            (("numpy",), "ndarray", np.ndarray),
            (("numpy",), "dtype", np.dtype),
            (("_codecs",), "encode", str.encode),
        )
        for module in modules
    }


class _Unpickler(pickle.Unpickler):
    """Refuse every global but those the format needs: a pickle can name any function to call."""

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _list_allowed()[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which CIFAR-10 does not need") from None


def list_places() -> tuple[Path, ...]:
    """Return the directories that are searched, in this order: the user's data directory, the cache."""
    chosen = settings.find_data_dir()
    return (*([chosen] if chosen else []), settings.find_cache_dir())


def find_source() -> Path | None:
    """Return the batches' directory, or the archive, for `read`; None where there is neither. Reads nothing."""
    for place in list_places():
        for path in (place / DIRECTORY, place):
            if (path / META).is_file():
                return path
        if (place / ARCHIVE).is_file():
            return place / ARCHIVE
    return None


def fetch() -> Path:
    """Return where CIFAR-10 is on this host, for `read`; it is downloaded where it is not there.

    Raises:
        NotFoundError: it is not there and cannot be downloaded.
    """
    return find_source() or _download()


def read_images() -> "RawImages":
    """Return all of CIFAR-10; see `fetch` and `read`."""
    return read(fetch())


def read(path: Path) -> "RawImages":
    """Return all of CIFAR-10, whole or not at all.

    Args:
        path: what `find_source` returned.

    Returns:
        Training images (50000, 32, 32, 3) and labels (50000,), test images (10000, 32, 32, 3) and labels
        (10000,), class names.

    Raises:
        NotFoundError: something is missing, cut off, malformed, or more than plain data; the line names it.
    """
    import numpy as np

    try:
        files = _directory(path) if path.is_dir() else _archive(path)
        batches = [_batch(files, name) for name in (*TRAIN, TEST)]
        names = _load(files, META).get(b"label_names")
        if not isinstance(names, list) or len(names) != len(CLASSES):
            raise ValueError(f"{META} does not hold {len(CLASSES)} class names")
        classes = tuple(name.decode() for name in names)
    except Exception as error:  # noqa: BLE001 a damaged pickle or archive can raise almost anything
        reason = " ".join(str(error).split()) or type(error).__name__
        raise NotFoundError(f"CIFAR-10 in {path} cannot be used: {reason}; replace or remove it") from None
    images, labels = zip(*batches[:-1], strict=True)
    return np.concatenate(images), np.concatenate(labels), *batches[-1], classes


def _directory(path: Path) -> dict[str, bytes]:
    return {name: (path / name).read_bytes() for name in (*TRAIN, TEST, META) if (path / name).is_file()}


def _archive(path: Path) -> dict[str, bytes]:
    """Return the wanted members, read into memory: nothing is unpacked, so no name in the archive can lead anywhere."""
    files: dict[str, bytes] = {}
    wanted = {f"{DIRECTORY}/{name}": name for name in (*TRAIN, TEST, META)}
    try:
        with gzip.open(path) as stream, tarfile.open(fileobj=stream, mode="r|") as archive:
            for member in archive:
                name, content = wanted.get(member.name), archive.extractfile(member)
                if name is not None and content is not None:
                    files[name] = content.read()
            while stream.read(1 << 20):  # to the end, where gzip compares its checksum: a flipped bit is a wrong image
                pass
    except (EOFError, tarfile.TarError, zlib.error, OSError) as error:
        raise ValueError(f"the archive is damaged ({error})") from None
    return files


def _load(files: Mapping[str, bytes], name: str) -> dict[bytes, Any]:
    if name not in files:
        raise ValueError(f"{name} is missing")
    try:
        content = _Unpickler(io.BytesIO(files[name]), encoding="bytes").load()
    except Exception as error:  # noqa: BLE001 see `read`
        raise ValueError(f"{name} is damaged ({' '.join(str(error).split())})") from None
    if not isinstance(content, dict):
        raise ValueError(f"{name} does not hold a dictionary")
    return content


def _batch(files: Mapping[str, bytes], name: str) -> "tuple[Images, Labels]":
    import numpy as np

    batch = _load(files, name)
    rows, labels = batch.get(b"data"), np.asarray(batch.get(b"labels"))
    if not isinstance(rows, np.ndarray) or rows.dtype != np.uint8 or rows.shape != (BATCH_IMAGES, 3072):
        raise ValueError(f"{name} does not hold {BATCH_IMAGES:,} rows of 3,072 bytes")
    whole = labels.shape == (BATCH_IMAGES,) and labels.dtype.kind in "iu"
    if not whole or labels.min() < 0 or labels.max() >= len(CLASSES):
        raise ValueError(f"{name} does not hold {BATCH_IMAGES:,} labels from 0 to {len(CLASSES) - 1}")
    planes = rows.reshape(-1, 3, 32, 32)  # images x colours x height x width
    return np.ascontiguousarray(planes.transpose(0, 2, 3, 1)), labels.astype(np.int64)


def _download() -> Path:
    """Download CIFAR-10 into the cache; it appears there whole, with the right checksum, or not at all."""
    import keras

    cache = settings.find_cache_dir()
    previous = socket.getdefaulttimeout()
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".download-", dir=cache) as directory:
            log.info("downloading CIFAR-10 (163 MiB) from %s", ORIGIN)
            socket.setdefaulttimeout(TIMEOUT)
            file = keras.utils.get_file(
                ARCHIVE,
                ORIGIN,
                file_hash=SHA256,
                hash_algorithm="sha256",
                cache_dir=directory,
                cache_subdir="",
            )
            return Path(file).replace(cache / ARCHIVE)
    except Exception as error:  # noqa: BLE001 get_file raises bare Exception for what goes wrong on the way
        looked = " nor in ".join(str(place) for place in list_places())
        reason = " ".join(str(error).split()) or type(error).__name__
        raise NotFoundError(
            f"CIFAR-10 is not in {looked}, and cannot be downloaded ({reason}): put {ARCHIVE} or "
            f"{DIRECTORY} into a directory and name that in HPSEARCH_DATA_DIR"
        ) from None
    finally:
        socket.setdefaulttimeout(previous)


DATASET = Dataset(
    name="cifar10",
    images=50_000,
    validation=5_000,
    shape=(32, 32, 3),
    classes=CLASSES,
    read=read_images,
)
