"""The networks of keras.applications: their preprocessing, weights, and which layers are trained."""

import functools
import hashlib
import inspect
import re
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, cast

import h5py
import keras
import numpy as np
import pytest
from keras.src.applications import mobilenet_v3
from keras.src.legacy.saving import legacy_h5_format

from hpsearch import settings
from hpsearch.errors import NotFoundError, UsageError
from hpsearch.spec.hyperparameters import make_model_table
from hpsearch.spec.models import NO_WEIGHTS
from hpsearch.training import model_building, preparation, serve
from hpsearch.training.images import cache, downloads
from hpsearch.training.images.downloads import StoppedError
from hpsearch.training.loading import PixelStatistics, load
from hpsearch.training.models.application import SMALLEST
from hpsearch.training.pretrained.weights import add_file
from hpsearch.training.protocol import Refused
from hpsearch.training.requests import ModelRequest
from tests.support.training_jobs import DIGITS, MakeJob

pytestmark = pytest.mark.tensorflow

TABLE = make_model_table("application")
TINY = "MobileNetV3Small"
FILE = "weights_mobilenet_v3_small_224_1.0_float_no_top_v2.h5"
"""What Keras calls the ImageNet weights of TINY without its top."""
PIXELS = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)


def make_model(
    name: str = TINY, weights: str = NO_WEIGHTS, shape: tuple[int, ...] = (32, 32, 3), seed: int = 0, **values: Any
) -> keras.Model:
    request = ModelRequest("application", weights=weights)
    statistics = PixelStatistics((0.0,) * shape[2], (1.0,) * shape[2])
    known = TABLE.fill_defaults({"application": name, **values})
    return model_building.build(request, known, shape, 10, seed, statistics)


def find_network(model: keras.Model) -> keras.Model:
    (network,) = (layer for layer in model.layers if isinstance(layer, keras.Model))
    return network


def predict(model: keras.Model, images: Any, **options: Any) -> np.ndarray:
    return np.asarray(keras.ops.convert_to_numpy(model(images, **options)))


def make_source(name: str = TINY) -> keras.Model:
    """Return an application whose weights are none that a seed here makes; its batch norms have averages."""
    source = getattr(keras.applications, name)(include_top=False, weights=None, input_shape=(32, 32, 3))
    generator = np.random.default_rng(5)
    source.set_weights([array * generator.uniform(0.9, 1.1, array.shape) for array in source.get_weights()])
    return source


def test_the_table_has_every_application_of_keras() -> None:
    """Their names and smallest images are those of the installed Keras."""
    applications = {name: call for name, call in vars(keras.applications).items() if inspect.isfunction(call)}
    assert set(SMALLEST) == set(applications)
    for name, call in applications.items():
        with pytest.raises(ValueError, match="Input size must be at least") as refused:
            call(include_top=False, weights=None, input_shape=(1, 1, 3))
        assert f"at least {SMALLEST[name]}x{SMALLEST[name]};" in str(refused.value)


@pytest.mark.parametrize("name", [TINY, "VGG16", "MobileNetV2", "DenseNet121"])
def test_a_model_predicts_as_the_application_behind_its_own_preprocessing(name: str, tmp_path: Path) -> None:
    """With weights from a file: pixels in, Keras's preprocess_input, the application, pooling and the head."""
    source = make_source(name)
    path = tmp_path / "own.weights.h5"
    source.save_weights(path)
    model = make_model(name, str(path))
    module = inspect.getmodule(getattr(keras.applications, name))
    features = predict(source, cast(Any, module).preprocess_input(PIXELS.astype("float32")), training=False)
    head = model.get_layer("head")
    expected = predict(head, features.mean(axis=(1, 2)))
    assert np.allclose(predict(model, PIXELS), expected, atol=1e-4)
    assert np.allclose(predict(model, PIXELS, training=True), expected, atol=1e-4)  # batch norm keeps its averages
    model.save(tmp_path / "model.keras")
    assert np.allclose(predict(keras.models.load_model(tmp_path / "model.keras"), PIXELS), expected, atol=1e-4)


def test_grey_images_get_three_channels() -> None:
    """They are seen as RGB images of which all channels are the same."""
    grey = PIXELS[..., :1]
    colour = np.repeat(grey, 3, axis=-1)
    assert np.allclose(predict(make_model(shape=(32, 32, 1)), grey), predict(make_model(), colour), atol=1e-5)


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("Xception", (70, 200, 3), "images of 70×200 are too small for Xception: take them from 71×71 up, or another"),
        (TINY, (32, 32, 4), "images of 4 channels are not for an application: it takes grey or RGB ones"),
    ],
)
def test_images_that_do_not_fit_are_refused(name: str, shape: tuple[int, ...], message: str) -> None:
    """One line names the application, the images and what would be right."""
    with pytest.raises(UsageError, match=f"^{message}"):
        make_model(name, shape=shape)


@pytest.mark.parametrize(("trainable", "share"), [(0.0, 0.0), (0.25, 0.25), (1.0, 1.0)])
def test_the_last_layers_are_trained(trainable: float, share: float) -> None:
    """Of the layers with weights that share from the last one on, and the head always."""
    model = make_model(trainable=trainable)
    flags = [layer.trainable for layer in find_network(model).layers if layer.weights]
    assert sum(flags) == round(share * len(flags))
    assert flags == sorted(flags)
    assert model.get_layer("head").trainable


def test_frozen_layers_stay_as_they_were(job: MakeJob) -> None:
    """A step changes neither their weights nor the averages of their batch norms; it changes those of the others."""
    values = TABLE.fill_defaults({"application": TINY, "trainable": 0.5, "batch_size": 16})
    training = preparation.prepare(
        job(model=ModelRequest("application", weights=NO_WEIGHTS), hyperparameters=values), load(DIGITS)
    )
    network = find_network(training.model)
    before = {layer.name: layer.get_weights() for layer in network.layers if layer.weights}
    order = np.arange(16).reshape(1, 16)
    training.steps.train(*training.dataset.inputs.training, order, 0, 1)
    for layer in network.layers:
        if layer.weights:
            pairs = zip(before[layer.name], layer.get_weights(), strict=True)
            same = [np.array_equal(old, new) for old, new in pairs]
            assert all(same) if not layer.trainable else not all(same), layer.name


def test_seed_makes_the_weights_and_what_is_drawn() -> None:
    """The same seed gives the same kernels and the same dropout, another one others."""
    first, again, other = (make_model("EfficientNetB0", seed=seed) for seed in (1, 1, 2))
    drawn = [predict(model, PIXELS, training=True) for model in (first, again, other)]
    assert np.array_equal(drawn[0], drawn[1])
    assert not np.allclose(drawn[0], drawn[2])


def test_a_file_of_weights_counts_as_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another file gives another fingerprint, each part of an evaluation's for itself; ImageNet's weights give none."""
    monkeypatch.setenv("HPSEARCH_DATA_DIR", str(tmp_path))
    (tmp_path / "a.weights.h5").write_bytes(b"a")
    (tmp_path / "b.weights.h5").write_bytes(b"b")
    assert [add_file("data", weights) for weights in (None, "none", "imagenet")] == ["data"] * 3
    first, second = add_file("x", "a.weights.h5"), add_file("x", "b.weights.h5")
    tested = add_file("y+x", "a.weights.h5")
    assert len({"x", first, second}) == 3
    assert tested.partition("+")[2] == first


@pytest.mark.parametrize("content", [None, b"", b"hello", "another"])
def test_weights_that_are_missing_or_not_its_are_refused(
    job: MakeJob, tmp_path: Path, content: bytes | str | None
) -> None:
    """The study is not served on this host: one line, which names the file, and no trial that fails."""
    path = tmp_path / "own.weights.h5"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content:
        make_source("MobileNet").save_weights(path)
    request = ModelRequest("application", weights=str(path))
    values = TABLE.fill_defaults({"application": TINY})
    answer = serve._attempt(job(model=request, hyperparameters=values), cast(Any, None))
    assert isinstance(answer, Refused)
    assert str(path) in answer.detail
    assert "\n" not in answer.detail


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Serve a folder where Keras downloads the weights of TINY, and let it keep them in an empty place."""
    folder = tmp_path / "site"
    folder.mkdir()
    handler = functools.partial(SimpleHTTPRequestHandler, directory=str(folder))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(mobilenet_v3, "BASE_WEIGHT_PATH", f"http://127.0.0.1:{server.server_port}/")
    monkeypatch.setattr(keras.src.backend.config, "_KERAS_DIR", str(tmp_path / "keras"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    yield folder
    server.shutdown()
    server.server_close()


def publish(site: Path, monkeypatch: pytest.MonkeyPatch) -> keras.Model:
    """Put a file of weights on the site, with a checksum that Keras knows."""
    source = make_source()
    with h5py.File(site / FILE, "w") as file:
        legacy_h5_format.save_weights_to_hdf5_group(file, source)
    checksum = hashlib.md5((site / FILE).read_bytes()).hexdigest()
    monkeypatch.setitem(mobilenet_v3.WEIGHTS_HASHES, "small_224_1.0_float", ("", checksum))
    return source


def test_imagenet_weights_are_downloaded_once(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are the network's, and the next process finds them where Keras keeps them."""
    source = publish(site, monkeypatch)
    model = make_model(weights="imagenet")
    for ours, theirs in zip(find_network(model).get_weights(), source.get_weights(), strict=True):
        assert np.array_equal(ours, theirs)
    (site / FILE).unlink()
    make_model(weights="imagenet", shape=(40, 40, 3))  # another blueprint


def test_a_download_of_weights_is_a_sign_of_life(site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So is waiting for another process's; whoever listens can end both, and no half a file stays."""
    publish(site, monkeypatch)
    size, heard = (site / FILE).stat().st_size, list[tuple[int, int]]()

    def listen(done: int, total: int) -> None:
        heard.append((done, total))
        raise StoppedError

    root = settings.find_cache_dir()
    root.mkdir(parents=True)
    with downloads.report_to(listen):
        with cache.hold_lock(root / "weights.lock", lambda: None), pytest.raises(StoppedError):
            make_model(weights="imagenet", shape=(56, 56, 3))
        with pytest.raises(StoppedError):
            make_model(weights="imagenet", shape=(56, 56, 3))
    assert heard == [(0, 0), (0, size)]
    assert not list((tmp_path / "keras").rglob("*.h5"))


@pytest.mark.parametrize("trouble", ["absent", "changed", "unreachable"])
def test_imagenet_weights_that_cannot_be_downloaded_are_refused(
    site: Path, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    """One line says which, why, and where to put the file; nothing is half there."""
    publish(site, monkeypatch)
    if trouble == "absent":
        (site / FILE).unlink()
    elif trouble == "changed":
        (site / FILE).write_bytes((site / FILE).read_bytes()[:-1000])
    else:
        monkeypatch.setattr(mobilenet_v3, "BASE_WEIGHT_PATH", "http://127.0.0.1:9/")
    with pytest.raises(NotFoundError) as refused:
        make_model(weights="imagenet", shape=(48, 48, 3))
    assert re.match(rf"the ImageNet weights of {TINY} cannot be had on this host \(.*\): let it", str(refused.value))
    assert "\n" not in str(refused.value)
