"""The way of the images to the device: resident there, or read in a background thread while it computes.

Either way a step sees the same images in the same order, so that what is trained does not depend on the memory.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import psutil

from hpsearch import settings
from hpsearch.training import backends
from hpsearch.training.images.parts import ImagePart, Labels

GPU_SHARE = 0.25
"""The share of the GPU's memory that a trainer may use, up to which a study's images stay there."""

HOST_BYTES, HOST_SHARE = 2**30, 0.125
"""On the CPU a resident copy saves little: as many bytes, and no larger share of the memory that is available."""

CHUNK_BYTES = 16 * 2**20
"""About how much is read and copied to the device at a time: a few milliseconds, and far more than a launch costs."""

CHUNKS_AHEAD = 2
"""Chunks that are read, or wait, while the device computes on one."""

Job = TypeVar("Job")
Result = TypeVar("Result")


def find_resident_limit() -> int:
    """Return up to how many bytes of images stay on the device; more are streamed to it."""
    memory = settings.read_device_memory()
    if backends.name_device() == "GPU" and memory is not None:
        return int(GPU_SHARE * memory)
    return min(HOST_BYTES, int(HOST_SHARE * psutil.virtual_memory().available))


@dataclass(frozen=True, eq=False)
class Chunk:
    """Images and labels on the device, and the steps that are taken on them: rows of `order`, from the first on."""

    images: Any
    labels: Any
    order: Any
    """(at least `steps`, batch) indices of `images`."""
    steps: int
    batch: int


def split_into_chunks(images: Any, labels: Any, order: Labels, batch_size: int) -> Generator[Chunk]:
    """Yield what a pass over the images computes on, chunk by chunk; to be closed where not all are taken.

    Args:
        images: an ImagePart, which is streamed; or an array, which is one chunk, and what is left of it for the last
            step a second.
        labels: (n,).
        order: (n,) a permutation: which image comes when.
        batch_size: images a step; the last step takes what is left.
    """
    whole = len(order) // batch_size * batch_size
    parts = [part for part in (order[:whole].reshape(-1, batch_size), order[whole:].reshape(1, -1)) if part.size]
    for part in parts:
        if isinstance(images, ImagePart):
            yield from _stream(images, np.asarray(labels), part)
        else:
            yield Chunk(images, labels, backends.current.copy_to_device(part.astype(np.int32)), *part.shape)


def _stream(images: ImagePart, labels: Labels, rows: Labels) -> Generator[Chunk]:
    """Yield the images at `rows` (steps, batch)."""
    count, batch = rows.shape
    # Two steps at least, because a backend may take a single one without compiling it.
    steps = min(count, max(2, CHUNK_BYTES * len(images) // (images.nbytes * batch)))
    copy = backends.current.copy_to_device
    order = copy(np.arange(steps * batch, dtype=np.int32).reshape(steps, batch))

    def read(chosen: Labels) -> Chunk:
        # Of the same shape always, the last too, because another one would compile anew.
        padded = np.resize(chosen, steps * batch)
        return Chunk(copy(images[padded]), copy(labels[padded]), order, len(chosen), batch)

    yield from _read_ahead(read, (rows[first : first + steps] for first in range(0, count, steps)))


def read_batches(images: Any, batch_size: int) -> Generator[Any]:
    """Yield the images in order, in batches on the device; to be closed where not all are taken.

    Args:
        images: an ImagePart, which is streamed, or an array.
        batch_size: images a batch; the last one has what is left.
    """
    slices = (slice(start, start + batch_size) for start in range(0, len(images), batch_size))
    if not isinstance(images, ImagePart):
        return (images[rows] for rows in slices)
    return _read_ahead(lambda rows: backends.current.copy_to_device(images[rows]), slices)


def _read_ahead(read: Callable[[Job], Result], jobs: Iterable[Job]) -> Generator[Result]:
    """Yield `read` of each job, in order, computed by a thread that is a few ahead and ends with the iteration."""
    with ThreadPoolExecutor(1, thread_name_prefix="images") as pool:
        pending: deque[Future[Result]] = deque()
        try:
            for job in jobs:
                pending.append(pool.submit(read, job))
                if len(pending) > CHUNKS_AHEAD:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()
