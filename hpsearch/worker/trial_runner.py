"""One attempt from claim to end: sample, train, store each epoch, end the trial or leave it to another attempt."""

from dataclasses import dataclass
from pathlib import Path

from hpsearch.errors import NotFoundError, StoreError, UnreachableError, describe_fault, is_final
from hpsearch.outcomes import AttemptEnd, TrainingEnd, TrialOutcome
from hpsearch.sampling.readonly_storage import ReadOnlyStorage
from hpsearch.storage import attempts
from hpsearch.storage.artifacts.study_artifacts import StudyArtifacts
from hpsearch.storage.attempts import LostError
from hpsearch.storage.database import Database
from hpsearch.training.protocol import (
    BatchProgress,
    DataProgress,
    Ended,
    EpochReport,
    FromTrainer,
    Loaded,
    Notice,
    Refused,
    Released,
)
from hpsearch.worker.db_retry import DatabaseRetry, StopRequest
from hpsearch.worker.display_protocol import WorkerDisplay
from hpsearch.worker.epoch_queue import EpochQueue
from hpsearch.worker.lease_renewal import Lease
from hpsearch.worker.output.output_recorder import OutputRecorder
from hpsearch.worker.timing import Timing
from hpsearch.worker.trainer_process import TrainerDiedError, TrainerProcess
from hpsearch.worker.trainer_session import TrainerSession, TrainerStalledError
from hpsearch.worker.trial_completion import AttemptResult, TrialCompletion
from hpsearch.worker.trial_setup import RefusedStudyError, SamplerError, TrialSetup


class _PrunedError(Exception):
    """The pruner ended the trial with an epoch that was just stored, whatever the trainer does meanwhile."""


@dataclass
class TrialRunner:
    """Runs one attempt on one trainer.

    `memory` is, after a training that ended, how many bytes the trainer holds; 0 where nobody knows.
    """

    database: Database
    trainer: TrainerProcess
    lease: Lease
    display: WorkerDisplay
    stop: StopRequest
    storage: ReadOnlyStorage
    artifacts: StudyArtifacts
    workdir: Path
    timing: Timing
    code: Path | None = None
    """The study's own files on this host, where it has any."""

    def __post_init__(self) -> None:
        attempt = self.attempt = self.lease.attempt
        retry = self._retry = DatabaseRetry(self.database, self.display.note, self.timing)
        self._setup = TrialSetup(attempt, retry, self.storage, self.artifacts, self.code)
        self._session = TrainerSession(self.trainer, self.lease, self.stop, self.timing)
        output = self._output = OutputRecorder(
            self.database, attempt, self.trainer.output, self.display.note, self.timing.output
        )
        self._epochs = EpochQueue(
            self.database, attempt, self.storage, self.artifacts, self.display.note, output.store_last
        )
        self._completion = TrialCompletion(attempt, retry, self.artifacts, self.display.note, output.store_last)
        self.memory = 0

    def run(self) -> AttemptResult:
        """Run the attempt to its end.

        Raises:
            RefusedStudyError: this host cannot train this study; the trial was released.
            NotFoundError: the framework does not see the GPU; the trial was released.
            TrainerDiedError: the trainer left before it was ready, as where Keras is broken; the trial was released.
            UnreachableError: the worker was told to stop while the database was unreachable.
        """
        if self.trainer.ready is not None:  # of one that still loads, it says why it cannot
            self.trainer.output.clear()
        with self._output:
            result = self._run_to_end()
        self.display.end_trial(self.attempt, result.end, result.detail)
        return result

    def _run_to_end(self) -> AttemptResult:
        try:
            return self._run_guarded()
        except _PrunedError as pruned:
            self._session.abandon()
            return AttemptResult(AttemptEnd.PRUNED, str(pruned))
        except LostError:
            self._session.abandon()
            return self._completion.read_end()

    def _run_guarded(self) -> AttemptResult:
        """Let a bug, or a fault of the database, cost an attempt, neither the worker nor a trial that stays running."""
        try:
            return self._train()
        except (LostError, RefusedStudyError, TrainerDiedError, UnreachableError, _PrunedError):
            raise
        except Exception as error:
            if is_final(error):
                raise
            self._session.kill()
            return self._completion.release(AttemptEnd.CRASHED, describe_fault(error))

    def _train(self) -> AttemptResult:
        try:
            params = self._setup.sample()
            checkpoint = self._fetch_checkpoint()
            self.display.start_trial(self.attempt, params)
            if not self._session.await_ready():
                return self._completion.release(AttemptEnd.PREEMPTED, "before its training began")
            self._require_gpu()
            self._session.start(
                self._setup.make_train_message(params, self.workdir, checkpoint, self.timing.checkpoint)
            )
            while (result := self._handle(self._session.receive())) is None:
                pass
            return result
        except SamplerError as error:
            return self._completion.finish(TrainingEnd(TrialOutcome.ERROR, str(error), error.traceback))
        except TrainerStalledError:
            return self._end_stalled()
        except TrainerDiedError as error:
            return self._end_died(error)

    def _fetch_checkpoint(self) -> Path | None:
        """Return the checkpoint to go on from. Where it cannot be read here, the trial is for a worker that can."""
        try:
            return self._setup.fetch_checkpoint(self.workdir / "resume.npz")
        except StoreError as error:
            reason = str(error)
        except OSError as error:
            reason = f"its checkpoint cannot be written to {self.workdir.parent} ({error.strerror or error})"
        self._completion.release(AttemptEnd.REFUSED)
        raise RefusedStudyError(reason)

    def _require_gpu(self) -> None:
        if missing := self.trainer.describe_missing_gpu():
            self._completion.release(AttemptEnd.PREEMPTED)
            raise NotFoundError(missing)

    # What to do with each message; a result ends the attempt.

    def _handle(self, message: FromTrainer) -> AttemptResult | None:
        match message:
            case DataProgress():
                self.display.show_loading(self.attempt, message)
            case Notice(text):
                self.display.note(f"{self.attempt.study.name} trial {self.attempt.trial_number}: {text}")
            case Loaded():
                self._begin_training(message)
            case BatchProgress():
                self.display.show_progress(self.attempt, message)
            case EpochReport():
                self._add_epoch(message)
            case Released():
                return self._end_released(message)
            case Ended(end):
                self.memory = end.memory
                return self._end_trained(end)
            case Refused(detail):
                self._completion.release(AttemptEnd.REFUSED)
                raise RefusedStudyError(detail)
        return None

    def _begin_training(self, loaded: Loaded) -> None:
        if difference := self._setup.compare_data(loaded):
            self._session.abandon()
            self._completion.release(AttemptEnd.REFUSED)
            raise RefusedStudyError(difference)
        self._setup.reconcile(self.trainer.ready, loaded)
        self._epochs.kept_epoch = len(loaded.epochs)
        self.display.show_start(self.attempt, loaded.epochs)
        self._session.go_on()

    def _add_epoch(self, report: EpochReport) -> None:
        self.display.show_epoch(self.attempt, report.metrics)
        self._epochs.add(report)
        try:
            self._store_epochs()
        except UnreachableError as error:
            if len(self._epochs) == 1:  # said once an outage
                self.display.note(f"{error}; the training goes on, its epochs are kept")
        self._session.go_on()

    def _store_epochs(self) -> None:
        """Store the epochs that are not stored yet.

        Raises:
            _PrunedError: the pruner ended the trial.
        """
        if pruned := self._epochs.store():
            raise _PrunedError(f"by the {self.attempt.study.spec.pruner.name} pruner at epoch {pruned.epoch}")

    # How an attempt ends. The epochs that an outage kept from being stored come first.

    def _end_trained(self, end: TrainingEnd) -> AttemptResult:
        self._retry.retry(self._store_epochs)
        if end.outcome is TrialOutcome.OUT_OF_MEMORY:
            return self._completion.release_out_of_memory(end)
        return self._completion.finish(end)

    def _end_released(self, released: Released) -> AttemptResult:
        """End an attempt whose trainer obeyed: with the trial where its study was stopped, else with a checkpoint."""
        self._retry.retry(self._store_epochs)
        if self._session.stopping is AttemptEnd.PRUNED:
            return self._completion.end(TrialOutcome.PRUNED, {"detail": attempts.STOPPED})
        if checkpoint := released.checkpoint:
            self._retry.retry(lambda: self._epochs.store_checkpoint(checkpoint, released.epoch))
        end = self._session.stopping or AttemptEnd.RELEASED
        return self._completion.release(end, self._describe_release(released))

    def _describe_release(self, released: Released) -> str:
        """Return when the training was left, and what of it is lost."""
        if not released.loaded:
            return "before its training began"
        kept, when = self._epochs.kept_epoch, f"after epoch {released.epoch}"
        if kept >= released.epoch:
            return when
        reason = released.lost or self._epochs.lost
        onward = f"goes on after epoch {kept}" if kept else "begins at epoch 1"
        return f"{when}, whose checkpoint is not kept{f' ({reason})' if reason else ''}: the next attempt {onward}"

    def _end_died(self, error: TrainerDiedError) -> AttemptResult:
        if self.trainer.ready is None and error.by_signal is None:
            self._completion.release(AttemptEnd.PREEMPTED)
            raise error
        self._retry.retry(self._store_epochs)
        if error.by_signal is not None and error.by_signal.name == "SIGKILL" and self._session.training:
            detail = "the trainer was killed, as the kernel does to the largest process when memory runs out"
            return self._completion.release_out_of_memory(TrainingEnd(TrialOutcome.OUT_OF_MEMORY, detail))
        return self._completion.release(AttemptEnd.CRASHED, str(error))

    def _end_stalled(self) -> AttemptResult:
        self._session.kill()
        self._retry.retry(self._store_epochs)
        stopping = self._session.stopping
        if stopping is None:
            detail = f"no sign of life for {self.timing.stall:g} s: HPSEARCH_STALL_SECONDS allows a load() more"
            return self._completion.release(AttemptEnd.STALLED, detail)
        # The release ends the trial of a study that is still stopped; one that was resumed meanwhile goes on with it.
        end = AttemptEnd.RELEASED if stopping is AttemptEnd.PRUNED else stopping
        return self._completion.release(end, "its trainer did not obey and was killed")
