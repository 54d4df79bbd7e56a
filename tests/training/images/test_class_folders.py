"""Folders of images: what is read as what, and every layout that cannot be meant."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hpsearch.errors import NotFoundError
from hpsearch.training.images.listings import Part
from tests.support.image_files import draw, make_folders, read_all, read_path, save


def test_class_folders_are_read_in_the_order_of_their_names(tmp_path: Path) -> None:
    """Each image has its folder's label; the pixels are the files', in the order of class and name."""
    root = make_folders(tmp_path / "data", "cab", each=3)
    images = read_path(root)
    assert images.classes == ("a", "b", "c")
    assert images.labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert images.labels.dtype == np.int64
    assert images.parts.tolist() == [Part.TRAINING] * 9
    assert images.groups is None
    assert images.passed_over == {}
    assert images.names[:4] == ["a/0.png", "a/1.png", "a/2.png", "b/0.png"]
    order = [100 * "cab".index(name) + number for name in "abc" for number in range(3)]
    assert np.array_equal(read_all(images), np.stack([draw(seed) for seed in order]))


@pytest.mark.parametrize("validation", ["validation", "val", "valid", "Val"])
def test_parts_are_taken_from_their_folders(tmp_path: Path, validation: str) -> None:
    """train, validation under any of its names, and test."""
    root = tmp_path / "data"
    for part, each in (("train", 2), (validation, 1), ("test", 1)):
        make_folders(root / part, each=each)
    images = read_path(root)
    assert images.classes == ("a", "b")
    assert images.parts.tolist() == [0, 0, 0, 0, 1, 1, 2, 2]
    assert images.labels.tolist() == [0, 0, 1, 1, 0, 1, 0, 1]


def test_part_that_is_not_there_is_held_out_later(tmp_path: Path) -> None:
    """Without a validation folder the training images are what is split."""
    for part, each in (("train", 2), ("test", 1)):
        make_folders(tmp_path / "data" / part, each=each)
    assert sorted(read_path(tmp_path / "data").parts.tolist()) == [0, 0, 0, 0, 2, 2]


@pytest.mark.tensorflow
def test_what_keras_reads_is_read(tmp_path: Path) -> None:
    """The pixels and labels that keras.utils.image_dataset_from_directory reads, folders in folders too."""
    import keras

    root = make_folders(tmp_path / "data")
    for name in ("10.png", "B.PNG", "sub/1.png", "sub.png", "ä.png"):
        save(root / "a" / name, draw(len(name)))
    theirs = keras.utils.image_dataset_from_directory(root, image_size=(8, 8), shuffle=False, verbose=False)
    images = read_path(root)
    assert list(images.classes) == theirs.class_names
    pixels, labels = (np.concatenate(arrays) for arrays in zip(*theirs.as_numpy_iterator(), strict=True))
    ours = zip(images.labels, read_all(images), strict=True)
    expected = zip(labels, pixels.astype(np.uint8), strict=True)
    assert sorted((int(label), image.tobytes()) for label, image in ours) == sorted(
        (int(label), image.tobytes()) for label, image in expected
    )


def test_hidden_and_other_files_are_counted(tmp_path: Path) -> None:
    """What is passed over is counted by why, and is not read."""
    root = make_folders(tmp_path / "data")
    for name in (".DS_Store", "a/.hidden.png", "a/notes.txt", "b/more.txt", "b/README", "preview.png"):
        (root / name).write_bytes(b"no image")
    (root / ".git").mkdir()
    os.mkfifo(root / "a" / "pipe.png")
    images = read_path(root)
    assert len(images.images) == 6
    assert images.passed_over == {
        "hidden": 3,
        "no regular file": 1,
        "other kind (.txt)": 2,
        "other kind (no suffix)": 1,
        "outside the class folders": 1,
    }


def test_links_to_files_and_folders_are_followed(tmp_path: Path) -> None:
    """A class folder may be a link, and so may an image."""
    make_folders(tmp_path / "elsewhere", "b", each=3)
    root = make_folders(tmp_path / "data", "a", each=3)
    (root / "b").symlink_to(tmp_path / "elsewhere" / "b")
    (root / "a" / "9.png").symlink_to(tmp_path / "elsewhere" / "b" / "0.png")
    assert read_path(root).labels.tolist() == [0, 0, 0, 0, 1, 1, 1]


def test_relative_path_lies_below_the_data_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """HPSEARCH_DATA_DIR is where a relative path begins; without it the line says so."""
    make_folders(tmp_path / "all" / "flowers")
    with pytest.raises(NotFoundError, match=r"flowers is no absolute path: .*HPSEARCH_DATA_DIR"):
        read_path(Path("flowers"))
    monkeypatch.setenv("HPSEARCH_DATA_DIR", str(tmp_path / "all"))
    assert len(read_path(Path("flowers")).images) == 6


def break_links(root: Path) -> None:
    (root / "a" / "gone.png").symlink_to(root / "nowhere.png")


def loop(root: Path) -> None:
    (root / "a" / "back").symlink_to(root)


def link_to_itself(root: Path) -> None:
    (root / "a" / "self.png").symlink_to(root / "a" / "self.png")


def put_beside(root: Path) -> None:
    make_folders(root / "train")
    (root / "labels").mkdir()


def lack_class(root: Path) -> None:
    replace(root, ("train", "ab", 2), ("test", "a", 1))


def lack_training_class(root: Path) -> None:
    replace(root, ("train", "ab", 2), ("test", "abc", 1))


def empty_class_of_a_part(root: Path) -> None:
    replace(root, ("train", "ab", 2), ("test", "ab", 1))
    (root / "test" / "b" / "0.png").unlink()


def name_part_twice(root: Path) -> None:
    replace(root, ("train", "ab", 2), ("val", "ab", 1), ("valid", "ab", 1))


def lack_training(root: Path) -> None:
    replace(root, ("test", "ab", 2), ("val", "ab", 1))


def put_images_into_train(root: Path) -> None:
    shutil.rmtree(root)
    for name in ("train/0.png", "test/0.png"):
        save(root / name, draw(0))


def replace(root: Path, *parts: tuple[str, str, int]) -> None:
    shutil.rmtree(root)
    for name, classes, each in parts:
        make_folders(root / name, classes, each)


def empty(root: Path) -> None:
    replace(root)
    root.mkdir()


FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "nothing": (shutil.rmtree, "data cannot be read: No such file or directory"),
    "empty": (empty, "data holds no images: they belong into a folder for each class, as bmp, gif"),
    "one class": (lambda root: shutil.rmtree(root / "b"), "data: the only class is a: at least two classes"),
    "empty class": (lambda root: (root / "c").mkdir(), "data: there is no image of c"),
    "few images": (lambda root: (root / "b" / "0.png").unlink(), r"data: too few images of b \(2\): a class needs 3"),
    "broken link": (break_links, "a/gone.png cannot be read: No such file or directory"),
    "loop": (loop, "a/back/a is a link to a folder that it is in: remove it"),
    "link to itself": (link_to_itself, "self.png cannot be read: Too many levels of symbolic links"),
    "beside the parts": (put_beside, "data holds train with class folders, and beside it a, b and labels"),
    "class missing in test": (lack_class, "data: there is no image of b in the test part"),
    "class missing in train": (lack_training_class, "data/test/c is a class that .*data/train lacks"),
    "class empty in test": (empty_class_of_a_part, "data: there is no image of b in the test part"),
    "part twice": (name_part_twice, "data holds one part under two names, of train, val and valid"),
    "no train": (lack_training, "data holds test and val, but no train with class folders"),
    "no classes": (put_images_into_train, "data holds test and train, but no train with class folders"),
    "unprintable class": (lambda root: (root / "a").rename(root / "a\nb"), r"data: the class 'a\\nb' cannot be shown"),
    "class not in UTF-8": (lambda root: (root / "a").rename(root / "\udcff"), r"the class '\\udcff'"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_folder_that_cannot_be_meant_is_named(tmp_path: Path, cache: Path, fault: str) -> None:
    """One line names the path and what is wrong; nothing is decoded."""
    root = make_folders(tmp_path / "data")
    spoil, message = FAULTS[fault]
    spoil(root)
    with pytest.raises(NotFoundError, match=message) as caught:
        read_path(root)
    assert "\n" not in str(caught.value)
    assert not list(cache.glob("*"))


def test_file_in_place_of_a_folder_is_named(tmp_path: Path) -> None:
    """A path that leads to some other file says what is expected."""
    file = tmp_path / "data.zip"
    file.write_bytes(b"PK")
    with pytest.raises(NotFoundError, match=r"data.zip is neither a folder nor a \.csv or \.npz file"):
        read_path(file)
    with pytest.raises(NotFoundError, match="cannot be read: embedded null byte"):
        read_path(tmp_path / "a\0b")


@pytest.mark.parametrize("name", ["data", "data/a", "data/a/1.png"])
def test_no_permission_is_named(tmp_path: Path, name: str) -> None:
    """A folder or file of somebody else's is an error, not an empty folder."""
    make_folders(tmp_path / "data")
    for path in (tmp_path, *tmp_path.parents):
        if path.name.startswith(("test_", "popen-", "pytest-")):  # pytest's own, which it makes for its user alone
            path.chmod(0o755)
    (tmp_path / name).chmod(0)
    (tmp_path / "cache").mkdir(mode=0o777)
    user = os.geteuid()
    try:
        if user == 0:  # root may read everything
            os.seteuid(65534)
        with pytest.raises(NotFoundError, match=f"{name}.* cannot be read: Permission denied"):
            read_path(tmp_path / "data")
    finally:
        os.seteuid(user)
        (tmp_path / name).chmod(0o755)
