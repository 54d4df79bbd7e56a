"""A user's own images and own model, by real workers on hosts that have the images but not the code."""

import json
import os
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from hpsearch.storage.database import Database
from tests.support import commands
from tests.support.attempt_records import StoredRecords
from tests.support.digit_files import write_digits
from tests.support.worker_processes import QUICK_TIMING, TEST_TIMEOUT, run_workers, wait_until

pytestmark = [pytest.mark.tensorflow, pytest.mark.slow, pytest.mark.timeout(TEST_TIMEOUT)]

MODEL = '''
import keras


@keras.saving.register_keras_serializable("my_model")
class Scale(keras.layers.Layer):
    """Multiplies by one weight."""

    def __init__(self, start=1.0, **options):
        super().__init__(**options)
        self.start = start

    def build(self, shape):
        self.factor = self.add_weight(shape=(), initializer=keras.initializers.Constant(self.start), name="factor")

    def call(self, x):
        return x * self.factor

    def get_config(self):
        return {**super().get_config(), "start": self.start}


def build(hp, input_shape, classes):
    print("building a model of width", hp["width"])
    image = keras.Input(input_shape)
    x = keras.layers.Rescaling(1 / 255)(image)
    x = keras.layers.Conv2D(hp.Int("width", 4, 16, sampling="log"), 3, padding="same", activation="relu")(x)
    y = keras.layers.Conv2D(hp["width"], 3, padding="same", activation="relu")(x)
    if hp.Choice("block", ["plain", "residual"]) == "residual":
        y = keras.layers.Add()([x, Scale(hp.Float("start", 0.1, 1.0))(y)])
    x = keras.layers.GlobalAveragePooling2D()(y)
    x = keras.layers.Dropout(0.1)(x)
    return keras.Model(image, keras.layers.Dense(classes)(x))
'''

STUDY = """
[study]
name = "own"
keep_models = 2
[budget]
trials = 2
epochs = 6
patience = 100
[data]
path = "digits"
image_size = 16
validation = 100
test = 0.2
[model]
build = "my_model.py:build"
[fixed]
optimizer = "adam"
learning_rate = 0.01
width = 8
[space]
block = ["residual", "plain"]
start = { low = 0.1, high = 1.0, when = { block = ["residual"] } }
[pruner]
name = "none"
[[baseline]]
block = "residual"
start = 0.5
"""

PREDICT = """
import sys
sys.modules["hpsearch"] = None
import keras, numpy
import my_model
model = keras.models.load_model(sys.argv[1])
images = numpy.load("images.npy")
assert numpy.allclose(model.predict(images, verbose=0).sum(axis=1), 1, atol=1e-4)
print(model.predict(images, verbose=0).shape)
"""


def test_a_study_of_own_images_and_an_own_model_goes_on_elsewhere(storage: str, tmp_path: Path) -> None:
    """Killed mid-trial, the same trial goes on in another directory without the file; the models load anywhere."""
    data, home, first, second = (tmp_path / name for name in ("data", "home", "first", "second"))
    for directory in (home, first, second):
        directory.mkdir()
    write_digits(data / "digits", 600)
    (home / "my_model.py").write_text(MODEL)
    (home / "study.toml").write_text(STUDY)
    environment = {"HPSEARCH_DATA_DIR": str(data), "XDG_CACHE_HOME": str(tmp_path / "cache")}

    def hpsearch(*arguments: str) -> subprocess.CompletedProcess[str]:
        ended = commands.hpsearch(*arguments, "--storage", storage, TF_NUM_INTRAOP_THREADS="1", **environment)
        assert ended.returncode == 0, ended.stderr
        return ended

    hpsearch("start-study", str(home / "study.toml"))
    (home / "my_model.py").unlink()  # no worker may need it
    with closing(Database(storage)) as database, run_workers(storage, tmp_path) as workers:
        records = StoredRecords(database)
        killed = workers.start(timing=QUICK_TIMING, cwd=first, environment=environment)
        wait_until(lambda: len(records.epochs()) >= 2, "two epochs are stored")
        killed.send(signal.SIGKILL)
        killed.join()
        params, epochs = records.params(), records.epochs()
        assert len(epochs) < 6
        assert workers.start(timing=QUICK_TIMING, cwd=second, environment=environment).join() == 0
        assert records.list_ends() == ["lost", "completed"]
        assert records.params() == params
        assert records.epochs() == [1, 2, 3, 4, 5, 6]
        assert records.attempts()[1].epochs < 6  # it went on from the checkpoint
        assert records.discrepancies() == []

    trials = json.loads(hpsearch("results", "own", "--json").stdout)["trials"]
    assert [trial["outcome"] for trial in trials] == ["completed", "completed"]
    assert trials[0]["params"] == {"block": "residual", "start": 0.5}
    assert "building a model of width 8" in hpsearch("logs", "own", "0").stdout
    hpsearch("report", "own", "--out", str(tmp_path / "report"))
    assert any("block" in page.read_text() for page in (tmp_path / "report").glob("*.html"))

    hpsearch("evaluate", "own", "--top", "1", "--seeds", "2")
    hpsearch("worker", "--cpu", "--drain")
    result = json.loads(hpsearch("evaluate", "own", "--json").stdout)["result"]
    assert result["images"] == 120

    hpsearch("export", "own", str(tmp_path / "exported"))
    exported = sorted((tmp_path / "exported").glob("*.keras"))
    assert exported
    assert (tmp_path / "exported" / "my_model.py").read_text() == MODEL
    assert "digit-0" in (tmp_path / "exported" / "README.md").read_text()
    np.save(tmp_path / "exported" / "images.npy", np.random.default_rng(0).integers(0, 256, (5, 16, 16, 3)))
    loaded = subprocess.run(
        [sys.executable, "-c", PREDICT, str(exported[0])],
        cwd=tmp_path / "exported",
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert loaded.returncode == 0, loaded.stderr
    assert loaded.stdout.splitlines()[-1] == "(5, 10)"
