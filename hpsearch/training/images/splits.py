"""The split of a study's images: hold-outs that are the same on every host."""

import numpy as np
from sklearn.model_selection import train_test_split

from hpsearch.errors import UsageError
from hpsearch.training.images.parts import Labels


def split_stratified(y: Labels, among: Labels, count: int, seed: int, what: str) -> tuple[Labels, Labels]:
    """Split the indices `among` into (all others, `count`), both stratified by label.

    Raises:
        UsageError: a part would have no image of some class; `what` names the part.
    """
    classes = len(np.unique(y))
    most = len(among) - classes  # every class needs an image on either side
    if not classes <= count <= most:
        raise UsageError(f"{what}: {count:,} is not from {classes} to {most:,} (there are {len(among):,} images)")
    others, part = train_test_split(among, test_size=count, stratify=y[among], random_state=seed)
    return others, part
