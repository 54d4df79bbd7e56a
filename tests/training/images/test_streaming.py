"""Images that are streamed to the device: what is trained is what is trained on resident ones, bit for bit."""

import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import psutil
import pytest

from hpsearch import settings
from hpsearch.outcomes import TrainingEnd
from hpsearch.training import backends, loading, preparation
from hpsearch.training.checks import throughput
from hpsearch.training.checks.check_context import CheckContext
from hpsearch.training.images import streaming
from hpsearch.training.images.parts import ArraySource, ImagePart, Images, ImageSource, Labels
from hpsearch.training.protocol import Check, Released, Train
from tests.support.training_jobs import MakeJob
from tests.support.training_runs import Recorder, figures, run

pytestmark = pytest.mark.tensorflow

Limit = Callable[[int], None]


@pytest.fixture
def limit(monkeypatch: pytest.MonkeyPatch) -> Iterator[Limit]:
    """Set how many bytes of images stay on the device, and chunks of a few batches."""
    monkeypatch.setattr(streaming, "CHUNK_BYTES", 3 * 32 * 3072)

    def set_limit(limit: int) -> None:
        loading.forget()
        monkeypatch.setattr(streaming, "find_resident_limit", lambda: limit)

    yield set_limit
    loading.forget()


def read_weights(training: Train, released: TrainingEnd | Released) -> list[np.ndarray]:
    """Return all variables in a checkpoint."""
    assert isinstance(released, Released)
    assert released.checkpoint is not None
    prepared = preparation.prepare(replace(training, checkpoint=released.checkpoint), loading.load(training.data))
    return [np.asarray(variable) for variable in prepared.model.variables + prepared.model.optimizer.variables]


def list_streaming_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("images")]


def test_streamed_training_is_resident_training(limit: Limit, job: MakeJob) -> None:
    """All variables agree bit for bit after two epochs of 6 whole batches and a smaller one, and so does validation."""
    trial = job({"dropout": 0.3, "batch_norm": True, "augment": True})
    weights, recorded = [], []
    for size in (10**9, 0):
        limit(size)
        released, recorder = run(trial, Recorder(stop_after=2))
        assert isinstance(loading.load(trial.data).inputs.x_train, ImagePart) == (size == 0)
        weights.append(read_weights(trial, released))
        recorded.append(figures(recorder.epochs))
    assert len(weights[0]) > 20
    for resident, streamed in zip(*weights, strict=True):
        assert np.array_equal(resident, streamed)
    # The training loss is a sum over launches, whose lengths follow from the time that the first ones take.
    assert np.allclose(recorded[0], recorded[1], rtol=1e-5, atol=0)
    assert [epoch[1:] for epoch in recorded[0]] == [epoch[1:] for epoch in recorded[1]]


def test_a_resumed_training_may_stream(limit: Limit, job: MakeJob) -> None:
    """An epoch of resident and one of streamed images are two of either."""
    trial = job({"dropout": 0.3})
    limit(10**9)
    whole, _ = run(trial, Recorder(stop_after=2))
    expected = read_weights(trial, whole)
    first, _ = run(trial, Recorder(stop_after=1))
    limit(0)
    assert isinstance(first, Released)
    second, _ = run(replace(trial, checkpoint=first.checkpoint), Recorder(stop_after=2))
    for resident, resumed in zip(expected, read_weights(trial, second), strict=True):
        assert np.array_equal(resident, resumed)


def test_a_stop_ends_the_thread(limit: Limit, job: MakeJob) -> None:
    """After a Stop in the middle of an epoch, or of the validation, nothing reads images."""
    limit(0)
    for batch in (1, 7):
        released, recorder = run(job(), Recorder(stop_in=(1, batch)))
        assert released == Released(0, None)
        assert recorder.batches[-1][1] >= batch
        assert list_streaming_threads() == []


def test_an_evaluation_streams_all_images(limit: Limit, job: MakeJob) -> None:
    """The merged training and validation images, and the test images, are as they are when resident."""
    trial = job(epochs=1)
    trial = replace(trial, data=replace(trial.data, test=True))
    recorded = []
    for size in (10**9, 0):
        limit(size)
        end, recorder = run(trial)
        assert isinstance(end, TrainingEnd)
        recorded.append(recorder.epochs[-1].val_loss)
    assert recorded[0] == recorded[1]


def test_the_estimate_streams_too(limit: Limit, job: MakeJob) -> None:
    """The seconds of an epoch are measured as it will be trained."""
    limit(0)
    trial = job()
    check = Check(trial.data, trial.seed, {}, (), ("optimizer",), trial.model)
    measured = throughput.measure(CheckContext(loading.load(trial.data), check), trial.hyperparameters)
    assert measured.seconds > 0
    assert list_streaming_threads() == []


class CountingSource:
    """Images of one black pixel each; counts the reads, and fails at one of them where it is told to."""

    shape = (100, 1, 1, 1)

    def __init__(self, failing: int | None = None) -> None:
        self.reads, self._failing = 0, failing

    def read(self, indices: Labels) -> Images:
        self.reads += 1
        if self.reads == self._failing:
            raise OSError("the disk is gone")
        return np.zeros((len(indices), 1, 1, 1), np.uint8)


def make_part(source: ImageSource) -> ImagePart:
    return ImagePart(source, np.arange(source.shape[0]))


def test_chunks_have_one_shape_and_all_images(limit: Limit) -> None:
    """A pass sees every image once, in order, in chunks of the same shape, so that nothing compiles anew."""
    limit(0)
    array = np.arange(1000, dtype=np.uint16).view(np.uint8).reshape(1000, 1, 1, 2)
    part, labels = make_part(ArraySource(array)), np.arange(1000)
    order = np.random.default_rng(0).permutation(1000)
    chunks = list(streaming.split_into_chunks(part, labels, order, 32))
    whole, (rest,) = chunks[:-1], chunks[-1:]
    assert len({(tuple(chunk.images.shape), tuple(chunk.order.shape)) for chunk in whole}) == 1
    assert tuple(rest.images.shape) == (1000 % 32, 1, 1, 2)
    seen = [np.asarray(chunk.labels)[np.asarray(chunk.order)[: chunk.steps]].reshape(-1) for chunk in chunks]
    assert np.concatenate(seen).tolist() == order.tolist()
    pixels = [np.asarray(chunk.images)[np.asarray(chunk.order)[: chunk.steps]].reshape(-1) for chunk in chunks]
    assert np.concatenate(pixels).view(np.uint16).tolist() == order.tolist()


def test_little_is_read_ahead() -> None:
    """However many images there are, no more than a few chunks of them are in memory."""
    source = CountingSource()
    with closing(streaming.read_batches(make_part(source), 1)) as batches:
        for _ in range(5):
            next(batches)
    assert source.reads <= 5 + streaming.CHUNKS_AHEAD
    assert list_streaming_threads() == []


def test_what_the_source_raises_is_raised_where_the_images_are_used() -> None:
    """A file that can no longer be read ends the training with its error."""
    source = CountingSource(failing=3)
    with (
        closing(streaming.read_batches(make_part(source), 10)) as batches,
        pytest.raises(OSError, match="the disk is gone"),
    ):
        list(batches)
    assert list_streaming_threads() == []


def test_up_to_a_share_of_the_memory_stays_on_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a GPU a quarter of what is the trainer's; else at most 1 GiB, and no more than the host can spare."""
    monkeypatch.setenv(settings.DEVICE_MEMORY, str(8 * 2**30))
    assert streaming.find_resident_limit() <= streaming.HOST_BYTES
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=2**30))
    assert streaming.find_resident_limit() == 2**27
    monkeypatch.setattr(backends, "name_device", lambda: "GPU")
    assert streaming.find_resident_limit() == 2 * 2**30
    monkeypatch.delenv(settings.DEVICE_MEMORY)
    assert streaming.find_resident_limit() == 2**27
