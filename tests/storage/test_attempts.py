"""Claims, leases and fences."""

import threading
import time
from collections.abc import Callable

import pytest
from sqlalchemy import Connection, text

from hpsearch.errors import StatementError
from hpsearch.metrics import Direction
from hpsearch.outcomes import AttemptEnd, TrialOutcome
from hpsearch.sampling import suggest
from hpsearch.sampling.readonly_storage import ReadOnlyStorage
from hpsearch.storage import attempts, studies
from hpsearch.storage.attempts import Attempt, LostError
from hpsearch.storage.database import Database
from hpsearch.storage.studies import Study
from hpsearch.storage.workers import WorkerIdentity
from tests.support import simulation
from tests.support.small_study import claim, metrics

pytestmark = pytest.mark.usefixtures("server_long_up")

Started = Callable[..., Study]
Enrol = Callable[[str], WorkerIdentity]


def record(database: Database, attempt: Attempt, epoch: int, value: float = 0.5) -> bool:
    history = ReadOnlyStorage(attempt.study.study_id, attempt.study.spec.direction)
    return database.transact(lambda connection: simulation.record(connection, attempt, metrics(epoch, value), history))


def finish(database: Database, attempt: Attempt, ending: TrialOutcome = TrialOutcome.COMPLETED) -> None:
    database.transact(lambda connection: attempts.finish(connection, attempt, ending, {}))


def expire(database: Database) -> None:
    """Let every lease run out, and the server have been up for long."""
    database.transact(
        lambda connection: connection.execute(
            text("update hpsearch.attempts set held_until = clock_timestamp() - interval '1 hour'")
        )
    )


def rows(database: Database, query: str, **arguments: object) -> list[tuple[object, ...]]:
    result = database.transact(lambda connection: connection.execute(text(query), arguments).all())
    return [tuple(row) for row in result]


def test_budget_is_exact_when_many_workers_claim_at_once(database: Database, started: Started, holder: Enrol) -> None:
    """Twelve workers that claim until nothing is left hold exactly the budgeted trials, numbered from 0."""
    study = started(budget={"trials": 30, "epochs": 3})
    holders = [holder(f"w{n}") for n in range(12)]
    numbers: list[int] = []

    def work(mine: WorkerIdentity) -> None:
        own = Database(database.url.render_as_string(hide_password=False))
        while (attempt := claim(own, study, mine)) is not None:
            numbers.append(attempt.trial_number)
            finish(own, attempt)
        own.close()

    threads = [threading.Thread(target=work, args=(worker,)) for worker in holders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(numbers) == list(range(30))


def test_finished_when_the_last_trial_ended(database: Database, started: Started, holder: Enrol) -> None:
    """A study is running while a trial is held, and finished at the first claim after the last one ended."""
    study, worker = started(budget={"trials": 1, "epochs": 3}), holder("w")
    attempt = claim(database, study, worker)
    assert attempt is not None
    assert claim(database, study, worker) is None
    assert database.transact(lambda c: studies.read(c, study.study_id)).status == "running"
    finish(database, attempt)
    assert claim(database, study, worker) is None
    assert database.transact(lambda c: studies.read(c, study.study_id)).status == "finished"


def test_lost_trial_goes_on_as_the_same_trial(database: Database, started: Started, holder: Enrol) -> None:
    """After its lease ran out, another worker holds the same trial, with the epochs that were stored."""
    study = started()
    first = claim(database, study, holder("a"))
    assert first is not None
    record(database, first, 1)
    record(database, first, 2)
    expire(database)
    second = claim(database, study, holder("b"))
    assert second is not None
    assert (second.trial_id, second.trial_number, second.number) == (first.trial_id, first.trial_number, 2)
    assert [epoch.epoch for epoch in second.epochs] == [1, 2]


def test_worker_that_lost_its_trial_writes_nothing(database: Database, started: Started, holder: Enrol) -> None:
    """Every write of a worker whose trial was adopted is refused."""
    study = started()
    first = claim(database, study, holder("a"))
    assert first is not None
    expire(database)
    assert claim(database, study, holder("b")) is not None
    with pytest.raises(LostError):
        record(database, first, 1)
    with pytest.raises(LostError):
        finish(database, first)
    with pytest.raises(LostError):
        database.transact(lambda c: attempts.release(c, first, AttemptEnd.PREEMPTED))
    with pytest.raises(LostError):
        database.transact(lambda c: attempts.renew(c, first))
    assert rows(database, "select count(*) from hpsearch.epochs") == [(0,)]


def test_expired_lease_that_nobody_took_is_held_on(database: Database, started: Started, holder: Enrol) -> None:
    """A holder whose lease ran out, but whom nobody replaced, still writes and renews."""
    study, worker = started(budget={"trials": 1, "epochs": 3}), holder("a")
    attempt = claim(database, study, worker)
    assert attempt is not None
    expire(database)
    record(database, attempt, 1)
    assert database.transact(lambda c: attempts.renew(c, attempt)) == "running"
    assert claim(database, study, holder("b")) is None


def test_trial_ended_from_outside_is_lost(database: Database, started: Started, holder: Enrol) -> None:
    """A holder whose trial was ended by another program writes nothing more."""
    study = started()
    attempt = claim(database, study, holder("a"))
    assert attempt is not None
    database.transact(lambda c: c.execute(text("update trials set state = 'FAIL'")))
    with pytest.raises(LostError):
        record(database, attempt, 1)
    with pytest.raises(LostError):
        database.transact(lambda c: attempts.renew(c, attempt))


def test_released_trial_is_taken_up_at_once(database: Database, started: Started, holder: Enrol) -> None:
    """A released trial needs no lease to run out before another worker goes on with it."""
    study = started()
    first = claim(database, study, holder("a"))
    assert first is not None
    database.transact(lambda c: attempts.release(c, first, AttemptEnd.PREEMPTED))
    second = claim(database, study, holder("b"))
    assert second is not None
    assert second.trial_id == first.trial_id


def test_preemptions_are_not_counted_and_losses_without_progress_are(
    database: Database, started: Started, holder: Enrol
) -> None:
    """A trial survives any number of preemptions, and fails once three attempts were lost without an epoch."""
    study, worker = started(budget={"trials": 1, "epochs": 3, "attempts": 3}), holder("a")
    for _ in range(5):
        attempt = claim(database, study, worker)
        assert attempt is not None
        database.transact(lambda c: attempts.release(c, attempt, AttemptEnd.PREEMPTED))
    for _ in range(3):
        assert claim(database, study, worker) is not None
        expire(database)
    assert claim(database, study, worker) is None
    assert rows(database, "select state::text from trials") == [("FAIL",)]
    assert rows(database, "select count(*) from hpsearch.attempts where ended_at is null") == [(0,)]


def test_losses_after_an_epoch_are_not_counted(database: Database, started: Started, holder: Enrol) -> None:
    """An attempt that finished an epoch before it was lost spends nothing."""
    study, worker = started(budget={"trials": 1, "epochs": 9, "attempts": 1}), holder("a")
    for epoch in range(1, 4):
        attempt = claim(database, study, worker)
        assert attempt is not None
        record(database, attempt, epoch)
        expire(database)
    assert claim(database, study, worker) is not None


def test_retrained_epoch_keeps_its_first_row_in_both_tables(
    database: Database, started: Started, holder: Enrol
) -> None:
    """An epoch that is reported again changes neither our row nor Optuna's."""
    attempt = claim(database, started(), holder("a"))
    assert attempt is not None
    record(database, attempt, 1, 0.3)
    record(database, attempt, 1, 0.9)
    assert rows(database, "select epoch, val_accuracy from hpsearch.epochs") == [(1, 0.3)]
    assert rows(database, "select step, intermediate_value from trial_intermediate_values") == [(1, 0.3)]


def test_cut_back_forgets_later_epochs_in_both_tables(database: Database, started: Started, holder: Enrol) -> None:
    """Epochs that no checkpoint reaches leave both tables."""
    attempt = claim(database, started(), holder("a"))
    assert attempt is not None
    for epoch in (1, 2, 3):
        record(database, attempt, epoch)
    database.transact(lambda c: attempts.discard_epochs(c, attempt, 1))
    assert rows(database, "select epoch from hpsearch.epochs") == [(1,)]
    assert rows(database, "select step from trial_intermediate_values") == [(1,)]


def test_pruning_ends_trial_and_attempt_in_the_epochs_transaction(
    database: Database, started: Started, holder: Enrol
) -> None:
    """A trial far below the median of the complete ones ends pruned with its last value."""
    pruner = {"name": "median", "n_startup_trials": 2}
    study, worker = started(pruner=pruner), holder("a")
    for _ in range(2):
        good = claim(database, study, worker)
        assert good is not None
        for epoch in (1, 2, 3):
            record(database, good, epoch, 0.8)
        finish(database, good)
    bad = claim(database, study, worker)
    assert bad is not None
    assert record(database, bad, 1, 0.1) is True
    state = "select t.state::text, v.value from trials t join trial_values v using (trial_id) where trial_id = :id"
    assert rows(database, state, id=bad.trial_id) == [("PRUNED", 0.1)]
    why = "select why from hpsearch.attempts where trial_id = :id"
    assert rows(database, why, id=bad.trial_id) == [("pruned",)]


def test_last_epoch_is_not_pruned(database: Database, started: Started, holder: Enrol) -> None:
    """After the last epoch there is nothing to save, so the pruner is not asked."""
    study, worker = started(pruner={"name": "median", "n_startup_trials": 1}), holder("a")
    good = claim(database, study, worker)
    assert good is not None
    for epoch in (1, 2, 3):
        record(database, good, epoch, 0.8)
    finish(database, good)
    late = claim(database, study, worker)
    assert late is not None
    assert record(database, late, 3, 0.1) is False


def test_complete_trial_has_its_best_epochs_value(database: Database, started: Started, holder: Enrol) -> None:
    """The value of a complete trial is that of its best epoch, not its last."""
    attempt = claim(database, started(), holder("a"))
    assert attempt is not None
    for epoch, value in ((1, 0.3), (2, 0.7), (3, 0.6)):
        record(database, attempt, epoch, value)
    finish(database, attempt)
    assert rows(database, "select value from trial_values") == [(0.7,)]


@pytest.mark.parametrize(("ending", "accuracy"), [(TrialOutcome.DIVERGED, float("nan")), (TrialOutcome.AT_CHANCE, 0.1)])
def test_trial_that_learns_nothing_is_infeasible_to_optuna(
    database: Database, started: Started, holder: Enrol, ending: TrialOutcome, accuracy: float
) -> None:
    """A trial that diverged or is at chance is PRUNED, with a constraint that Optuna reads as violated."""
    import optuna

    study = started()
    attempt = claim(database, study, holder("a"))
    assert attempt is not None
    record(database, attempt, 1, accuracy)
    finish(database, attempt, ending)
    seen = optuna.load_study(study_name=study.name, storage=database.url.render_as_string(hide_password=False))
    assert seen.trials[0].state is optuna.trial.TrialState.PRUNED
    assert max(seen.trials[0].constraints.values()) > 0


def test_failures_in_a_row_pause_the_study(database: Database, started: Started, holder: Enrol) -> None:
    """A study whose last trials all ended in errors is paused, with the reason."""
    study, worker = started(budget={"trials": 9, "epochs": 3, "failures": 2}), holder("a")
    for _ in range(2):
        attempt = claim(database, study, worker)
        assert attempt is not None
        finish(database, attempt, TrialOutcome.ERROR)
    assert claim(database, study, worker) is None
    current = database.transact(lambda c: studies.read(c, study.study_id))
    assert current.status == "paused"
    assert "last 2 trials" in str(current.reason)


def test_target_closes_the_study(database: Database, started: Started, holder: Enrol) -> None:
    """Once a complete trial reaches the target no other starts, and the study is finished."""
    study, worker = started(budget={"trials": 9, "epochs": 3, "target": 0.6}), holder("a")
    attempt = claim(database, study, worker)
    assert attempt is not None
    record(database, attempt, 1, 0.65)
    finish(database, attempt)
    assert claim(database, study, worker) is None
    assert database.transact(lambda c: studies.read(c, study.study_id)).status == "finished"


def test_adopted_trial_keeps_its_parameters(database: Database, started: Started, holder: Enrol) -> None:
    """Sampling an adopted trial again gives the parameters it had, and writes none."""
    study = started()
    first = claim(database, study, holder("a"))
    assert first is not None
    history = ReadOnlyStorage(study.study_id, Direction.MAXIMIZE)
    database.transact(history.refresh)
    params, writes = suggest.suggest(study.spec, history, first.trial_id, first.trial_number)
    database.transact(lambda c: attempts.store_parameters(c, first, writes))
    expire(database)
    second = claim(database, study, holder("b"))
    assert second is not None
    other = ReadOnlyStorage(study.study_id, Direction.MAXIMIZE)
    database.transact(other.refresh)
    again, more = suggest.suggest(study.spec, other, second.trial_id, second.trial_number)
    assert again == params
    assert not more.parameters


def test_study_deleted_under_its_worker(database: Database, started: Started, holder: Enrol) -> None:
    """Deleting the study with Optuna takes our rows along, and its worker finds its trial lost."""
    import optuna

    study = started()
    attempt = claim(database, study, holder("a"))
    assert attempt is not None
    record(database, attempt, 1)
    optuna.delete_study(study_name=study.name, storage=database.url.render_as_string(hide_password=False))
    with pytest.raises(LostError):
        record(database, attempt, 2)
    for table in ("studies", "attempts", "epochs"):
        assert rows(database, f"select count(*) from hpsearch.{table}") == [(0,)]


def test_epoch_that_waited_for_a_renewal_is_counted(database: Database, started: Started, holder: Enrol) -> None:
    """An epoch stored while the lease is being renewed waits for that, and finds the attempt as it is then."""
    attempt = claim(database, started(), holder("a"))
    assert attempt is not None
    record(database, attempt, 1)
    waiting = threading.Thread(target=record, args=(database, attempt, 2))

    def renew(connection: Connection) -> None:
        attempts.renew(connection, attempt)
        waiting.start()
        wait_for_a_lock(database)

    database.transact(renew)
    waiting.join(60)
    assert rows(database, "select epoch from hpsearch.epochs order by epoch") == [(1,), (2,)]
    assert rows(database, "select epochs from hpsearch.attempts") == [(2,)]


def test_epoch_that_waited_for_an_adoption_is_refused(database: Database, started: Started, holder: Enrol) -> None:
    """An epoch stored while another worker takes the trial over waits for that, and is not written."""
    attempt = claim(database, started(), holder("a"))
    assert attempt is not None
    refused: list[Exception] = []

    def late() -> None:
        try:
            record(database, attempt, 1)
        except LostError as error:
            refused.append(error)

    waiting = threading.Thread(target=late)

    def close(connection: Connection) -> None:
        attempts.release(connection, attempt, AttemptEnd.PREEMPTED)
        waiting.start()
        wait_for_a_lock(database)

    database.transact(close)
    waiting.join(60)
    assert len(refused) == 1
    assert rows(database, "select count(*) from hpsearch.epochs") == [(0,)]
    assert rows(database, "select count(*) from trial_intermediate_values") == [(0,)]


def wait_for_a_lock(database: Database) -> None:
    """Return once a session of this database waits for a lock."""
    query = "select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
    until = time.monotonic() + 30
    while time.monotonic() < until:
        if rows(database, query):
            return
        time.sleep(0.01)
    raise AssertionError("nobody waits for a lock")


@pytest.mark.parametrize("end", AttemptEnd)
def test_attempt_may_end_in_each_way(database: Database, started: Started, holder: Enrol, end: AttemptEnd) -> None:
    """The tables take every member of the enum."""
    attempt = claim(database, started(), holder("a"))
    assert attempt is not None
    database.transact(lambda c: attempts.release(c, attempt, end))
    assert database.transact(lambda c: attempts.read_end(c, attempt)) is end


def test_attempt_may_end_in_no_other_way(database: Database, started: Started, holder: Enrol) -> None:
    """The tables refuse an end that the enum does not have."""
    assert claim(database, started(), holder("a")) is not None
    with pytest.raises(StatementError, match="attempts_why"):
        database.transact(lambda c: c.execute(text("update hpsearch.attempts set why = 'bored'")))
