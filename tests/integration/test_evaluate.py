"""A search, its evaluation and the export of both, by real workers on the digits."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpsearch.storage.artifacts import table
from hpsearch.storage.database import Database
from hpsearch.storage.studies import find
from hpsearch.training import loading
from hpsearch.training.files.predictions import load
from hpsearch.training.requests import DataRequest
from tests.support import commands

pytestmark = pytest.mark.tensorflow

STUDY = """
[study]
name = "a <b>small</b> | search's 100%"
description = "Does `dropout`\\nhelp?"
[budget]
trials = 2
epochs = 2
patience = 100
[data]
name = "digits"
train_limit = 150
validation = 100
[fixed]
filters = 2
dense_units = 8
optimizer = "adam"
learning_rate = 0.01
[space]
dropout = { choices = [0.0, 0.1] }
[sampler]
name = "grid"
"""
NAME = "a <b>small</b> | search's 100%"

PREDICT = """
import sys
sys.modules["hpsearch"] = None
import keras, numpy
images = numpy.load(sys.argv[1])
for name in sys.argv[2:]:
    numpy.save(name + ".npy", keras.models.load_model(name).predict(images, batch_size=128, verbose=0))
"""

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def hpsearch(storage: str) -> Run:
    """Run a command on the test's database; it must succeed."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        ended = commands.hpsearch(*arguments, "--storage", storage, TF_NUM_INTRAOP_THREADS="1")
        assert ended.returncode == 0, ended.stderr
        return ended

    return run


def stored_predictions(storage: str, name: str, directory: Path) -> dict[int, np.ndarray]:
    """By the number of the trial."""
    with closing(Database(storage)) as database:
        study_id = database.transact(lambda c: find(c, name)).study_id
        keys = database.transact(lambda c: table.list_keys(c, study_id, "predictions"))
        by_number = {}
        for number, key in keys.items():
            assert database.transact(lambda c: table.fetch(c, key, directory / "p.npz"))
            predictions = load(directory / "p.npz")
            assert predictions is not None
            by_number[number] = predictions.probabilities
    return by_number


def predicted(directory: Path, images: np.ndarray, scratch: Path) -> dict[str, np.ndarray]:
    """What each exported model makes of images, in a process that has Keras and not hpsearch."""
    np.save(scratch / "images.npy", images)
    models = sorted(directory.glob("*.keras"))
    subprocess.run(
        [sys.executable, "-c", PREDICT, str(scratch / "images.npy"), *map(str, models)],
        check=True,
        cwd="/",
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        timeout=240,
    )
    return {model.stem: np.load(f"{model}.npy") for model in models}


def snippet(readme: str) -> str:
    """The README's Python."""
    return readme.split("```python\n")[1].split("```")[0]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_search_is_evaluated_and_exported(storage: str, hpsearch: Run, tmp_path: Path) -> None:
    """What is printed and what is written agree with what stock Keras predicts from the exported files."""
    (tmp_path / "study.toml").write_text(STUDY)
    hpsearch("start-study", str(tmp_path / "study.toml"))
    hpsearch("worker", "--cpu", "--drain")
    hpsearch("export", NAME, str(tmp_path / "validated"))
    check_search(hpsearch, tmp_path / "validated", tmp_path)

    hpsearch("evaluate", NAME, "--top", "1", "--seeds", "2")
    worked = hpsearch("worker", "--cpu", "--drain")
    assert "nan" not in worked.stderr
    evaluation = json.loads(hpsearch("evaluate", NAME, "--json").stdout)
    digits = loading.load(DataRequest("digits", 150, 100, 0))
    stored = stored_predictions(storage, f"{NAME} evaluation", tmp_path)
    (only,) = evaluation["result"]["configurations"]
    accuracies = [float((stored[number].argmax(axis=1) == digits.y_test).mean()) for number in (0, 1)]
    assert [each["accuracy"] for each in only["models"]] == accuracies
    trials = json.loads(hpsearch("results", f"{NAME} evaluation", "--json").stdout)["trials"]
    assert [trial["value"] for trial in trials] == accuracies
    assert [[epoch["val_accuracy"] for epoch in trial["epochs"]][:-1] for trial in trials] == [
        [None] * (evaluation["result"]["epochs"] - 1)
    ] * 2

    hpsearch("export", NAME, str(tmp_path / "tested"))
    predictions = predicted(tmp_path / "tested", digits.x_test[:], tmp_path)
    assert sorted(predictions) == ["trial-0", "trial-1"]
    for number, probabilities in stored.items():
        assert np.allclose(predictions[f"trial-{number}"], probabilities, atol=1e-5)
    readme = (tmp_path / "tested" / "README.md").read_text()
    assert "**360 test images**" in readme
    assert f"Test accuracy {np.mean(accuracies):.4f} ± {np.std(accuracies, ddof=1):.4f}" in readme
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.modules['hpsearch'] = None\n{snippet(readme)}"],
        capture_output=True,
        text=True,
        cwd=tmp_path / "tested",
        check=True,
        timeout=120,
    )
    assert done.stdout.strip().strip("[]'") in digits.classes


def check_search(hpsearch: Run, directory: Path, scratch: Path) -> None:
    """The models of a search without an evaluation are described as untested."""
    assert sorted(path.name for path in directory.iterdir()) == ["README.md", "trial-0.keras", "trial-1.keras"]
    trials: Any = json.loads(hpsearch("results", NAME, "--json").stdout)["trials"]
    digits = loading.load(DataRequest("digits", 150, 100, 0))
    predictions = predicted(directory, digits.x_val[:], scratch)
    readme = (directory / "README.md").read_text()
    assert "search a \\<b\\>small\\</b\\> \\| search's 100%, made" in readme
    assert "they are optimistic" in readme
    for trial in trials:
        accuracy = (predictions[f"trial-{trial['number']}"].argmax(axis=1) == digits.y_val).mean()
        assert accuracy == trial["value"]
        assert f"| `trial-{trial['number']}.keras` | {accuracy:.4f} |" in readme
