"""One attempt from claim to end: sample, train, report each epoch, tell."""

import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from sqlalchemy import Connection

from hpsearch.errors import HpsearchError, NotFoundError, StoreError, UnreachableError, first_line
from hpsearch.outcomes import TrainingEnd, TrialOutcome
from hpsearch.sampling import suggest
from hpsearch.sampling.readonly_storage import ReadOnlyStorage
from hpsearch.spec.rows import Value
from hpsearch.storage import attempts, studies
from hpsearch.storage.artifacts.study_artifacts import StudyArtifacts
from hpsearch.storage.attempts import LostError
from hpsearch.storage.database import Database
from hpsearch.training import protocol
from hpsearch.training.protocol import BatchProgress, Ended, EpochReport, GoOn, Loaded, Ready, Refused, Released, Stop
from hpsearch.worker.db_retry import DatabaseRetry, StopRequest
from hpsearch.worker.display_protocol import WorkerDisplay
from hpsearch.worker.epoch_queue import EpochQueue
from hpsearch.worker.lease_renewal import LeaseHold
from hpsearch.worker.order import describe_making, make_train_message
from hpsearch.worker.timing import Timing
from hpsearch.worker.trainer_process import TrainerDiedError, TrainerProcess
from hpsearch.worker.trial_completion import TrialCompletion


class RefusedStudyError(Exception):
    """This host cannot serve the study: its files are out of reach, or its data missing or not the other workers'."""


class _OverError(Exception):
    """The attempt is over, whatever its trainer still does."""

    def __init__(self, ending: str, detail: str) -> None:
        super().__init__(detail)
        self.ending, self.detail = ending, detail


@dataclass
class TrialRunner:
    """One attempt on one trainer."""

    database: Database
    trainer: TrainerProcess
    hold: LeaseHold
    display: WorkerDisplay
    stop: StopRequest
    history: ReadOnlyStorage
    depot: StudyArtifacts
    workdir: Path
    timing: Timing

    def __post_init__(self) -> None:
        self.held = self.hold.held
        self.alarm = self.hold.alarm
        self.memory = 0
        self._patience = DatabaseRetry(self.database, self.stop, self.display.note, self.timing)
        self._transact, self._execute, self._keep = (
            self._patience.transact,
            self._patience.execute,
            self._patience.keep,
        )
        self._closing = TrialCompletion(self.held, self._patience, self.depot, self.display.note)
        self._backlog = EpochQueue(self.database, self.held, self.history, self.depot, self.display.note)
        self._training = False
        self._stopping: str | None = None
        self._told_at = 0.0

    @property
    def released(self) -> bool:
        """Whether its trial was left to another attempt."""
        return self._closing.released

    def go(self) -> str:
        """Run it to its end and say how it ended: an `Ending`, or `preempted`, `paused`, `lost`.

        Raises:
            RefusedStudyError: this host cannot train this study; the trial was released.
            NotFoundError: the framework does not see the GPU; the trial was released.
            TrainerDiedError: the trainer left before it was ready, as where Keras is broken; the trial was released.
            UnreachableError: the worker was told to stop while the database was away.
        """
        try:
            return self._guarded()
        except _OverError as over:
            self._abandon()
            return self._say(over.ending, over.detail)
        except LostError:
            self._abandon()
            return self._lost()

    def _guarded(self) -> str:
        try:
            return self._train()
        except (HpsearchError, LostError, RefusedStudyError, TrainerDiedError, _OverError):
            raise
        except Exception as error:  # noqa: BLE001 - a bug costs an attempt, neither the worker nor a trial left running
            self.display.note(traceback.format_exc().rstrip())
            self.trainer.kill()
            return self._lose(TrialOutcome.CRASHED, f"{type(error).__name__}: {first_line(error)}")

    def _train(self) -> str:
        try:
            params = self._sample()
            train = self._order(params)
            self.display.trial_started(self.held, params)
            if not self._await_ready():
                return self._stalled()
            self.trainer.send(train)
            self._training = True
            return self._listen()
        except TrainerDiedError as error:
            return self._died(error)

    # Before the training.

    def _sample(self) -> dict[str, Value]:
        held, spec = self.held, self.held.study.spec
        self._execute(self.history.refresh)
        try:
            params, writes = suggest.suggest(spec, self.history, held.trial_id, held.trial_number)
        except Exception as error:  # noqa: BLE001 - whatever a sampler raises belongs to this trial
            self._fail(error)
        if writes.parameters or writes.attributes:
            self._execute(lambda connection: attempts.store_parameters(connection, held, writes))
        return params

    def _fail(self, error: Exception) -> NoReturn:
        outcome = TrainingEnd(TrialOutcome.ERROR, f"the sampler failed: {error}", traceback.format_exc())
        self._closing.finish(outcome)
        raise _OverError(TrialOutcome.ERROR, outcome.detail) from error

    def _order(self, params: Mapping[str, Value]) -> protocol.Train:
        checkpoint = self.workdir / "resume.npz"
        resumable = self._resume(checkpoint)
        return make_train_message(
            self.held, params, self.workdir, checkpoint if resumable else None, self.timing.checkpoint
        )

    def _resume(self, path: Path) -> bool:
        """Fetch the checkpoint to go on from. Where it cannot be read now, the trial is for a worker that can."""
        try:
            self.depot.open()
            return self._keep(lambda: self.depot.fetch(self.held, path))
        except StoreError as error:
            self._closing.release("refused")
            raise RefusedStudyError(str(error)) from None

    def _await_ready(self) -> bool:
        """Wait for a trainer that was just started; False where it hangs."""
        until = time.monotonic() + self.timing.stall
        while self.trainer.ready is None:
            if self.stop.requested:
                self._closing.release("preempted")
                raise _OverError("preempted", "before its training began")
            left = until - time.monotonic()
            if left <= 0:
                return False
            self.trainer.receive(self.alarm, left)
            self.alarm.clear()
        if blind := self.trainer.blind():
            self._closing.release("preempted")
            raise NotFoundError(blind)
        return True

    # While it trains.

    def _listen(self) -> str:
        heard = time.monotonic()
        while True:
            self._heed()
            message = self.trainer.receive(self.alarm, self._time_left(heard))
            self.alarm.clear()
            if message is None:
                if self._silent(heard):
                    return self._stalled()
                continue
            self._training = not isinstance(message, Ended | Released | Refused)
            ended = self._handle(message)
            if ended is not None:
                return ended
            # Not before: what was said may have had to wait for the database, and the trainer for an answer.
            heard = time.monotonic()

    def _time_left(self, heard: float) -> float:
        until = self._told_at + self.timing.stop if self._stopping else heard + self.timing.stall
        return max(0.0, until - time.monotonic())

    def _silent(self, heard: float) -> bool:
        now = time.monotonic()
        return now - self._told_at >= self.timing.stop if self._stopping else now - heard >= self.timing.stall

    def _heed(self) -> None:
        """Pass on what has come from outside since: a signal, a pause or stop of the study, the loss of the trial."""
        if self.hold.lost:
            raise LostError("the lease found the attempt closed")
        if self._stopping:
            return
        if self.hold.status == "stopped":
            self._tell_to_stop("stopped", checkpoint=False)
        elif self.stop.requested:
            self._tell_to_stop("preempted", checkpoint=True)
        elif self.hold.status == "paused":
            self._tell_to_stop("paused", checkpoint=True)

    def _tell_to_stop(self, why: str, *, checkpoint: bool) -> None:
        self._stopping, self._told_at = why, time.monotonic()
        self.trainer.send(Stop(checkpoint))

    def _handle(self, message: protocol.FromTrainer) -> str | None:
        match message:
            case Loaded():
                self._loaded(message)
            case BatchProgress():
                self.display.progress(self.held, message)
            case EpochReport():
                self._epoch(message)
            case Released():
                return self._released(message)
            case Ended(outcome):
                self.memory = outcome.memory
                return self._ended(outcome)
            case Refused(detail):
                self._closing.release("refused")
                raise RefusedStudyError(detail)
            case Ready():
                pass
        return None

    def _loaded(self, loaded: Loaded) -> None:
        held = self.held
        theirs = held.study.data_fingerprint
        if theirs != loaded.data_fingerprint:
            theirs = self._transact(lambda connection: self._record_data(connection, loaded))
        if theirs != loaded.data_fingerprint:
            self._abandon()
            self._closing.release("refused")
            whose = "search, or its evaluation's" if held.study.spec.evaluation else "study's"
            raise RefusedStudyError(
                f"the {held.study.spec.data.name} images here differ from those of the {whose} first worker "
                f"({loaded.data_fingerprint[:12]} here, {theirs[:12]} there): give this host the same files"
            )
        if held.epochs or loaded.epochs:
            self._transact(lambda connection: self._reconcile(connection, loaded))
        made = describe_making(held, self.trainer.ready, loaded)
        self._execute(lambda connection: attempts.describe(connection, held, loaded.weights, made))
        self.trainer.send(GoOn())

    def _record_data(self, connection: Connection, loaded: Loaded) -> str:
        attempts.fence(connection, self.held)
        return studies.record_data_fingerprint(connection, self.held.study.study_id, loaded.data_fingerprint)

    def _reconcile(self, connection: Connection, loaded: Loaded) -> None:
        """Make the tables agree with where the trainer goes on from."""
        attempts.discard_epochs(connection, self.held, len(loaded.epochs))
        attempts.restore_epochs(connection, self.held, loaded.epochs, loaded.confusion)

    def _epoch(self, report: EpochReport) -> None:
        self.display.epoch(self.held, report.metrics)
        self._backlog.add(report)
        try:
            self._save()
        except UnreachableError as error:
            if len(self._backlog) == 1:  # said once an outage
                self.display.note(f"{error}; the training goes on, its epochs are kept")
        if not self._stopping:
            self.trainer.send(GoOn())

    def _save(self) -> None:
        """Store the epochs that are not stored yet.

        Raises:
            _OverError: the pruner ended the trial.
        """
        pruned = self._backlog.store()
        if pruned:
            detail = f"by the {self.held.study.spec.pruner.name} pruner at epoch {pruned.epoch}"
            raise _OverError(TrialOutcome.PRUNED, detail)

    # The ends.

    def _released(self, released: Released) -> str:
        self._keep(self._save)
        if self._stopping == "stopped":
            self._closing.end(TrialOutcome.PRUNED, {"detail": attempts.STOPPED})
            return self._say(TrialOutcome.PRUNED, attempts.STOPPED)
        checkpoint = released.checkpoint
        if checkpoint:
            self._keep(lambda: self._backlog.store_checkpoint(checkpoint, released.epoch))
        why = self._stopping or "released"
        self._closing.release(why)
        return self._say(why, f"after epoch {released.epoch}")

    def _ended(self, outcome: TrainingEnd) -> str:
        self._keep(self._save)
        if outcome.outcome is TrialOutcome.OUT_OF_MEMORY:
            return self._out_of_memory(outcome)
        outcome = self._closing.finish(outcome)
        return self._say(outcome.outcome, outcome.detail)

    def _out_of_memory(self, outcome: TrainingEnd) -> str:
        """Once more, alone and in a fresh process, before the configuration is called too large."""
        if self.held.short_of_memory:
            self._closing.finish(outcome)
        else:
            self._closing.release("out_of_memory")
        return self._say(outcome.outcome, outcome.detail)

    def _died(self, error: TrainerDiedError) -> str:
        if self.trainer.ready is None and error.by_signal is None:
            self._closing.release("preempted")
            raise error
        self._keep(self._save)
        if error.by_signal is not None and error.by_signal.name == "SIGKILL" and self._training:
            detail = "the trainer was killed, as the kernel does to the largest process when memory runs out"
            return self._out_of_memory(TrainingEnd(TrialOutcome.OUT_OF_MEMORY, detail))
        return self._lose(TrialOutcome.CRASHED, str(error))

    def _stalled(self) -> str:
        self.trainer.kill()
        self._keep(self._save)
        if self._stopping:
            self._closing.release(self._stopping)
            return self._say(self._stopping, "its trainer did not obey and was killed")
        return self._lose(TrialOutcome.STALLED, f"no sign of life for {self.timing.stall:g} s")

    def _lose(self, ending: TrialOutcome, detail: str) -> str:
        assert ending.is_retried
        self._closing.release(str(ending))
        return self._say(ending, detail)

    def _abandon(self) -> None:
        """Stop the trainer without writing anything."""
        if not self._training:
            return
        try:
            self.trainer.send(Stop())
            self._drain_until_released()
        except TrainerDiedError:
            return  # which is as good

    def _drain_until_released(self) -> None:
        until = time.monotonic() + self.timing.stop
        while (left := until - time.monotonic()) > 0:
            message = self.trainer.receive(self.alarm, left)
            if isinstance(message, Released | Ended | Refused):
                self._training = False
                return
            if message is None:
                self.alarm.clear()
        self.trainer.kill()

    def _lost(self) -> str:
        # Where the connection broke during a commit, an end of ours stands although it looked as if it had failed.
        why = self._transact(lambda connection: attempts.read_end(connection, self.held))
        if why is None or why == "lost":
            return self._say("lost", "another worker has it, or it was ended from outside")
        return self._say(why, "")

    def _say(self, ending: str, detail: str) -> str:
        self.display.trial_ended(self.held, str(ending), detail)
        return str(ending)
