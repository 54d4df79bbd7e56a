"""Reading CIFAR-10's official layout: found where it should be, read whole, never trusted."""

import gzip
import io
import os
import pickle
import struct
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pytest

from hpsearch import settings
from hpsearch.errors import NotFoundError
from hpsearch.training import packed_files
from hpsearch.training.datasets import cifar10

IMAGES = 20  # a batch, instead of 10,000
NAMES = [b"airplane", b"automobile", b"bird", b"cat", b"deer", b"dog", b"frog", b"horse", b"ship", b"truck"]


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(cifar10, "BATCH_IMAGES", IMAGES)
    monkeypatch.delenv("HPSEARCH_DATA_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))


class Python2Pickler(pickle._Pickler):
    """Writes byte strings and texts as Python 2 wrote its `str`, as the official files have them."""

    write: Callable[[bytes], object]

    def save_old(self, text: bytes | str) -> None:
        content = text.encode() if isinstance(text, str) else text
        self.write(pickle.BINSTRING + struct.pack("<i", len(content)) + content)

    dispatch: ClassVar[dict[type, Any]] = {**pickle._Pickler.dispatch, bytes: save_old, str: save_old}


def dump(content: object) -> bytes:
    file = io.BytesIO()
    Python2Pickler(file, protocol=2).dump(content)
    return file.getvalue().replace(b"numpy._core.multiarray", b"numpy.core.multiarray")


def batch(number: int) -> dict[bytes, Any]:
    generator = np.random.default_rng(number)
    return {
        b"batch_label": b"a batch",
        b"labels": [image % 10 for image in range(IMAGES)],
        b"data": generator.integers(0, 256, (IMAGES, 3072), dtype=np.uint8),
        b"filenames": [b"a.png"] * IMAGES,
    }


def files(write: Callable[[object], bytes] = dump) -> dict[str, bytes]:
    files = {name: write(batch(number)) for number, name in enumerate((*cifar10.TRAIN, cifar10.TEST))}
    return {**files, cifar10.META: write({b"label_names": NAMES, b"num_vis": 3072})}


def lay_out(directory: Path, content: dict[str, bytes]) -> Path:
    directory.mkdir(parents=True)
    for name, data in content.items():
        (directory / name).write_bytes(data)
    return directory


def pack(path: Path, content: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as archive:
        for name, data in content.items():
            member = tarfile.TarInfo(f"{cifar10.DIRECTORY}/{name}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def test_directory_is_read_whole(tmp_path: Path) -> None:
    """Planes of red, green and blue become images, and every label stays with its image."""
    x, y, x_test, y_test, names = cifar10.read(lay_out(tmp_path / "batches", files()))
    assert x.shape == (5 * IMAGES, 32, 32, 3)
    assert x.dtype == np.uint8
    assert x_test.shape == (IMAGES, 32, 32, 3)
    row = batch(1)[b"data"][3]
    assert x[IMAGES + 3, 5, 7].tolist() == [row[5 * 32 + 7], row[1024 + 5 * 32 + 7], row[2048 + 5 * 32 + 7]]
    assert y.tolist() == [image % 10 for image in range(IMAGES)] * 5
    assert y_test.tolist() == [image % 10 for image in range(IMAGES)]
    assert names == tuple(name.decode() for name in NAMES)


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_pickles_of_today_are_read(tmp_path: Path, protocol: int) -> None:
    """A copy that somebody wrote again with Python 3 gives the same images."""
    today = lay_out(tmp_path / "today", files(lambda content: pickle.dumps(content, protocol)))
    official = lay_out(tmp_path / "official", files())
    assert np.array_equal(cifar10.read(today)[0], cifar10.read(official)[0])


def test_archive_gives_what_the_directory_gives(tmp_path: Path) -> None:
    """The archive is read in memory: nothing is unpacked beside it."""
    archive = pack(tmp_path / "packed" / cifar10.ARCHIVE, files())
    directory = lay_out(tmp_path / "batches", files())
    for ours, theirs in zip(cifar10.read(archive), cifar10.read(directory), strict=True):
        assert np.array_equal(np.array(ours), np.array(theirs))
    assert list(archive.parent.iterdir()) == [archive]


def test_data_directory_comes_before_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user's directory first, as batches, as their parent or as archive; then the cache; else None.

    A directory with some of the files is taken where there is nothing else, for the error to name it.
    """
    assert cifar10.find_source() is None
    cached = pack(settings.find_cache_dir() / cifar10.ARCHIVE, {})
    assert cifar10.find_source() == cached
    chosen = tmp_path / "data"
    monkeypatch.setenv("HPSEARCH_DATA_DIR", str(chosen))
    assert cifar10.find_source() == cached
    archive = pack(chosen / cifar10.ARCHIVE, {})
    assert cifar10.find_source() == archive
    batches = lay_out(chosen / cifar10.DIRECTORY, {cifar10.META: b""})
    assert cifar10.find_source() == archive
    for name in cifar10.FILES:
        (batches / name).touch()
    assert cifar10.find_source() == batches
    (batches / cifar10.TEST).unlink()
    monkeypatch.setenv("HPSEARCH_DATA_DIR", str(batches))
    assert cifar10.find_source() == cached
    cached.unlink()
    assert cifar10.find_source() == batches


def write_tar(path: Path, directory: str, mode: Literal["w", "w:gz"] = "w:gz") -> None:
    """Write all files below `directory` of an archive, as packing by hand does, with what macOS adds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as archive:
        for name, data in {"._test_batch": b"finder", **files(), "readme.html": b"<html>"}.items():
            member = tarfile.TarInfo(f"{directory}{name}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))


def write_batches(path: Path, directory: str = "") -> None:
    lay_out(path / directory, files())


BY_HAND: dict[str, tuple[Callable[[Path], object], str]] = {
    "packed anew from inside": (lambda at: write_tar(at / "cifar-10-python.tar.gz", "./"), ""),
    "packed anew with ./": (lambda at: write_tar(at / "cifar-10-python.tar.gz", "./cifar-10-batches-py/"), ""),
    "packed anew without the directory": (lambda at: write_tar(at / "cifar-10-python.tar.gz", ""), ""),
    "packed with its parents": (lambda at: write_tar(at / "cifar-10-python.tgz", "home/me/cifar/"), ""),
    "uncompressed": (lambda at: write_tar(at / "cifar-10-python.tar", "cifar-10-batches-py/", "w"), ""),
    "uncompressed under the old name": (lambda at: write_tar(at / "cifar-10-python.tar.gz", "./", "w"), ""),
    "downloaded twice": (lambda at: write_tar(at / "cifar-10-python (1).tar.gz", "cifar-10-batches-py/"), ""),
    "the archive itself": (lambda at: write_tar(at / "cifar10.tar.gz", "cifar-10-batches-py/"), "cifar10.tar.gz"),
    "Keras's archive": (lambda at: write_tar(at / "cifar-10-batches-py-target_archive", "cifar-10-batches-py/"), ""),
    "Keras's directory": (lambda at: write_batches(at, "cifar-10-batches-py-target/cifar-10-batches-py"), ""),
    "nested twice": (lambda at: write_batches(at, "cifar-10-batches-py/cifar-10-batches-py"), ""),
    "nested by an unpacking tool": (lambda at: write_batches(at, "cifar-10-python/cifar-10-batches-py"), ""),
    "the directory itself": (lambda at: write_batches(at / "mine"), "mine"),
}
"""What is laid out in a directory, and what HPSEARCH_DATA_DIR names in it."""


@pytest.mark.parametrize("how", BY_HAND)
def test_what_was_laid_out_by_hand_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    """Whatever holds the files is CIFAR-10; nothing is unpacked or written beside it."""
    make, name = BY_HAND[how]
    make(tmp_path / "data")
    before = sorted((tmp_path / "data").rglob("*"))
    monkeypatch.setenv("HPSEARCH_DATA_DIR", str(tmp_path / "data" / name))
    x, *_, classes = cifar10.read_images()
    assert np.array_equal(x[:IMAGES].transpose(0, 3, 1, 2).reshape(IMAGES, -1), batch(0)[b"data"])
    assert classes == cifar10.CLASSES
    assert sorted((tmp_path / "data").rglob("*")) == before


def test_what_keras_has_downloaded_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keras's own cache is looked into last; not where Keras falls back to a directory that anybody may write to."""
    write_batches(tmp_path / "keras" / "datasets", "cifar-10-batches-py-target/cifar-10-batches-py")
    assert len(cifar10.read_images()[0]) == 5 * IMAGES
    monkeypatch.delenv("KERAS_HOME")
    monkeypatch.setenv("HOME", "/nowhere")
    assert settings.find_keras_datasets() is None


def test_another_data_set_is_not_taken_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An archive of CIFAR-100, or of nothing known, beside or instead of it is passed over."""
    for name in ("cifar-100-python.tar.gz", "other.tar.gz", "cifar-10-python.tar.gz.part"):
        write_tar(tmp_path / "data" / name, "cifar-100-python/")
        for place in (tmp_path / "data" / name, tmp_path / "data"):
            monkeypatch.setenv("HPSEARCH_DATA_DIR", str(place))
            assert cifar10.find_source() is None


@pytest.mark.parametrize("claim", ["a batch", "a header", "another file"])
def test_archive_of_absurd_size_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, claim: str) -> None:
    """No more is unpacked than a data set of this kind has, whatever unpacks to more."""
    monkeypatch.setattr(packed_files, "LARGEST", 1_000_000)
    path = tmp_path / "cifar-10-python.tar.gz"
    member = tarfile.TarInfo("cifar-10-batches-py/data_batch_1" if claim == "a batch" else "large")
    member.size = 1 << 40
    if claim == "a header":
        member.type = tarfile.XHDTYPE
    path.write_bytes(gzip.compress(member.tobuf(tarfile.GNU_FORMAT) + bytes(3_000_000)))
    with pytest.raises(NotFoundError, match=r"it unpacks to more than .* MiB") as caught:
        cifar10.read(path)
    assert "\n" not in str(caught.value)


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("pwned",)


DAMAGES: dict[str, tuple[str, bytes | None, str]] = {
    "missing batch": ("data_batch_3", None, "data_batch_3 is missing"),
    "missing names": ("batches.meta", None, "batches.meta is missing"),
    "cut off": ("data_batch_2", files()["data_batch_2"][:-50], "data_batch_2 is damaged"),
    "not a pickle": ("test_batch", b"\x00" * 100, "test_batch is damaged"),
    "empty": ("test_batch", b"", "test_batch is damaged"),
    "evil": ("data_batch_1", pickle.dumps(Evil()), "posix.mkdir, which CIFAR-10 does not need"),
    "no dictionary": ("data_batch_1", dump([1, 2]), "data_batch_1 does not hold a dictionary"),
    "fewer rows": (
        "data_batch_5",
        dump({**batch(0), b"data": batch(0)[b"data"][1:]}),
        "data_batch_5 does not hold 20 rows of 3,072 bytes",
    ),
    "no rows": ("data_batch_5", dump({b"labels": [0] * IMAGES}), "data_batch_5 does not hold 20 rows"),
    "label 10": ("data_batch_4", dump({**batch(0), b"labels": [10] * IMAGES}), "20 labels from 0 to 9"),
    "label -1": ("data_batch_4", dump({**batch(0), b"labels": [-1] * IMAGES}), "20 labels from 0 to 9"),
    "text labels": ("data_batch_4", dump({**batch(0), b"labels": [b"a"] * IMAGES}), "20 labels from 0 to 9"),
    "fewer labels": ("data_batch_4", dump({**batch(0), b"labels": [0]}), "20 labels from 0 to 9"),
    "nine names": ("batches.meta", dump({b"label_names": NAMES[:9]}), "batches.meta does not hold 10 class names"),
    "no names": ("batches.meta", dump({b"label_names": [1] * 10}), "CIFAR-10 in"),
}


@pytest.mark.parametrize("packed", [False, True], ids=["directory", "archive"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_named_and_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str, packed: bool
) -> None:
    """One line says which file is wrong and how; nothing in it is run, nothing is half read."""
    monkeypatch.chdir(tmp_path)
    name, content, message = DAMAGES[damage]
    broken = {**files(), name: content}
    given = {file: data for file, data in broken.items() if data is not None}
    path = pack(tmp_path / cifar10.ARCHIVE, given) if packed else lay_out(tmp_path / "batches", given)
    with pytest.raises(NotFoundError) as caught:
        cifar10.read(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not Path("pwned").exists()


@pytest.mark.parametrize("keep", [0, 100, 20_000, -8])
def test_archive_cut_off_is_refused(tmp_path: Path, keep: int) -> None:
    """A download that ended early is not mistaken for a smaller dataset, wherever it ended."""
    path = pack(tmp_path / cifar10.ARCHIVE, files())
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(NotFoundError, match=r"(damaged|missing)"):
        cifar10.read(path)


def test_flipped_bit_is_noticed(tmp_path: Path) -> None:
    """A pixel that changed on its way gives another checksum, though the archive unpacks."""
    path = tmp_path / cifar10.ARCHIVE
    pack(path, files())
    content = bytearray(gzip.decompress(path.read_bytes()))
    whole = path.read_bytes()
    content[3000] ^= 1
    path.write_bytes(gzip.compress(bytes(content))[:-8] + whole[-8:])
    with pytest.raises(NotFoundError, match="CRC"):
        cifar10.read(path)


def test_archive_that_is_something_else_is_refused(tmp_path: Path) -> None:
    """A page that a proxy sent instead is named, gzipped or not."""
    path = tmp_path / cifar10.ARCHIVE
    for content in (b"<html>log in first</html>", gzip.compress(b"<html>log in first</html>")):
        path.write_bytes(content)
        with pytest.raises(NotFoundError, match="the archive is damaged"):
            cifar10.read(path)
