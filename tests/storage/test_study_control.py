"""Pause, resume, stop and retry."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import text

from hpsearch.errors import NotFoundError, RefusedError
from hpsearch.metrics import Direction
from hpsearch.outcomes import AttemptEnd, TrialOutcome
from hpsearch.sampling import suggest
from hpsearch.sampling.readonly_storage import ReadOnlyStorage
from hpsearch.spec import loader
from hpsearch.storage import attempts, claims, studies, study_control, study_creation
from hpsearch.storage.attempts import Attempt, LostError
from hpsearch.storage.database import Database
from hpsearch.storage.studies import Study
from hpsearch.storage.workers import WorkerIdentity
from tests.support import simulation
from tests.support.small_study import claim, metrics

pytestmark = pytest.mark.usefixtures("server_long_up")

Started = Callable[..., Study]
Enrol = Callable[[str], WorkerIdentity]


def rows(database: Database, query: str) -> list[tuple[object, ...]]:
    return [tuple(row) for row in database.transact(lambda c: c.execute(text(query)).all())]


def status(database: Database) -> str:
    return database.transact(lambda c: studies.find(c, "small")).status


def hold(database: Database, study: Study, worker: WorkerIdentity) -> Attempt:
    attempt = claim(database, study, worker)
    assert attempt is not None
    return attempt


def end(database: Database, attempt: Attempt, ending: TrialOutcome) -> None:
    database.transact(lambda c: attempts.finish(c, attempt, ending, {}))


def sample(database: Database, attempt: Attempt) -> dict[str, object]:
    history = ReadOnlyStorage(attempt.study.study_id, Direction.MAXIMIZE)
    database.transact(history.refresh)
    params, writes = suggest.suggest(attempt.study.spec, history, attempt.trial_id, attempt.trial_number)
    database.transact(lambda c: attempts.store_parameters(c, attempt, writes))
    return params


def pause(database: Database) -> study_control.StatusChange:
    return database.transact(lambda c: study_control.pause(c, "small"))


def resume(database: Database) -> study_control.StatusChange:
    return database.transact(lambda c: study_control.resume(c, "small"))


def stop(database: Database) -> study_control.StatusChange:
    return database.transact(lambda c: study_control.stop(c, "small"))


def retry(database: Database, number: int | None = None) -> study_control.RetryResult:
    return database.transact(lambda c: study_control.retry(c, "small", number))


def expire(database: Database) -> None:
    database.transact(lambda c: c.execute(text("update hpsearch.attempts set held_until = '-infinity'")))


def test_paused_study_gives_out_no_trial_until_it_is_resumed(
    database: Database, started: Started, holder: Enrol
) -> None:
    """A held trial's next renewal says paused; released, it waits for the resume and goes on as it was."""
    study, worker = started(), holder("w")
    attempt = hold(database, study, worker)
    change = pause(database)
    assert (change.study.status, change.before, change.claimed) == ("paused", "running", 1)
    assert database.transact(lambda c: attempts.renew(c, attempt)) == "paused"
    database.transact(lambda c: attempts.release(c, attempt, AttemptEnd.PAUSED))
    assert claim(database, study, worker) is None
    assert resume(database).study.status == "running"
    assert hold(database, study, worker).trial_id == attempt.trial_id


def test_what_is_so_already_is_left_so(database: Database, started: Started) -> None:
    """Pausing a paused study, resuming a running one and stopping a stopped one change nothing."""
    started()
    assert resume(database).before == "running"
    pause(database)
    assert pause(database).before == "paused"
    stop(database)
    assert stop(database).before == "stopped"
    assert status(database) == "stopped"


def test_unknown_study_is_not_found(database: Database) -> None:
    """Each of them names the studies there are."""
    for command in (pause, resume, stop, retry):
        with pytest.raises(NotFoundError, match="there is no study small"):
            command(database)


def test_finished_study_can_be_neither_paused_nor_resumed(database: Database, started: Started, holder: Enrol) -> None:
    """Also one whose last trial ended without anybody noticing; stopping it is no fault."""
    study = started(budget={"trials": 1, "epochs": 3})
    end(database, hold(database, study, holder("w")), TrialOutcome.COMPLETED)
    for command in (pause, resume):
        with pytest.raises(RefusedError, match="small is finished"):
            command(database)
    assert stop(database).study.status == "finished"


def test_stopped_study_cannot_be_paused(database: Database, started: Started) -> None:
    """There is nothing to pause in it."""
    started()
    stop(database)
    with pytest.raises(RefusedError, match="small is stopped"):
        pause(database)


def test_stop_ends_at_once_what_nobody_holds(database: Database, started: Started, holder: Enrol) -> None:
    """Released and expired trials end as pruned with their last value; a held one is told at its next renewal."""
    study, worker = started(), holder("w")
    released, expired = hold(database, study, worker), hold(database, study, worker)
    history = ReadOnlyStorage(study.study_id, Direction.MAXIMIZE)
    database.transact(lambda c: simulation.record(c, released, metrics(1, 0.4), history))
    expire(database)
    attempt = hold(database, study, worker)
    assert attempt.trial_id == released.trial_id
    database.transact(lambda c: attempts.release(c, attempt, AttemptEnd.PREEMPTED))
    database.transact(lambda c: c.execute(text("update hpsearch.attempts set held_until = 'infinity'")))
    alive = hold(database, study, worker)
    assert alive.trial_id == released.trial_id
    third = hold(database, study, worker)
    database.transact(lambda c: attempts.release(c, alive, AttemptEnd.PREEMPTED))
    assert third.trial_number == 2
    expire_one = "update hpsearch.attempts set held_until = '-infinity' where trial_id = :id"
    database.transact(lambda c: c.execute(text(expire_one), {"id": expired.trial_id}))

    change = stop(database)
    assert (change.study.status, change.ended, change.claimed) == ("stopped", 2, 1)
    assert rows(database, "select number, state::text from trials order by number") == [
        (0, "PRUNED"),
        (1, "PRUNED"),
        (2, "RUNNING"),
    ]
    assert rows(database, "select trial_id, value from trial_values") == [(released.trial_id, 0.4)]
    ends = f"select why from hpsearch.attempts where trial_id = {expired.trial_id}"
    assert rows(database, ends) == [("lost",)]
    details = "select distinct value_json from trial_user_attributes where key = 'detail'"
    assert rows(database, details) == [('"the study was stopped"',)]
    assert database.transact(lambda c: attempts.renew(c, third)) == "stopped"
    with pytest.raises(LostError):
        database.transact(lambda c: attempts.renew(c, expired))


def test_trial_released_into_a_stopped_study_ends(database: Database, started: Started, holder: Enrol) -> None:
    """A worker that was told to leave while its study was stopped leaves no running trial behind."""
    attempt = hold(database, started(), holder("w"))
    stop(database)
    database.transact(lambda c: attempts.release(c, attempt, AttemptEnd.PREEMPTED))
    assert rows(database, "select state::text from trials") == [("PRUNED",)]


def test_trial_whose_worker_died_in_a_stopped_study_is_swept(
    database: Database, started: Started, holder: Enrol
) -> None:
    """Once its lease is over a sweep ends it, and leaves the trials of running studies alone."""
    study, worker = started(), holder("w")
    hold(database, study, worker)
    stop(database)
    assert database.transact(claims.end_abandoned) == 0
    expire(database)
    assert database.transact(claims.end_abandoned) == 1
    assert rows(database, "select state::text from trials") == [("PRUNED",)]
    resume(database)
    hold(database, study, worker)
    expire(database)
    assert database.transact(claims.end_abandoned) == 0


def test_releases_under_a_stop_leave_nothing_running(database: Database, started: Started, holder: Enrol) -> None:
    """Twenty trials released while the study is being stopped all end, in whatever order it happens."""
    study, worker = started(budget={"trials": 20, "epochs": 3}), holder("w")
    everything = [hold(database, study, worker) for _ in range(20)]
    url = database.url.render_as_string(hide_password=False)

    def release(part: list[Attempt]) -> None:
        own = Database(url)
        for attempt in part:
            own.transact(lambda c: attempts.release(c, attempt, AttemptEnd.PREEMPTED))
        own.close()

    threads = [threading.Thread(target=release, args=(everything[n::4],)) for n in range(4)]
    for thread in threads:
        thread.start()
    stop(database)
    for thread in threads:
        thread.join(60)
    assert rows(database, "select state::text, count(*) from trials group by state") == [("PRUNED", 20)]


def test_waiting_trials_outlast_a_stop(database: Database, started: Started, holder: Enrol) -> None:
    """What was enqueued is there when a stopped study is resumed, and the budget is still exact."""
    study = started(baseline=[{"optimizer": "sgd", "learning_rate": value} for value in (0.1, 0.01)])
    worker = holder("w")
    hold(database, study, worker)
    stop(database)
    expire(database)
    assert stop(database).ended == 1
    resume(database)
    numbers = []
    while (attempt := claim(database, study, worker)) is not None:
        numbers.append(attempt.trial_number)
        end(database, attempt, TrialOutcome.COMPLETED)
    assert numbers == [1, 2, 3]
    assert status(database) == "finished"


def test_resumed_with_nothing_left_is_finished(database: Database, started: Started, holder: Enrol) -> None:
    """A stopped study whose budget is used up does not pretend to run."""
    study = started(budget={"trials": 1, "epochs": 3})
    attempt = hold(database, study, holder("w"))
    stop(database)
    database.transact(lambda c: attempts.release(c, attempt, AttemptEnd.PREEMPTED))
    assert resume(database).study.status == "finished"


def test_study_that_failed_may_fail_as_often_again_once_resumed(
    database: Database, started: Started, holder: Enrol
) -> None:
    """Failures before a resume do not pause the study a second time."""
    study, worker = started(budget={"trials": 9, "epochs": 3, "failures": 2}), holder("w")
    for _ in range(2):
        end(database, hold(database, study, worker), TrialOutcome.ERROR)
    assert claim(database, study, worker) is None
    assert status(database) == "paused"
    resume(database)
    end(database, hold(database, study, worker), TrialOutcome.ERROR)
    end(database, hold(database, study, worker), TrialOutcome.ERROR)
    assert claim(database, study, worker) is None
    assert status(database) == "paused"


def test_retry_repeats_what_failed_beyond_the_budget(database: Database, started: Started, holder: Enrol) -> None:
    """Each failed configuration waits again with its parameters and the number it repeats; the study runs again."""
    study, worker = started(budget={"trials": 3, "epochs": 3}), holder("w")
    params = []
    for ending in (TrialOutcome.ERROR, TrialOutcome.COMPLETED, TrialOutcome.CRASHED):
        attempt = hold(database, study, worker)
        params.append(sample(database, attempt))
        end(database, attempt, ending)
    assert claim(database, study, worker) is None
    assert status(database) == "finished"

    retried = retry(database)
    assert retried.trials == ((3, 0), (4, 2))
    assert (retried.before, retried.study.status, retried.study.spec.budget.trials) == ("finished", "running", 5)
    assert rows(database, "select trials from hpsearch.studies") == [(5,)]
    marks = "select number, value_json from trial_user_attributes join trials using (trial_id) where key = 'retry_of'"
    assert rows(database, f"{marks} order by number") == [(3, "0"), (4, "2")]
    for number, original in ((3, 0), (4, 2)):
        attempt = hold(database, study, worker)
        assert attempt.trial_number == number
        assert sample(database, attempt) == params[original]
        end(database, attempt, TrialOutcome.COMPLETED)
    assert claim(database, study, worker) is None
    assert status(database) == "finished"


def test_trial_is_retried_once_unless_it_is_named(database: Database, started: Started, holder: Enrol) -> None:
    """A second retry finds nothing; --trial repeats one all the same; a repetition that failed is repeated itself."""
    study, worker = started(), holder("w")
    end(database, hold(database, study, worker), TrialOutcome.ERROR)
    assert retry(database).trials == ((1, 0),)
    assert retry(database).trials == ()
    assert retry(database, 0).trials == ((2, 0),)
    end(database, hold(database, study, worker), TrialOutcome.ERROR)
    assert retry(database).trials == ((3, 1),)
    assert database.transact(lambda c: studies.find(c, "small")).spec.budget.trials == 7


def test_trial_that_cannot_be_retried(database: Database, started: Started, holder: Enrol) -> None:
    """One that is not there is not found; one that did not fail is refused; nothing is written."""
    end(database, hold(database, started(), holder("w")), TrialOutcome.COMPLETED)
    with pytest.raises(NotFoundError, match="small has no trial 7"):
        retry(database, 7)
    with pytest.raises(RefusedError, match="trial 0 of small is complete"):
        retry(database, 0)
    assert rows(database, "select count(*) from trials") == [(1,)]


def test_trial_that_failed_unsampled_is_retried_as_it_was_enqueued(
    database: Database, started: Started, holder: Enrol
) -> None:
    """With its baseline's parameters where it had some, else as a trial that the sampler fills."""
    study, worker = started(baseline=[{"optimizer": "sgd", "learning_rate": 0.1}]), holder("w")
    for _ in range(2):
        end(database, hold(database, study, worker), TrialOutcome.ERROR)
    retry(database)
    assert sample(database, hold(database, study, worker)) == {"optimizer": "sgd", "learning_rate": 0.1}
    assert set(sample(database, hold(database, study, worker))) >= {"optimizer", "learning_rate"}


def test_retry_wakes_a_study_that_its_failures_paused(database: Database, started: Started, holder: Enrol) -> None:
    """It goes on, while one that a person paused stays paused."""
    study, worker = started(budget={"trials": 9, "epochs": 3, "failures": 1}), holder("w")
    end(database, hold(database, study, worker), TrialOutcome.ERROR)
    assert claim(database, study, worker) is None
    assert retry(database).study.status == "running"
    pause(database)
    assert retry(database, 0).study.status == "paused"


def test_retry_is_refused_where_nothing_would_run(database: Database, started: Started, holder: Enrol) -> None:
    """A study whose target is reached says so, instead of keeping a trial that waits for ever."""
    study, worker = started(budget={"trials": 9, "epochs": 3, "target": 0.6}), holder("w")
    end(database, hold(database, study, worker), TrialOutcome.ERROR)
    attempt, history = hold(database, study, worker), ReadOnlyStorage(study.study_id, Direction.MAXIMIZE)
    database.transact(lambda c: simulation.record(c, attempt, metrics(1, 0.7), history))
    end(database, attempt, TrialOutcome.COMPLETED)
    with pytest.raises(RefusedError, match=r"the target 0\.6 is reached"):
        retry(database)


def test_start_study_keeps_retries_beyond_the_budget(database: Database, started: Started, holder: Enrol) -> None:
    """Starting the same file again neither shrinks the enlarged budget nor takes a grid's points away."""
    grid = {"space": {"optimizer": ["sgd", "adam"], "batch_norm": [True, False]}, "sampler": {"name": "grid"}}
    study = started(**grid, budget={"epochs": 3})
    end(database, hold(database, study, holder("w")), TrialOutcome.ERROR)
    retry(database)
    again = study_creation.start(database, loader.from_dict(_small(**grid, budget={"epochs": 3})))
    assert (again.changes, again.kept, again.study.spec.budget.trials) == ((), (), 5)
    study_creation.start(database, loader.from_dict(_small(**grid, budget={"epochs": 3, "repeats": 2})))
    points = rows(database, "select value_json from trial_system_attributes where key = 'fixed_params'")
    assert len(points) == 9
    assert sorted(points.count(point) for point in set(points)) == [2, 2, 2, 3]


def _small(**sections: object) -> dict[str, object]:
    from tests.support.small_study import SMALL

    return {**SMALL, **sections}


@contextmanager
def working(storage: str) -> Iterator[subprocess.Popen[str]]:
    """A real worker on the CPU."""
    command = [sys.executable, "-m", "hpsearch.cli.main", "worker", "--cpu", "--storage", storage]
    worker = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ)
    try:
        yield worker
    finally:
        worker.send_signal(signal.SIGKILL)
        worker.communicate()


def wait_for(database: Database, query: str, wanted: list[tuple[object, ...]], seconds: float) -> None:
    until = time.monotonic() + seconds
    while (state := rows(database, query)) != wanted:
        assert time.monotonic() < until, state
        time.sleep(0.2)


@pytest.mark.tensorflow
def test_real_worker_obeys_pause_resume_and_stop(database: Database, storage: str, started: Started) -> None:
    """Within one renewal it releases its trial with a checkpoint, goes on with it, and ends it as pruned."""
    started(
        budget={"trials": 1, "epochs": 100_000, "patience": 100_000},
        data={"name": "digits", "train_limit": 300, "validation": 100},
        fixed={"filters": 2, "dense_units": 4},
        space={"optimizer": ["sgd"]},
    )
    renewal, attempt = 15 + 10, "select count(*) from hpsearch.attempts where ended_at is null"
    epochs = "select count(*) > {} from hpsearch.epochs"
    with working(storage) as worker:
        wait_for(database, epochs.format(0), [(True,)], 120)
        pause(database)
        wait_for(database, attempt, [(0,)], renewal)
        (before,) = rows(database, "select count(*) from hpsearch.epochs")[0]
        why = "select why, checkpoint is not null from hpsearch.attempts order by number limit 1"
        assert rows(database, why) == [("paused", True)]
        resume(database)
        wait_for(database, epochs.format(before), [(True,)], 30)
        stop(database)
        wait_for(database, "select state::text from trials", [("PRUNED",)], renewal)
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(30) == 0
    assert rows(database, "select count(*) from hpsearch.attempts") == [(2,)]
    assert rows(database, "select count(*) = max(epoch) from hpsearch.epochs") == [(True,)]
    assert rows(database, "select count(*) from hpsearch.files where key like 'checkpoint/%'") == [(0,)]
