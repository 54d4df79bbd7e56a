"""The database away, and workers that stand in each other's way."""

import signal
import time
from contextlib import closing
from pathlib import Path

import pytest

from hpsearch.storage.database import Database
from tests.support.attempt_records import Ledger, start
from tests.support.worker_processes import QUICK_TIMING, TEST_TIMEOUT, Crew, Server, Worker, crew, until

pytestmark = [pytest.mark.tensorflow, pytest.mark.timeout(TEST_TIMEOUT)]


def epochs_said(worker: Worker) -> int:
    """How many epochs a worker has told of."""
    return worker.said.count("val_accuracy")


def test_database_restarted_under_workers(scratch: Path, tmp_path: Path) -> None:
    """The server is away for 0, 5 and 20 s under a lease of 10: all holders train on and keep attempt and epochs."""
    server = Server(scratch / "server")
    timing = {**QUICK_TIMING, "lease": 10.0, "checkpoint": 1.0}
    with closing(Database(server.url)) as database, crew(server.url, tmp_path) as workers:
        database.migrate()
        ledger = Ledger(database)
        small = start(database, trials=4, epochs=5000)
        hired = [workers.start(timing=timing) for _ in range(4)]
        until(lambda: all(ledger.epochs(trial) for trial in range(4)), "every worker has finished an epoch")
        for seconds in (0, 5, 20):
            with server.away():
                before = [epochs_said(worker) for worker in hired]
                time.sleep(seconds)  # as long as the fault lasts
                until(lambda: all(epochs_said(w) > b for w, b in zip(hired, before, strict=True)), "all train on")
            until(lambda: ledger.epochs_stored() > sum(before), "what was trained meanwhile is stored")
        ledger.status(small.study_id, "stopped")
        assert [worker.join() for worker in hired] == [0, 0, 0, 0]
        assert [ledger.whys(trial) for trial in range(4)] == [["pruned"]] * 4
        in_order = "select 1 from hpsearch.epochs a join hpsearch.epochs b using (trial_id) "
        assert ledger.rows(in_order + "where a.epoch < b.epoch and a.recorded_at > b.recorded_at") == []
        broken = ledger.discrepancies()
        assert all("a study is not finished" in each for each in broken), broken
    server.stop()


def test_commits_that_nobody_acknowledged(ledger: Ledger, workers: Crew) -> None:
    """Where the connection breaks just after a commit, what was written is neither written twice nor given up."""
    start(ledger.database, trials=2, epochs=4)
    functions = [
        "hpsearch.storage.claims.claim_trial",
        "hpsearch.storage.attempts.store_parameters",
        "hpsearch.storage.attempts.describe",
        "hpsearch.storage.attempts.store_epoch",
        "hpsearch.storage.attempts.finish",
    ]
    worker = workers.start("--trials", "2", drain=False, timing=QUICK_TIMING, unacknowledged=functions)
    assert worker.join() == 0
    assert [function for function in functions if f"broke after {function}" not in worker.said] == []
    assert sorted(map(str, ledger.whys(0))) == ["completed", "lost"]  # nobody knew of the first claim
    assert ledger.whys(1) == ["completed"]
    assert ledger.discrepancies() == []


def test_frozen_past_its_lease_it_writes_nothing(ledger: Ledger, workers: Crew) -> None:
    """Of two workers that both believe they hold a trial, the one that was replaced writes nothing any more."""
    start(ledger.database, trials=1, epochs=40)
    first = workers.start(timing=QUICK_TIMING)
    until(lambda: len(ledger.epochs()) > 1, "the first worker trains")
    first.freeze()
    second = workers.start(timing=QUICK_TIMING)
    until(lambda: len(ledger.attempts()) == 2 and ledger.attempts()[1].epochs, "the second worker trains")
    of_the_first = ledger.attempts()[0]
    first.thaw()
    first.hears("trial 0 lost")
    assert first.join() == 0
    assert second.join() == 0
    assert ledger.attempts()[0] == of_the_first
    assert ledger.whys() == ["lost", "completed"]
    assert sum(tried.epochs for tried in ledger.attempts()) == 40
    of_the_second = ledger.rows("select min(epoch) from hpsearch.epochs where attempt = 2")[0][0]
    later = "select 1 from hpsearch.epochs where attempt = 1 and epoch >= :epoch"
    assert ledger.rows(later, epoch=of_the_second) == []
    assert ledger.discrepancies() == []


def test_frozen_inside_a_claim(ledger: Ledger, workers: Crew) -> None:
    """A worker that freezes with the study locked holds the others up for seconds; thawed, it works on."""
    start(ledger.database, trials=2, epochs=20)
    frozen = workers.start(
        timing=QUICK_TIMING, at={"function": "hpsearch.storage.studies.update_status", "do": "SIGSTOP"}
    )
    until(frozen.frozen, "the first worker froze in its claim")
    other = workers.start(*("--trials", "1"), drain=False, timing=QUICK_TIMING)
    until(lambda: ledger.attempts(), "the other worker claims")
    frozen.send(signal.SIGCONT)
    assert other.join() == 0
    assert frozen.join() == 0
    assert ledger.rows("select count(distinct worker_id) from hpsearch.attempts") == [(2,)]
    assert ledger.discrepancies() == []
