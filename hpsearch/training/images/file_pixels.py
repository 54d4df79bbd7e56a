"""The pixels of image files, decoded by many threads at once."""

import hashlib
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import TypeVar

import numpy as np
from PIL import Image

from hpsearch.errors import NotFoundError
from hpsearch.training.images.cache import Progress
from hpsearch.training.images.decoding import VERSION, DecodingError, decode, resize
from hpsearch.training.images.listings import Listing, describe, format_path, refuse
from hpsearch.training.images.stores import ImageWriter, count_cores

BLOCK = 256
"""Files that are under way at a time."""

Result = TypeVar("Result")


class FilePixels:
    """The images of a listing, in its order, as RGB."""

    def __init__(self, listing: Listing, size: tuple[int, int] | None, how: str, progress: Progress) -> None:
        """Read all files once, to know what is in them.

        Args:
            listing: at least one file.
            size: height and width of every image; None where all files have one size.
            how: see `decoding.resize`.
            progress: told that nothing is decoded yet, again and again.

        Raises:
            NotFoundError: files cannot be read.
        """
        self._files, self._classes, self._size, self._how = listing.files, listing.classes, size, how
        self.count = len(listing.files)
        self._digests = self._map(
            lambda index: hashlib.sha256(self._read(index)).hexdigest(), lambda done: progress(0, self.count)
        )

    @cached_property
    def key(self) -> str:
        """SHA-256 of names, contents, labels, parts, groups and how they are decoded."""
        digest = hashlib.sha256(f"{VERSION}, {self._size}, {self._how if self._size else None}\n".encode())
        for file, content in zip(self._files, self._digests, strict=True):
            row = file.name, content, self._classes[file.label], int(file.part), file.group
            digest.update(f"{row!r}\n".encode())
        return digest.hexdigest()

    def measure(self) -> tuple[int, int, int]:
        """Return height, width and channels.

        Raises:
            NotFoundError: no file can be decoded.
        """
        height, width = self._size or self._find_first_size()[1]
        return height, width, 3

    def write(self, writer: ImageWriter, progress: Progress) -> None:
        """Decode all files.

        Raises:
            NotFoundError: some cannot be decoded, changed meanwhile, or have another size than the first.
        """

        def write(index: int) -> tuple[int, int]:
            image = self._decode(index)
            if self._size:
                image = resize(image, self._size, self._how)
            size = image.height, image.width
            if size == writer.shape[1:3]:
                writer.write(index, np.asarray(image))
            return size

        sizes = self._map(write, lambda done: progress(done, self.count))
        for index, size in enumerate(sizes):
            if size != writer.shape[1:3]:
                first, (height, width) = self._find_first_size()
                raise NotFoundError(
                    f"{self._name(first)} has {height}×{width} pixels (height×width) and {self._name(index)} "
                    f"{size[0]}×{size[1]}: set data.image_size"
                )

    def _find_first_size(self) -> tuple[int, tuple[int, int]]:
        """Return the first file that can be decoded, with its height and width."""
        faults: list[str] = []
        for index in range(self.count):
            try:
                image = self._decode(index)
            except DecodingError as error:
                faults.append(f"{self._name(index)} {error}")
            else:
                return index, (image.height, image.width)
        refuse(faults)
        raise AssertionError("a listing has files")

    def _decode(self, index: int) -> Image.Image:
        content = self._read(index)
        if hashlib.sha256(content).hexdigest() != self._digests[index]:
            raise DecodingError("changed while it was read")
        return decode(content)

    def _read(self, index: int) -> bytes:
        try:
            return self._files[index].path.read_bytes()
        except OSError as error:
            raise DecodingError(f"cannot be read: {describe(error)}") from None

    def _name(self, index: int) -> str:
        return format_path(self._files[index].path)

    def _map(self, work: Callable[[int], Result], progress: Callable[[int], None]) -> list[Result]:
        """Return what `work` returns for the index of each file.

        Raises:
            NotFoundError: it raised DecodingErrors; the line names the files.
        """

        def attempt(index: int) -> Result | DecodingError:
            try:
                return work(index)
            except DecodingError as error:
                return error

        results: list[Result] = []
        faults: list[str] = []
        # Pillow warns of odd metadata; the filter is the process's, so it is set before the threads are there.
        with warnings.catch_warnings(), ThreadPoolExecutor(count_cores()) as pool:
            warnings.simplefilter("ignore")
            for start in range(0, self.count, BLOCK):
                block = range(start, min(start + BLOCK, self.count))
                for index, result in zip(block, pool.map(attempt, block), strict=True):
                    if isinstance(result, DecodingError):
                        faults.append(f"{self._name(index)} {result}")
                    else:
                        results.append(result)
                progress(block.stop)
        refuse(faults)
        return results
