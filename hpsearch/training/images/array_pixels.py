"""The pixels of arrays: checked for what they are, so that nothing else is taken for pixels."""

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from hpsearch.errors import NotFoundError
from hpsearch.training.images.arrays import ARRAY_NAMES, Array, ArrayParts
from hpsearch.training.images.cache import Progress
from hpsearch.training.images.decoding import VERSION, resize
from hpsearch.training.images.listings import Part
from hpsearch.training.images.stores import ImageWriter, count_cores

RIGHT_SHAPES = "(n, height, width), (n, height, width, 1) or (n, height, width, 3)"


class ArrayPixels:
    """The images of arrays, part after part, with the channels that they have."""

    def __init__(self, parts: ArrayParts, content: str, size: tuple[int, int] | None, how: str) -> None:
        """Check the shapes.

        Args:
            parts: images and labels; pixels are whole numbers of 0..255.
            content: a digest of all of them.
            size: height and width of every image; None where they keep theirs.
            how: see `decoding.resize`.

        Raises:
            NotFoundError: they are no images, or of several sizes where none is given.
        """
        self._parts, self._content, self._size, self._how = parts, content, size, how
        self.count = sum(images.shape[0] for images, _ in parts.arrays.values())
        shapes = {part: _find_shape(images, parts.name(part)) for part, (images, _) in parts.arrays.items()}
        height, width, channels = shapes[Part.TRAINING]
        for part, shape in shapes.items():
            if shape[2] != channels or (size is None and shape != (height, width, channels)):
                advice = ": set data.image_size" if shape[2] == channels else ""
                raise NotFoundError(
                    f"{parts.name(Part.TRAINING)} has images of {height}×{width}×{channels} and "
                    f"{ARRAY_NAMES[part][0]} of {'×'.join(map(str, shape))}{advice}"
                )
        self._shape = *(size or (height, width)), channels

    @cached_property
    def key(self) -> str:
        """SHA-256 of the content and of how it is resized."""
        settings = f"{VERSION}, arrays, {self._size}, {self._how if self._size else None}"
        return hashlib.sha256(f"{settings}\n{self._content}".encode()).hexdigest()

    def measure(self) -> tuple[int, int, int]:
        """Return height, width and channels."""
        height, width, channels = self._shape
        return height, width, channels

    def write(self, writer: ImageWriter, progress: Progress) -> None:
        """Write all images.

        Raises:
            NotFoundError: some pixels are no whole numbers of 0..255.
        """

        def write(index: int, image: npt.NDArray[np.uint8]) -> None:
            if self._size:
                picture = Image.fromarray(image if image.shape[2] == 3 else image[..., 0])
                image = np.asarray(resize(picture, self._size, self._how)).reshape(self._shape)
            writer.write(index, image)

        first = 0
        with ThreadPoolExecutor(count_cores()) as pool:
            for part, (images, _) in self._parts.arrays.items():
                for block in _read_pixels(images, self._parts.name(part)):
                    list(pool.map(write, range(first, first + len(block)), block))
                    first += len(block)
                    progress(first, self.count)


def _find_shape(images: Array, name: str) -> tuple[int, int, int]:
    """Return height, width and channels."""
    shape = images.shape if len(images.shape) == 4 else (*images.shape, 1)
    if len(shape) != 4 or shape[3] not in (1, 3) or not all(shape[1:]):
        raise NotFoundError(f"{name} has the shape {images.shape}: {RIGHT_SHAPES} is needed")
    if images.dtype.kind not in "uif":
        raise NotFoundError(f"{name} has the type {images.dtype}: whole numbers of 0..255 are needed")
    return shape[1], shape[2], shape[3]


def _read_pixels(images: Array, name: str) -> Iterator[npt.NDArray[np.uint8]]:
    """Yield the images, (k, height, width, channels), block by block."""
    largest = 0.0
    for block in images.read_blocks():
        largest = max(largest, float(block.max()))
        fault = _find_fault(block)
        if fault:
            raise NotFoundError(f"{name} {fault}")
        yield block.astype(np.uint8, copy=False).reshape(*block.shape[:3], -1)
    if images.dtype.kind == "f" and largest <= 1:
        raise NotFoundError(f"{name} holds numbers of 0..1: {_ADVICE}")


_ADVICE = 'pixels are whole numbers of 0..255, as np.rint(255 * x).astype("uint8") makes them of 0..1'


def _find_fault(block: npt.NDArray[Any]) -> str | None:
    if block.dtype == np.uint8:
        return None
    if block.dtype.kind == "f":
        if not np.isfinite(block).all():
            return "holds numbers that are not finite"
        fractions = block != np.rint(block)
        if fractions.any():
            return f"holds fractions, such as {block[fractions][0]:.4g}: {_ADVICE}"
    if block.min() < 0 or block.max() > 255:
        return f"holds numbers from {block.min():g} to {block.max():g}: pixels are whole numbers of 0..255"
    return None
