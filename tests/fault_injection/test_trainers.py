"""Trainers that die, hang or fail."""

import json
import os
import re
import signal
import socket
from pathlib import Path
from typing import Any

import pytest

from hpsearch.storage import study_control
from tests.support.attempt_records import StoredRecords, start
from tests.support.worker_processes import QUICK_TIMING, TEST_TIMEOUT, WorkerGroup, WorkerProcess, wait_until

pytestmark = [pytest.mark.tensorflow, pytest.mark.timeout(TEST_TIMEOUT)]

EPOCHS = 60

RAISING = """
import sys
if "hpsearch.training.process" in sys.orig_argv:
    from hpsearch.training import model_building
    build = model_building.build
    def failing(model, hyperparameters, *arguments):
        if hyperparameters["dense_units"] == 13:
            raise ArithmeticError("thirteen units")
        return build(model, hyperparameters, *arguments)
    model_building.build = failing
"""

FULL = """
import sys
if "hpsearch.training.process" in sys.orig_argv:
    import resource
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, resource.RLIM_INFINITY))
"""

PRINTING = """
import sys
if "hpsearch.training.process" in sys.orig_argv:
    from hpsearch.training import fit
    train = fit.train
    def printing(training, report, progress):
        def report_loudly(metrics, *arguments):
            sys.stderr.write(f"epoch {metrics.epoch}\\repoch {metrics.epoch} has ended\\n")
            return report(metrics, *arguments)
        print("the training begins <b>")
        return train(training, report_loudly, progress)
    fit.train = printing
"""


def in_an_attempt(records: StoredRecords, worker: WorkerProcess, trial: int, number: int) -> int:
    """Wait until that attempt has stored an epoch; its trainer."""
    wait_until(
        lambda: [attempt.number for attempt in records.attempts(trial) if attempt.open and attempt.epochs] == [number],
        f"attempt {number} at trial {trial} has stored an epoch",
    )
    return worker.wait_for_trainer()


def test_trainer_killed_as_by_the_kernel(records: StoredRecords, workers: WorkerGroup) -> None:
    """A trainer that the kernel killed is tried once more in a fresh process, then the configuration is infeasible."""
    start(records.database, epochs=EPOCHS)
    worker = workers.start(timing=QUICK_TIMING)
    first = in_an_attempt(records, worker, 0, 1)
    os.kill(first, signal.SIGKILL)
    second = in_an_attempt(records, worker, 0, 2)
    assert second != first
    os.kill(second, signal.SIGKILL)
    assert worker.join() == 0
    assert records.list_ends() == ["out_of_memory", "out_of_memory"]
    assert records.state() == "PRUNED"
    attributes = records.attributes()
    assert json.loads(attributes["outcome"]) == "out_of_memory"
    assert json.loads(attributes["constraints:trains"]) > 0
    assert records.discrepancies() == []


def test_trainer_crashes_and_hangs(records: StoredRecords, workers: WorkerGroup) -> None:
    """A crash or a stall is tried again from the checkpoint; a trial whose attempts are spent has failed."""
    start(records.database, trials=2, epochs=EPOCHS, budget={"attempts": 2})
    worker = workers.start(timing={**QUICK_TIMING, "stall": 60.0})
    os.kill(in_an_attempt(records, worker, 0, 1), signal.SIGSEGV)
    os.kill(in_an_attempt(records, worker, 0, 2), signal.SIGSEGV)
    os.kill(in_an_attempt(records, worker, 1, 1), signal.SIGSTOP)
    assert worker.join() == 0
    assert records.list_ends(0) == ["crashed", "crashed"]
    assert records.state(0) == "FAIL"
    assert json.loads(records.attributes(0)["outcome"]) == "crashed"
    assert "given up after 2 attempts" in records.attributes(0)["detail"]
    assert records.rows("select 1 from study_system_attributes where value_json like '%given up after 2 attempts%'")
    assert records.list_ends(1) == ["stalled", "completed"]
    assert sum(attempt.epochs for attempt in records.attempts(1)) == EPOCHS
    assert records.discrepancies() == []


def test_last_words_of_a_killed_trainer_are_kept(records: StoredRecords, workers: WorkerGroup, tmp_path: Path) -> None:
    """What a trainer printed before it was killed is stored, and what its successor prints stands below it."""
    (tmp_path / "sitecustomize.py").write_text(PRINTING)
    python_path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    start(records.database, epochs=EPOCHS)
    worker = workers.start(timing={**QUICK_TIMING, "output": 0.1}, environment={"PYTHONPATH": python_path})
    os.kill(in_an_attempt(records, worker, 0, 1), signal.SIGKILL)
    in_an_attempt(records, worker, 0, 2)
    wait_until(lambda: "--- attempt 2, on" in read_output(records), "the second attempt's output is stored")
    assert worker.join() == 0
    assert records.list_ends() == ["out_of_memory", "completed"]
    first, mark, second = re.split(r"(?m)^--- (attempt 2, on .*) ---\n", read_output(records))
    assert mark == f"attempt 2, on {socket.gethostname()}"
    last, resumed_at = first.count("ended"), EPOCHS + 1 - second.count("ended")
    assert first == print_epochs(1, last)
    assert second == print_epochs(resumed_at, EPOCHS)
    assert records.attempts()[0].epochs <= last
    assert resumed_at <= last + 1
    assert records.discrepancies() == []


def print_epochs(first: int, last: int) -> str:
    """What an attempt prints, as a terminal shows it."""
    lines = [f"epoch {epoch} has ended\n" for epoch in range(first, last + 1)]
    return "".join(["the training begins <b>\n", *lines])


def read_output(records: StoredRecords) -> str:
    """The stored output of the only trial; empty where there is none."""
    rows = records.rows("select content from hpsearch.output")
    return str(rows[0][0]) if rows else ""


def test_what_cannot_be_written_is_said(records: StoredRecords, workers: WorkerGroup, tmp_path: Path) -> None:
    """Without room for checkpoint and model, the worker and the trial say so, and what the next attempt begins with."""
    (tmp_path / "sitecustomize.py").write_text(FULL)
    python_path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    study = start(records.database, epochs=EPOCHS)
    environment = {"PYTHONPATH": python_path}
    worker = workers.start("--trials", "1", drain=False, timing=QUICK_TIMING, environment=environment)
    in_an_attempt(records, worker, 0, 1)
    records.database.transact(lambda c: study_control.pause(c, study.name))
    wait_until(lambda: records.list_ends() == ["paused"], "the trial is released")
    records.database.transact(lambda c: study_control.resume(c, study.name))
    assert worker.join() == 0
    reason = r"File too large, in /\S+"
    assert re.search(rf"small trial 0: no checkpoint of epoch 1 can be written: {reason}\n", worker.output)
    lost = rf"whose checkpoint is not kept \({reason}\): the next attempt begins at epoch 1\n"
    assert re.search(rf"small trial 0 paused: val_accuracy [\d.]+, after epoch \d+, {lost}", worker.output)
    assert re.search(
        r"attempt 2 begins at epoch 1, as no checkpoint of the \d+ epochs? before can be used\n", worker.output
    )
    assert re.search(
        rf"trial 0 completed: .*, its model, one of the study's best, is not kept: {reason}", worker.output
    )
    assert re.fullmatch(rf'"its model, .* is not kept: {reason}"', records.attributes()["detail"])
    assert "no checkpoint of epoch 1 can be written" in read_output(records)
    (discrepancy,) = records.discrepancies()
    assert "keeps other models than those of its best trials" in discrepancy


def test_training_diverges_or_raises(records: StoredRecords, workers: WorkerGroup, tmp_path: Path) -> None:
    """A loss that is not a number ends as infeasible; an exception as failed, with its traceback kept."""
    (tmp_path / "sitecustomize.py").write_text(RAISING)
    python_path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    # Each step multiplies the weights by 1 - 2 * 10 * 10; some processors' ReLU would make 0 of what is not a number.
    diverging = {"optimizer": "sgd", "learning_rate": 10.0, "l2": 10.0, "activation": "tanh"}
    fixed = {"filters": 4, "dense_units": 16, **diverging}
    start(records.database, "diverging", fixed=fixed)
    start(records.database, "raising", fixed={"filters": 4, "dense_units": 13})
    start(records.database, "training")
    assert workers.start(environment={"PYTHONPATH": python_path}).join() == 0
    ended = records.rows(
        "select study_name, state::text, trial_id from trials join studies using (study_id) order by 1"
    )
    assert [row[:2] for row in ended] == [("diverging", "PRUNED"), ("raising", "FAIL"), ("training", "COMPLETE")]

    def read_attributes(trial_id: int) -> dict[str, Any]:
        query = "select key, value_json from trial_{}_attributes where trial_id = :id"
        rows = [records.rows(query.format(kind), id=trial_id) for kind in ("user", "system")]
        return {key: json.loads(value) for key, value in rows[0] + rows[1]}

    diverged, failed = read_attributes(ended[0][2]), read_attributes(ended[1][2])
    assert diverged["outcome"] == "diverged"
    assert "not finite" in diverged["detail"]
    assert diverged["constraints:trains"] > 0
    assert failed["outcome"] == "error"
    assert failed["detail"] == "ArithmeticError: thirteen units"
    assert "Traceback" in failed["hpsearch:traceback"]
    assert "line 8, in failing" in failed["hpsearch:traceback"]
    assert records.discrepancies() == []
