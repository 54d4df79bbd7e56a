"""Splits of a user's own images: stratified, whole groups, the same everywhere, or an error that names the class."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from hpsearch.errors import NotFoundError
from hpsearch.training.images.splits import LabelledImages, Split, split_images


def make_images(labels: Any, parts: Any = 0, groups: Any = None, classes: int | None = None) -> LabelledImages:
    labels = np.asarray(labels, np.int64)
    names = tuple(f"class {number}" for number in range(classes or int(labels.max()) + 1))
    brought = np.broadcast_to(np.asarray(parts, np.int8), labels.shape)
    return LabelledImages("flowers", labels, names, brought, None if groups is None else np.asarray(groups, np.int64))


def divide(images: LabelledImages, **how: Any) -> Split:
    return split_images(images, **{"validation": None, "test": None, "train_limit": None, "seed": 0, **how})


def list_parts(split: Split) -> list[np.ndarray]:
    return [split.training, split.validation, split.test]


def draw_cases(count: int) -> Iterator[tuple[LabelledImages, np.random.Generator]]:
    """Draw labels of unequal classes, and groups of unequal sizes, of which some are of one class and some mixed."""
    for seed in range(count):
        generator = np.random.default_rng(seed)
        classes, number = int(generator.integers(2, 8)), int(generator.integers(200, 600))
        labels = generator.choice(classes, number, p=generator.dirichlet(np.full(classes, 5.0)))
        groups = generator.integers(0, int(generator.integers(20, 80)), number)
        if seed % 2:  # as patients who all have one diagnosis
            groups = groups * classes + labels
        yield make_images(labels, groups=groups, classes=classes), generator


def test_groups_never_straddle_a_split() -> None:
    """Whatever the classes and groups: parts are disjoint and complete, and a group lies in one of them."""
    done = 0
    for images, generator in draw_cases(120):
        shares = {name: float(generator.uniform(0.1, 0.35)) for name in ("validation", "test")}
        try:
            split = divide(images, **shares, seed=int(generator.integers(100)))
        except NotFoundError as error:
            assert "class '" in str(error)  # noqa: PT017 a class in too few groups for three parts is not an accident
            continue
        done += 1
        assert images.groups is not None
        assert np.array_equal(np.sort(np.concatenate(list_parts(split))), np.arange(len(images.labels)))
        owners = [set(images.groups[part].tolist()) for part in list_parts(split)]
        assert not owners[0] & owners[1]
        assert not owners[0] & owners[2]
        assert not owners[1] & owners[2]
        for part in list_parts(split):
            assert len(np.unique(images.labels[part])) == len(images.classes)
    assert done > 100


def test_whole_groups_come_near_to_what_was_asked_for() -> None:
    """Of many small groups, the shares of the parts and of the classes in them are those of all images."""
    generator = np.random.default_rng(0)
    labels = np.repeat([0, 1, 1, 2], 500)
    split = divide(make_images(labels, groups=generator.integers(0, 200, 2000)), validation=0.15, test=300)
    assert abs(len(split.validation) - 300) < 40
    assert abs(len(split.test) - 300) < 40
    for part in list_parts(split):
        assert np.abs(np.bincount(labels[part]) / len(part) - [0.25, 0.5, 0.25]).max() < 0.05


def test_parts_are_stratified_and_of_the_size_that_was_asked_for() -> None:
    """Numbers, fractions of all images, and a fifth by default; each class has its share, give or take one image."""
    labels = np.repeat([0, 1, 2], [300, 150, 50])
    for how, sizes in [
        ({}, [300, 100, 100]),
        ({"validation": 0.1, "test": 60}, [390, 50, 60]),
        ({"validation": 100, "test": 0.5, "train_limit": 40}, [40, 100, 250]),
    ]:
        split = divide(make_images(labels), **how)
        assert [len(part) for part in list_parts(split)] == sizes
        assert len(set(np.concatenate(list_parts(split)).tolist())) == sum(sizes)
        for part in list_parts(split):
            assert np.abs(np.bincount(labels[part]) - np.bincount(labels) * len(part) / 500).max() <= 1
            assert np.all(np.diff(part) > 0)


def test_what_the_data_bring_stays() -> None:
    """A test part of their own is the test part, and only a validation part is held out of the rest."""
    labels, parts = np.tile([0, 1], 100), np.repeat([0, 1, 2], [120, 20, 60])
    split = divide(make_images(labels, parts))
    assert [part.tolist() for part in list_parts(split)] == [
        np.flatnonzero(parts == part).tolist() for part in range(3)
    ]
    parts[parts == 1] = 0
    split = divide(make_images(labels, parts), validation=0.25)
    assert len(split.validation) == 35
    assert split.test.tolist() == list(range(140, 200))


def test_the_seed_of_a_study_leaves_the_test_images() -> None:
    """The same split for the same seed; another seed validates on others, and tests on the same."""
    labels = np.tile([0, 1, 2], 100)
    for groups in (None, np.arange(300) // 4):
        images = make_images(labels, groups=groups)
        first, again, other = divide(images), divide(images), divide(images, seed=1)
        for one, two in zip(list_parts(first), list_parts(again), strict=True):
            assert np.array_equal(one, two)
        assert not np.array_equal(first.validation, other.validation)
        assert np.array_equal(first.test, other.test)


def test_a_limit_leaves_validation_and_test() -> None:
    """Fewer training images, of those that there are without a limit."""
    images = make_images(np.tile([0, 1, 2], 100), groups=np.arange(300) // 4)
    few, many = divide(images, train_limit=30), divide(images)
    assert len(few.training) == 30
    assert set(few.training.tolist()) < set(many.training.tolist())
    assert np.array_equal(few.validation, many.validation)
    assert np.array_equal(few.test, many.test)


PAIR = [0, 1] * 20


@pytest.mark.parametrize(
    ("images", "how", "message"),
    [
        (make_images([*PAIR, 2]), {}, "class 'class 2' has one image to train and to hold out for the test: it takes"),
        (make_images([*PAIR, 2, 2]), {}, "class 'class 2' has 2 images, and none of them is a .* image: add"),
        (make_images(PAIR, classes=3), {}, "class 'class 2' has no image to train"),
        (make_images(PAIR, [0, 0, 1, 1, 2] * 8, classes=4), {}, r"'class 2' has 0 images, .* \(and 1 other classes"),
        (
            make_images([0, 1, 1, 0, 1, 1], [0, 0, 1, 1, 2, 2]),
            {},
            "class 'class 0' has 2 images, and none of them is a test image",
        ),
        (
            make_images(PAIR),
            {"validation": 40},
            "flowers: 40 validation images cannot be held out of 32: change",
        ),
        (make_images(PAIR), {"test": 0.001}, "flowers: 0 test images cannot be held out of 40: change data.test"),
        (make_images(PAIR), {"validation": 1}, "1 validation images of 32 leave one side without an image of each"),
        (make_images(PAIR), {"train_limit": 1}, "1 training images of 24 leave one side without an image of each"),
        (make_images(PAIR), {"train_limit": 25}, "data.train_limit is 25, and there are 24 training images"),
        (
            make_images(PAIR, [0, 0, 0, 2, 2] * 8),
            {"test": 4},
            "flowers brings 16 test images of its own: drop",
        ),
        (
            make_images(PAIR, [0, 0, 0, 2] * 10, np.arange(40) // 4),
            {},
            "10 of the groups have images in several parts, as in training and test: keep each group in one",
        ),
        (make_images(PAIR, groups=[0] * 40), {}, "class 'class 0' has 20 images, in whole groups, and none of them is"),
    ],
)
def test_what_cannot_be_split_is_named(images: LabelledImages, how: dict[str, Any], message: str) -> None:
    """One line says which class or which number it is."""
    with pytest.raises(NotFoundError, match=message) as raised:
        divide(images, **how)
    assert "\n" not in str(raised.value)
