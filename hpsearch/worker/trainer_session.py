"""One attempt's conversation with its trainer process: what is sent, what is received, and how long to wait for it."""

import time

from hpsearch.outcomes import AttemptEnd, StudyStatus
from hpsearch.storage.attempts import LostError
from hpsearch.training.protocol import (
    BatchProgress,
    Ended,
    EpochReport,
    FromTrainer,
    GoOn,
    Refused,
    Released,
    Stop,
    Train,
)
from hpsearch.worker.db_retry import StopRequest
from hpsearch.worker.lease_renewal import Lease
from hpsearch.worker.timing import Timing
from hpsearch.worker.trainer_process import TrainerDiedError, TrainerProcess


class TrainerStalledError(Exception):
    """The trainer sent nothing for `timing.stall` seconds, or did not obey within `timing.stop` or `timing.kill`."""


class TrainerSession:
    """Trains one attempt on a trainer process, and tells it to stop where a signal or the study's status asks for it.

    `training` is whether the trainer is busy with the attempt; `stopping` why it was told to stop, None where it was
    not.
    """

    def __init__(self, trainer: TrainerProcess, lease: Lease, stop: StopRequest, timing: Timing) -> None:
        self._trainer, self._lease, self._stop, self._timing = trainer, lease, stop, timing
        self.training = False
        self.stopping: AttemptEnd | None = None
        self._stopped_at = 0.0
        self._trained = False

    def await_ready(self) -> bool:
        """Wait for a process that was just started; False where the worker was told to leave first.

        Raises:
            TrainerStalledError: the process hangs.
            TrainerDiedError: the process is gone.
        """
        deadline = time.monotonic() + self._timing.stall
        while self._trainer.ready is None:
            if self._stop.requested:
                return False
            left = deadline - time.monotonic()
            if left <= 0:
                raise TrainerStalledError
            self._trainer.receive(self._lease.wakeup, left)
            self._lease.wakeup.clear()
        return True

    def start(self, train: Train) -> None:
        """Let it train.

        Raises:
            TrainerDiedError: the process is gone.
        """
        self._trainer.send(train)
        self.training = True

    def receive(self) -> FromTrainer:
        """Return the trainer's next message; until then, pass on what comes from outside: a signal, a pause or a stop.

        Raises:
            LostError: the lease was lost.
            TrainerStalledError: the trainer hangs, or does not obey.
            TrainerDiedError: the process is gone.
        """
        # Not from the last message on: handling that may have had to wait for the database, and the trainer for us.
        began = time.monotonic()
        while True:
            self._pass_on_requests()
            message = self._trainer.receive(self._lease.wakeup, max(0.0, self._deadline(began) - time.monotonic()))
            self._lease.wakeup.clear()
            if message is not None:
                self.training = not isinstance(message, Ended | Released | Refused)
                self._trained = self._trained or isinstance(message, BatchProgress | EpochReport)
                return message
            if time.monotonic() >= self._deadline(began):
                raise TrainerStalledError

    def go_on(self) -> None:
        """Let it train on, unless it was told to stop.

        Raises:
            TrainerDiedError: the process is gone.
        """
        if not self.stopping:
            self._trainer.send(GoOn())

    def abandon(self) -> None:
        """End the training without writing anything: the trainer's messages are ignored until it has stopped."""
        if not self.training:
            return
        try:
            self._trainer.send(Stop())
            self._drain()
        except TrainerDiedError:
            return  # it has ended, which is what was wanted

    def kill(self) -> None:
        """End the process at once."""
        self._trainer.kill()

    def _deadline(self, began: float) -> float:
        if not self.stopping:
            return began + self._timing.stall
        # A trainer that loads or compiles hears nothing, and has nothing to keep: who was told to leave does not wait.
        idle = self.stopping is AttemptEnd.PREEMPTED and not self._trained
        return self._stopped_at + (self._timing.kill if idle else self._timing.stop)

    def _pass_on_requests(self) -> None:
        if self._lease.lost:
            raise LostError("the lease found the attempt closed")
        if self.stopping:
            return
        if self._lease.study_status is StudyStatus.STOPPED:
            self._tell_to_stop(AttemptEnd.PRUNED, checkpoint=False)
        elif self._stop.requested:
            self._tell_to_stop(AttemptEnd.PREEMPTED, checkpoint=True)
        elif self._lease.study_status is StudyStatus.PAUSED:
            self._tell_to_stop(AttemptEnd.PAUSED, checkpoint=True)

    def _tell_to_stop(self, end: AttemptEnd, *, checkpoint: bool) -> None:
        self.stopping, self._stopped_at = end, time.monotonic()
        self._trainer.send(Stop(checkpoint))

    def _drain(self) -> None:
        deadline = time.monotonic() + self._timing.stop
        while (left := deadline - time.monotonic()) > 0:
            message = self._trainer.receive(self._lease.wakeup, left)
            if isinstance(message, Released | Ended | Refused):
                self.training = False
                return
            if message is None:
                self._lease.wakeup.clear()
        self._trainer.kill()
