"""The cache of decoded images: made once for all processes, whole or not at all, and noticed when it is damaged."""

import errno
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from hpsearch.errors import NotFoundError
from hpsearch.training.images import file_pixels
from hpsearch.training.images.image_sets import read
from hpsearch.training.images.stores import ImageStore
from tests.support.image_files import draw, make_folders, make_request, read_all, read_path, save

READER = """
import sys
from pathlib import Path
from hpsearch.training.images import file_pixels
from hpsearch.training.images.image_sets import read
from tests.support.image_files import make_request

decode, decoded = file_pixels.decode, []

def count(content):
    if not decoded:
        print("decoding", flush=True)
        if len(sys.argv) > 2:
            sys.stdin.readline()
    decoded.append(1)
    return decode(content)

file_pixels.decode = count
images = read(make_request(sys.argv[1]), None, lambda done, total: print("progress", done, flush=True))
print("decoded", len(decoded), images.images.read(images.labels * 0).sum(), flush=True)
"""


def start_reader(path: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start a process that reads the images; with an argument it waits for a line before it decodes the first."""
    return subprocess.Popen(
        [sys.executable, "-c", READER, str(path), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def read_line(process: subprocess.Popen[str], start: str) -> str:
    """Wait for a line that starts so."""
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(start):
            return line.strip()
    raise AssertionError(f"the process ended without {start!r}")


def tell(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def entries(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.iterdir() if path.suffix != ".lock")


def refuse_to_decode(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(content: bytes) -> None:
        raise AssertionError("decoded again")

    monkeypatch.setattr(file_pixels, "decode", fail)


def test_images_are_decoded_once(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next to read them decodes nothing and finds the same."""
    root = make_folders(tmp_path / "data")
    first = read_path(root)
    assert len(entries(cache)) == 1
    refuse_to_decode(monkeypatch)
    again = read_path(root)
    assert np.array_equal(read_all(first), read_all(again))
    assert first.digests.tobytes() == again.digests.tobytes()


def test_digests_are_those_of_the_pixels(tmp_path: Path) -> None:
    """SHA-256 of what is decoded, image by image, so that equal images are found whatever their files."""
    root = make_folders(tmp_path / "data")
    save(root / "b" / "9.bmp", draw(0))
    images = read_path(root)
    expected = b"".join(sha256(image.tobytes()).digest() for image in read_all(images))
    assert images.digests.tobytes() == expected
    assert images.digests[0] == images.digests[-1]


def test_two_processes_decode_once(tmp_path: Path, cache: Path) -> None:
    """The second waits for the first, hears of the wait, and reads what that made."""
    root = make_folders(tmp_path / "data")
    first = start_reader(root, "wait")
    read_line(first, "decoding")
    second = start_reader(root)
    read_line(second, "progress 0")  # its files are hashed
    read_line(second, "progress 0")  # it waits
    tell(first)
    lines = read_line(first, "decoded"), read_line(second, "decoded")
    assert [process.wait() for process in (first, second)] == [0, 0]
    # one more: the first image is decoded for its size
    assert [line.split()[1] for line in lines] == ["7", "0"]
    assert lines[0].split()[2] == lines[1].split()[2]
    assert len(entries(cache)) == 1


def test_killed_process_leaves_nothing_half(tmp_path: Path, cache: Path) -> None:
    """What was half written is removed by whoever decodes next, these images or others."""
    root = make_folders(tmp_path / "data")
    killed = start_reader(root, "wait")
    read_line(killed, "decoding")
    key = next(cache.glob("*.lock")).stem
    (cache / f"{key}.partial").mkdir()
    (cache / f"{key}.partial" / "pixels").write_bytes(b"half")
    other = read_path(make_folders(tmp_path / "other", "xy"))
    assert f"{key}.partial" in entries(cache)  # its process lives
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    read_path(make_folders(tmp_path / "third", "pq"))
    assert f"{key}.partial" not in entries(cache)
    assert len(read_path(root).images) == len(other.images)
    assert all(not name.endswith(".partial") for name in entries(cache))


def test_error_while_decoding_leaves_nothing_half(tmp_path: Path, cache: Path) -> None:
    """An exception of the caller's, as when it is told to stop, ends the reading."""
    root = make_folders(tmp_path / "data")

    def stop(done: int, total: int) -> None:
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        read(make_request(root), None, stop)
    assert entries(cache) == []


def test_progress_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is done while the files are read, then all of them are, block by block."""
    monkeypatch.setattr(file_pixels, "BLOCK", 4)
    root, told = make_folders(tmp_path / "data"), []
    read(make_request(root), None, lambda done, total: told.append((done, total)))
    assert told == [(0, 6), (0, 6), (4, 6), (6, 6)]


@pytest.mark.parametrize("file", ["pixels", "digests", "manifest.json"])
@pytest.mark.parametrize("damage", ["cut off", "gone", "changed"])
def test_damaged_cache_is_made_again(tmp_path: Path, cache: Path, file: str, damage: str) -> None:
    """A file that is short, missing or changed is noticed, and the images are decoded again."""
    root = make_folders(tmp_path / "data")
    pixels = read_all(read_path(root))
    path = cache / entries(cache)[0] / file
    content = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(content[:-1] + (b"" if damage == "cut off" else bytes([content[-1] ^ 1])))
    assert np.array_equal(read_all(read_path(root)), pixels) or (file, damage) == ("pixels", "changed")
    if (file, damage) != ("pixels", "changed"):
        assert path.read_bytes() == content


def change_pixel(root: Path) -> None:
    image = draw(0)
    image[0, 0, 0] ^= 1
    save(root / "a" / "0.png", image)


def move_label(root: Path) -> None:
    (root / "a" / "0.png").rename(root / "b" / "9.png")


def rename_class(root: Path) -> None:
    (root / "a").rename(root / "A")


@pytest.mark.parametrize("change", [change_pixel, move_label, rename_class])
def test_other_content_has_another_key(tmp_path: Path, cache: Path, change: object) -> None:
    """A pixel, a label or a name that changed is decoded anew, beside what was there."""
    root = make_folders(tmp_path / "data", each=4)
    before = read_path(root)
    assert callable(change)
    change(root)
    after = read_path(root)
    assert len(entries(cache)) == 2
    assert (set(before.digests) == set(after.digests)) == (change is not change_pixel)


def test_other_settings_have_another_key(tmp_path: Path, cache: Path) -> None:
    """Size and way of resizing count; how a size is reached does not where none is asked for."""
    root = make_folders(tmp_path / "data")
    for number, (size, how) in enumerate([(None, "crop"), ((4, 4), "crop"), ((4, 4), "pad"), ((4, 6), "pad")], start=1):
        read_path(root, size, how)
        assert len(entries(cache)) == number
    read_path(root, resize="stretch")
    assert len(entries(cache)) == 4


def test_same_files_elsewhere_are_the_same(tmp_path: Path, cache: Path) -> None:
    """The key is of names below the folder and of contents, not of where the folder is or when it was written."""
    root = make_folders(tmp_path / "data")
    read_path(root)
    shutil.copytree(root, tmp_path / "copy", copy_function=shutil.copyfile)
    read_path(tmp_path / "copy")
    assert len(entries(cache)) == 1


def test_file_that_changes_while_it_is_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is decoded is what the key is of."""
    root = make_folders(tmp_path / "data")

    def change(done: int, total: int) -> None:
        save(root / "a" / "0.png", draw(77))

    with pytest.raises(NotFoundError, match=r"a/0.png changed while it was read"):
        read(make_request(root), None, change)


def test_disk_that_is_too_small_is_named_before_decoding(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The line says how much is needed, and how much is free."""
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10, 10, 0))
    with pytest.raises(NotFoundError, match=r"need 0.0 GB there, and 0.0 GB are free: make room"):
        read_path(make_folders(tmp_path / "data"))
    assert entries(cache) == []


def test_disk_that_is_too_small_names_what_was_longest_not_used(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the sets that are there already; reading one counts as using it."""
    roots = [make_folders(tmp_path / name, each=6 + number) for number, name in enumerate(("first", "second"))]
    for root in roots:
        read_path(root)
    for manifest in cache.rglob("manifest.json"):
        os.utime(manifest, (0, 0))
    read_path(roots[0])
    (unused,) = (manifest.parent for manifest in cache.rglob("manifest.json") if manifest.stat().st_mtime == 0)
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10, 10, 0))
    expected = rf"\(2 sets of 0.0 GB there; longest unused: {unused.name}, 0.0 GB, since 19[67]"
    with pytest.raises(NotFoundError, match=expected):
        read_path(make_folders(tmp_path / "third", each=9))


def test_disk_that_becomes_full_is_named(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody else may have taken the space meanwhile; nothing is left half written."""

    def fail(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "pwrite", fail)
    with pytest.raises(NotFoundError, match=r"No space left on device\): free some space there"):
        read_path(make_folders(tmp_path / "data"))
    assert entries(cache) == []


def test_cache_that_cannot_be_made_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file where the directory should be, for one."""
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(NotFoundError, match=r"cannot be kept there \(Not a directory\): .*XDG_CACHE_HOME"):
        read_path(make_folders(tmp_path / "data"))


def make_store(path: Path, count: int = 50) -> tuple[ImageStore, np.ndarray]:
    images = np.random.default_rng(0).integers(0, 256, (count, 4, 5, 3), dtype=np.uint8)
    path.write_bytes(images.tobytes())
    return ImageStore(path, (count, 4, 5, 3)), images


def test_store_reads_any_indices_in_their_order(tmp_path: Path) -> None:
    """Runs, single images, repeated ones, backwards, and none."""
    store, images = make_store(tmp_path / "pixels")
    assert (len(store), store.shape, store.dtype) == (50, (50, 4, 5, 3), np.dtype(np.uint8))
    for indices in ([], [7], [3, 4, 5], [5, 4, 3], [0, 0, 1, 49], list(range(50))):
        assert np.array_equal(store.read(np.array(indices, np.int64)), images[indices])
    generator = np.random.default_rng(1)
    for _ in range(50):
        chosen = generator.integers(0, 50, 20)
        assert np.array_equal(store.read(chosen), images[chosen])
    for wrong in ([-1], [50], [0, 51]):
        with pytest.raises(IndexError, match="from 0 to 49"):
            store.read(np.array(wrong))


def test_store_is_read_by_many_threads_and_after_pickling(tmp_path: Path) -> None:
    """No thread moves another's position in the file."""
    store, images = make_store(tmp_path / "pixels")
    copy = pickle.loads(pickle.dumps(store))
    orders = [np.random.default_rng(seed).permutation(50) for seed in range(200)]
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda order: (order, store.read(order), copy.read(order)), orders))
    assert all(np.array_equal(images[order], a) and np.array_equal(images[order], b) for order, a, b in results)


def test_store_outlives_its_file(tmp_path: Path) -> None:
    """Whoever has it open reads on where it is removed or replaced; a file that shrinks is an error, not zeros."""
    store, images = make_store(tmp_path / "pixels")
    (tmp_path / "pixels").unlink()
    assert np.array_equal(store.read(np.arange(50)), images)
    store, _ = make_store(tmp_path / "others")
    os.truncate(tmp_path / "others", 100)
    with pytest.raises(OSError, match="is shorter than it was"):
        store.read(np.array([49]))


def test_manifest_has_the_shape(tmp_path: Path, cache: Path) -> None:
    """The directory says what is in it."""
    read_path(make_folders(tmp_path / "data"))
    manifest = json.loads((cache / entries(cache)[0] / "manifest.json").read_bytes())
    assert manifest["shape"] == [8, 8, 3]
