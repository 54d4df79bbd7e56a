"""A worker killed at any moment: the same trial goes on elsewhere."""

import signal

import pytest

from tests.support.attempt_records import Ledger, start
from tests.support.worker_processes import QUICK_TIMING, TEST_TIMEOUT, Crew, gone, until

pytestmark = [pytest.mark.tensorflow, pytest.mark.timeout(TEST_TIMEOUT)]

EPOCHS = 8


def killed_at(function: str, call: int = 1) -> dict[str, object]:
    """A worker that is gone before the `call`th call of this function."""
    return {"timing": QUICK_TIMING, "at": {"function": function, "call": call, "do": "SIGKILL"}}


def test_killed_before_training(ledger: Ledger, workers: Crew) -> None:
    """Killed before it sampled the trial, or while its trainer loads: the next one trains that trial from the start."""
    start(ledger.database, epochs=EPOCHS)
    unsampled = workers.start(**killed_at("hpsearch.storage.attempts.store_parameters"))
    assert unsampled.join() == -signal.SIGKILL
    assert (ledger.state(), ledger.params()) == ("RUNNING", {})

    loading = workers.start(timing=QUICK_TIMING)
    loading.hears("trial 0 of 1 (attempt 2")
    params = ledger.params()
    loading.send(signal.SIGKILL)
    loading.join()
    assert ledger.epochs() == []

    assert workers.start(timing=QUICK_TIMING).join() == 0
    assert ledger.whys() == ["lost", "lost", "completed"]
    assert ledger.params() == params
    assert ledger.discrepancies() == []


def test_killed_while_training(ledger: Ledger, workers: Crew) -> None:
    """Killed in an epoch, between a checkpoint and its epoch, and before the tell: no epoch is lost or stored twice."""
    start(ledger.database, epochs=EPOCHS)
    between = workers.start(**killed_at("hpsearch.storage.attempts.store_epoch", 2))
    until(lambda: ledger.attempts(), "the first worker holds the trial")
    middle = workers.start(timing=QUICK_TIMING)  # it loads while the first one trains
    assert between.join() == -signal.SIGKILL
    params = ledger.params()
    # The checkpoint of the second epoch was stored before its row.
    assert ledger.epochs() == [1]

    until(lambda: len(ledger.epochs()) >= 3, "an epoch more is stored")
    middle.send(signal.SIGKILL)
    trainer = middle.trainer()
    before_tell = workers.start(**killed_at("hpsearch.storage.attempts.finish"))
    middle.join()
    until(lambda: gone(trainer), "a killed worker's trainer is gone")
    assert before_tell.join() == -signal.SIGKILL
    assert ledger.epochs() == list(range(1, EPOCHS + 1))
    assert ledger.state() == "RUNNING"

    assert workers.start(timing=QUICK_TIMING).join() == 0
    assert ledger.whys() == ["lost", "lost", "lost", "completed"]
    # The second attempt restored the second epoch from the checkpoint, and the last one had nothing left to train.
    assert [tried.epochs for tried in ledger.attempts()][-1] == 0
    assert sum(tried.epochs for tried in ledger.attempts()) == EPOCHS
    assert ledger.params() == params
    assert ledger.discrepancies() == []
