"""CIFAR-100, MNIST and Fashion-MNIST: found where the user keeps them or downloaded once, read whole or not at all."""

import gzip
import hashlib
import io
import pickle
import tarfile
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import IO, cast

import numpy as np
import pytest

from hpsearch import settings
from hpsearch.errors import NotFoundError
from hpsearch.spec.datasets import Dataset
from hpsearch.training import loading
from hpsearch.training.datasets import cifar100, fashion_mnist, mnist
from hpsearch.training.images import downloads
from hpsearch.training.requests import DataRequest

pytestmark = pytest.mark.tensorflow  # Keras downloads

TRAIN, TEST = 200, 100
GENERATOR = np.random.default_rng(0)
GREY = GENERATOR.integers(0, 256, (TRAIN + TEST, 28, 28), dtype=np.uint8)
PLANES = GENERATOR.integers(0, 256, (TRAIN + TEST, 3, 32, 32), dtype=np.uint8)


def make_mnist() -> dict[str, bytes]:
    """Return the file of a small MNIST."""
    file, labels = io.BytesIO(), (np.arange(TRAIN + TEST) % 10).astype(np.uint8)
    np.savez(file, x_train=GREY[:TRAIN], y_train=labels[:TRAIN], x_test=GREY[TRAIN:], y_test=labels[TRAIN:])
    return {"mnist.npz": file.getvalue()}


def make_fashion_mnist() -> dict[str, bytes]:
    """Return the files of a small Fashion-MNIST."""
    labels = (np.arange(TRAIN + TEST) % 10).astype(np.uint8)
    content = {}
    for part, rows in (("train", slice(TRAIN)), ("t10k", slice(TRAIN, None))):
        content[f"{part}-images-idx3-ubyte.gz"] = bytes(16) + GREY[rows].tobytes()
        content[f"{part}-labels-idx1-ubyte.gz"] = bytes(8) + labels[rows].tobytes()
    return {f"fashion-mnist/{name}": gzip.compress(data) for name, data in content.items()}


def make_cifar100() -> dict[str, bytes]:
    """Return the archive of a small CIFAR-100."""
    labels = [number % 100 for number in range(TRAIN + TEST)]
    members: dict[str, dict[bytes, object]] = {
        "meta": {b"fine_label_names": [name.encode() for name in cifar100.CLASSES]}
    }
    for name, rows in (("train", slice(TRAIN)), ("test", slice(TRAIN, None))):
        members[name] = {b"data": PLANES[rows].reshape(-1, 3072), b"fine_labels": labels[rows], b"coarse_labels": [0]}
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        for name, batch in members.items():
            content = pickle.dumps(batch, protocol=2)
            member = tarfile.TarInfo(f"cifar-100-python/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return {"cifar-100-python.tar.gz": file.getvalue()}


DATASETS: dict[str, tuple[Dataset, Callable[[], dict[str, bytes]]]] = {
    "cifar100": (cifar100.DATASET, make_cifar100),
    "fashion_mnist": (fashion_mnist.DATASET, make_fashion_mnist),
    "mnist": (mnist.DATASET, make_mnist),
}


class Site:
    """A directory that is served, and the paths that were asked for."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.requests = directory, list[str]()
        requests = self.requests

        class Handler(SimpleHTTPRequestHandler):
            def do_GET(self) -> None:
                requests.append(self.path)
                super().do_GET()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(directory)))
        self.url = f"http://127.0.0.1:{self.server.server_port}/"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Site]:
    """A site with small files of all three, which the modules take for the published ones."""
    site = Site(tmp_path / "site")
    site.directory.mkdir()
    for _, make in DATASETS.values():
        for name, content in make().items():
            (site.directory / Path(name).name).write_bytes(content)
    for module in (cifar100, fashion_mnist, mnist):
        monkeypatch.setattr(module, "TRAIN_IMAGES", TRAIN)
        monkeypatch.setattr(module, "TEST_IMAGES", TEST)
    digests = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in site.directory.iterdir()}
    monkeypatch.setattr(cifar100, "ORIGIN", f"{site.url}{cifar100.ARCHIVE}")
    monkeypatch.setattr(cifar100, "SHA256", digests[cifar100.ARCHIVE])
    monkeypatch.setattr(fashion_mnist, "ORIGIN", site.url)
    file = replace(mnist.FILE, origin=f"{site.url}mnist.npz", sha256=digests["mnist.npz"])
    monkeypatch.setattr(mnist, "FILE", file)
    monkeypatch.delenv("HPSEARCH_DATA_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    yield site
    site.server.shutdown()
    site.server.server_close()


def list_cached() -> list[str]:
    cache = settings.find_cache_dir()
    return sorted(path.relative_to(cache).as_posix() for path in cache.rglob("*") if path.is_file())


@pytest.mark.parametrize("name", DATASETS)
def test_dataset_is_downloaded_once(site: Site, name: str) -> None:
    """Whole files appear in the cache, and are read from there; pixels and labels are those of the files."""
    dataset, make = DATASETS[name]
    x, y, x_test, y_test, classes = dataset.read()
    expected = PLANES.transpose(0, 2, 3, 1) if name == "cifar100" else GREY[..., np.newaxis]
    assert np.array_equal(np.concatenate([x, x_test]), expected)
    assert (x.dtype, y.dtype, len(x), len(x_test)) == (np.dtype(np.uint8), np.dtype(np.int64), TRAIN, TEST)
    assert x.shape[1:] == dataset.shape
    assert np.concatenate([y, y_test]).tolist() == [number % len(classes) for number in range(TRAIN + TEST)]
    assert classes == dataset.classes
    assert list_cached() == sorted(make())
    asked = len(site.requests)
    dataset.read()
    assert len(site.requests) == asked == len(make())


def test_a_download_tells_how_far_it_is(site: Site) -> None:
    """Its listener hears of each block, and ends it by an exception, which leaves nothing behind."""
    heard: list[tuple[int, int]] = []

    def listen(done: int, total: int) -> None:
        heard.append((done, total))
        if len(heard) == 3:
            raise downloads.StoppedError

    with downloads.report_to(listen), pytest.raises(downloads.StoppedError):
        loading.load(DataRequest("mnist", train_limit=None, validation=100, seed=0))
    size = (site.directory / "mnist.npz").stat().st_size
    assert [total for _, total in heard] == [size] * 3
    assert heard == sorted(set(heard))
    assert list_cached() == []
    with downloads.report_to(lambda *counts: heard.append(counts)):
        assert len(mnist.DATASET.read()[0]) == TRAIN
    assert heard[-1] == (size, size)


@pytest.mark.parametrize("name", DATASETS)
def test_data_directory_comes_first(site: Site, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the user has is not downloaded."""
    dataset, make = DATASETS[name]
    for file, content in make().items():
        (tmp_path / "mine" / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "mine" / file).write_bytes(content)
    monkeypatch.setenv("HPSEARCH_DATA_DIR", str(tmp_path / "mine"))
    assert len(dataset.read()[0]) == TRAIN
    if name == "cifar100":  # unpacked
        with tarfile.open(tmp_path / "mine" / cifar100.ARCHIVE) as archive:
            for member in filter(tarfile.TarInfo.isfile, archive):
                unpacked = tmp_path / "mine" / member.name
                unpacked.parent.mkdir(exist_ok=True)
                unpacked.write_bytes(cast(IO[bytes], archive.extractfile(member)).read())
        (tmp_path / "mine" / cifar100.ARCHIVE).unlink()
        assert len(dataset.read()[0]) == TRAIN
    assert site.requests == []


@pytest.mark.parametrize("name", ["cifar100", "mnist"])
def test_other_content_than_keras_knows_is_thrown_away(site: Site, name: str) -> None:
    """A download with another checksum does not stay."""
    dataset, make = DATASETS[name]
    file = site.directory / next(iter(make()))
    file.write_bytes(file.read_bytes() + b"\0")
    with pytest.raises(NotFoundError, match="cannot be downloaded"):
        dataset.read()
    assert list_cached() == []


@pytest.mark.parametrize("name", DATASETS)
def test_no_network_says_what_to_do(site: Site, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line names the places that were looked at, and what to put there."""
    dataset, make = DATASETS[name]
    for path in site.directory.iterdir():
        path.unlink()
    with tempfile.TemporaryDirectory() as directory:  # of a short name, for which the line has room
        monkeypatch.setenv("XDG_CACHE_HOME", directory)
        monkeypatch.setenv("KERAS_HOME", directory)
        with pytest.raises(NotFoundError, match=r"cannot be downloaded .*404") as caught:
            dataset.read()
        parts = (str(settings.find_cache_dir()), "HPSEARCH_DATA_DIR", next(iter(make())).split("/")[0])
    message = str(caught.value)
    assert "\n" not in message
    assert " … " not in message
    for part in parts:
        assert part in message


@pytest.mark.parametrize("name", DATASETS)
@pytest.mark.parametrize("damage", ["cut off", "a changed byte", "another file"])
def test_damage_is_named(site: Site, name: str, damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of the user's that is not whole is named, and nothing is half read."""
    dataset, make = DATASETS[name]
    for file, content in make().items():
        (tmp_path / "mine" / file).parent.mkdir(parents=True, exist_ok=True)
        middle = len(content) // 2
        damaged = {
            "cut off": content[:-20],
            "a changed byte": content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :],
            "another file": b"<html>log in first</html>",
        }
        (tmp_path / "mine" / file).write_bytes(damaged[damage])
    monkeypatch.setenv("HPSEARCH_DATA_DIR", str(tmp_path / "mine"))
    with pytest.raises(NotFoundError, match=f"{tmp_path}/mine.* cannot be used: .*replace or remove it") as caught:
        dataset.read()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", DATASETS)
def test_fewer_images_than_published_are_refused(site: Site, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A subset is not taken for the data set."""
    module = {"cifar100": cifar100, "fashion_mnist": fashion_mnist, "mnist": mnist}[name]
    monkeypatch.setattr(module, "TRAIN_IMAGES", TRAIN + 1)
    with pytest.raises(NotFoundError, match="does not hold 201"):
        DATASETS[name][0].read()
