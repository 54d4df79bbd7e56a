"""A worker that is told to leave, once or twice."""

import os
import re
import signal
from pathlib import Path

import pytest

from tests.support.attempt_records import StoredRecords, start
from tests.support.worker_processes import TEST_TIMEOUT, WorkerGroup, WorkerProcess, is_gone, wait_until

pytestmark = [pytest.mark.tensorflow, pytest.mark.timeout(TEST_TIMEOUT)]

EPOCHS = 60


def in_an_epoch(records: StoredRecords, worker: WorkerProcess, after: int) -> int:
    """Wait until an epoch after this one is stored; the worker's trainer."""
    wait_until(lambda: len(records.epochs()) > after, f"an epoch after {after} is stored")
    return worker.wait_for_trainer()


def released_at(records: StoredRecords, number: int) -> int:
    """The last epoch of a preempted attempt, all of whose epochs its checkpoint has."""
    attempt = records.attempts()[number - 1]
    last = sum(each.epochs for each in records.attempts()[:number])
    assert attempt.why == "preempted"
    assert attempt.checkpoint is not None
    assert attempt.checkpoint.endswith(f"/{number}/{last}")
    return last


def test_told_to_leave(records: StoredRecords, workers: WorkerGroup) -> None:
    """SIGTERM and Ctrl-C release the trial at its last epoch, at once; a further Ctrl-C ends everything with 130.

    In an engine's job a further SIGTERM is no sign of impatience, and another code than 0 says that there is work. No
    lease is shortened here: who adopts has not waited for one.
    """
    start(records.database, epochs=EPOCHS)
    first = workers.start("--unfinished-code", "75", environment={"HPSEARCH_JOB": "a job"})
    wait_until(lambda: records.attempts(), "the first worker holds the trial")
    second = workers.start()

    in_an_epoch(records, first, after=0)

    def left() -> bool:
        first.send(signal.SIGTERM)  # again and again, as a batch system does
        return first.process.poll() is not None

    wait_until(left, "the first worker leaves")
    assert first.join() == 75
    kept = released_at(records, 1)
    assert kept < EPOCHS

    # Not before: a worker that starts looks for a trial at once, and may be sooner than one that has been waiting.
    wait_until(lambda: len(records.attempts()) == 2, "the second worker holds the trial")
    third = workers.start()
    trainer = in_an_epoch(records, second, after=kept)
    os.killpg(second.pid, signal.SIGINT)  # as a terminal does
    assert second.join() == 0
    assert is_gone(trainer)
    last = released_at(records, 2)
    # No epoch was trained twice: the second attempt went on where the first had stopped.
    assert records.epochs() == list(range(1, last + 1))

    trainer = in_an_epoch(records, third, after=last)
    os.kill(trainer, signal.SIGSTOP)  # it does not obey, so the first Ctrl-C keeps the worker waiting

    def interrupted() -> bool:
        third.send(signal.SIGINT)
        return third.process.poll() is not None

    wait_until(interrupted, "a worker leaves at a further Ctrl-C")
    assert third.join() == 130
    wait_until(lambda: is_gone(trainer), "the trainer of a worker that left at once is gone")


def test_told_to_leave_without_work(records: StoredRecords, workers: WorkerGroup) -> None:
    """A worker that waits for work leaves with 0 when told to, and the list of workers says so.

    Nothing is unfinished then.
    """
    idle = workers.start("--unfinished-code", "75", drain=False)
    wait_until(lambda: records.rows("select 1 from hpsearch.workers"), "a worker is enrolled")
    idle.send(signal.SIGTERM)
    assert idle.join() == 0
    assert records.rows("select ended_at is not null from hpsearch.workers") == [(True,)]


def test_told_to_leave_as_it_comes(records: StoredRecords, workers: WorkerGroup) -> None:
    """A worker that is told to leave before anybody can see it leaves with 0 too, and its end is in the list."""
    coming = workers.start(drain=False, at={"function": "hpsearch.storage.workers.register", "do": "SIGTERM"})
    assert coming.join() == 0
    assert records.rows("select ended_at is not null from hpsearch.workers") == [(True,)]


def test_told_to_leave_before_it_can_listen(workers: WorkerGroup) -> None:
    """Whether there is work is not known then: an engine is to start the worker again."""
    at = {"function": "hpsearch.devices.choose_device", "do": "SIGTERM"}
    assert workers.start("--unfinished-code", "75", at=at).join() == 75


def test_told_to_leave_by_a_terminal_that_is_gone(records: StoredRecords, workers: WorkerGroup) -> None:
    """Lines that nobody reads end no training; SIGHUP releases the trial, also if shell and terminal both send it."""
    start(records.database, epochs=EPOCHS)
    reader, writer = os.pipe()
    worker = workers.start(output=writer)
    os.close(writer)
    assert os.read(reader, 100).startswith(b"hpsearch worker on CPU")
    os.close(reader)
    trainer = in_an_epoch(records, worker, after=1)
    os.kill(trainer, signal.SIGHUP)
    worker.send(signal.SIGHUP)
    worker.send(signal.SIGHUP)
    assert worker.join() == 0
    assert 1 < released_at(records, 1) < EPOCHS


def test_told_to_leave_by_a_batch_system_under_nohup(records: StoredRecords, workers: WorkerGroup) -> None:
    """SIGHUP stays ignored where it was; SIGUSR1 is obeyed, though the disk of the log is full."""
    with Path("/dev/full").open("w") as full:
        worker = workers.start(drain=False, prefix=("nohup",), output=full.fileno())
    wait_until(lambda: records.rows("select 1 from hpsearch.workers"), "a worker is enrolled")
    ignored = re.search(r"^SigIgn:\s*(\w+)$", Path(f"/proc/{worker.pid}/status").read_text(), re.MULTILINE)
    assert ignored is not None
    assert int(ignored[1], 16) >> (signal.SIGHUP - 1) & 1
    worker.send(signal.SIGUSR1)
    assert worker.join() == 0
    assert records.rows("select ended_at is not null from hpsearch.workers") == [(True,)]
