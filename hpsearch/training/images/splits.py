"""The split of a study's images: hold-outs that are the same on every host."""

import warnings
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from sklearn.model_selection import StratifiedGroupKFold, train_test_split

from hpsearch.errors import NotFoundError, UsageError
from hpsearch.training.images.parts import Labels

PARTS = ("training", "validation", "test")

DEFAULT_SHARE = 0.2
"""Of the images that the data assign to no part: what is held out for the validation, and as much for the test."""

TEST_SEED = 0
"""The test images do not depend on the study's seed, so that studies of the same data are tested on the same images."""

MOST_FOLDS = 20
"""Groups are dealt into so many folds at most, of which some are held out: shares are multiples of a twentieth."""


@dataclass(frozen=True, eq=False)
class LabelledImages:
    """What a split depends on."""

    title: str
    """What to call the data in a message."""
    labels: Labels
    classes: tuple[str, ...]
    parts: npt.NDArray[np.int8]
    """(n,) as the data bring them: 0 is to be split, 1 validation, 2 test."""
    groups: Labels | None
    """(n,) where there are groups, which are not to be divided."""


@dataclass(frozen=True, eq=False)
class Split:
    """Indices of images, ascending; no image is in two parts."""

    training: Labels
    validation: Labels
    test: Labels


def split_images(
    images: LabelledImages,
    validation: float | None,
    test: float | None,
    train_limit: int | None,
    seed: int,
) -> Split:
    """Split images into training, validation and test images, each with its share of every class.

    A part that the data bring stays as it is. Another one is held out of the images that are in none: a number of them,
    a fraction where it is a float, DEFAULT_SHARE where it is None; where there are groups, as near to that as they
    permit. `train_limit` then keeps a stratified part of the training images.

    Raises:
        NotFoundError: the data do not have the images that this takes; the line names what is missing, and where.
    """
    for part, count in ((1, validation), (2, test)):
        brought = int(np.count_nonzero(images.parts == part))
        if brought and count is not None:
            name = PARTS[part]
            raise NotFoundError(f"{images.title} brings {brought:,} {name} images of its own: drop data.{name}")
    _refuse_divided_groups(images)
    rest = np.flatnonzero(images.parts == 0)
    counts = [
        0 if np.any(images.parts == part) else _count(DEFAULT_SHARE if count is None else count, len(rest))
        for part, count in ((1, validation), (2, test))
    ]
    rest, tested = _hold_out(images, rest, counts[1], TEST_SEED, 2)
    rest, validated = _hold_out(images, rest, counts[0], seed, 1)
    if train_limit is not None and train_limit != len(rest):
        rest = _limit(images, rest, train_limit, seed)
    split = Split(rest, validated, tested)
    for name, indices in zip(PARTS, (split.training, split.validation, split.test), strict=True):
        _require_every_class(images, indices, name)
    return split


def _count(count: float, images: int) -> int:
    return round(count * images) if isinstance(count, float) else count


def _refuse_divided_groups(images: LabelledImages) -> None:
    """Raise where the data themselves put images of a group into several parts."""
    if images.groups is None:
        return
    pairs = np.unique(np.stack([images.groups, images.parts.astype(np.int64)]), axis=1)
    divided = [(first[1], then[1]) for first, then in pairwise(pairs.T) if first[0] == then[0]]
    if divided:
        first, then = (PARTS[part] for part in divided[0])
        raise NotFoundError(
            f"{images.title}: {len(divided):,} of the groups have images in several parts, as in {first} and {then}: "
            "keep each group in one"
        )


def _hold_out(images: LabelledImages, among: Labels, count: int, seed: int, part: int) -> tuple[Labels, Labels]:
    """Split the indices `among` into (all others, those of `part`), of which `count` are to be held out."""
    brought = np.flatnonzero(images.parts == part)
    if len(brought):
        return among, brought
    if not 0 < count < len(among):
        raise NotFoundError(
            f"{images.title}: {count:,} {PARTS[part]} images cannot be held out of {len(among):,}: "
            f"change data.{PARTS[part]}"
        )
    if images.groups is None:
        _require_pairs(images, among, PARTS[part])
        others, chosen = _divide(images, among, count, seed, PARTS[part])
    else:
        others, chosen = _divide_groups(images.labels[among], images.groups[among], among, count / len(among), seed)
    return np.sort(others), np.sort(chosen)


def _divide(images: LabelledImages, among: Labels, count: int, seed: int, name: str) -> tuple[Labels, Labels]:
    try:
        others, chosen = train_test_split(among, test_size=count, stratify=images.labels[among], random_state=seed)
    except ValueError:  # fewer images than classes on one side
        raise NotFoundError(
            f"{images.title}: {count:,} {name} images of {len(among):,} leave one side without an image of each of the "
            f"{len(images.classes):,} classes"
        ) from None
    return others, chosen


def _limit(images: LabelledImages, training: Labels, count: int, seed: int) -> Labels:
    if count > len(training):
        raise NotFoundError(
            f"{images.title}: data.train_limit is {count:,}, and there are {len(training):,} training images"
        )
    return np.sort(_divide(images, training, count, seed, "training")[1])


def _divide_groups(y: Labels, groups: Labels, among: Labels, share: float, seed: int) -> tuple[Labels, Labels]:
    """Hold out whole groups: of equal folds with like class shares, the neighbours that are nearest to `share`."""
    number = len(np.unique(groups))
    if number < 2:
        return among, among[:0]
    wanted = Fraction(share).limit_denominator(min(number, MOST_FOLDS))
    wanted = min(max(wanted, Fraction(1, min(number, MOST_FOLDS))), 1 - Fraction(1, min(number, MOST_FOLDS)))
    folds = StratifiedGroupKFold(wanted.denominator, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a class with fewer images than folds: seen to below
        parts = [held_out for _, held_out in folds.split(among, y, groups)]
    classes = int(y.max()) + 1
    counts = np.stack([np.bincount(y[part], minlength=classes) for part in parts])

    def judge(start: int) -> tuple[int, float]:
        held_out = np.roll(counts, -start, axis=0)[: wanted.numerator].sum(axis=0)
        total = counts.sum(axis=0)
        missing = np.count_nonzero(total[held_out == 0]) + np.count_nonzero(held_out == total)
        return int(missing), float(np.abs(held_out - share * total).sum())

    start = min(range(len(parts)), key=judge)
    chosen = np.concatenate([parts[(start + offset) % len(parts)] for offset in range(wanted.numerator)])
    return np.delete(among, chosen), among[chosen]


def _require_pairs(images: LabelledImages, among: Labels, part: str) -> None:
    counts = np.bincount(images.labels[among], minlength=len(images.classes))
    few = np.flatnonzero(counts < 2)
    if len(few):
        count = counts[few[0]]
        raise NotFoundError(
            f"{images.title}: class {images.classes[few[0]]!r} has {'one image' if count else 'no image'} to train and "
            f"to hold out for the {part}{_and_more(len(few) - 1)}: it takes two"
        )


def _require_every_class(images: LabelledImages, indices: Labels, part: str) -> None:
    missing = sorted(set(range(len(images.classes))) - set(images.labels[indices].tolist()))
    if missing:
        name = images.classes[missing[0]]
        count = np.count_nonzero(images.labels == missing[0])
        groups = "" if images.groups is None else ", in whole groups"
        raise NotFoundError(
            f"{images.title}: class {name!r} has {count:,} images{groups}, and none of them is a {part} image"
            f"{_and_more(len(missing) - 1)}: add images of it, or enlarge that part"
        )


def _and_more(count: int) -> str:
    return f" (and {count:,} other classes likewise)" if count else ""


def split_stratified(y: Labels, among: Labels, count: int, seed: int, what: str) -> tuple[Labels, Labels]:
    """Split the indices `among` into (all others, `count`), both stratified by label; for the built-in data sets.

    Raises:
        UsageError: a part would have no image of some class; `what` names the part.
    """
    classes = len(np.unique(y))
    most = len(among) - classes  # every class needs an image on either side
    if not classes <= count <= most:
        raise UsageError(f"{what}: {count:,} is not from {classes} to {most:,} (there are {len(among):,} images)")
    others, part = train_test_split(among, test_size=count, stratify=y[among], random_state=seed)
    return others, part
