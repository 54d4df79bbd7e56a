"""The database away, and workers that stand in each other's way."""

import signal
import time
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from hpsearch.storage.database import Database
from tests.support.attempt_records import StoredRecords, start
from tests.support.worker_processes import (
    QUICK_TIMING,
    TEST_TIMEOUT,
    PostgresServer,
    WorkerGroup,
    WorkerProcess,
    run_workers,
    wait_until,
)

pytestmark = [pytest.mark.tensorflow, pytest.mark.timeout(TEST_TIMEOUT)]


def count_epochs(worker: WorkerProcess) -> int:
    """How many epochs a worker has told of."""
    return worker.output.count("val_accuracy")


def all_train_on(workers: list[WorkerProcess], before: list[int]) -> bool:
    """Whether each worker has told of more epochs than before."""
    return all(count_epochs(worker) > epochs for worker, epochs in zip(workers, before, strict=True))


def stores_more_than(records: StoredRecords, epochs: int) -> bool:
    """Whether the database has more epochs than that."""
    return records.epochs_stored() > epochs


def test_database_restarted_under_workers(scratch: Path, tmp_path: Path) -> None:
    """The server is away for 0, 5 and 20 s under a lease of 10: all holders train on and keep attempt and epochs."""
    server = PostgresServer(scratch / "server")
    timing = {**QUICK_TIMING, "lease": 10.0, "checkpoint": 1.0}
    with closing(Database(server.url)) as database, run_workers(server.url, tmp_path) as workers:
        database.migrate()
        records = StoredRecords(database)
        small = start(database, trials=4, epochs=5000)
        running = [workers.start(timing=timing) for _ in range(4)]
        wait_until(lambda: all(records.epochs(trial) for trial in range(4)), "every worker has finished an epoch")
        for seconds in (0, 5, 20):
            with server.outage():
                before = [count_epochs(worker) for worker in running]
                time.sleep(seconds)  # as long as the fault lasts
                wait_until(partial(all_train_on, running, before), "all train on")
            wait_until(partial(stores_more_than, records, sum(before)), "what was trained meanwhile is stored")
        records.status(small.study_id, "stopped")
        assert [worker.join() for worker in running] == [0, 0, 0, 0]
        assert [records.list_ends(trial) for trial in range(4)] == [["pruned"]] * 4
        in_order = "select 1 from hpsearch.epochs a join hpsearch.epochs b using (trial_id) "
        assert records.rows(in_order + "where a.epoch < b.epoch and a.recorded_at > b.recorded_at") == []
        broken = records.discrepancies()
        assert all("a study is not finished" in each for each in broken), broken
    server.stop()


def test_commits_that_nobody_acknowledged(records: StoredRecords, workers: WorkerGroup) -> None:
    """Where the connection breaks just after a commit, what was written is neither written twice nor given up."""
    start(records.database, trials=2, epochs=4)
    functions = [
        "hpsearch.storage.claims.claim_trial",
        "hpsearch.storage.attempts.store_parameters",
        "hpsearch.storage.attempts.describe",
        "hpsearch.storage.attempts.store_epoch",
        "hpsearch.storage.attempts.finish",
    ]
    worker = workers.start("--trials", "2", drain=False, timing=QUICK_TIMING, unacknowledged=functions)
    assert worker.join() == 0
    assert [function for function in functions if f"broke after {function}" not in worker.output] == []
    assert sorted(map(str, records.list_ends(0))) == ["completed", "lost"]  # nobody knew of the first claim
    assert records.list_ends(1) == ["completed"]
    assert records.discrepancies() == []


def test_frozen_past_its_lease_it_writes_nothing(records: StoredRecords, workers: WorkerGroup) -> None:
    """Of two workers that both believe they hold a trial, the one that was replaced writes nothing any more."""
    start(records.database, trials=1, epochs=40)
    first = workers.start(timing=QUICK_TIMING)
    wait_until(lambda: len(records.epochs()) > 1, "the first worker trains")
    first.freeze()
    second = workers.start(timing=QUICK_TIMING)
    wait_until(lambda: len(records.attempts()) == 2 and records.attempts()[1].epochs, "the second worker trains")
    of_the_first = records.attempts()[0]
    first.thaw()
    first.wait_for_output("trial 0 lost")
    assert first.join() == 0
    assert second.join() == 0
    assert records.attempts()[0] == of_the_first
    assert records.list_ends() == ["lost", "completed"]
    assert sum(attempt.epochs for attempt in records.attempts()) == 40
    of_the_second = records.rows("select min(epoch) from hpsearch.epochs where attempt = 2")[0][0]
    later = "select 1 from hpsearch.epochs where attempt = 1 and epoch >= :epoch"
    assert records.rows(later, epoch=of_the_second) == []
    assert records.discrepancies() == []


def test_frozen_inside_a_claim(records: StoredRecords, workers: WorkerGroup) -> None:
    """A worker that freezes with the study locked holds the others up for seconds; thawed, it works on."""
    start(records.database, trials=2, epochs=20)
    frozen = workers.start(
        timing=QUICK_TIMING, at={"function": "hpsearch.storage.studies.update_status", "do": "SIGSTOP"}
    )
    wait_until(frozen.is_frozen, "the first worker froze in its claim")
    other = workers.start(*("--trials", "1"), drain=False, timing=QUICK_TIMING)
    wait_until(lambda: records.attempts(), "the other worker claims")
    frozen.send(signal.SIGCONT)
    assert other.join() == 0
    assert frozen.join() == 0
    assert records.rows("select count(distinct worker_id) from hpsearch.attempts") == [(2,)]
    assert records.discrepancies() == []
