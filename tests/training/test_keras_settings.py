"""What decides how Keras computes in a trainer: neither a file nor a variable of the host's, but for KERAS_BACKEND."""

import json
import os
import runpy
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from hpsearch import settings
from hpsearch.errors import UsageError
from hpsearch.training import keras_settings

pytestmark = pytest.mark.tensorflow

SHIPPED = {
    "_FLOATX": "float32",
    "_EPSILON": 1e-7,
    "_IMAGE_DATA_FORMAT": "channels_last",
    "_NNX_ENABLED": False,
    "_MAX_EPOCHS": None,
    "_MAX_STEPS_PER_EPOCH": None,
}

FILES = [
    '{"floatx": "float16"}',
    '{"floatx": "bfloat16"}',
    '{"epsilon": 0.1}',
    '{"epsilon": 1}',
    '{"image_data_format": "channels_first"}',
    '{"image_data_format": "sideways"}',
    '{"backend": "torch"}',
    '{"nnx_enabled": true}',
    "[]",
    "[" * 100_000,
]

VARIABLES = {"KERAS_MAX_EPOCHS": "1", "KERAS_MAX_STEPS_PER_EPOCH": "many", "KERAS_NNX_ENABLED": "true"}


def read_settings(monkeypatch: pytest.MonkeyPatch, environment: Mapping[str, str]) -> dict[str, object]:
    """What Keras would compute with if it were imported anew in a trainer with this environment."""
    import keras.src.backend.config

    for name in [name for name in os.environ if name.startswith("KERAS_")]:
        monkeypatch.delenv(name)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    trainers = settings.make_trainer_environment(None)
    for name in [name for name in os.environ if name not in trainers]:
        monkeypatch.delenv(name)
    with settings.change_keras_home(keras_settings.NOWHERE):
        read = runpy.run_path(str(keras.src.backend.config.__file__))
    return {name: read[name] for name in (*SHIPPED, "_BACKEND")}


@pytest.mark.parametrize("content", FILES)
@pytest.mark.parametrize("where", ["HOME", "KERAS_HOME"])
def test_no_configuration_file_is_read(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, where: str, content: str
) -> None:
    """Whatever keras.json says, in the user's directory or in Keras's own, a trainer computes as Keras is shipped."""
    place = tmp_path / ".keras" if where == "HOME" else tmp_path
    place.mkdir(exist_ok=True)
    (place / "keras.json").write_text(content)
    read = read_settings(monkeypatch, {where: str(tmp_path), **VARIABLES})
    assert read == {**SHIPPED, "_BACKEND": "tensorflow"}
    assert [path.name for path in place.iterdir()] == ["keras.json"]


@pytest.mark.parametrize(("variable", "backend"), [("jax", "jax"), ("tensorflow", "tensorflow"), ("", "tensorflow")])
def test_the_variable_alone_chooses_the_backend(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str, backend: str
) -> None:
    """KERAS_BACKEND, and TensorFlow where it is unset or empty; the file of the same name has no say."""
    (tmp_path / "keras.json").write_text('{"backend": "torch"}')
    environment = {"KERAS_HOME": str(tmp_path), "KERAS_BACKEND": variable}
    assert read_settings(monkeypatch, environment)["_BACKEND"] == backend


def test_a_backend_that_nothing_here_trains_on_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would end the trainer with a traceback, or train with steps that are not there."""
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    with pytest.raises(UsageError, match=r"^KERAS_BACKEND is 'torch': set it to tensorflow or jax$"):
        settings.make_trainer_environment(None)


PROGRAM = """
import json, os, sys
from hpsearch.training import keras_settings
keras_settings.import_keras()
import keras
from keras.src.backend import config
print(json.dumps({
    "floatx": keras.config.floatx(),
    "layer": keras.layers.Dense(1).dtype_policy.name,
    "backend": keras.backend.backend(),
    "format": keras.config.image_data_format(),
    "home": config.keras_home(),
    "variable": os.environ.get("KERAS_HOME"),
    "module": keras.__file__,
    "ours": keras_settings.__file__,
}))
"""


HOSTILE = "raise SystemExit('this is not the module that was meant')"


def test_keras_is_imported_as_it_is_shipped(tmp_path: Path) -> None:
    """In a process of its own: no file of the working directory or of the user's replaces a module or a setting."""
    import keras

    for name in ("keras", "queue", "json", "tensorflow", "numpy"):
        (tmp_path / f"{name}.py").write_text(HOSTILE)
    for name in ("hpsearch", "jax"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(HOSTILE)
    (tmp_path / ".keras").mkdir()
    (tmp_path / ".keras" / "keras.json").write_text(
        json.dumps({"floatx": "float16", "image_data_format": "channels_first", "backend": "torch", "epsilon": 0.5})
    )
    environment = {**settings.make_trainer_environment(None), "HOME": str(tmp_path)}
    environment.pop("KERAS_HOME", None)
    command = settings.make_python_command("-")[:-2]
    ended = subprocess.run(
        [*command, "-c", PROGRAM], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout) == {
        "floatx": "float32",
        "layer": "float32",
        "backend": os.environ.get("KERAS_BACKEND", "tensorflow"),
        "format": "channels_last",
        "home": str(tmp_path / ".keras"),
        "variable": None,
        "module": keras.__file__,
        "ours": keras_settings.__file__,
    }
