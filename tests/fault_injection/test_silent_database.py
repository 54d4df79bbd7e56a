"""A database that is connected and silent: who is told to leave leaves, and who is not goes on when it answers."""

import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from hpsearch.cli.console import make_console
from hpsearch.cli.training_progress import PlainProgress
from hpsearch.errors import UnreachableError
from hpsearch.storage.database import Database, EmbeddedDatabase
from hpsearch.worker import worker as worker_module
from hpsearch.worker.timing import Timing
from hpsearch.worker.worker import Worker
from tests.support.attempt_records import StoredRecords, start
from tests.support.proxy import Fault, Proxy, run_proxy
from tests.support.worker_processes import QUICK_TIMING, TEST_TIMEOUT, run_workers, wait_until

LEAVE = 20.0
"""Seconds in which a worker that was told to leave is gone: the ten that are promised, on a busy machine."""


@pytest.mark.tensorflow
@pytest.mark.timeout(TEST_TIMEOUT)
def test_told_to_leave_in_an_epoch_of_a_silent_database(storage: str, records: StoredRecords, tmp_path: Path) -> None:
    """A stalled proxy costs a worker no epoch, and does not keep it when it is told to leave."""
    start(records.database, epochs=5000)
    timing = {**QUICK_TIMING, "silence": 1.0}
    with run_proxy(storage) as proxy, run_workers(proxy.url, tmp_path) as workers:
        worker = workers.start(timing=timing)
        wait_until(records.epochs, "the worker trains")
        proxy.break_at(Fault.STALL)
        worker.wait_for_output("the training goes on, its epochs are kept")
        proxy.lift()
        before = len(records.epochs())
        wait_until(lambda: len(records.epochs()) > before, "what was trained meanwhile is stored")
        assert records.list_ends() == [None]
        proxy.break_at(Fault.STALL)
        wait_until(lambda: proxy.struck, "the worker waits for the database")
        told = time.monotonic()
        worker.send(signal.SIGTERM)
        assert worker.join() == 0
        assert time.monotonic() - told < LEAVE
        assert "Traceback" not in worker.output


class IdleTrainer:
    """A trainer process that is never asked to train."""

    alive = True

    def __init__(self, *_: object) -> None:
        """Start nothing."""

    def close(self) -> None:
        """Do nothing."""


def serve_until_told(database: Database, timing: Timing, tell: Callable[[], None]) -> float:
    """Run a worker without a trainer; return after how long it left once `tell`, in another thread, returned."""
    worker = Worker(database, PlainProgress(make_console(stderr=True)), timing=timing)
    told: list[float] = []

    def send() -> None:
        tell()
        told.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGTERM)

    teller = threading.Thread(target=send)
    teller.start()
    worker.serve()
    teller.join()
    return time.monotonic() - told[0]


@pytest.mark.parametrize("message", range(4))
def test_told_to_leave_while_it_looks_for_work(
    storage: str, records: StoredRecords, message: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At whichever message of a look for work or a renewal the database falls silent, a worker obeys in seconds."""
    assert records.attempts() == []
    monkeypatch.setattr(worker_module, "TrainerProcess", IdleTrainer)
    timing = Timing(poll=0.05, renewal=0.1, leave=1.0)

    def stall(proxy: Proxy) -> None:
        wait_until(lambda: records.rows("select 1 from hpsearch.workers where doing is null"), "a worker is there")
        proxy.break_at(Fault.STALL, message)
        wait_until(lambda: proxy.struck, "the worker waits for the database")

    with run_proxy(storage) as proxy, closing(Database(proxy.url)) as database:
        assert serve_until_told(database, timing, lambda: stall(proxy)) < LEAVE


def test_frozen_embedded_server(scratch: Path) -> None:
    """An embedded server whose processes are stopped is unreachable within seconds, and goes on when they do."""
    with closing(EmbeddedDatabase(scratch / "home", "test")) as database:
        database.limits.seconds = 0.5
        database.read_version()
        postmaster = psutil.Process(int((scratch / "home/postgres-18/postmaster.pid").read_text().split()[0]))
        processes = [postmaster, *postmaster.children(recursive=True)]
        for process in processes:
            process.suspend()
        try:
            with pytest.raises(UnreachableError, match="has been silent for"):
                database.read_version()
        finally:
            for process in processes:
                process.resume()
        wait_until(lambda: answers(database), "the server answers again")


def answers(database: Database) -> bool:
    """Return whether a server answers."""
    try:
        database.read_version()
    except UnreachableError:
        return False
    return True
