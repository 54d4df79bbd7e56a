"""What people, other programs, a store and a bug do to trials under their workers."""

import optuna
import pytest

from hpsearch.cli.console import make_console
from hpsearch.cli.training_progress import PlainProgress
from hpsearch.devices import Gpu
from hpsearch.errors import ExitCode, NotFoundError
from hpsearch.worker.worker import Worker
from tests.support.attempt_records import StoredRecords, start
from tests.support.worker_processes import QUICK_TIMING, TEST_TIMEOUT, WorkerGroup, wait_until

pytestmark = [pytest.mark.tensorflow, pytest.mark.timeout(TEST_TIMEOUT)]


def url(records: StoredRecords) -> str:
    return records.database.url.render_as_string(hide_password=False)


def count_open_attempts(records: StoredRecords) -> int:
    """How many trials workers hold."""
    return int(records.rows("select count(*) from hpsearch.attempts where ended_at is null")[0][0])


def test_paused_resumed_and_stopped_under_load(records: StoredRecords, workers: WorkerGroup) -> None:
    """Paused, every worker lets go of its trial at its last epoch; resumed, they go on; stopped, all trials end."""
    small = start(records.database, trials=6, epochs=5000)
    running = [workers.start(drain=False, timing=QUICK_TIMING) for _ in range(2)]
    wait_until(lambda: records.epochs(0) and records.epochs(1), "both workers train")

    records.status(small.study_id, "paused")
    wait_until(lambda: count_open_attempts(records) == 0, "all trials of a paused study are released")
    assert (records.list_ends(0), records.list_ends(1)) == (["paused"], ["paused"])
    kept = [records.epochs(trial)[-1] for trial in (0, 1)]
    assert [attempt.checkpoint for trial in (0, 1) for attempt in records.attempts(trial)] == [
        f"checkpoint/{trial_id}/1/{last}"
        for (trial_id,), last in zip(records.rows("select trial_id from trials order by number"), kept, strict=False)
    ]

    records.status(small.study_id, "running")
    wait_until(
        lambda: [len(records.epochs(trial)) > last for trial, last in enumerate(kept)] == [True, True], "they go on"
    )

    records.status(small.study_id, "stopped")
    wait_until(lambda: records.rows("select 1 from trials where state = 'RUNNING'") == [], "all trials have ended")
    assert {records.state(0), records.state(1)} == {"PRUNED"}
    assert count_open_attempts(records) == 0
    assert [key for key in records.files() if key.startswith("checkpoint/")] == []
    assert all(worker.process.poll() is None for worker in running)


def test_renamed_ended_and_deleted_from_outside(records: StoredRecords, workers: WorkerGroup) -> None:
    """A worker goes on under a study's new name; a trial ended from outside is left as it is; so is a deleted study."""
    small = start(records.database, trials=2, epochs=60)
    gone = start(records.database, "gone", epochs=5000, study={"name": "gone", "priority": -1})
    worker = workers.start(drain=False, timing=QUICK_TIMING)
    wait_until(lambda: records.epochs(0), "the worker trains")
    records.execute("update studies set study_name = 'renamed' where study_id = :id", id=small.study_id)
    seen = len(records.epochs(0))
    wait_until(lambda: len(records.epochs(0)) > seen, "an epoch is stored after the study was renamed")

    trial = optuna.load_study(study_name="renamed", storage=url(records)).trials[0]
    optuna.storages.get_storage(url(records)).set_trial_state_values(trial._trial_id, optuna.trial.TrialState.FAIL)
    epochs = records.epochs(0)
    worker.wait_for_output("trial 0 lost")
    wait_until(lambda: records.list_ends(0) == ["lost"], "the attempt at an ended trial is closed")
    assert records.epochs(0) in (epochs, [*epochs, len(epochs) + 1])  # one may have been on its way
    assert records.state(0) == "FAIL"
    assert "outcome" not in records.attributes(0)
    assert records.files() == []

    wait_until(lambda: records.state(1) == "COMPLETE", "the worker trains the next trial to its end")
    wait_until(
        lambda: records.rows(
            "select 1 from hpsearch.epochs join trials using (trial_id) where study_id = :id", id=gone.study_id
        ),
        "the worker trains the other study",
    )
    optuna.delete_study(study_name="gone", storage=url(records))
    worker.wait_for_output("gone trial 0 lost")
    start(records.database, "again", epochs=2)
    wait_until(records.all_ended, "the worker trains on, and finishes the studies that are left")
    assert records.discrepancies() == []


def test_store_that_fails_on_write(records: StoredRecords, workers: WorkerGroup) -> None:
    """Nothing can be stored, neither checkpoint nor model: the trials end all the same, and a line says so."""
    records.execute("""
        create function no_room() returns trigger language plpgsql as
        $$ begin raise exception 'there is no room for %', new.key; end $$
    """)
    records.execute("create trigger no_room before insert on hpsearch.files for each row execute function no_room()")
    start(records.database, trials=2)
    worker = workers.start(timing=QUICK_TIMING)
    assert worker.join() == 0
    assert "checkpoint of epoch 1 cannot be stored (there is no room for checkpoint/" in worker.output
    assert "the model cannot be stored" in worker.output
    assert records.list_ends(0) == records.list_ends(1) == ["completed"]
    broken = records.discrepancies()
    assert all("keeps other models" in each for each in broken), broken


def test_other_data_than_the_first_workers(records: StoredRecords, workers: WorkerGroup) -> None:
    """A worker whose images differ refuses the study in one line, and gives its trial back unspent."""
    start(records.database)
    records.execute("update hpsearch.studies set data_fingerprint = 'other'")
    worker = workers.start()
    assert worker.join() == ExitCode.NOT_FOUND
    assert "small is not served here: the digits images here differ" in worker.output
    assert "Traceback" not in worker.output
    assert records.list_ends() == ["refused"]
    assert records.epochs() == []
    assert records.state() == "RUNNING"
    assert records.rows("select data_fingerprint from hpsearch.studies") == [("other",)]


def test_gpu_that_the_framework_does_not_see(records: StoredRecords) -> None:
    """A trainer that would fall back to the CPU ends the worker with the remedy, and its trial is released."""
    start(records.database)
    worker = Worker(
        records.database, PlainProgress(make_console(stderr=True)), gpu=Gpu(0, "GPU-none", "made up", 2**30), drain=True
    )
    with pytest.raises(NotFoundError, match="install its CUDA libraries"):
        worker.serve()
    assert records.list_ends() == ["preempted"]


def test_error_that_nobody_foresaw(records: StoredRecords, workers: WorkerGroup) -> None:
    """An error in the worker's own code costs an attempt; the trial is tried again and the worker goes on."""
    start(records.database, trials=2)
    worker = workers.start(
        timing=QUICK_TIMING, at={"function": "hpsearch.storage.attempts.store_epoch", "call": 3, "do": "raise"}
    )
    assert worker.join() == 0
    assert "trial 0 crashed" in worker.output
    assert "failed: made up by the test" in worker.output
    assert "insert into nowhere" not in worker.output
    assert "Traceback" not in worker.output
    assert records.list_ends(0) == ["crashed", "completed"]
    assert records.list_ends(1) == ["completed"]
    assert records.discrepancies() == []


def test_two_slots(records: StoredRecords, workers: WorkerGroup) -> None:
    """One worker trains two trials at once, on two trainers, and every figure is where it belongs."""
    start(records.database, trials=4, epochs=20)
    worker = workers.start("--slots", "2", timing=QUICK_TIMING)
    wait_until(
        lambda: count_open_attempts(records) == 2 and len(worker.list_trainers()) == 2, "one worker holds two trials"
    )
    assert worker.join() == 0
    assert records.counts()["epochs"] == 4 * 20
    assert records.rows("select count(distinct worker_id) from hpsearch.attempts") == [(1,)]
    assert records.discrepancies() == []
