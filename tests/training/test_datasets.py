"""Datasets: the split is the same everywhere and leaks nothing; a download arrives whole or not at all."""

import hashlib
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from hpsearch import settings
from hpsearch.errors import NotFoundError, UsageError
from hpsearch.training import loading
from hpsearch.training.datasets import cifar10, digits
from hpsearch.training.requests import DataRequest

pytestmark = pytest.mark.tensorflow

DIGITS = DataRequest("digits", train_limit=300, validation=200, seed=0)


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    loading.forget()
    yield
    loading.forget()


def rows(images: np.ndarray) -> set[bytes]:
    return {image.tobytes() for image in images}


def test_the_facts_about_the_digits_are_those_of_its_images() -> None:
    """A study is checked against the facts; the trainer reads the images."""
    facts = digits.DATASET
    x, y, *_, classes = facts.read()
    assert len(x) == len(y) == facts.images
    assert x.shape[1:] == facts.shape
    assert classes == facts.classes


def test_digits_are_split_without_overlap() -> None:
    """Of 1,797 digits 360 are for testing, always the same; the rest is training and validation."""
    digits = loading.load(replace(DIGITS, train_limit=None))
    assert digits.x_train.shape == (1237, 32, 32, 3)
    assert (len(digits.y_val), len(digits.y_test)) == (200, 360)
    parts = rows(digits.x_train[:]), rows(digits.x_val[:]), rows(digits.x_test[:])
    assert len(parts[0] | parts[1] | parts[2]) == 1797
    assert digits.x_train[:].dtype == np.uint8
    assert (digits.x_train[:].min(), digits.x_train[:].max()) == (0, 255)
    assert digits.classes == tuple("0123456789")


def test_every_part_is_stratified() -> None:
    """Each class has its share of each part, give or take one image."""
    digits = loading.load(DIGITS)
    whole = np.bincount(np.concatenate([loading.load(replace(DIGITS, train_limit=None)).y_train, digits.y_val]))
    for labels in (digits.y_train, digits.y_val):
        assert np.abs(np.bincount(labels) - whole * len(labels) / whole.sum()).max() <= 1


def test_split_follows_from_the_seed() -> None:
    """The same on every host, as the fingerprint says; another seed holds out others, and leaves the test images."""
    first = loading.load(DIGITS)
    loading.forget()
    again, other = loading.load(DIGITS), loading.load(replace(DIGITS, seed=1))
    assert first.fingerprint == again.fingerprint
    assert np.array_equal(first.x_train[:], again.x_train[:])
    assert first.fingerprint != other.fingerprint
    assert rows(first.x_val[:]) != rows(other.x_val[:])
    assert np.array_equal(first.x_test[:], other.x_test[:])


def test_limit_leaves_the_validation_images() -> None:
    """A study with fewer training images is judged by the same validation images."""
    few, many = loading.load(DIGITS), loading.load(replace(DIGITS, train_limit=None))
    assert len(few.y_train) == 300
    assert np.array_equal(few.x_val[:], many.x_val[:])
    assert rows(few.x_train[:]) < rows(many.x_train[:])
    assert len(loading.load(replace(DIGITS, train_limit=1237)).y_train) == 1237


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (replace(DIGITS, validation=1430), "validation of digits: 1,430 is not from 10 to 1,427"),
        (replace(DIGITS, validation=5), "validation of digits: 5 is not"),
        (replace(DIGITS, train_limit=1238), "train_limit of digits: 1,238 is not"),
        (replace(DIGITS, train_limit=1230), "train_limit of digits: 1,230 is not from 10 to 1,227"),
    ],
)
def test_more_than_there_is_is_a_usage_error(limits: DataRequest, message: str) -> None:
    """One line says what was asked and what there is."""
    with pytest.raises(UsageError, match=message):
        loading.load(limits)


def test_unknown_dataset_is_not_found() -> None:
    """The line names those there are."""
    with pytest.raises(NotFoundError, match="no dataset is called 'flowers': there are cifar10, cifar100, digits"):
        loading.load(replace(DIGITS, name="flowers"))


def test_only_the_latest_dataset_is_kept() -> None:
    """The next trial of a study finds its images in memory; another study's replace them."""
    first = loading.load(DIGITS)
    assert loading.load(DIGITS) is first
    loading.load(replace(DIGITS, seed=1))
    assert loading.load(DIGITS) is not first


def test_statistics_are_of_the_training_images() -> None:
    """Mean and deviation a channel, over the training images alone."""
    digits = loading.load(DIGITS)
    pixels = digits.x_train[:].reshape(-1, 3).astype(float)
    assert digits.statistics.mean == pytest.approx(pixels.mean(axis=0))
    assert digits.statistics.deviation == pytest.approx(pixels.std(axis=0))


class Site:
    """A web site with one file, which it may break off in the middle of."""

    def __init__(self) -> None:
        self.content, self.sent, self.requests = b"", -1, 0
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                site.requests += 1
                self.send_response(200)
                self.send_header("Content-Length", str(len(site.content)))
                self.end_headers()
                self.wfile.write(site.content[: site.sent] if site.sent >= 0 else site.content)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/{cifar10.ARCHIVE}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cifar_archive: bytes) -> Iterator[Site]:
    site = Site()
    site.content = cifar_archive
    monkeypatch.setattr(cifar10, "BATCH_IMAGES", 20)
    monkeypatch.setattr(cifar10, "ORIGIN", site.url)
    monkeypatch.setattr(cifar10, "SHA256", hashlib.sha256(cifar_archive).hexdigest())
    monkeypatch.delenv("HPSEARCH_DATA_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    yield site
    site.server.shutdown()
    site.server.server_close()


CIFAR = DataRequest("cifar10", train_limit=50, validation=20, seed=0)


def cached() -> list[str]:
    return sorted(path.name for path in settings.find_cache_dir().rglob("*"))


def test_download_is_kept(site: Site) -> None:
    """CIFAR-10 is fetched once, and read from the cache from then on."""
    first = loading.load(CIFAR)
    assert len(first.y_train) == 50
    assert cached() == [cifar10.ARCHIVE]
    loading.forget()
    assert loading.load(CIFAR).fingerprint == first.fingerprint
    assert site.requests == 1


def test_wrong_checksum_is_refused(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not the published archive is thrown away."""
    monkeypatch.setattr(cifar10, "SHA256", "0" * 64)
    with pytest.raises(NotFoundError, match="cannot be downloaded"):
        loading.load(CIFAR)
    assert cached() == []


def test_broken_off_download_leaves_nothing(site: Site) -> None:
    """A connection that ends early leaves no half file for the next start to trip over."""
    site.sent = 1000
    with pytest.raises(NotFoundError, match="cannot be downloaded"):
        loading.load(CIFAR)
    assert cached() == []


def test_no_network_says_what_to_do(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line names every place that was looked at, and where to put the images."""
    monkeypatch.setattr(cifar10, "ORIGIN", "http://127.0.0.1:9/nothing")
    with tempfile.TemporaryDirectory() as directory:  # of a short name, for which the line has room
        mine = Path(directory) / "mine"
        monkeypatch.setenv("HPSEARCH_DATA_DIR", str(mine))
        monkeypatch.setenv("XDG_CACHE_HOME", directory)
        monkeypatch.setenv("KERAS_HOME", directory)
        with pytest.raises(NotFoundError) as caught:
            loading.load(CIFAR)
        parts = (str(mine), str(settings.find_cache_dir()), "refused", "HPSEARCH_DATA_DIR", cifar10.ARCHIVE)
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert part in message


@pytest.mark.data
def test_real_images(data_dir: Path) -> None:
    """The real CIFAR-10: 45,000, 5,000 and 10,000 images, a tenth of them in each class."""
    cifar = loading.load(DataRequest("cifar10", None, 5000, 0))
    assert cifar.x_train.shape == (45_000, 32, 32, 3)
    assert [np.bincount(labels).tolist() for labels in (cifar.y_train, cifar.y_val, cifar.y_test)] == [
        [4500] * 10,
        [500] * 10,
        [1000] * 10,
    ]
    assert cifar.classes[0] == "airplane"
    # what everybody finds for CIFAR-10: means 0.4914, 0.4822, 0.4465, deviations 0.247, 0.243, 0.262
    assert np.array(cifar.statistics.mean) / 255 == pytest.approx([0.4914, 0.4822, 0.4465], abs=0.005)
    assert np.array(cifar.statistics.deviation) / 255 == pytest.approx([0.247, 0.243, 0.262], abs=0.005)
