"""Image files and requests for them, for the tests of reading images. Imports no framework."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from hpsearch.training.images.image_sets import ImageSet, read
from hpsearch.training.requests import DataRequest

Pixels = npt.NDArray[np.uint8]


def make_request(
    path: Path | str | None, image_size: tuple[int, int] | None = None, resize: str = "crop"
) -> DataRequest:
    """Return what `[data]` with this path asks for; without a path, with a function."""
    load = None if path else "my_data.py:load"
    return DataRequest(
        None, None, None, 0, path=str(path) if path else None, load=load, image_size=image_size, resize=resize
    )


def draw(seed: int, height: int = 8, width: int = 8) -> Pixels:
    """Return an RGB image that no other seed gives."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def save(path: Path, pixels: Pixels) -> Path:
    """Write an image file in the format of its suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def make_folders(root: Path, classes: str = "ab", each: int = 3) -> Path:
    """Make a folder of PNG files for each class, named by a letter."""
    for label, name in enumerate(classes):
        for number in range(each):
            save(root / name / f"{number}.png", draw(100 * label + number))
    return root


def read_path(path: Path, image_size: tuple[int, int] | None = None, resize: str = "crop") -> ImageSet:
    """Read the images at `path`, without a report of the progress."""
    return read(make_request(path, image_size, resize), None, lambda done, total: None)


def read_all(images: ImageSet) -> Pixels:
    """Return all images of a set."""
    return images.images.read(np.arange(len(images.images)))
