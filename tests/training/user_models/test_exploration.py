"""What dry builds tell of a builder."""

import pytest

from hpsearch.spec import loader
from hpsearch.spec.branches import choose_base
from hpsearch.training.user.code import load_function
from hpsearch.training.user.declarations import Explored
from hpsearch.training.user_models import exploration
from hpsearch.training.user_models.exploration import Explorer
from hpsearch.worker.local.study_drafts import render
from tests.support.study_files import OWN_CODE

pytestmark = pytest.mark.tensorflow

MLP = """
num_layers = [1, 2, 3]
units_0 = { low = 32, high = 96, step = 32 }
activation = ["relu", "tanh"]
dropout = [true, false]
learning_rate = { low = 0.0001, high = 0.01, log = true }
units_1 = { low = 32, high = 96, step = 32, when = { num_layers = [2, 3] } }
units_2 = { low = 32, high = 96, step = 32, when = { num_layers = [3] } }
rate = { low = 0.1, high = 0.5, step = 0.1, when = { dropout = [true] } }
"""
CNN = """
kind = ["mlp", "cnn"]
units = { choices = [8, 16, 32, 64], when = { kind = ["mlp"] } }
blocks = { choices = [1, 2], when = { kind = ["cnn"] } }
"block_0/filters" = { low = 4, high = 32, when = { kind = ["cnn"] } }
"block_0/pooling" = { choices = ["max", "avg"], when = { kind = ["cnn"] } }
"block_1/filters" = { low = 4, high = 32, when = { blocks = [2] } }
"block_1/pooling" = { choices = ["max", "avg"], when = { blocks = [2] } }
learning_rate = { low = 1e-4, high = 1e-1, log = true }
"""


def explore(function: str) -> Explored:
    explorer = Explorer(load_function(OWN_CODE, f"tuned.py:{function}"), (32, 32, 3), 10)
    return Explored(explorer.explore(), explorer.is_compiled)


@pytest.mark.parametrize(("function", "space"), [("mlp", MLP), ("cnn", CNN)])
def test_space_is_what_the_builder_asks_for(function: str, space: str) -> None:
    """Bounds, steps and scales are the builder's, and what it asks for only under some values has these as `when`."""
    text = render("tuned", f"tuned.py:{function}", {}, explore(function))
    assert sorted(text.partition("[space]\n")[2].splitlines()) == sorted(space.strip().splitlines())
    spec = loader.from_toml(text, directory=OWN_CODE)
    assert choose_base(spec)
    assert ("width = 16" in text) == (function == "cnn")
    assert "bias" not in text
    assert ("compiles its model" in text) == (function == "mlp")


def test_number_of_builds_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A builder of many choices is not built for ever."""
    monkeypatch.setattr(exploration, "MAX_BUILDS", 3)
    explorer = Explorer(load_function(OWN_CODE, "tuned.py:mlp"), (32, 32, 3), 10)
    assert {asked.declaration.name for asked in explorer.explore()} >= {"num_layers", "units_0", "learning_rate"}
    assert explorer._builds == 3
