"""A user's own images from the folder to the training: parts, fingerprint, what is known of them, and a Stop."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpsearch.errors import NotFoundError
from hpsearch.training import loading, serve
from hpsearch.training.images import streaming
from hpsearch.training.images.own_images import read_own_images
from hpsearch.training.images.parts import ImagePart
from hpsearch.training.protocol import DataProgress, Duplicates, PrepareData, Refused, Released, Stop
from hpsearch.training.requests import DataRequest
from tests.support.image_files import draw, make_request, save
from tests.support.training_jobs import MakeJob
from tests.support.training_runs import Recorder, run

pytestmark = pytest.mark.tensorflow

COUNTS = {"daisy": 20, "rose": 30, "tulip": 10}


@pytest.fixture(autouse=True)
def _forget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    loading.forget()
    yield
    loading.forget()


def make_flowers(root: Path) -> Path:
    """Make a folder of 60 images of 16x16 in three classes, of which one has half of them."""
    for label, (name, count) in enumerate(COUNTS.items()):
        for number in range(count):
            save(root / name / f"{number}.png", draw(1000 * label + number, 16, 16))
    return root


@pytest.fixture
def flowers(tmp_path: Path) -> Path:
    return make_flowers(tmp_path / "flowers")


def load(path: Path, **fields: Any) -> loading.ImageArrays:
    loading.forget()  # the files may have changed
    return loading.load(replace(make_request(path), **fields))


def count(labels: np.ndarray) -> list[int]:
    counts: list[int] = np.bincount(labels).tolist()
    return counts


def test_parts_have_their_files_images_and_labels(flowers: Path) -> None:
    """Every image of the folder is in one part, with the label of its folder."""
    images = load(flowers)
    assert images.classes == ("daisy", "rose", "tulip")
    labels = {
        draw(1000 * label + n, 16, 16).tobytes(): label for label, c in enumerate(COUNTS.values()) for n in range(c)
    }
    seen: dict[bytes, int] = {}
    for part, y in ((images.x_train, images.y_train), (images.x_val, images.y_val), (images.x_test, images.y_test)):
        seen |= {image.tobytes(): label for image, label in zip(part[:], y.tolist(), strict=True)}
    assert seen == labels
    assert [count(y) for y in (images.y_train, images.y_val, images.y_test)] == [[12, 18, 6], [4, 6, 2], [4, 6, 2]]
    facts = images.facts
    assert (facts.shape, facts.classes) == ((16, 16, 3), images.classes)
    assert (facts.training, facts.validation, facts.test) == ((12, 18, 6), (4, 6, 2), (4, 6, 2))


def test_an_evaluation_trains_on_both_parts_of_the_search(flowers: Path) -> None:
    """Training and validation images together, judged by the test images; its fingerprint names the search's."""
    search, tested = load(flowers), load(flowers, test=True)
    assert count(tested.y_train) == [16, 24, 8]
    assert sorted(tested.x_train.indices) == sorted([*search.x_train.indices, *search.x_val.indices])
    assert np.array_equal(tested.x_val.indices, search.x_test.indices)
    assert tested.fingerprint.endswith(f"+{search.fingerprint}")


def test_fingerprint_is_that_of_content_and_split(flowers: Path, tmp_path: Path) -> None:
    """Another place or another file format is the same data; another pixel, class name, seed or size is not."""
    first = load(flowers).fingerprint
    elsewhere = Path(shutil.copytree(flowers, tmp_path / "elsewhere"))
    assert load(elsewhere).fingerprint == first
    assert load(elsewhere, seed=1).fingerprint != first
    assert load(elsewhere, validation=10).fingerprint != first
    assert load(elsewhere, image_size=(8, 8)).fingerprint != first
    (elsewhere / "tulip").rename(elsewhere / "tulips")
    assert load(elsewhere).fingerprint != first
    (elsewhere / "tulips").rename(elsewhere / "tulip")
    own = read_own_images(make_request(elsewhere), None, loading.ignore_progress)
    pixels = own.images.images.read(own.split.training[:1])[0]
    pixels[0, 0, 0] ^= 1
    save(elsewhere / own.images.names[own.split.training[0]], pixels)
    assert load(elsewhere).fingerprint != first


def test_statistics_are_of_the_training_images(flowers: Path) -> None:
    """Mean and deviation a channel, read in pieces."""
    images = load(flowers)
    pixels = images.x_train[:].reshape(-1, 3).astype(float)
    assert images.statistics.mean == pytest.approx(pixels.mean(axis=0), rel=1e-12)
    assert images.statistics.deviation == pytest.approx(pixels.std(axis=0), rel=1e-12)


def test_training_from_the_cache_is_that_of_resident_images(
    flowers: Path, job: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether they are read from the file in batches or kept on the device, the same is trained."""
    trial = job({"batch_size": 8}, data=make_request(flowers), epochs=2)
    losses = []
    for limit in (10**9, 0):
        monkeypatch.setattr(streaming, "find_resident_limit", lambda limit=limit: limit)
        loading.forget()
        _, recorder = run(trial)
        assert isinstance(loading.load(trial.data).inputs.x_val, ImagePart) == (limit == 0)
        losses.append([epoch.val_loss for epoch in recorder.epochs])
    assert losses[0] == losses[1]


class FakeConnection:
    """Keeps what is sent, and answers the first report about images with a Stop where it is told to."""

    def __init__(self, stop: Stop | None = None) -> None:
        self.sent: list[Any] = []
        self._stop = stop

    def report_progress(self, progress: Any) -> Stop | None:
        self.sent.append(progress)
        return self._stop

    def send(self, message: Any) -> None:
        self.sent.append(message)


def do(job: Any, stop: Stop | None = None) -> tuple[Any, list[Any]]:
    connection: Any = FakeConnection(stop)
    return serve._do(job, connection), connection.sent


def test_a_stop_ends_the_decoding(flowers: Path, job: MakeJob) -> None:
    """The trial is released without an epoch, and what was decoded is not taken for all of it."""
    trial = job(data=make_request(flowers))
    released, sent = do(trial, Stop(checkpoint=True))
    assert released == Released(0, None, loaded=False)
    assert isinstance(sent[0], DataProgress)
    assert sent[0].total == 60
    assert len(load(flowers).x_train) == 36


def test_prepared_data_are_described(flowers: Path) -> None:
    """Counts, size and place; the images are in the cache afterwards, so that nothing is decoded for them again."""
    (flowers / "notes.txt").write_text("mine")
    prepared, sent = do(PrepareData(make_request(flowers)))
    assert prepared.facts.validation == (4, 6, 2)
    assert prepared.size == 60 * 16 * 16 * 3
    assert Path(prepared.place).parent.name == "images"
    assert sum(prepared.passed_over.values()) == 1
    assert prepared.duplicates is None
    assert sent[-1] == DataProgress(60, 60)
    again, sent = do(PrepareData(make_request(flowers)))
    assert again == prepared
    assert {progress.done for progress in sent} <= {0}


def test_duplicates_across_parts_are_counted_and_two_are_named(tmp_path: Path) -> None:
    """Images with the same pixels in training and test are said; those within a part are no fault of the split."""
    for name, seed in (("a", 0), ("b", 100)):
        for part, numbers in (("train", (0, 1, 2, 3, 3)), ("validation", (4, 5)), ("test", (5, 6, 7))):
            for place, number in enumerate(numbers):
                save(tmp_path / "set" / part / name / f"{place}.png", draw(seed + number))
    save(tmp_path / "set" / "test" / "a" / "0.png", draw(1))
    prepared, _ = do(PrepareData(make_request(tmp_path / "set")))
    assert prepared.duplicates == Duplicates(2, "train/a/1.png", "test/a/0.png")


def test_a_built_in_data_set_is_prepared_too() -> None:
    """It has no place in the cache of decoded images."""
    prepared, _ = do(PrepareData(DataRequest("digits", None, 300, 0)))
    assert sum(prepared.facts.test) == 360
    assert prepared.size == 1797 * 3072
    assert (prepared.place, prepared.passed_over, prepared.duplicates) == (None, {}, None)


def test_what_cannot_be_read_or_split_is_refused(flowers: Path, job: MakeJob) -> None:
    """One line, for a training, a check or a preparation: this host cannot serve the study as its files are."""
    (flowers / "tulip" / "0.png").write_bytes(b"no image")
    for request, message in ((make_request(flowers), "0.png"), (make_request(flowers / "nowhere"), "nowhere")):
        for job_ in (job(data=request), PrepareData(request)):
            refused, _ = do(job_)
            assert isinstance(refused, Refused)
            assert message in refused.detail
            assert "\n" not in refused.detail


def test_a_class_with_too_few_images_is_named(flowers: Path) -> None:
    """The split says so before anything is trained."""
    save(flowers / "violet" / "0.png", draw(1, 16, 16))
    with pytest.raises(NotFoundError, match=r"too few images of violet \(1\)"):
        load(flowers)


def test_a_stopped_training_of_own_images_goes_on(flowers: Path, job: MakeJob) -> None:
    """A checkpoint of a training on own images resumes on them."""
    trial = job({"batch_size": 8}, data=make_request(flowers), epochs=3)
    _, whole = run(trial)
    first, _ = run(trial, Recorder(stop_after=1))
    assert isinstance(first, Released)
    _, rest = run(replace(trial, checkpoint=first.checkpoint))
    assert [epoch.val_loss for epoch in rest.epochs] == [epoch.val_loss for epoch in whole.epochs[1:]]
