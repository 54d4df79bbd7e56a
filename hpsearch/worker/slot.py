"""A slot: one trainer process and the loop that feeds it, one attempt after another."""

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum, auto
from multiprocessing.connection import wait
from pathlib import Path
from typing import TYPE_CHECKING

from hpsearch import scratch
from hpsearch.errors import (
    HpsearchError,
    NotFoundError,
    StatementError,
    UnreachableError,
    UnreadableStudyError,
    describe_fault,
    is_final,
)
from hpsearch.outcomes import AttemptEnd, StudyStatus
from hpsearch.spec.code.archive import CodeReference
from hpsearch.storage import claims, studies, workers
from hpsearch.storage.artifacts.cleanup import ArtifactCleanup
from hpsearch.storage.artifacts.study_artifacts import StudyArtifacts
from hpsearch.storage.attempts import Attempt, LostError
from hpsearch.storage.database import Connection, Database
from hpsearch.storage.studies import Study, UnreadableStudy
from hpsearch.storage.workers import WorkerIdentity
from hpsearch.worker.db_retry import DatabaseRetry, StopRequest
from hpsearch.worker.display_protocol import WorkerDisplay
from hpsearch.worker.lease_renewal import Lease, LeaseRenewal
from hpsearch.worker.resources import DeviceMemory, MemoryGrowth, Quota
from hpsearch.worker.study_code import CodeDirectories
from hpsearch.worker.timing import Timing
from hpsearch.worker.trainer_process import TrainerDiedError, TrainerProcess
from hpsearch.worker.wakeup import WakeupPipe

if TYPE_CHECKING:
    from hpsearch.sampling.readonly_storage import ReadOnlyStorage
    from hpsearch.worker.trial_runner import TrialRunner


class Step(Enum):
    """What became of a slot's look for a trial."""

    TRIAL_ENDED = auto()
    TRIAL_LEFT = auto()
    """It held a trial that goes on elsewhere or later."""
    NO_TRIAL = auto()
    """None was there, or the database was unreachable."""
    FAILED = auto()
    """Something went wrong that the next look may not meet: it comes after a pause that grows."""
    DRAINED = auto()
    """There is none for a worker that leaves then."""


@dataclass(frozen=True)
class SharedSlotState:
    """What the slots of one worker have in common.

    `study_names` limits them to those studies, none being all; `refused_studies` are those this host cannot serve. With
    `no_wait` they drain without waiting for the trials that other workers hold.
    """

    database: Database
    display: WorkerDisplay
    identity: WorkerIdentity
    renewal: LeaseRenewal
    stop: StopRequest
    quota: Quota
    study_names: Sequence[str]
    drain: bool
    start_trainer: Callable[[], TrainerProcess]
    cleanup: ArtifactCleanup
    timing: Timing
    code: CodeDirectories
    device_memory: DeviceMemory = field(default_factory=DeviceMemory)
    refused_studies: set[int] = field(default_factory=set)
    no_wait: bool = False


class Slot:
    """Claims and runs attempts until the worker stops or, draining, until nothing is left."""

    def __init__(self, shared: SharedSlotState) -> None:
        self.shared = shared
        self.wakeup = WakeupPipe()
        self._trainer: TrainerProcess | None = None
        self._trainer_code: CodeReference | None = None
        self._growth = MemoryGrowth()
        self._storages: dict[int, ReadOnlyStorage] = {}
        self._artifacts: dict[int, StudyArtifacts] = {}
        self._unreachable = False
        self._idle_since: datetime | None = None

    def serve(self) -> None:
        """Run attempts, one after another.

        Raises:
            HpsearchError: no retry mends it, as in `Worker.serve`; the trial was released.
        """
        poll, longest = self.shared.timing.poll, self.shared.timing.longest_pause
        pause = poll
        try:
            with contextlib.suppress(OSError):  # that the first trial meets again
                self._warm_trainer()
            while not self.shared.stop.requested and self.shared.quota.take():
                step = self._step()
                if step is not Step.TRIAL_ENDED:
                    self.shared.quota.give_back()
                if step is Step.DRAINED:
                    break
                pause = min(longest, 2 * pause) if step is Step.FAILED else poll
                if step in {Step.NO_TRIAL, Step.FAILED}:
                    self._wait(pause)
        finally:
            self._close_trainer()

    def kill_trainer(self) -> None:
        """End the trainer at once, from a signal handler."""
        if self._trainer is not None:
            self._trainer.kill(wait=False)

    def _step(self) -> Step:
        try:
            attempt = self._claim()
            self._unreachable = False
            if attempt is not None:
                return self._run(attempt)
            return Step.NO_TRIAL if self._is_work_left() else Step.DRAINED
        except UnreachableError as error:
            if not self._unreachable:
                self.shared.display.note(f"{error}; waiting for it")
            self._unreachable = True
            return Step.NO_TRIAL
        except Exception as error:
            if is_final(error):
                raise
            self.shared.display.note(f"{describe_fault(error)}; trying again")
            return Step.FAILED

    # Which trial is next.

    def _claim(self) -> Attempt | None:
        shared = self.shared
        shared.cleanup.run_if_due()
        self._sweep()
        for study in self._list_served():
            attempt = self._claim_from(study)
            if attempt is not None:
                self._idle_since = None
                return attempt
        if self._idle_since is None:
            worker_id = shared.identity.worker_id
            self._idle_since = shared.database.transact(lambda connection: workers.set_idle(connection, worker_id))
        return None

    def _sweep(self) -> None:
        if self.shared.database.execute(claims.has_abandoned):
            self.shared.database.transact(lambda connection: claims.end_abandoned(connection, self.shared.timing.lease))

    def _claim_from(self, study: Study) -> Attempt | None:
        shared = self.shared

        def claim(connection: Connection) -> Attempt | None:
            if study.spec.ablation:
                from hpsearch.analysis.ablations import racing  # it brings scipy in

                racing.drop_settled(connection, study)
            return claims.claim_trial(connection, study.study_id, shared.identity, shared.timing.lease)

        try:
            return shared.database.transact(claim)
        except NotFoundError:  # deleted meanwhile
            return None
        except UnreadableStudyError as error:  # rewritten by a newer hpsearch meanwhile, or what it is made for is
            self._pass_over(study.study_id, study.name, str(error))
            return None

    def _list_served(self) -> list[Study]:
        """Return the running studies this worker serves, those of the highest priority first."""
        shared = self.shared
        served = []
        for study in shared.database.execute(studies.list_all):
            if study.status != StudyStatus.RUNNING or (shared.study_names and study.name not in shared.study_names):
                continue
            if isinstance(study, UnreadableStudy):
                self._pass_over(study.study_id, study.name, f"it was {study.obstacle}")
            elif study.study_id not in shared.refused_studies and shared.code.prepare(study):
                served.append(study)
        return served

    def _pass_over(self, study_id: int, name: str, obstacle: str) -> None:
        """Serve a study no more, and say so once."""
        if study_id not in self.shared.refused_studies:
            self.shared.refused_studies.add(study_id)
            self.shared.display.note(f"{name} is not served here: {obstacle}")

    def _is_work_left(self) -> bool:
        """Return whether to look again, as a worker that does not drain always does."""
        if not self.shared.drain:
            return True
        if served := self._list_served():
            return not (self.shared.no_wait and self._is_left_to_others(served))
        if self.shared.refused_studies or self.shared.code.has_refused:
            raise NotFoundError("no study is left that this host can serve: see the lines above")
        return False

    def _is_left_to_others(self, served: Sequence[Study]) -> bool:
        """Return whether all that is left is held by workers that were alive since this slot found nothing.

        Not one whose host is lost: its trial is for whoever looks when the lease has run out.
        """
        since, lease = self._idle_since, self.shared.timing.lease
        study_ids = [study.study_id for study in served]
        return since is not None and self.shared.database.execute(
            lambda connection: claims.are_renewed(connection, study_ids, since, lease)
        )

    # The trial.

    def _run(self, attempt: Attempt) -> Step:
        from hpsearch.worker.trial_setup import RefusedStudyError  # see _make_runner

        shared, study = self.shared, attempt.study
        artifacts = self._artifacts.setdefault(study.study_id, StudyArtifacts(shared.database, study.artifacts))
        try:
            return self._train(attempt, artifacts)
        except RefusedStudyError as refusal:
            self._pass_over(study.study_id, study.name, str(refusal))
            return Step.TRIAL_LEFT
        except TrainerDiedError as error:
            raise HpsearchError(f"{error}: see that `python -c 'import keras'` works here") from None
        except UnreachableError:
            raise
        except Exception as error:
            self._release(attempt, artifacts, error)
            raise
        finally:
            self._clean_up(attempt, artifacts)

    def _clean_up(self, attempt: Attempt, artifacts: StudyArtifacts) -> None:
        try:
            self._settle(attempt)
            artifacts.remove_leftovers()
        except StatementError as error:  # the trial has ended or was left all the same
            self.shared.display.note(describe_fault(error))

    def _train(self, attempt: Attempt, artifacts: StudyArtifacts) -> Step:
        trainer = self._choose_trainer(attempt.study.spec.code)
        with (
            self.shared.renewal.renew(attempt, self.wakeup) as lease,
            self.shared.device_memory.enter(alone=attempt.short_of_memory),
            scratch.make_directory("trial") as directory,
        ):
            runner = self._make_runner(trainer, lease, artifacts, directory)
            result = runner.run()
        if self._is_trainer_spent(trainer, result.end, runner.memory):
            self._close_trainer()
        if result.ended_trial:
            return Step.TRIAL_ENDED
        return Step.FAILED if result.end is AttemptEnd.CRASHED else Step.TRIAL_LEFT

    def _release(self, attempt: Attempt, artifacts: StudyArtifacts, error: Exception) -> None:
        """Release an attempt that an exception ended, unless it is closed: it counts where the host is not to blame."""
        from hpsearch.worker.trial_completion import TrialCompletion  # see _make_runner

        shared = self.shared
        retry = DatabaseRetry(shared.database, shared.display.note, shared.timing)
        completion = TrialCompletion(attempt, retry, artifacts, shared.display.note, before_end=lambda: None)
        blameless = is_final(error) or isinstance(error, OSError)
        with contextlib.suppress(HpsearchError, LostError):  # else the lease runs out
            completion.release(AttemptEnd.PREEMPTED if blameless else AttemptEnd.CRASHED)

    def _make_runner(
        self, trainer: TrainerProcess, lease: Lease, artifacts: StudyArtifacts, directory: Path
    ) -> "TrialRunner":
        # Only now: they bring Optuna in, which takes longer than to claim a trial.
        from hpsearch.sampling.readonly_storage import ReadOnlyStorage
        from hpsearch.worker.trial_runner import TrialRunner

        shared, study = self.shared, lease.attempt.study
        storage = self._storages.setdefault(study.study_id, ReadOnlyStorage(study.study_id, study.spec.direction))
        return TrialRunner(
            shared.database,
            trainer,
            lease,
            shared.display,
            shared.stop,
            storage,
            artifacts,
            directory,
            shared.timing,
            shared.code.find(study.spec.code),
        )

    def _is_trainer_spent(self, trainer: TrainerProcess, end: AttemptEnd, memory: int) -> bool:
        """Return whether the next trial gets a new trainer process."""
        if end.outcome is not None and end.outcome.restarts_trainer:
            return True
        return not trainer.alive or self._growth.record(memory)

    def _settle(self, attempt: Attempt) -> None:
        """Finish the study where that was its last trial, also where this worker claims no other."""
        study_id = attempt.study.study_id

        def settles(connection: Connection) -> bool:
            study = studies.read(connection, study_id)
            return studies.measure_progress(connection, study).changes_status(study)

        def settle(connection: Connection) -> None:
            studies.lock(connection, study_id)
            studies.update_status(connection, studies.read(connection, study_id))

        # Without the lock first, because few trials are the last. Of several that end at once, the last one sees it.
        with contextlib.suppress(UnreachableError, NotFoundError, UnreadableStudyError):  # deleted meanwhile
            if self.shared.database.execute(settles):
                self.shared.database.transact(settle)
            self._sweep()

    def _warm_trainer(self) -> TrainerProcess:
        if self._trainer is not None and not self._trainer.alive:  # died while it had nothing to do: no trial's fault
            self._close_trainer()
        if self._trainer is None:
            self._trainer = self.shared.start_trainer()
            self._growth = MemoryGrowth()
        return self._trainer

    def _choose_trainer(self, code: CodeReference | None) -> TrainerProcess:
        """Return a trainer that has imported no other study's code."""
        if self._trainer_code not in (None, code):
            self._close_trainer()
        trainer = self._warm_trainer()
        self._trainer_code = code
        return trainer

    def _close_trainer(self) -> None:
        self._trainer_code = None
        if self._trainer is not None:
            self._trainer.close()
            self._trainer = None

    def _wait(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not self.shared.stop.requested and (left := deadline - time.monotonic()) > 0:
            wait([self.wakeup], left)  # type: ignore[list-item]  # anything with a fileno() will do
            self.wakeup.clear()
