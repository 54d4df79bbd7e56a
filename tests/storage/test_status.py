"""What `hpsearch status` shows."""

import io
import json
from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from rich.console import Console
from sqlalchemy import text

from hpsearch.cli import status_view
from hpsearch.metrics import Direction
from hpsearch.outcomes import TrialOutcome
from hpsearch.sampling import suggest
from hpsearch.sampling.readonly_storage import ReadOnlyStorage
from hpsearch.storage import attempts, results, status, study_control, workers
from hpsearch.storage.attempts import Attempt
from hpsearch.storage.database import Database
from hpsearch.storage.status import Overview
from hpsearch.storage.studies import Study
from hpsearch.storage.workers import WorkerIdentity
from tests.support import simulation
from tests.support.small_study import claim, metrics

Started = Callable[..., Study]
Enrol = Callable[[str], WorkerIdentity]


def read(database: Database) -> Overview:
    return database.transact(status.read)


def execute(database: Database, statement: str, **arguments: object) -> None:
    database.transact(lambda c: c.execute(text(statement), arguments))


def hold(database: Database, study: Study, worker: WorkerIdentity, epochs: int = 0) -> Attempt:
    attempt, history = claim(database, study, worker), ReadOnlyStorage(study.study_id, Direction.MAXIMIZE)
    assert attempt is not None
    for epoch in range(1, epochs + 1):
        database.transact(lambda c: simulation.record(c, attempt, metrics(epoch), history))
    return attempt


def end(database: Database, study: Study, worker: WorkerIdentity, ago: str) -> None:
    """A trial that completed so long ago."""
    attempt = hold(database, study, worker, epochs=1)
    database.transact(lambda c: attempts.finish(c, attempt, TrialOutcome.COMPLETED, {}))
    completed = "update trials set datetime_complete = datetime_complete - cast(:ago as interval) where trial_id = :id"
    execute(database, completed, ago=ago, id=attempt.trial_id)


def test_status_is_whole_on_eighty_columns(database: Database, started: Started, holder: Enrol) -> None:
    """No figure of a long search is cut, and the best trial's parameters have the width to be read."""
    study = started(budget={"trials": 1_000_000, "epochs": 3})
    attempt, history = hold(database, study, holder("a"), epochs=1), ReadOnlyStorage(study.study_id, Direction.MAXIMIZE)
    database.transact(history.refresh)
    _, writes = suggest.suggest(study.spec, history, attempt.trial_id, attempt.trial_number)
    database.transact(lambda c: attempts.store_parameters(c, attempt, writes))
    database.transact(lambda c: attempts.finish(c, attempt, TrialOutcome.COMPLETED, {}))
    hold(database, study, holder("vm-18575-d4b7a3e1"), epochs=2)
    out = io.StringIO()
    Console(width=80, file=out).print(*status_view.make_tables(read(database)))
    shown = out.getvalue()
    assert "…" not in shown
    for whole in ("2/1000000", "0.5000", "vm-18575-d4b7a3e1", "small 1", "2/3", "learning_rate "):
        assert whole in shown


def test_pace_is_that_of_the_last_hour(database: Database, started: Started, holder: Enrol) -> None:
    """Two trials within the hour and one before it make two an hour, and the last seven end in three and a half."""
    study, worker = started(budget={"trials": 10, "epochs": 3}), holder("w")
    execute(database, "update hpsearch.studies set running_since = clock_timestamp() - interval '5 hours'")
    for ago in ("10 minutes", "50 minutes", "61 minutes"):
        end(database, study, worker, ago)
    seen = read(database)
    (progress,) = seen.studies
    assert progress.trials_per_hour == pytest.approx(2, abs=0.01)
    assert progress.estimated_end is not None
    assert progress.estimated_end - seen.now == pytest.approx(timedelta(hours=3.5), abs=timedelta(minutes=1))


def test_pace_of_a_young_study_is_that_since_its_start(database: Database, started: Started, holder: Enrol) -> None:
    """One trial in the first ten minutes is six an hour."""
    study = started()
    execute(database, "update hpsearch.studies set running_since = clock_timestamp() - interval '10 minutes'")
    end(database, study, holder("w"), "1 minute")
    assert read(database).studies[0].trials_per_hour == pytest.approx(6, abs=0.1)


def test_pace_is_that_of_trials_that_workers_held(database: Database, started: Started, holder: Enrol) -> None:
    """Trials that another program told cost no time: five of those leave the pace as it is."""
    study = started(budget={"trials": 100, "epochs": 3})
    execute(database, "update hpsearch.studies set running_since = clock_timestamp() - interval '10 minutes'")
    end(database, study, holder("w"), "1 minute")
    execute(
        database,
        "insert into trials (number, study_id, state, datetime_complete) "
        "select number, study_id, 'COMPLETE', now() at time zone 'utc' "
        "from studies, generate_series(1, 5) as number",
    )
    assert read(database).studies[0].trials_per_hour == pytest.approx(6, abs=0.1)


def test_study_that_does_not_run_has_no_pace(database: Database, started: Started, holder: Enrol) -> None:
    """A paused study has neither pace nor end; one without an ended trial has a pace of 0 and no end."""
    started()
    progress = read(database).studies[0]
    assert (progress.trials_per_hour, progress.estimated_end) == (0.0, None)
    database.transact(lambda c: study_control.pause(c, "small"))
    progress = read(database).studies[0]
    assert (progress.trials_per_hour, progress.estimated_end) == (None, None)


def test_hours_bound_the_estimated_end(database: Database, started: Started) -> None:
    """A study of two hours that ran for one ends within one, pauses excluded."""
    started(budget={"trials": 4, "epochs": 3, "hours": 2})
    execute(database, "update hpsearch.studies set ran = '50 min', running_since = now() - interval '10 min'")
    seen = read(database)
    end_ = seen.studies[0].estimated_end
    assert end_ is not None
    assert end_ - seen.now == pytest.approx(timedelta(hours=1), abs=timedelta(minutes=1))


def test_worker_is_shown_with_its_trial_and_epoch(database: Database, started: Started, holder: Enrol) -> None:
    """The epoch is the last one finished; who holds nothing shows none; two trials of one worker are two rows."""
    study, busy = started(), holder("a")
    holder("b")
    hold(database, study, busy, epochs=2)
    hold(database, study, busy)
    seen = [
        (listed.worker, listed.study, listed.trial, listed.epoch, listed.epochs) for listed in read(database).workers
    ]
    assert seen == [("a", "small", 0, 2, 3), ("a", "small", 1, 0, 3), ("b", None, None, None, None)]


def test_silent_worker_is_gone_for_a_day(database: Database, started: Started, holder: Enrol) -> None:
    """After a lease it shows as gone, after a day no more, unless a trial is in its name; one that left never."""
    study, silent, holding, left = started(), holder("a"), holder("b"), holder("c")
    hold(database, study, holding)
    database.transact(lambda c: workers.unregister(c, left.worker_id))

    def shown() -> list[tuple[str, bool]]:
        return [(listed.worker, listed.gone) for listed in read(database).workers]

    assert shown() == [("a", False), ("b", False)]
    execute(database, "update hpsearch.workers set seen_at = clock_timestamp() - interval '2 minutes'")
    assert shown() == [("a", True), ("b", True)]
    execute(database, "update hpsearch.workers set seen_at = clock_timestamp() - interval '25 hours'")
    assert shown() == [("b", True)]
    assert silent.worker_id == "a"


def test_document_is_json_with_the_figures(database: Database, started: Started, holder: Enrol) -> None:
    """The end is written in ISO 8601 with its offset from UTC, and a worker with its trial and epoch."""
    study, worker = started(), holder("w")
    end(database, study, worker, "0 s")
    hold(database, study, worker, epochs=1)
    described = json.loads(json.dumps(status.make_document(read(database)), allow_nan=False))
    (search,), (shown,) = described["studies"], described["workers"]
    assert search["trials_per_hour"] > 0
    assert datetime.fromisoformat(search["estimated_end"]).utcoffset() == timedelta(0)
    assert (shown["study"], shown["trial"], shown["epoch"], shown["gone"]) == ("small", 1, 1, False)


def test_status_and_attempts_name_the_job(database: Database, started: Started) -> None:
    """Where a worker runs in one; without any there is no column for it."""
    study = started()
    for name, job in (("a", None), ("b", "slurm 12_3")):
        worker = WorkerIdentity(name, f"host-{name}", "CPU", job)
        database.transact(lambda c, worker=worker: workers.register(c, worker, 1))  # type: ignore[misc]
        hold(database, study, worker)
        lines = _print_workers(read(database))
        assert ("job" in lines) == (job is not None)
    assert "slurm 12_3" in lines
    described = status.make_document(read(database))["workers"]
    assert [worker["job"] for worker in described] == [None, "slurm 12_3"]
    _, trials = database.transact(lambda c: results.read(c, study.name))
    assert [[attempt.job for attempt in trial.history] for trial in trials] == [[None], ["slurm 12_3"]]


def _print_workers(overview: Overview) -> str:
    out = io.StringIO()
    Console(file=out, width=200).print(status_view.make_tables(overview)[-1])
    return out.getvalue()
