"""CIFAR-10 on disk: where it is, and reading its official python layout without trusting it.

The layout (https://www.cs.toronto.edu/~kriz/cifar.html): six batches, each a pickled dictionary of 10,000 rows of
3,072 bytes (the red, green and blue planes of 32x32) and as many labels, and a dictionary with the class names; in
a directory, or in the archive it is published as.
"""

import io
import pickle
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpsearch.errors import NotFoundError
from hpsearch.spec.datasets import Dataset
from hpsearch.training.images.downloads import PublishedFile, download
from hpsearch.training.packed_files import find_packed, read_files

if TYPE_CHECKING:
    from hpsearch.training.images.parts import Images, Labels, RawImages

DIRECTORY = "cifar-10-batches-py"
ARCHIVE = "cifar-10-python.tar.gz"
# The archive and checksum that keras.datasets.cifar10 uses.
ORIGIN = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
SHA256 = "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"
TRAIN = tuple(f"data_batch_{number}" for number in range(1, 6))
TEST = "test_batch"
META = "batches.meta"
FILES = (*TRAIN, TEST, META)
PATTERN = r"cifar[-_]?10(?!0).*"
"""Of the names of its directories and archives."""
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


def find_source() -> Path | None:
    """Return the batches' directory, or the archive, for `read`; None where there is neither. Reads nothing."""
    return find_packed(PATTERN, FILES)


def fetch() -> Path:
    """Return where CIFAR-10 is on this host, for `read`; it is downloaded where it is not there.

    Raises:
        NotFoundError: it is not there and cannot be downloaded.
    """
    advice = f"{ARCHIVE} or {DIRECTORY}"
    return find_source() or download(PublishedFile("CIFAR-10", ARCHIVE, ORIGIN, SHA256, 163, advice))


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
        files = read_files(path, FILES)
        batches = [load_batch(files, name, BATCH_IMAGES, b"labels", len(CLASSES)) for name in (*TRAIN, TEST)]
        classes = load_names(files, META, b"label_names", len(CLASSES))
    except Exception as error:  # noqa: BLE001 a damaged pickle or archive can raise almost anything
        reason = " ".join(str(error).split()) or type(error).__name__
        raise NotFoundError(f"CIFAR-10 in {path} cannot be used: {reason}; replace or remove it") from None
    images, labels = zip(*batches[:-1], strict=True)
    return np.concatenate(images), np.concatenate(labels), *batches[-1], classes


def load_names(files: Mapping[str, bytes], name: str, key: bytes, count: int) -> tuple[str, ...]:
    """Return the names of the classes.

    Raises:
        ValueError: the file is missing or damaged, or holds something else.
    """
    names = _load(files, name).get(key)
    if not isinstance(names, list) or len(names) != count:
        raise ValueError(f"{name} does not hold {count} class names")
    return tuple(name.decode() for name in names)


def load_batch(files: Mapping[str, bytes], name: str, images: int, key: bytes, classes: int) -> "tuple[Images, Labels]":
    """Return the images (n, 32, 32, 3) and labels (n,) of a file that is to have so many, the labels under `key`.

    Raises:
        ValueError: the file is missing or damaged, or holds something else.
    """
    import numpy as np

    batch = _load(files, name)
    rows, labels = batch.get(b"data"), np.asarray(batch.get(key))
    if not isinstance(rows, np.ndarray) or rows.dtype != np.uint8 or rows.shape != (images, 3072):
        raise ValueError(f"{name} does not hold {images:,} rows of 3,072 bytes")
    whole = labels.shape == (images,) and labels.dtype.kind in "iu"
    if not whole or labels.min() < 0 or labels.max() >= classes:
        raise ValueError(f"{name} does not hold {images:,} labels from 0 to {classes - 1}")
    planes = rows.reshape(-1, 3, 32, 32)  # images x colours x height x width
    return np.ascontiguousarray(planes.transpose(0, 2, 3, 1)), labels.astype(np.int64)


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


DATASET = Dataset(
    name="cifar10",
    images=50_000,
    validation=5_000,
    shape=(32, 32, 3),
    classes=CLASSES,
    read=read_images,
)
