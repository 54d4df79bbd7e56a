"""A worker killed at any moment: the same trial goes on elsewhere."""

import signal

import pytest

from tests.support.attempt_records import StoredRecords, start
from tests.support.worker_processes import QUICK_TIMING, TEST_TIMEOUT, WorkerGroup, is_gone, wait_until

pytestmark = [pytest.mark.tensorflow, pytest.mark.timeout(TEST_TIMEOUT)]

EPOCHS = 8


def killed_at(function: str, call: int = 1) -> dict[str, object]:
    """A worker that is gone before the `call`th call of this function."""
    return {"timing": QUICK_TIMING, "at": {"function": function, "call": call, "do": "SIGKILL"}}


def test_killed_before_training(records: StoredRecords, workers: WorkerGroup) -> None:
    """Killed before it sampled the trial, or while its trainer loads: the next one trains that trial from the start."""
    start(records.database, epochs=EPOCHS)
    unsampled = workers.start(**killed_at("hpsearch.storage.attempts.store_parameters"))
    assert unsampled.join() == -signal.SIGKILL
    assert (records.state(), records.params()) == ("RUNNING", {})

    loading = workers.start(timing=QUICK_TIMING)
    loading.wait_for_output("trial 0 of 1 (attempt 2")
    params = records.params()
    loading.send(signal.SIGKILL)
    loading.join()
    assert records.epochs() == []

    assert workers.start(timing=QUICK_TIMING).join() == 0
    assert records.list_ends() == ["lost", "lost", "completed"]
    assert records.params() == params
    assert records.discrepancies() == []


def test_killed_while_training(records: StoredRecords, workers: WorkerGroup) -> None:
    """Killed in an epoch, between a checkpoint and its epoch, and before the tell: no epoch is lost or stored twice."""
    start(records.database, epochs=EPOCHS)
    between = workers.start(**killed_at("hpsearch.storage.attempts.store_epoch", 2))
    wait_until(lambda: records.attempts(), "the first worker holds the trial")
    middle = workers.start(timing=QUICK_TIMING)  # it loads while the first one trains
    assert between.join() == -signal.SIGKILL
    params = records.params()
    # The checkpoint of the second epoch was stored before its row.
    assert records.epochs() == [1]

    wait_until(lambda: len(records.epochs()) >= 3, "an epoch more is stored")
    trainer = middle.wait_for_trainer()  # before the kill, after which it is nobody's child
    middle.send(signal.SIGKILL)
    before_tell = workers.start(**killed_at("hpsearch.storage.attempts.finish"))
    middle.join()
    wait_until(lambda: is_gone(trainer), "a killed worker's trainer is gone")
    assert before_tell.join() == -signal.SIGKILL
    assert records.epochs() == list(range(1, EPOCHS + 1))
    assert records.state() == "RUNNING"

    assert workers.start(timing=QUICK_TIMING).join() == 0
    assert records.list_ends() == ["lost", "lost", "lost", "completed"]
    # The second attempt restored the second epoch from the checkpoint, and the last one had nothing left to train.
    assert [attempt.epochs for attempt in records.attempts()][-1] == 0
    assert sum(attempt.epochs for attempt in records.attempts()) == EPOCHS
    assert records.params() == params
    assert records.discrepancies() == []
