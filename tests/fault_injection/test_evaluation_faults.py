"""Evaluations whose workers, images or files are not what they should be."""

import json
import shutil
import signal
from functools import partial
from pathlib import Path

import pytest

from hpsearch.errors import ExitCode, RefusedError
from hpsearch.evaluation import evaluation, results
from hpsearch.metrics import Direction, EpochMetrics
from hpsearch.outcomes import TrialOutcome
from hpsearch.sampling import suggest
from hpsearch.sampling.readonly_storage import ReadOnlyStorage
from hpsearch.settings import Setting
from hpsearch.storage import attempts, claims, studies
from hpsearch.storage.database import Database
from hpsearch.storage.workers import WorkerIdentity
from tests.support import simulation
from tests.support.attempt_records import StoredRecords, start
from tests.support.worker_processes import QUICK_TIMING, TEST_TIMEOUT, WorkerGroup, wait_until

pytestmark = [pytest.mark.tensorflow, pytest.mark.timeout(TEST_TIMEOUT)]

EPOCHS = 30


def searched(database: Database, place: Setting | None = None) -> None:
    """A search whose only trial was best after its last epoch."""
    study = start(database, epochs=EPOCHS, place=place)
    attempt = database.transact(
        lambda c: claims.claim_trial(c, study.study_id, WorkerIdentity("w", "somewhere", "CPU"))
    )
    assert attempt is not None
    trials_storage = ReadOnlyStorage(study.study_id, Direction.MAXIMIZE)
    database.transact(trials_storage.refresh)
    _, writes = suggest.suggest(study.spec, trials_storage, attempt.trial_id, 0)
    database.transact(lambda c: attempts.store_parameters(c, attempt, writes))
    for epoch in range(1, EPOCHS + 1):
        metrics = EpochMetrics(epoch, 1.0, 0.5, 1.0, epoch / 100, 0.01, 1.0)
        database.transact(partial(simulation.record, attempt=attempt, metrics=metrics, storage=trials_storage))
    database.transact(lambda c: attempts.finish(c, attempt, TrialOutcome.COMPLETED, {}))
    database.transact(lambda c: studies.update_status(c, studies.read(c, study.study_id)))


def test_host_with_other_images_than_the_searchs_is_refused(records: StoredRecords, workers: WorkerGroup) -> None:
    """An evaluation on other data would say nothing about the search: its trial is handed back, in one line."""
    searched(records.database)
    records.execute("update hpsearch.studies set data_fingerprint = 'other'")
    evaluation.request_evaluation(records.database, "small", top=1, seeds=1)
    worker = workers.start()
    assert worker.join() == ExitCode.NOT_FOUND
    refusals = [line for line in worker.output.splitlines() if "is not served here" in line]
    assert len(refusals) == 1
    assert "differ from those of the search, or its evaluation's first worker" in refusals[0]
    assert records.rows("select why from hpsearch.attempts where why <> 'completed'") == [("refused",)]


def test_killed_evaluation_goes_on_and_is_tested_once(records: StoredRecords, workers: WorkerGroup) -> None:
    """The next worker goes on from the checkpoint of an epoch that nobody validated; the end is tested and counted."""
    searched(records.database)
    requested, _ = evaluation.request_evaluation(records.database, "small", top=1, seeds=1)
    assert requested.study is not None
    trained = requested.study.study_id

    def epochs() -> list[float]:
        query = (
            "select val_accuracy from hpsearch.epochs join trials using (trial_id) where study_id = :id order by epoch"
        )
        return [row[0] for row in records.rows(query, id=trained)]

    first = workers.start(timing=QUICK_TIMING)
    wait_until(lambda: len(epochs()) >= 3, "some epochs are stored")
    first.send(signal.SIGKILL)
    first.join()
    assert len(epochs()) < EPOCHS
    assert workers.start(timing=QUICK_TIMING).join() == 0
    whys = "select why, epochs from hpsearch.attempts where study_id = :id order by number"
    (lost, before), (completed, after) = records.rows(whys, id=trained)
    assert (lost, completed, before + after) == ("lost", "completed", EPOCHS)
    *unseen, tested = epochs()
    assert len(unseen) == EPOCHS - 1
    assert all(accuracy != accuracy for accuracy in unseen)  # NaN: not validated
    standing = results.read_status(records.database, requested)
    assert standing.evaluation.result is not None
    assert [model.accuracy for model in standing.evaluation.result.configurations[0].models] == [tested]
    assert standing.uses == 1
    query = "select value_json from trial_system_attributes where key = 'hpsearch:confusion'"
    (stored,) = records.rows(query)
    assert json.loads(stored[0]) == [list(row) for row in standing.evaluation.result.ensemble.confusion]
    kinds = sorted(key.partition("/")[0] for key in records.files() if "/" in key)
    assert kinds == ["model", "predictions"]


def test_predictions_that_cannot_be_stored_fail_the_trial(
    records: StoredRecords, workers: WorkerGroup, tmp_path: Path
) -> None:
    """A search's trial completes without its model; an evaluation's says nothing without its predictions."""
    searched(records.database, Setting(str(tmp_path), "HPSEARCH_ARTIFACTS"))
    requested, _ = evaluation.request_evaluation(records.database, "small", top=1, seeds=1)
    assert requested.study is not None
    worker = workers.start()
    wait_until(lambda: records.rows("select 1 from hpsearch.epochs where val_accuracy = 'NaN'"), "an epoch is stored")
    shutil.rmtree(Path(str(requested.study.artifacts).removeprefix("file://")))
    assert worker.join() == 0
    query = "select state::text from trials where study_id = :id"
    assert records.rows(query, id=requested.study.study_id) == [("FAIL",)]
    assert "the predictions cannot be stored" in worker.output
    assert "what its model predicts for the test images could not be stored" in worker.output
    with pytest.raises(RefusedError, match=r"\(1 error\)"):
        results.read_status(records.database, requested)
