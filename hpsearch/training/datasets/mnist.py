"""MNIST: 70,000 handwritten digits, grey, in the file that keras.datasets.mnist uses."""

from typing import TYPE_CHECKING, Any

from hpsearch.errors import NotFoundError
from hpsearch.spec.datasets import Dataset
from hpsearch.training.images.downloads import PublishedFile, fetch

if TYPE_CHECKING:
    from hpsearch.training.images.parts import Images, Labels, RawImages

FILE = PublishedFile(
    "MNIST",
    "mnist.npz",
    "https://storage.googleapis.com/tensorflow/tf-keras-datasets/mnist.npz",
    "731c5ac602752760c8e48fbffcf8c3b850d9dc2a2aedcf2cc48468fc17b673d1",
    11,
    "mnist.npz",
)
TRAIN_IMAGES, TEST_IMAGES = 60_000, 10_000
CLASSES = tuple("0123456789")


def read_images() -> "RawImages":
    """Return all of MNIST, (n, 28, 28, 1), downloaded where it is not there.

    Raises:
        NotFoundError: it is nowhere to be had, or is damaged.
    """
    import numpy as np

    path = fetch(FILE)
    try:
        with np.load(path, allow_pickle=False) as file:
            training = check_grey(file["x_train"], file["y_train"], TRAIN_IMAGES)
            test = check_grey(file["x_test"], file["y_test"], TEST_IMAGES)
    except Exception as error:  # noqa: BLE001 a damaged archive can raise almost anything
        reason = " ".join(str(error).split()) or type(error).__name__
        raise NotFoundError(f"MNIST in {path} cannot be used: {reason}; replace or remove it") from None
    return *training, *test, CLASSES


def check_grey(images: Any, labels: Any, count: int) -> "tuple[Images, Labels]":
    """Return images (n, 28, 28) as (n, 28, 28, 1), and labels (n,) of ten classes.

    Raises:
        ValueError: they are not so many, or not of this kind.
    """
    import numpy as np

    if images.shape != (count, 28, 28) or images.dtype != np.uint8:
        raise ValueError(f"it does not hold {count:,} images of 28×28 bytes")
    if labels.shape != (count,) or labels.dtype.kind not in "iu" or labels.min() < 0 or labels.max() > 9:
        raise ValueError(f"it does not hold {count:,} labels from 0 to 9")
    return images[..., np.newaxis], labels.astype(np.int64)


DATASET = Dataset(
    name="mnist",
    images=TRAIN_IMAGES,
    validation=6_000,
    shape=(28, 28, 1),
    classes=CLASSES,
    read=read_images,
)
