"""Fashion-MNIST: 70,000 articles of clothing, grey, in the files that keras.datasets.fashion_mnist uses.

Their format is that of http://yann.lecun.com/exdb/mnist: a header of 8 or 16 bytes, then a byte a label or pixel.
"""

import gzip
from pathlib import Path
from typing import TYPE_CHECKING

from hpsearch.errors import NotFoundError
from hpsearch.spec.datasets import Dataset
from hpsearch.training.datasets.mnist import check_grey
from hpsearch.training.images.downloads import PublishedFile, fetch

if TYPE_CHECKING:
    from hpsearch.training.images.parts import Images, Labels, RawImages

DIRECTORY = "fashion-mnist"
"""Always named, because the files of MNIST have the same names."""
ORIGIN = "https://storage.googleapis.com/tensorflow/tf-keras-datasets/"
TRAIN_IMAGES, TEST_IMAGES = 60_000, 10_000
CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip


def read_images() -> "RawImages":
    """Return all of Fashion-MNIST, (n, 28, 28, 1), downloaded where it is not there.

    Raises:
        NotFoundError: it is nowhere to be had, or is damaged.
    """
    return *_read("train", TRAIN_IMAGES), *_read("t10k", TEST_IMAGES), CLASSES


def _read(part: str, count: int) -> "tuple[Images, Labels]":
    import numpy as np

    images, labels = (_fetch(f"{part}-{kind}-ubyte.gz") for kind in ("images-idx3", "labels-idx1"))
    try:
        # gzip compares a checksum, for Keras has none.
        pixels = np.frombuffer(gzip.decompress(images.read_bytes()), np.uint8, offset=16)
        return check_grey(
            pixels.reshape(-1, 28, 28).copy(),
            np.frombuffer(gzip.decompress(labels.read_bytes()), np.uint8, offset=8),
            count,
        )
    except Exception as error:  # noqa: BLE001 a damaged file can raise almost anything
        reason = " ".join(str(error).split()) or type(error).__name__
        raise NotFoundError(
            f"Fashion-MNIST in {images.parent} cannot be used: {part}: {reason}; replace or remove it"
        ) from None


def _fetch(name: str) -> Path:
    mebibytes = 25 if name.startswith("train-images") else 4.2
    path, advice = f"{DIRECTORY}/{name}", f"{DIRECTORY} with its four files"
    return fetch(PublishedFile("Fashion-MNIST", path, ORIGIN + name, None, mebibytes, advice))


DATASET = Dataset(
    name="fashion_mnist",
    images=TRAIN_IMAGES,
    validation=6_000,
    shape=(28, 28, 1),
    classes=CLASSES,
    read=read_images,
)
