"""What people, other programs, a store and a bug do to trials under their workers."""

import optuna
import pytest

from hpsearch.cli.console import make_console
from hpsearch.cli.training_progress import PlainProgress
from hpsearch.devices import Gpu
from hpsearch.errors import ExitCode, NotFoundError
from hpsearch.worker.worker import Worker
from tests.support.attempt_records import Ledger, start
from tests.support.worker_processes import QUICK_TIMING, TEST_TIMEOUT, Crew, until

pytestmark = [pytest.mark.tensorflow, pytest.mark.timeout(TEST_TIMEOUT)]


def url(ledger: Ledger) -> str:
    return ledger.database.url.render_as_string(hide_password=False)


def held(ledger: Ledger) -> int:
    """How many trials workers hold."""
    return int(ledger.rows("select count(*) from hpsearch.attempts where ended_at is null")[0][0])


def test_paused_resumed_and_stopped_under_load(ledger: Ledger, workers: Crew) -> None:
    """Paused, every worker lets go of its trial at its last epoch; resumed, they go on; stopped, all trials end."""
    small = start(ledger.database, trials=6, epochs=5000)
    hired = [workers.start(drain=False, timing=QUICK_TIMING) for _ in range(2)]
    until(lambda: ledger.epochs(0) and ledger.epochs(1), "both workers train")

    ledger.status(small.study_id, "paused")
    until(lambda: held(ledger) == 0, "all trials of a paused study are released")
    assert (ledger.whys(0), ledger.whys(1)) == (["paused"], ["paused"])
    kept = [ledger.epochs(trial)[-1] for trial in (0, 1)]
    assert [tried.checkpoint for trial in (0, 1) for tried in ledger.attempts(trial)] == [
        f"checkpoint/{trial_id}/1/{last}"
        for (trial_id,), last in zip(ledger.rows("select trial_id from trials order by number"), kept, strict=False)
    ]

    ledger.status(small.study_id, "running")
    until(lambda: [len(ledger.epochs(trial)) > last for trial, last in enumerate(kept)] == [True, True], "they go on")

    ledger.status(small.study_id, "stopped")
    until(lambda: ledger.rows("select 1 from trials where state = 'RUNNING'") == [], "all trials have ended")
    assert {ledger.state(0), ledger.state(1)} == {"PRUNED"}
    assert held(ledger) == 0
    assert [key for key in ledger.files() if key.startswith("checkpoint/")] == []
    assert all(worker.process.poll() is None for worker in hired)


def test_renamed_ended_and_deleted_from_outside(ledger: Ledger, workers: Crew) -> None:
    """A worker goes on under a study's new name; a trial ended from outside is left as it is; so is a deleted study."""
    small = start(ledger.database, trials=2, epochs=60)
    gone = start(ledger.database, "gone", epochs=5000, study={"name": "gone", "priority": -1})
    worker = workers.start(drain=False, timing=QUICK_TIMING)
    until(lambda: ledger.epochs(0), "the worker trains")
    ledger.execute("update studies set study_name = 'renamed' where study_id = :id", id=small.study_id)
    seen = len(ledger.epochs(0))
    until(lambda: len(ledger.epochs(0)) > seen, "an epoch is stored after the study was renamed")

    trial = optuna.load_study(study_name="renamed", storage=url(ledger)).trials[0]
    optuna.storages.get_storage(url(ledger)).set_trial_state_values(trial._trial_id, optuna.trial.TrialState.FAIL)
    epochs = ledger.epochs(0)
    worker.hears("trial 0 lost")
    until(lambda: ledger.whys(0) == ["lost"], "the attempt at an ended trial is closed")
    assert ledger.epochs(0) in (epochs, [*epochs, len(epochs) + 1])  # one may have been on its way
    assert ledger.state(0) == "FAIL"
    assert "outcome" not in ledger.attributes(0)
    assert ledger.files() == []

    until(lambda: ledger.state(1) == "COMPLETE", "the worker trains the next trial to its end")
    until(
        lambda: ledger.rows(
            "select 1 from hpsearch.epochs join trials using (trial_id) where study_id = :id", id=gone.study_id
        ),
        "the worker trains the other study",
    )
    optuna.delete_study(study_name="gone", storage=url(ledger))
    worker.hears("gone trial 0 lost")
    start(ledger.database, "again", epochs=2)
    until(ledger.ended, "the worker trains on, and finishes the studies that are left")
    assert ledger.discrepancies() == []


def test_store_that_fails_on_write(ledger: Ledger, workers: Crew) -> None:
    """Nothing can be stored, neither checkpoint nor model: the trials end all the same, and a line says so."""
    ledger.execute("""
        create function no_room() returns trigger language plpgsql as
        $$ begin raise exception 'there is no room for %', new.key; end $$
    """)
    ledger.execute("create trigger no_room before insert on hpsearch.files for each row execute function no_room()")
    start(ledger.database, trials=2)
    worker = workers.start(timing=QUICK_TIMING)
    assert worker.join() == 0
    assert "checkpoint of epoch 1 cannot be stored (there is no room for checkpoint/" in worker.said
    assert "the model cannot be stored" in worker.said
    assert ledger.whys(0) == ledger.whys(1) == ["completed"]
    broken = ledger.discrepancies()
    assert all("keeps other models" in each for each in broken), broken


def test_other_data_than_the_first_workers(ledger: Ledger, workers: Crew) -> None:
    """A worker whose images differ refuses the study in one line, and gives its trial back unspent."""
    start(ledger.database)
    ledger.execute("update hpsearch.studies set data_fingerprint = 'other'")
    worker = workers.start()
    assert worker.join() == ExitCode.NOT_FOUND
    assert "small is not served here: the digits images here differ" in worker.said
    assert "Traceback" not in worker.said
    assert ledger.whys() == ["refused"]
    assert ledger.epochs() == []
    assert ledger.state() == "RUNNING"
    assert ledger.rows("select data_fingerprint from hpsearch.studies") == [("other",)]


def test_gpu_that_the_framework_does_not_see(ledger: Ledger) -> None:
    """A trainer that would fall back to the CPU ends the worker with the remedy, and its trial is released."""
    start(ledger.database)
    worker = Worker(
        ledger.database, PlainProgress(make_console(stderr=True)), gpu=Gpu(0, "GPU-none", "made up", 2**30), drain=True
    )
    with pytest.raises(NotFoundError, match="install its CUDA libraries"):
        worker.serve()
    assert ledger.whys() == ["preempted"]


def test_error_that_nobody_foresaw(ledger: Ledger, workers: Crew) -> None:
    """An error in the worker's own code costs an attempt; the trial is tried again and the worker goes on."""
    start(ledger.database, trials=2)
    worker = workers.start(
        timing=QUICK_TIMING, at={"function": "hpsearch.storage.attempts.store_epoch", "call": 3, "do": "raise"}
    )
    assert worker.join() == 0
    assert "IntegrityError" in worker.said
    assert "Traceback" in worker.said
    assert ledger.whys(0) == ["crashed", "completed"]
    assert ledger.whys(1) == ["completed"]
    assert ledger.discrepancies() == []


def test_two_slots(ledger: Ledger, workers: Crew) -> None:
    """One worker trains two trials at once, on two trainers, and every figure is where it belongs."""
    start(ledger.database, trials=4, epochs=20)
    worker = workers.start("--slots", "2", timing=QUICK_TIMING)
    until(lambda: held(ledger) == 2 and len(worker.trainers()) == 2, "one worker holds two trials")
    assert worker.join() == 0
    assert ledger.counts()["epochs"] == 4 * 20
    assert ledger.rows("select count(distinct worker_id) from hpsearch.attempts") == [(1,)]
    assert ledger.discrepancies() == []
