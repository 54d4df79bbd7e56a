"""A slot: one trainer process and the loop that feeds it, one attempt after another."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from typing import TYPE_CHECKING

from sqlalchemy import Connection

from hpsearch.errors import HpsearchError, NotFoundError, UnreachableError
from hpsearch.outcomes import TrialOutcome
from hpsearch.storage import claims, studies, workers
from hpsearch.storage.artifacts.cleanup import ArtifactCleanup
from hpsearch.storage.artifacts.study_artifacts import StudyArtifacts
from hpsearch.storage.attempts import Attempt
from hpsearch.storage.database import Database
from hpsearch.storage.studies import Study
from hpsearch.storage.workers import WorkerIdentity
from hpsearch.worker.db_retry import StopRequest
from hpsearch.worker.display_protocol import WorkerDisplay
from hpsearch.worker.lease_renewal import LeaseRenewal
from hpsearch.worker.timing import Timing
from hpsearch.worker.trainer_process import TrainerDiedError, TrainerProcess, make_work_directory
from hpsearch.worker.wakeup import WakeupPipe

if TYPE_CHECKING:
    from hpsearch.sampling.readonly_storage import ReadOnlyStorage

MEMORY_GROWTH = 1.5
"""A trainer that has come to hold so many times what it held after its first trials is replaced."""

SETTLED_TRIALS = 3
"""Trials after which a trainer has loaded whatever it loads once."""


class Quota:
    """How many trials a worker may still end, counted over its slots; None: any number."""

    def __init__(self, trials: int | None) -> None:
        self._left = trials
        self._lock = threading.Lock()

    def take(self) -> bool:
        """Reserve one; False where none is left."""
        with self._lock:
            if self._left == 0:
                return False
            if self._left is not None:
                self._left -= 1
            return True

    def give_back(self) -> None:
        """The reserved one was not ended."""
        with self._lock:
            if self._left is not None:
                self._left += 1


class DeviceMemory:
    """The device's memory: many trainings share it, or one has it to itself."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._inside = 0
        self._alone = False
        self._wanted_alone = 0

    @contextmanager
    def enter(self, *, alone: bool) -> Iterator[None]:
        """Wait until there is room, and take it for the block."""
        with self._changed:
            if alone:
                self._wanted_alone += 1
                self._changed.wait_for(lambda: not self._inside)
                self._wanted_alone -= 1
            else:  # behind those who want it to themselves, who would else wait for ever
                self._changed.wait_for(lambda: not self._alone and not self._wanted_alone)
            self._inside += 1
            self._alone = alone
        try:
            yield
        finally:
            with self._changed:
                self._inside -= 1
                self._alone = False
                self._changed.notify_all()


class MemoryGrowth:
    """What a trainer holds after each of its trials, in bytes."""

    def __init__(self) -> None:
        self._memories: list[int] = []

    def excessive(self, memory: int) -> bool:
        """Whether it has come to hold far more than when it was young; 0, where nobody knows, is never."""
        if not memory:
            return False
        self._memories.append(memory)
        young = max(self._memories[:SETTLED_TRIALS])
        return len(self._memories) > SETTLED_TRIALS and memory > MEMORY_GROWTH * young


@dataclass(frozen=True)
class SharedSlotState:
    """What the slots of one worker have in common."""

    database: Database
    display: WorkerDisplay
    holder: WorkerIdentity
    lease: LeaseRenewal
    stop: StopRequest
    quota: Quota
    study_names: Sequence[str]
    drain: bool
    start_trainer: Callable[[], TrainerProcess]
    cleanup: ArtifactCleanup
    timing: Timing
    room: DeviceMemory = field(default_factory=DeviceMemory)
    refused: set[int] = field(default_factory=set)


class Slot:
    """Claims and runs attempts until the worker stops or, draining, until nothing is left."""

    def __init__(self, shared: SharedSlotState) -> None:
        self.shared = shared
        self.alarm = WakeupPipe()
        self._trainer: TrainerProcess | None = None
        self._growth = MemoryGrowth()
        self._histories: dict[int, ReadOnlyStorage] = {}
        self._depots: dict[int, StudyArtifacts] = {}
        self._away, self._idle = False, False

    def serve(self) -> None:
        """The loop.

        Raises:
            NotFoundError: see `Worker.serve`.
        """
        try:
            self._warm_trainer()
            while not self.shared.stop.requested and self.shared.quota.take():
                ended = self._next()
                if ended != "ended":
                    self.shared.quota.give_back()
                if ended == "idle":
                    if self.shared.drain and not self._work_left():
                        break
                    self._wait()
        finally:
            self._close_trainer()

    def _next(self) -> str:
        """Run the next attempt: `ended` its trial, or `held` it for a while, or `idle`."""
        try:
            held = self._claim()
            self._away = False
            return "idle" if held is None else self._run(held)
        except UnreachableError as error:
            if not self._away:
                self.shared.display.note(f"{error}; waiting for it")
            self._away = True
            self._wait()
            return "held"

    def _claim(self) -> Attempt | None:
        self.shared.cleanup.run_if_due()
        self._sweep()
        for candidate in self._served():
            held = self._claim_from(candidate.study_id)
            if held is not None:
                self._idle = False
                return held
        if not self._idle:
            self.shared.database.transact(lambda connection: workers.set_idle(connection, self.shared.holder.worker_id))
            self._idle = True
        return None

    def _sweep(self) -> None:
        if self.shared.database.execute(claims.has_abandoned):
            self.shared.database.transact(lambda connection: claims.end_abandoned(connection, self.shared.timing.lease))

    def _claim_from(self, study_id: int) -> Attempt | None:
        shared = self.shared
        try:
            return shared.database.transact(
                lambda connection: claims.claim_trial(connection, study_id, shared.holder, shared.timing.lease)
            )
        except NotFoundError:  # deleted meanwhile
            return None

    def _served(self) -> list[Study]:
        """The running studies this worker serves, the most urgent first."""
        shared = self.shared
        return [
            each
            for each in shared.database.execute(studies.list_all)
            if each.status == "running"
            and (not shared.study_names or each.name in shared.study_names)
            and each.study_id not in shared.refused
        ]

    def _work_left(self) -> bool:
        try:
            if self._served():
                return True
        except UnreachableError:
            return True
        if self.shared.refused:
            raise NotFoundError("no study is left that this host can serve: see the lines above")
        return False

    def _run(self, held: Attempt) -> str:
        # Only now: they bring Optuna in, which takes longer than to claim a trial.
        from hpsearch.sampling.readonly_storage import ReadOnlyStorage
        from hpsearch.worker.trial_runner import RefusedStudyError, TrialRunner

        shared, study_id = self.shared, held.study.study_id
        history = self._histories.setdefault(study_id, ReadOnlyStorage(study_id, held.study.spec.direction))
        depot = self._depots.setdefault(study_id, StudyArtifacts(shared.database, held.study.artifacts))
        trainer = self._warm_trainer()
        try:
            with (
                shared.lease.hold(held, self.alarm) as hold,
                shared.room.enter(alone=held.short_of_memory),
                make_work_directory() as directory,
            ):
                run = TrialRunner(
                    shared.database,
                    trainer,
                    hold,
                    shared.display,
                    shared.stop,
                    history,
                    depot,
                    directory,
                    shared.timing,
                )
                ending = run.go()
        except RefusedStudyError as refusal:
            shared.refused.add(study_id)
            shared.display.note(f"{held.study.name} is not served here: {refusal}")
            return "held"
        except TrainerDiedError as error:
            raise HpsearchError(f"{error}: see that `python -c 'import keras'` works here") from None
        finally:
            self._settle(held)
            depot.remove_leftovers()
        if (
            (ending in set(TrialOutcome) and TrialOutcome(ending).restarts_trainer)
            or not trainer.alive
            or self._growth.excessive(run.memory)
        ):
            self._close_trainer()
        return "ended" if ending in set(TrialOutcome) and not run.released else "held"

    def _settle(self, held: Attempt) -> None:
        """See whether that was the study's last trial, also where this worker claims no other."""

        study_id = held.study.study_id

        def settles(connection: Connection) -> bool:
            found = studies.read(connection, study_id)
            return studies.measure_progress(connection, found).changes_status(found)

        def settle(connection: Connection) -> None:
            studies.lock(connection, study_id)
            studies.update_status(connection, studies.read(connection, study_id))

        # Asked without the lock first: it is not, but for once. Of several that end at once the last one sees it.
        with contextlib.suppress(UnreachableError, NotFoundError):  # deleted meanwhile
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

    def _close_trainer(self) -> None:
        if self._trainer is not None:
            self._trainer.close()
            self._trainer = None

    def kill_trainer(self) -> None:
        """End the trainer at once, from a signal handler."""
        if self._trainer is not None:
            self._trainer.kill(wait=False)

    def _wait(self) -> None:
        until = time.monotonic() + self.shared.timing.poll
        while not self.shared.stop.requested and (left := until - time.monotonic()) > 0:
            wait([self.alarm], left)  # type: ignore[list-item]  # anything with a fileno() will do
            self.alarm.clear()
