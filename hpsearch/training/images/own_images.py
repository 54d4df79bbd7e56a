"""A user's own images with their split: how they are identified, and what of them is in two parts."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hpsearch.training.images import image_sets
from hpsearch.training.images.cache import Progress
from hpsearch.training.images.image_sets import ImageSet
from hpsearch.training.images.parts import Labels
from hpsearch.training.images.splits import LabelledImages, Split, split_images
from hpsearch.training.protocol import Duplicates
from hpsearch.training.requests import DataRequest


@dataclass(frozen=True, eq=False)
class OwnImages:
    """All images, and which of them are in which part."""

    images: ImageSet
    split: Split

    def compute_fingerprint(self, *parts: Labels) -> str:
        """Return the SHA-256 of the classes' names and, for each of `parts`, of its images' pixels and labels."""
        images = self.images
        digest = hashlib.sha256(repr((images.images.shape[1:], images.classes)).encode())
        for indices in parts:
            digest.update(f"{len(indices)}".encode())
            digest.update(images.digests[indices].tobytes())
            digest.update(images.labels[indices].astype("<i8").tobytes())
        return digest.hexdigest()

    def find_duplicates(self) -> Duplicates | None:
        """Return how many images have the same pixels as one of an earlier part; None where all parts differ."""
        parts = (self.split.training, self.split.validation, self.split.test)
        order = np.concatenate(parts)
        part = np.repeat(np.arange(len(parts)), [len(indices) for indices in parts])
        _, first, same = np.unique(self.images.digests[order], return_index=True, return_inverse=True)
        repeated = np.flatnonzero(part[first[same]] != part)
        if not len(repeated):
            return None
        names, last = self.images.names, repeated[0]
        return Duplicates(len(repeated), names[order[first[same][last]]], names[order[last]])


def read_own_images(data: DataRequest, code: Path | None, progress: Progress) -> OwnImages:
    """Return the images of `data`, split.

    Args:
        data: has a path, or a function to load.
        code: the directory with the study's own files.
        progress: see `cache.Progress`; an exception that it raises ends the reading.

    Raises:
        NotFoundError: the data are not there, or something in them cannot be used; the line names it.
    """
    images = image_sets.read(data, code, progress)
    labelled = LabelledImages(data.title, images.labels, images.classes, images.parts, images.groups)
    return OwnImages(images, split_images(labelled, data.validation, data.test_part, data.train_limit, data.seed))
