"""Workers that leave when nothing is left for them: at once, or when others have the last trials."""

from collections.abc import Callable
from typing import cast

import pytest
from sqlalchemy import text

from hpsearch.errors import UsageError
from hpsearch.outcomes import AttemptEnd
from hpsearch.storage import attempts
from hpsearch.storage.artifacts.cleanup import ArtifactCleanup
from hpsearch.storage.attempts import Attempt
from hpsearch.storage.database import Database
from hpsearch.storage.studies import Study
from hpsearch.storage.workers import WorkerIdentity
from hpsearch.worker.db_retry import StopRequest
from hpsearch.worker.display_protocol import WorkerDisplay
from hpsearch.worker.lease_renewal import LeaseRenewal
from hpsearch.worker.resources import Quota
from hpsearch.worker.slot import SharedSlotState, Slot, Step
from hpsearch.worker.study_code import CodeDirectories
from hpsearch.worker.timing import DEFAULT_TIMING
from hpsearch.worker.trainer_process import TrainerProcess
from tests.support.commands import hpsearch, one_line
from tests.support.small_study import claim, finish_trial

Started = Callable[..., Study]
Enrol = Callable[[str], WorkerIdentity]


def make_slot(database: Database, holder: WorkerIdentity, *, no_wait: bool) -> Slot:
    """Return a draining slot, which trains nothing."""

    def refuse() -> TrainerProcess:
        raise AssertionError

    def note(line: str) -> None:
        raise AssertionError(line)

    shared = SharedSlotState(
        database,
        cast("WorkerDisplay", None),
        holder,
        LeaseRenewal(database, holder.worker_id, DEFAULT_TIMING),
        StopRequest(),
        Quota(None),
        (),
        True,
        refuse,
        ArtifactCleanup(database),
        DEFAULT_TIMING,
        CodeDirectories(database, note),
        no_wait=no_wait,
    )
    return Slot(shared)


@pytest.fixture
def last(database: Database, started: Started, holder: Enrol) -> Attempt:
    """The last trial of a study, which a worker holds."""
    attempt = claim(database, started(budget={"trials": 1, "epochs": 1}), holder("holding"))
    assert attempt is not None
    return attempt


def test_draining_worker_waits_for_the_last_trials(database: Database, last: Attempt, holder: Enrol) -> None:
    """Without --no-wait it stays until they have ended, however often their leases are renewed."""
    slot = make_slot(database, holder("waiting"), no_wait=False)
    for _ in range(2):
        assert slot._step() is Step.NO_TRIAL
        database.transact(lambda c: attempts.renew(c, last))
    finish_trial(database, last)
    assert slot._step() is Step.DRAINED


def test_excess_worker_leaves_once_the_others_are_known_to_live(
    database: Database, last: Attempt, holder: Enrol
) -> None:
    """With --no-wait it stays until each lease was renewed after its first look, and then leaves."""
    slot = make_slot(database, holder("excess"), no_wait=True)
    assert [slot._step() for _ in range(2)] == [Step.NO_TRIAL, Step.NO_TRIAL]
    database.transact(lambda c: attempts.renew(c, last))
    assert slot._step() is Step.DRAINED
    assert make_slot(database, holder("later"), no_wait=True)._step() is Step.NO_TRIAL


@pytest.mark.usefixtures("server_long_up")
def test_excess_worker_takes_the_trial_of_one_that_is_lost(database: Database, last: Attempt, holder: Enrol) -> None:
    """A lease that is not renewed keeps it there until that has run out; then the trial is its own."""
    slot = make_slot(database, holder("excess"), no_wait=True)
    assert slot._step() is Step.NO_TRIAL
    database.transact(lambda c: c.execute(text("update hpsearch.attempts set held_until = clock_timestamp()")))
    attempt = slot._claim()
    assert attempt is not None
    assert (attempt.trial_id, attempt.number) == (last.trial_id, 2)
    database.transact(lambda c: attempts.release(c, attempt, AttemptEnd.RELEASED))
    released = slot._claim()
    assert released is not None
    assert released.number == 3


def test_no_wait_is_about_draining() -> None:
    """--no-wait without --drain is refused in one line."""
    assert "add --drain" in one_line(hpsearch("worker", "--cpu", "--no-wait"), UsageError.exit_code)
