"""Export of models with classes of the user's own: their file goes with them."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpsearch.errors import UsageError
from hpsearch.evaluation.export import export
from hpsearch.evaluation.model_card import Needs
from hpsearch.evaluation.saved_models import make_saved_models
from hpsearch.spec import loader
from hpsearch.storage import studies, study_creation
from hpsearch.storage.artifacts.study_artifacts import StudyArtifacts
from hpsearch.storage.database import Database
from hpsearch.training.files.portable_model import make_portable, merge
from hpsearch.training.user.custom_objects import CustomObject, find_root, list_custom_objects
from tests.support.evaluated_study import add_epochs, claim_trial
from tests.support.study_files import OWN_CODE

pytestmark = pytest.mark.tensorflow


def save(function: str, path: Path) -> None:
    """Save a model of the user's own, as a trial does."""
    from hpsearch.training.user.code import load_function

    path.parent.mkdir(exist_ok=True)
    load_function(OWN_CODE, f"own_models.py:{function}")({"width": 4}, (32, 32, 3), 10).save(path)


@pytest.mark.parametrize(
    ("function", "custom"),
    [
        ("unregistered", [CustomObject("own_models", "Unregistered", is_registered=False)]),
        ("own_loss", [CustomObject("own_models", "OwnLoss", is_registered=True)]),
        ("functional", []),
        ("lambdas", []),
    ],
)
def test_exported_models_load_without_hpsearch(
    database: Database, tmp_path: Path, function: str, custom: list[CustomObject]
) -> None:
    """The README's own lines load a model and predict, in a process that has Keras and the exported files only."""
    described: dict[str, Any] = {
        "study": {"name": "own"},
        "budget": {"trials": 1, "epochs": 1},
        "data": {"name": "digits"},
        "model": {"build": f"own_models.py:{function}"},
        "fixed": {"width": 4},
        "pruner": {"name": "none"},
    }
    study = study_creation.start(database, loader.from_dict(described, directory=OWN_CODE), None).study
    kept = StudyArtifacts(database, study.artifacts)
    kept.open()
    attempt = claim_trial(database, study)
    add_epochs(database, attempt, [0.5])
    save(function, tmp_path / "model" / "model.keras")
    assert list_custom_objects(tmp_path / "model" / "model.keras") == custom
    kept.finish(attempt, {}, tmp_path / "model" / "model.keras")
    database.transact(lambda c: studies.update_status(c, studies.read(c, study.study_id)))
    export(database, "own", tmp_path / "out")
    readme = (tmp_path / "out" / "README.md").read_text()
    assert (tmp_path / "out" / "own_models.py").exists() == bool(custom)
    [code] = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    (tmp_path / "out" / "use.py").write_text(f"import sys\n{code}assert 'hpsearch' not in sys.modules\n")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    ended = subprocess.run(
        [sys.executable, "use.py"], cwd=tmp_path / "out", env=environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert re.fullmatch(r"\['\d'\]\n", ended.stdout)


SERVE = """
import sys
sys.modules["keras"] = sys.modules["hpsearch"] = sys.modules["own_models"] = None
import numpy, tensorflow
for name in sys.argv[2:]:
    model = tensorflow.saved_model.load(name + "/1")
    numpy.save(name + ".npy", model.serve(numpy.load(sys.argv[1])).numpy())
"""


def test_saved_models_predict_without_keras(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of Keras's layers, of Python code in the file, and of the user's own, which the host may refuse to run."""
    import keras

    from hpsearch.training.user.code import load_function

    images = np.random.default_rng(0).uniform(0, 255, (3, 32, 32, 3)).astype("float32")
    np.save(tmp_path / "images.npy", images)
    expected = {}
    for function in ("functional", "lambdas", "unregistered"):
        model = load_function(OWN_CODE, f"own_models.py:{function}")({"width": 4}, (32, 32, 3), 10)
        model.save(tmp_path / f"{function}.keras")
        expected[str(tmp_path / function)] = keras.ops.convert_to_numpy(model(images, training=False))
    portability = merge([make_portable(file) for file in tmp_path.glob("*.keras")])
    needs = Needs(portability, [CustomObject("own_models", "Unregistered", is_registered=False)], [str(OWN_CODE)], True)
    monkeypatch.setenv("HPSEARCH_CODE", "refuse")
    with pytest.raises(UsageError, match="HPSEARCH_CODE refuses"):
        make_saved_models(tmp_path, needs)
    monkeypatch.delenv("HPSEARCH_CODE")
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    make_saved_models(tmp_path, needs)
    subprocess.run([sys.executable, "-c", SERVE, str(tmp_path / "images.npy"), *expected], check=True, cwd="/")
    for name, probabilities in expected.items():
        assert np.allclose(np.load(f"{name}.npy"), probabilities, atol=1e-5), name


def test_root_of_a_module_is_found(tmp_path: Path) -> None:
    """A package may lie beside the study file, or above it."""
    for name in ("pkg/__init__.py", "pkg/layers.py", "code/net.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    roots = {name: find_root(name, tmp_path) for name in ("pkg.layers", "pkg", "net", "absent")}
    assert roots == {"pkg.layers": Path(), "pkg": Path(), "net": Path("code"), "absent": None}
