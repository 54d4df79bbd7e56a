"""scikit-learn's handwritten digits; they come with the package."""

from typing import TYPE_CHECKING

from hpsearch.spec.datasets import Dataset

if TYPE_CHECKING:
    from hpsearch.training.images.parts import RawImages

TEST_IMAGES = 360


def read_images() -> "RawImages":
    """Return the 1,797 digits, 8x8 of 0..16, as 32x32 pixels of 0..255 in three equal channels.

    Which 360 of them are test images is fixed.
    """
    import numpy as np
    from sklearn.datasets import load_digits

    from hpsearch.training.images.splits import split_stratified

    digits = load_digits()
    grey = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    x = np.repeat(grey.repeat(4, axis=1).repeat(4, axis=2)[..., np.newaxis], 3, axis=3)
    y = digits.target.astype(np.int64)
    train, test = split_stratified(y, np.arange(len(y)), TEST_IMAGES, 0, "test")
    return x[train], y[train], x[test], y[test], tuple(str(name) for name in digits.target_names)


DATASET = Dataset(
    name="digits",
    images=1_437,
    validation=300,
    shape=(32, 32, 3),
    classes=tuple("0123456789"),
    read=read_images,
)
