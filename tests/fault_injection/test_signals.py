"""A worker that is told to leave, once or twice."""

import os
import signal

import pytest

from tests.support.attempt_records import Ledger, start
from tests.support.worker_processes import TEST_TIMEOUT, Crew, Worker, gone, until

pytestmark = [pytest.mark.tensorflow, pytest.mark.timeout(TEST_TIMEOUT)]

EPOCHS = 60


def in_an_epoch(ledger: Ledger, worker: Worker, after: int) -> int:
    """Wait until an epoch after this one is stored; the worker's trainer."""
    until(lambda: len(ledger.epochs()) > after, f"an epoch after {after} is stored")
    return worker.trainer()


def released_at(ledger: Ledger, attempt: int) -> int:
    """The last epoch of a preempted attempt, all of whose epochs its checkpoint has."""
    tried = ledger.attempts()[attempt - 1]
    last = sum(each.epochs for each in ledger.attempts()[:attempt])
    assert tried.why == "preempted"
    assert tried.checkpoint is not None
    assert tried.checkpoint.endswith(f"/{attempt}/{last}")
    return last


def test_told_to_leave(ledger: Ledger, workers: Crew) -> None:
    """SIGTERM and Ctrl-C release the trial at its last epoch, at once; a further Ctrl-C ends everything with 130.

    No lease is shortened here: who adopts has not waited for one.
    """
    start(ledger.database, epochs=EPOCHS)
    first = workers.start()
    until(lambda: ledger.attempts(), "the first worker holds the trial")
    second = workers.start()

    in_an_epoch(ledger, first, after=0)
    first.send(signal.SIGTERM)
    assert first.join() == 0
    kept = released_at(ledger, 1)
    assert kept < EPOCHS

    # Not before: a worker that starts looks for a trial at once, and may be sooner than one that has been waiting.
    until(lambda: len(ledger.attempts()) == 2, "the second worker holds the trial")
    third = workers.start()
    trainer = in_an_epoch(ledger, second, after=kept)
    os.killpg(second.pid, signal.SIGINT)  # as a terminal does
    assert second.join() == 0
    assert gone(trainer)
    last = released_at(ledger, 2)
    # No epoch was trained twice: the second attempt went on where the first had stopped.
    assert ledger.epochs() == list(range(1, last + 1))

    trainer = in_an_epoch(ledger, third, after=last)
    os.kill(trainer, signal.SIGSTOP)  # it does not obey, so the first Ctrl-C keeps the worker waiting

    def interrupted() -> bool:
        third.send(signal.SIGINT)
        return third.process.poll() is not None

    until(interrupted, "a worker leaves at a further Ctrl-C")
    assert third.join() == 130
    until(lambda: gone(trainer), "the trainer of a worker that left at once is gone")


def test_told_to_leave_without_work(ledger: Ledger, workers: Crew) -> None:
    """A worker that waits for work leaves with 0 when told to, and the list of workers says so."""
    idle = workers.start(drain=False)
    until(lambda: ledger.rows("select 1 from hpsearch.workers"), "a worker is enrolled")
    idle.send(signal.SIGTERM)
    assert idle.join() == 0
    assert ledger.rows("select ended_at is not null from hpsearch.workers") == [(True,)]


def test_told_to_leave_as_it_comes(ledger: Ledger, workers: Crew) -> None:
    """A worker that is told to leave before anybody can see it leaves with 0 too, and its end is in the list."""
    coming = workers.start(drain=False, at={"function": "hpsearch.storage.workers.register", "do": "SIGTERM"})
    assert coming.join() == 0
    assert ledger.rows("select ended_at is not null from hpsearch.workers") == [(True,)]
