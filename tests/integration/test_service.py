"""The whole service on the real images: the default study's CNN, two workers, one database."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.tensorflow

SMALLER = (
    "budget.epochs=2",
    "budget.trials=4",
    "data.train_limit=600",
    "data.validation=400",
    "fixed.batch_size=64",
)


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_workers_search_the_default_study_on_the_real_images(storage: str, data_dir: Path) -> None:
    """Two worker processes share four trials of the default study's CNN, and the results tell each epoch once."""
    environment = {**os.environ, "HPSEARCH_STORAGE": storage, "HPSEARCH_DATA_DIR": str(data_dir)}

    def command(*arguments: str) -> list[str]:
        return [sys.executable, "-m", "hpsearch.cli.main", *arguments]

    overrides = [argument for override in SMALLER for argument in ("--set", override)]
    subprocess.run(command("start-study", *overrides), env=environment, check=True, timeout=60)
    workers = [
        subprocess.Popen(command("worker", "--cpu", "--drain"), env=environment, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    errors = [worker.communicate(timeout=500)[1] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], "\n".join(errors)

    printed = subprocess.run(
        command("results", "cifar10-cnn", "--json"), env=environment, check=True, timeout=60, capture_output=True
    )
    results = json.loads(printed.stdout)
    assert results["study"]["status"] == "finished"
    counts = results["study"]["counts"]
    assert (counts["running"], counts["waiting"], sum(counts.values())) == (0, 0, 4)
    trials = results["trials"]
    assert [trial["number"] for trial in trials] == [0, 1, 2, 3]
    assert len({trial["worker"] for trial in trials}) == 2
    for trial in trials:
        assert [epoch["epoch"] for epoch in trial["epochs"]] == list(range(1, len(trial["epochs"]) + 1))
    for trial in trials[:2]:  # the baselines: neither batch norm nor PReLU, whose weights would come on top
        assert trial["weights"] == 1_250_858
    assert trials[0]["params"]["learning_rate"] == 0.001
