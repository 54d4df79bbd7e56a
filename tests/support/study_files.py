"""Texts of small study files, and reading them."""

from pathlib import Path

import pytest

from hpsearch.errors import ExitCode, StudyFileError
from hpsearch.spec import loader
from hpsearch.spec.study_spec import StudySpec

OWN_CODE = Path(__file__).parent / "own_code"
"""Where `my_model.py:build` and `my_data.py:load` are."""
NAMED = '[study]\nname = "x"\n'
OPTIMIZERS = ("sgd", "momentum", "nesterov", "adam", "adagrad", "rmsprop")
"""What the course project compared, and the default study searches."""

FIVE = """
[space]
learning_rate = { low = 1e-5, high = 1e-1, log = true }
optimizer = ["sgd", "momentum", "nesterov", "adam", "adagrad", "rmsprop"]
activation = ["sigmoid", "tanh", "relu", "leaky_relu", "prelu", "elu", "maxout"]
dropout = { low = 0.0, high = 0.5 }
batch_norm = [true, false]
"""
MOMENTUM = 'momentum = { low = 0.5, high = 0.99, when = { optimizer = ["momentum", "nesterov"] } }\n'
GRID = '[sampler]\nname = "grid"\n'


def read(text: str, *overrides: str) -> StudySpec:
    """Return the study "x" of `text`."""
    return loader.from_toml(NAMED + text, overrides, directory=OWN_CODE)


def list_faults(text: str, *overrides: str) -> list[str]:
    """Return the faults for which the study is refused, a line each."""
    with pytest.raises(StudyFileError) as refused:
        read(text, *overrides)
    assert refused.value.exit_code == ExitCode.USAGE
    assert str(refused.value).splitlines() == list(refused.value.faults)
    return list(refused.value.faults)
