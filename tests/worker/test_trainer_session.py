"""What an attempt's session sends to its trainer, and how long it waits for an answer."""

from collections import deque
from collections.abc import Iterator
from typing import Any

import pytest

from hpsearch.outcomes import AttemptEnd, StudyStatus, TrainingEnd, TrialOutcome
from hpsearch.storage.attempts import LostError
from hpsearch.training.protocol import BatchProgress, Ended, GoOn, Ready, Released, Stop
from hpsearch.worker.db_retry import StopRequest
from hpsearch.worker.lease_renewal import Lease
from hpsearch.worker.timing import DEFAULT_TIMING, Timing
from hpsearch.worker.trainer_process import TrainerDiedError
from hpsearch.worker.trainer_session import TrainerSession, TrainerStalledError
from hpsearch.worker.wakeup import WakeupPipe

READY = Ready("none", "CPU", {})
PROGRESS = BatchProgress(1, 2, 3)


class FakeTrainer:
    """A trainer process that sends what it was given; None is a wait that ended without a message."""

    def __init__(self, *messages: object) -> None:
        self.messages = deque(messages)
        self.sent: list[object] = []
        self.ready: Ready | None = READY
        self.killed = False

    def send(self, message: object) -> None:
        self.sent.append(message)

    def receive(self, wakeup: WakeupPipe, timeout: float) -> Any:
        message = self.messages.popleft()
        if isinstance(message, Exception):
            raise message
        if isinstance(message, Ready):
            self.ready = message
        return message

    def kill(self) -> None:
        self.killed = True


@pytest.fixture
def lease() -> Iterator[Lease]:
    """The lease of an attempt that no test looks at."""
    attempt: Any = None
    wakeup = WakeupPipe()
    yield Lease(attempt, wakeup)
    wakeup.close()


def begin(trainer: Any, lease: Lease, timing: Timing = DEFAULT_TIMING, *, stop: bool = False) -> TrainerSession:
    """A session whose training has begun; `stop` is whether the worker was told to leave."""
    request = StopRequest()
    request.requested = stop
    session = TrainerSession(trainer, lease, request, timing)
    job: Any = "the job"
    session.start(job)
    return session


@pytest.mark.parametrize(
    ("status", "preempted", "end", "checkpoint"),
    [
        (StudyStatus.STOPPED, True, AttemptEnd.PRUNED, False),
        (StudyStatus.PAUSED, False, AttemptEnd.PAUSED, True),
        (StudyStatus.RUNNING, True, AttemptEnd.PREEMPTED, True),
        (StudyStatus.PAUSED, True, AttemptEnd.PREEMPTED, True),
    ],
)
def test_requests_from_outside_are_passed_on_once(
    lease: Lease, status: StudyStatus, preempted: bool, end: AttemptEnd, checkpoint: bool
) -> None:
    """A stop, a pause and a signal each send one Stop, with a checkpoint unless the trial ends."""
    lease.study_status = status
    trainer = FakeTrainer(PROGRESS, PROGRESS)
    session = begin(trainer, lease, stop=preempted)
    assert session.receive() == session.receive() == PROGRESS
    assert session.stopping is end
    assert trainer.sent[1:] == [Stop(checkpoint)]
    session.go_on()
    assert len(trainer.sent) == 2


def test_trainer_that_nobody_stops_goes_on(lease: Lease) -> None:
    """Without a request from outside, an answer is a GoOn; a wakeup without news changes nothing."""
    trainer = FakeTrainer(None, PROGRESS)
    session = begin(trainer, lease)
    assert session.receive() == PROGRESS
    session.go_on()
    assert trainer.sent[1:] == [GoOn()]
    assert session.stopping is None


def test_lost_lease_ends_the_session(lease: Lease) -> None:
    """An attempt whose lease was lost receives nothing more."""
    session = begin(FakeTrainer(PROGRESS), lease)
    lease.lost = True
    with pytest.raises(LostError):
        session.receive()


def test_silent_trainer_has_stalled(lease: Lease) -> None:
    """A trainer that sends nothing until the timeout hangs; one that was told to stop has another timeout."""
    with pytest.raises(TrainerStalledError):
        begin(FakeTrainer(None), lease, Timing(stall=0.0)).receive()
    stopped = begin(FakeTrainer(PROGRESS, None), lease, Timing(stop=0.0), stop=True)
    stopped.receive()
    with pytest.raises(TrainerStalledError):
        stopped.receive()


@pytest.mark.parametrize(("status", "waits"), [(StudyStatus.RUNNING, False), (StudyStatus.PAUSED, True)])
def test_worker_that_leaves_does_not_wait_for_a_compiling_trainer(
    lease: Lease, status: StudyStatus, waits: bool
) -> None:
    """One that has trained nothing yet is given up soon by a worker that leaves, and waited for where it stays."""
    lease.study_status = status
    session = begin(FakeTrainer(None, PROGRESS), lease, Timing(kill=0.0), stop=not waits)
    if waits:
        assert session.receive() == PROGRESS
    else:
        with pytest.raises(TrainerStalledError):
            session.receive()


def test_process_that_loads_is_waited_for(lease: Lease) -> None:
    """A new process is waited for until it is ready, until it hangs, or until the worker is told to leave."""
    trainer = FakeTrainer(None, READY)
    trainer.ready = None
    assert begin(trainer, lease).await_ready()
    trainer.ready = None
    assert not begin(trainer, lease, stop=True).await_ready()
    with pytest.raises(TrainerStalledError):
        begin(trainer, lease, Timing(stall=0.0)).await_ready()


def test_abandoned_training_is_drained(lease: Lease) -> None:
    """What an abandoned trainer still sends is ignored until it has stopped; then there is nothing to abandon."""
    trainer = FakeTrainer(PROGRESS, None, Released(1, None))
    session = begin(trainer, lease)
    session.abandon()
    session.abandon()
    assert trainer.sent[1:] == [Stop()]
    assert not trainer.messages
    assert not trainer.killed


def test_abandoned_trainer_that_does_not_obey_is_killed(lease: Lease) -> None:
    """One that does not stop in time is killed; one that has died is as good as stopped."""
    trainer = FakeTrainer()
    begin(trainer, lease, Timing(stop=0.0)).abandon()
    assert trainer.killed
    dead = FakeTrainer(TrainerDiedError(1, ""))
    begin(dead, lease).abandon()
    assert not dead.killed


def test_training_that_ended_is_not_abandoned(lease: Lease) -> None:
    """After the trainer's last message nothing is sent to it."""
    trainer = FakeTrainer(Ended(TrainingEnd(TrialOutcome.COMPLETED)))
    session = begin(trainer, lease)
    session.receive()
    session.abandon()
    assert len(trainer.sent) == 1
