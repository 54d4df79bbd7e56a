"""The thread that renews a worker's leases."""

from collections.abc import Callable, Iterator
from functools import partial
from multiprocessing.connection import wait

import pytest

from hpsearch.outcomes import AttemptEnd, StudyStatus
from hpsearch.storage import attempts, studies
from hpsearch.storage.attempts import Attempt
from hpsearch.storage.database import Database
from hpsearch.storage.studies import Study
from hpsearch.storage.workers import WorkerIdentity
from hpsearch.worker.lease_renewal import LeaseRenewal
from hpsearch.worker.timing import Timing
from hpsearch.worker.wakeup import WakeupPipe
from tests.support.small_study import claim
from tests.support.worker_processes import DEADLINE

OFTEN = Timing(renewal=0.01)


@pytest.fixture
def attempt(database: Database, started: Callable[..., Study], holder: Callable[[str], WorkerIdentity]) -> Attempt:
    """An open attempt of a running study."""
    claimed = claim(database, started(), holder("w"))
    assert claimed is not None
    return claimed


@pytest.fixture
def wakeup() -> Iterator[WakeupPipe]:
    pipe = WakeupPipe()
    yield pipe
    pipe.close()


def await_wakeup(wakeup: WakeupPipe) -> None:
    assert wait([wakeup], DEADLINE)  # type: ignore[list-item]  # anything with a fileno() will do
    wakeup.clear()


def test_renewal_brings_the_studys_status(database: Database, attempt: Attempt, wakeup: WakeupPipe) -> None:
    """A pause of the study wakes the slot that trains one of its trials, and so does its resume."""
    with LeaseRenewal(database, "w", OFTEN) as renewal, renewal.renew(attempt, wakeup) as lease:
        for status in (StudyStatus.PAUSED, StudyStatus.RUNNING):
            database.transact(partial(studies.set_status, study_id=attempt.study.study_id, status=status))
            await_wakeup(wakeup)
            assert (lease.study_status, lease.lost) == (status, False)


def test_closed_attempt_is_lost(database: Database, attempt: Attempt, wakeup: WakeupPipe) -> None:
    """An attempt that was closed by somebody else wakes its slot, which sees that the lease was lost."""
    with LeaseRenewal(database, "w", OFTEN) as renewal, renewal.renew(attempt, wakeup) as lease:
        database.transact(lambda c: attempts.release(c, attempt, AttemptEnd.LOST))
        await_wakeup(wakeup)
        assert lease.lost
