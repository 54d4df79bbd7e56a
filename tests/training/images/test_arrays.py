"""Images in arrays: `.npz` files of every kind, what functions return, and what is not taken for pixels or labels."""

import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpsearch.errors import NotFoundError
from hpsearch.training.images import arrays, image_sets
from hpsearch.training.images.image_sets import ImageSet, read
from tests.support.image_files import make_request, read_all, read_path

GENERATOR = np.random.default_rng(0)
IMAGES = GENERATOR.integers(0, 256, (20, 6, 5, 3), dtype=np.uint8)
LABELS = np.arange(20) % 3
GOOD: dict[str, Any] = {"x_train": IMAGES[:14], "y_train": LABELS[:14], "x_test": IMAGES[14:], "y_test": LABELS[14:]}


def write_npz(path: Path, **changes: Any) -> Path:
    """Write what keras.datasets have, with these arrays in place of them; None leaves one out."""
    content = {name: array for name, array in {**GOOD, **changes}.items() if array is not None}
    np.savez(path, **content)
    return path


def test_npz_is_read_as_keras_datasets_have_it(tmp_path: Path) -> None:
    """Training images, then test images, with the classes 0, 1 and 2."""
    images = read_path(write_npz(tmp_path / "data.npz"))
    assert np.array_equal(read_all(images), IMAGES)
    assert images.labels.tolist() == LABELS.tolist()
    assert images.classes == ("0", "1", "2")
    assert images.parts.tolist() == [0] * 14 + [2] * 6
    assert (images.groups, images.passed_over) == (None, {})
    assert (images.names[13], images.names[14]) == ("x_train[13]", "x_test[0]")


def test_validation_part_is_taken(tmp_path: Path) -> None:
    """x_val and y_val, where they are there."""
    images = read_path(write_npz(tmp_path / "data.npz", x_val=IMAGES[:6], y_val=LABELS[:6]))
    assert images.parts.tolist() == [0] * 14 + [1] * 6 + [2] * 6
    assert np.array_equal(read_all(images)[14:20], IMAGES[:6])


def test_grey_images_have_one_channel(tmp_path: Path) -> None:
    """With or without an axis for it."""
    grey = IMAGES[..., 0]
    for number, (train, test) in enumerate([(grey[:14], grey[14:]), (grey[:14, ..., None], grey[14:, ..., None])]):
        images = read_path(write_npz(tmp_path / f"{number}.npz", x_train=train, x_test=test))
        assert images.images.shape == (20, 6, 5, 1)
        assert np.array_equal(read_all(images)[..., 0], grey)


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("dtype", ["u1", "i4", ">u2", "i8", "f4", "f8"])
def test_whole_numbers_of_any_type_are_pixels(tmp_path: Path, dtype: str, compressed: bool) -> None:
    """Of 0..255, exactly."""
    content = {**GOOD, "x_train": IMAGES[:14].astype(dtype), "x_test": IMAGES[14:].astype(dtype)}
    (np.savez_compressed if compressed else np.savez)(tmp_path / "data.npz", **content)
    assert np.array_equal(read_all(read_path(tmp_path / "data.npz")), IMAGES)


@pytest.mark.parametrize("kind", ["column", "one-hot", "one-hot floats", "floats", "unsigned"])
def test_labels_of_any_form(tmp_path: Path, kind: str) -> None:
    """(n,), (n, 1) or one-hot."""
    forms: dict[str, Callable[[Any], Any]] = {
        "column": lambda labels: labels[:, None],
        "one-hot": lambda labels: np.eye(3, dtype=np.uint8)[labels],
        "one-hot floats": lambda labels: np.eye(3, dtype=np.float32)[labels],
        "floats": lambda labels: labels.astype(float),
        "unsigned": lambda labels: labels.astype(np.uint8),
    }
    form = forms[kind]
    images = read_path(write_npz(tmp_path / "data.npz", y_train=form(LABELS[:14]), y_test=form(LABELS[14:])))
    assert images.labels.tolist() == LABELS.tolist()
    assert images.labels.dtype == np.int64
    assert images.classes == ("0", "1", "2")


def test_blocks_make_no_difference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An array is read some images at a time, in either order of its axes in the file."""
    monkeypatch.setattr(arrays, "BLOCK_BYTES", 3 * 90)
    path = write_npz(tmp_path / "data.npz", x_test=np.asfortranarray(IMAGES[14:]))
    told: list[int] = []
    images = read(make_request(path), None, lambda done, total: told.append(done))
    assert np.array_equal(read_all(images), IMAGES)
    assert told == [3, 6, 9, 12, 14, 20]


def test_arrays_are_resized(tmp_path: Path) -> None:
    """Colour and grey; parts of two sizes become one."""
    images = read_path(write_npz(tmp_path / "a.npz", x_test=np.zeros((6, 9, 9, 3), np.uint8)), (4, 3), "stretch")
    assert images.images.shape == (20, 4, 3, 3)
    grey = read_path(write_npz(tmp_path / "b.npz", x_train=IMAGES[:14, ..., 0], x_test=IMAGES[14:, ..., 0]), (12, 10))
    assert grey.images.shape == (20, 12, 10, 1)


def one_label(label: float) -> Any:
    labels: Any = LABELS[:14].astype(type(label))
    labels[3] = label
    return labels


def one_pixel(value: float, dtype: Any) -> Any:
    images: Any = IMAGES[:14].astype(dtype)
    images[3, 2, 1, 0] = value
    return images


FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "no labels": ({"y_train": None}, "data.npz lacks y_train: it has x_test, x_train and y_test"),
    "no test": ({"x_test": None, "y_test": None}, "lacks x_test and y_test"),
    "half a validation part": ({"x_val": IMAGES}, "lacks y_val"),
    "other lengths": ({"y_train": LABELS[:13]}, "x_train has 14 images, and y_train 13 labels"),
    "no images": ({"x_test": IMAGES[:0], "y_test": LABELS[:0]}, "x_test holds no images"),
    "scalar": ({"x_test": np.uint8(3)}, "x_test holds no images"),
    "objects": ({"x_train": np.array([None] * 14)}, "x_train holds pickled objects, which are not read"),
    "channels first": ({"x_train": IMAGES[:14].transpose(0, 3, 1, 2)}, r"shape \(14, 3, 6, 5\): \(n, height, width\)"),
    "flat": ({"x_train": IMAGES[:14].reshape(14, -1)}, r"x_train has the shape \(14, 90\)"),
    "no pixels": ({"x_train": IMAGES[:14, :0]}, r"x_train has the shape \(14, 0, 5, 3\)"),
    "truth values": ({"x_train": IMAGES[:14] > 9}, "x_train has the type bool: whole numbers of 0..255"),
    "texts": ({"x_train": IMAGES[:14].astype(str)}, "x_train has the type <U3"),
    "fractions": ({"x_train": IMAGES[:14] / 255}, r"holds fractions, such as .*np.rint\(255 \* x\)"),
    "zeros and ones": (
        {"x_train": (IMAGES[:14] > 127).astype(float), "x_test": IMAGES[14:].astype(float)},
        "x_train holds numbers of 0..1",
    ),
    "not a number": ({"x_train": one_pixel(np.nan, float)}, "x_train holds numbers that are not finite"),
    "16 bits": ({"x_train": one_pixel(65535, np.uint16)}, "x_train holds numbers from 0 to 65535"),
    "negative": ({"x_train": one_pixel(-1, np.int16)}, "x_train holds numbers from -1 to 255"),
    "two sizes": ({"x_test": IMAGES[14:, :5]}, "images of 6×5×3 and x_test of 5×5×3: set data.image_size"),
    "grey and colour": ({"x_test": IMAGES[14:, ..., 0]}, "images of 6×5×3 and x_test of 6×5×1$"),
    "label -1": ({"y_train": one_label(-1)}, "y_train holds other labels than whole numbers from 0"),
    "label 0.5": ({"y_train": one_label(0.5)}, "y_train holds other labels"),
    "label nan": ({"y_train": one_label(float("nan"))}, "y_train holds other labels"),
    "label 10^12": ({"y_train": one_label(10**12)}, "y_train has labels up to 1000000000000, but 14 images"),
    "label in test alone": ({"y_test": np.full(6, 3)}, "y_test has the label 3, which y_train lacks"),
    "class missing in test": ({"y_test": np.arange(6) % 2}, "no image of 2 in the test part"),
    "gap": ({"y_train": LABELS[:14] * 2, "y_test": LABELS[14:] * 2}, "no image of 1 and 3 in the training part"),
    "one class": ({"y_train": LABELS[:14] * 0, "y_test": LABELS[14:] * 0}, "the only class is 0"),
    "two ones": ({"y_train": np.ones((14, 3))}, "is not one-hot: a row has a single 1"),
    "probabilities": ({"y_train": np.full((14, 2), 0.5)}, "is not one-hot"),
    "label texts": ({"y_train": LABELS[:14].astype(str)}, "the type <U21: labels are whole numbers"),
    "label cubes": ({"y_train": np.zeros((14, 1, 1))}, r"y_train has the shape \(14, 1, 1\)"),
    "few of a class": (
        {"y_train": np.array([2] + [0, 1] * 6 + [0])},
        r"too few images of 2 \(1\): a class needs 2, one for each part",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_arrays_that_cannot_be_meant_are_named(tmp_path: Path, cache: Path, fault: str) -> None:
    """One line names the file and the array; nothing is kept."""
    changes, message = FAULTS[fault]
    with pytest.raises(NotFoundError, match=message) as caught:
        read_path(write_npz(tmp_path / "data.npz", **changes))
    assert "data.npz" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not [path for path in cache.glob("*") if path.suffix != ".lock"]


def test_damaged_npz_is_named(tmp_path: Path) -> None:
    """Wherever it is cut off, and whichever bit is changed, nothing is half read."""
    whole = write_npz(tmp_path / "data.npz").read_bytes()
    path = tmp_path / "data.npz"
    for length in range(0, len(whole), 97):
        path.write_bytes(whole[:length])
        with pytest.raises(NotFoundError, match=r"data.npz is no whole \.npz file"):
            read_path(path)
    for position in (whole.index(IMAGES[3].tobytes()), whole.index(IMAGES[19].tobytes()) + 10):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
        with pytest.raises(NotFoundError, match=r"data.npz is no whole \.npz file: Bad CRC-32"):
            read_path(path)


def test_array_shorter_than_its_header_is_named(tmp_path: Path) -> None:
    """A header may claim what is not there."""
    path = write_npz(tmp_path / "data.npz")
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    content["x_train.npy"] = content["x_train.npy"][:-1]
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    with pytest.raises(NotFoundError, match=r"is no whole \.npz file: x_train ends early"):
        read_path(path)


def load(loaded: object, monkeypatch: pytest.MonkeyPatch) -> ImageSet:
    """Read what a user's function returned."""
    monkeypatch.setattr(image_sets, "load_function", lambda code, reference: lambda: loaded)
    return read(make_request(None), Path(), lambda done, total: None)


def test_function_returns_what_keras_datasets_do(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    """Arrays or lists; equal arrays are written to the cache once."""
    pairs = (GOOD["x_train"], GOOD["y_train"]), (GOOD["x_test"], GOOD["y_test"])
    images = load(pairs, monkeypatch)
    assert np.array_equal(read_all(images), IMAGES)
    assert images.labels.tolist() == LABELS.tolist()
    assert images.names[0] == "x_train[0]"
    again = load(([IMAGES[:14].copy(), LABELS[:14].tolist()], [IMAGES[14:], LABELS[14:].tolist()]), monkeypatch)
    assert np.array_equal(read_all(again), IMAGES)
    assert len([path for path in cache.iterdir() if path.suffix != ".lock"]) == 1
    changed = IMAGES.copy()
    changed[0, 0, 0, 0] ^= 1
    other = load(((changed[:14], LABELS[:14]), (changed[14:], LABELS[14:])), monkeypatch)
    assert (other.digests != images.digests).sum() == 1


@pytest.mark.parametrize(
    ("loaded", "message"),
    [
        (None, r"my_data.py:load returned NoneType: return \(x_train, y_train\), \(x_test, y_test\), four arrays"),
        ((IMAGES, LABELS), "my_data.py:load returned tuple"),
        ((([[1], [1, 2]], [0, 1]), (IMAGES, LABELS)), "my_data.py:load: x_train is list and no array of numbers"),
        (((object(), [0, 1]), (IMAGES, LABELS)), "my_data.py:load: x_train is object and no array of numbers"),
        (((IMAGES / 255, LABELS), (IMAGES, LABELS)), "my_data.py:load: x_train holds fractions"),
    ],
)
def test_function_that_returns_something_else_is_named(
    loaded: object, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line says what came, and what is to come."""
    with pytest.raises(NotFoundError, match=message):
        load(loaded, monkeypatch)


def test_function_is_that_of_the_users_file(tmp_path: Path) -> None:
    """The file is in the directory of the study's code; what its code raises is the caller's to show."""
    (tmp_path / "my_data.py").write_text(
        "import numpy as np\n"
        "def load():\n"
        "    x, y = np.arange(30 * 4 * 4).reshape(30, 4, 4) % 256, np.arange(30) % 2\n"
        "    return (x[:20], y[:20]), (x[20:], y[20:])\n"
        "def fail():\n"
        "    raise ZeroDivisionError\n"
    )
    images = read(make_request(None), tmp_path, lambda done, total: None)
    assert images.images.shape == (30, 4, 4, 1)
    assert read_all(images)[29].ravel().tolist() == [pixel % 256 for pixel in range(29 * 16, 30 * 16)]
    with pytest.raises(ZeroDivisionError):
        read(replace(make_request(None), load="my_data.py:fail"), tmp_path, lambda done, total: None)
