"""CIFAR-100 on disk, with its fine labels, in the layout of CIFAR-10 (https://www.cs.toronto.edu/~kriz/cifar.html)."""

from pathlib import Path
from typing import TYPE_CHECKING

from hpsearch.errors import NotFoundError
from hpsearch.spec.datasets import Dataset
from hpsearch.training.datasets.cifar10 import load_batch, load_names
from hpsearch.training.images.downloads import PublishedFile, download
from hpsearch.training.packed_files import find_packed, read_files

if TYPE_CHECKING:
    from hpsearch.training.images.parts import RawImages

DIRECTORY = "cifar-100-python"
ARCHIVE = "cifar-100-python.tar.gz"
# The archive and checksum that keras.datasets.cifar100 uses.
ORIGIN = "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz"
SHA256 = "85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7"
TRAIN, TEST, META = FILES = ("train", "test", "meta")
PATTERN = r"cifar[-_]?100.*"
"""Of the names of its directories and archives."""
TRAIN_IMAGES, TEST_IMAGES = 50_000, 10_000
CLASSES = (
    "apple", "aquarium_fish", "baby", "bear", "beaver", "bed", "bee", "beetle", "bicycle", "bottle", "bowl", "boy",
    "bridge", "bus", "butterfly", "camel", "can", "castle", "caterpillar", "cattle", "chair", "chimpanzee", "clock",
    "cloud", "cockroach", "couch", "crab", "crocodile", "cup", "dinosaur", "dolphin", "elephant", "flatfish", "forest",
    "fox", "girl", "hamster", "house", "kangaroo", "keyboard", "lamp", "lawn_mower", "leopard", "lion", "lizard",
    "lobster", "man", "maple_tree", "motorcycle", "mountain", "mouse", "mushroom", "oak_tree", "orange", "orchid",
    "otter", "palm_tree", "pear", "pickup_truck", "pine_tree", "plain", "plate", "poppy", "porcupine", "possum",
    "rabbit", "raccoon", "ray", "road", "rocket", "rose", "sea", "seal", "shark", "shrew", "skunk", "skyscraper",
    "snail", "snake", "spider", "squirrel", "streetcar", "sunflower", "sweet_pepper", "table", "tank", "telephone",
    "television", "tiger", "tractor", "train", "trout", "tulip", "turtle", "wardrobe", "whale", "willow_tree", "wolf",
    "woman", "worm",
)  # fmt: skip


def find_source() -> Path | None:
    """Return the directory, or the archive, for `read`; None where there is neither. Reads nothing."""
    return find_packed(PATTERN, FILES)


def read_images() -> "RawImages":
    """Return all of CIFAR-100, downloaded where it is not there; see `read`."""
    advice = f"{ARCHIVE} or {DIRECTORY}"
    return read(find_source() or download(PublishedFile("CIFAR-100", ARCHIVE, ORIGIN, SHA256, 161, advice)))


def read(path: Path) -> "RawImages":
    """Return all of CIFAR-100, whole or not at all.

    Raises:
        NotFoundError: something is missing, cut off, malformed, or more than plain data; the line names it.
    """
    try:
        files = read_files(path, FILES)
        training = load_batch(files, TRAIN, TRAIN_IMAGES, b"fine_labels", len(CLASSES))
        test = load_batch(files, TEST, TEST_IMAGES, b"fine_labels", len(CLASSES))
        classes = load_names(files, META, b"fine_label_names", len(CLASSES))
    except Exception as error:  # noqa: BLE001 a damaged pickle or archive can raise almost anything
        reason = " ".join(str(error).split()) or type(error).__name__
        raise NotFoundError(f"CIFAR-100 in {path} cannot be used: {reason}; replace or remove it") from None
    return *training, *test, classes


DATASET = Dataset(
    name="cifar100",
    images=TRAIN_IMAGES,
    validation=5_000,
    shape=(32, 32, 3),
    classes=CLASSES,
    read=read_images,
)
