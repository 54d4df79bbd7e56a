"""Trainers that die, hang or fail."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.support.attempt_records import Ledger, start
from tests.support.worker_processes import QUICK_TIMING, TEST_TIMEOUT, Crew, Worker, until

pytestmark = [pytest.mark.tensorflow, pytest.mark.timeout(TEST_TIMEOUT)]

EPOCHS = 60

RAISING = """
import sys
if "hpsearch.training.process" in sys.orig_argv:
    from hpsearch.training.models import cnn
    build = cnn.build
    def failing(hyperparameters, *arguments):
        if hyperparameters["dense_units"] == 13:
            raise ArithmeticError("thirteen units")
        return build(hyperparameters, *arguments)
    cnn.build = failing
"""


def in_an_attempt(ledger: Ledger, worker: Worker, trial: int, attempt: int) -> int:
    """Wait until that attempt has stored an epoch; its trainer."""
    until(
        lambda: [tried.number for tried in ledger.attempts(trial) if tried.open and tried.epochs] == [attempt],
        f"attempt {attempt} at trial {trial} has stored an epoch",
    )
    return worker.trainer()


def test_trainer_killed_as_by_the_kernel(ledger: Ledger, workers: Crew) -> None:
    """A trainer that the kernel killed is tried once more in a fresh process, then the configuration is infeasible."""
    start(ledger.database, epochs=EPOCHS)
    worker = workers.start(timing=QUICK_TIMING)
    first = in_an_attempt(ledger, worker, 0, 1)
    os.kill(first, signal.SIGKILL)
    second = in_an_attempt(ledger, worker, 0, 2)
    assert second != first
    os.kill(second, signal.SIGKILL)
    assert worker.join() == 0
    assert ledger.whys() == ["out_of_memory", "out_of_memory"]
    assert ledger.state() == "PRUNED"
    attributes = ledger.attributes()
    assert json.loads(attributes["outcome"]) == "out_of_memory"
    assert json.loads(attributes["constraints:trains"]) > 0
    assert ledger.discrepancies() == []


def test_trainer_crashes_and_hangs(ledger: Ledger, workers: Crew) -> None:
    """A crash or a stall is tried again from the checkpoint; a trial whose attempts are spent has failed."""
    start(ledger.database, trials=2, epochs=EPOCHS, budget={"attempts": 2})
    worker = workers.start(timing={**QUICK_TIMING, "stall": 60.0})
    os.kill(in_an_attempt(ledger, worker, 0, 1), signal.SIGSEGV)
    os.kill(in_an_attempt(ledger, worker, 0, 2), signal.SIGSEGV)
    os.kill(in_an_attempt(ledger, worker, 1, 1), signal.SIGSTOP)
    assert worker.join() == 0
    assert ledger.whys(0) == ["crashed", "crashed"]
    assert ledger.state(0) == "FAIL"
    assert json.loads(ledger.attributes(0)["outcome"]) == "crashed"
    assert "given up after 2 attempts" in ledger.attributes(0)["detail"]
    assert ledger.rows("select 1 from study_system_attributes where value_json like '%given up after 2 attempts%'")
    assert ledger.whys(1) == ["stalled", "completed"]
    assert sum(tried.epochs for tried in ledger.attempts(1)) == EPOCHS
    assert ledger.discrepancies() == []


def test_training_diverges_or_raises(ledger: Ledger, workers: Crew, tmp_path: Path) -> None:
    """A loss that is not a number ends as infeasible; an exception as failed, with its traceback kept."""
    (tmp_path / "sitecustomize.py").write_text(RAISING)
    # Each step multiplies the weights by 1 - 2 * 10 * 10; some processors' ReLU would make 0 of what is not a number.
    diverging = {"optimizer": "sgd", "learning_rate": 10.0, "l2": 10.0, "activation": "tanh"}
    fixed = {"filters": 4, "dense_units": 16, **diverging}
    start(ledger.database, "diverging", fixed=fixed)
    start(ledger.database, "raising", fixed={"filters": 4, "dense_units": 13})
    start(ledger.database, "training")
    assert workers.start(environment={"PYTHONPATH": str(tmp_path)}).join() == 0
    ended = ledger.rows("select study_name, state::text, trial_id from trials join studies using (study_id) order by 1")
    assert [row[:2] for row in ended] == [("diverging", "PRUNED"), ("raising", "FAIL"), ("training", "COMPLETE")]

    def told(trial_id: int) -> dict[str, Any]:
        query = "select key, value_json from trial_{}_attributes where trial_id = :id"
        rows = [ledger.rows(query.format(kind), id=trial_id) for kind in ("user", "system")]
        return {key: json.loads(value) for key, value in rows[0] + rows[1]}

    diverged, failed = told(ended[0][2]), told(ended[1][2])
    assert diverged["outcome"] == "diverged"
    assert "not finite" in diverged["detail"]
    assert diverged["constraints:trains"] > 0
    assert failed["outcome"] == "error"
    assert failed["detail"] == "ArithmeticError: thirteen units"
    assert "Traceback" in failed["hpsearch:traceback"]
    assert "line 8, in failing" in failed["hpsearch:traceback"]
    assert ledger.discrepancies() == []
