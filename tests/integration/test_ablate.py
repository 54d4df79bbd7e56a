"""A search and its ablation, by real workers on the digits."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.support import commands

pytestmark = pytest.mark.tensorflow

STUDY = """
[study]
name = "tiny"
[budget]
trials = 2
epochs = 2
[data]
name = "digits"
train_limit = 150
validation = 100
[fixed]
filters = 2
dense_units = 8
learning_rate = 0.01
[space]
optimizer = ["adam", "sgd"]
dropout = { low = 0.0, high = 0.6 }
[[baseline]]
optimizer = "sgd"
dropout = 0.6
[[baseline]]
optimizer = "adam"
dropout = 0.0
"""


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_search_is_ablated(storage: str, tmp_path: Path) -> None:
    """Every level is trained for all epochs, compared with intervals, and the report shows it."""

    def hpsearch(*arguments: str) -> subprocess.CompletedProcess[str]:
        ended = commands.hpsearch(*arguments, "--storage", storage, TF_NUM_INTRAOP_THREADS="1")
        assert ended.returncode == 0, ended.stderr
        return ended

    (tmp_path / "study.toml").write_text(STUDY)
    hpsearch("start-study", str(tmp_path / "study.toml"))
    hpsearch("worker", "--cpu", "--drain")
    made = hpsearch("ablate", "tiny", "--seeds", "2")
    assert "made study tiny ablation" in made.stderr
    hpsearch("worker", "--cpu", "--drain")

    document = json.loads(hpsearch("ablate", "tiny", "--json").stdout)
    trials = json.loads(hpsearch("results", "tiny ablation", "--json").stdout)["trials"]
    assert document["status"] == "finished"
    assert {(level["name"], level["seeds"]) for level in document["result"]["levels"]} == {
        ("optimizer", 2),
        ("dropout", 2),
    }
    assert all(level["difference"]["low"] <= level["difference"]["high"] for level in document["result"]["levels"])
    assert document["result"]["path"][0]["name"] is None
    assert all(len(trial["epochs"]) == 2 for trial in trials if trial["outcome"] == "completed")
    hpsearch("report", "tiny", "--out", str(tmp_path / "report"))
    assert "Around trial " in (tmp_path / "report" / "report.md").read_text()
