"""The supervisor: it serves the studies of one database on one device, until told to leave."""

import contextlib
import os
import socket
import threading
import uuid
from collections.abc import Sequence
from contextlib import ExitStack
from types import FrameType

from hpsearch import scratch, settings, signals
from hpsearch.devices import Gpu
from hpsearch.errors import ExitCode, HpsearchError, UnreachableError
from hpsearch.outcomes import StudyStatus
from hpsearch.storage import studies, workers
from hpsearch.storage.artifacts.cleanup import ArtifactCleanup
from hpsearch.storage.database import Database
from hpsearch.storage.workers import WorkerIdentity
from hpsearch.worker.db_retry import StopRequest
from hpsearch.worker.display_protocol import WorkerDisplay
from hpsearch.worker.lease_renewal import LeaseRenewal
from hpsearch.worker.resources import Quota
from hpsearch.worker.slot import SharedSlotState, Slot
from hpsearch.worker.study_code import CodeDirectories
from hpsearch.worker.timing import DEFAULT_TIMING, Timing
from hpsearch.worker.trainer_process import TrainerProcess


class Worker:
    """Serves studies by priority, each trial in a warm trainer process.

    `gpu` None means the CPU; `study_names` limits it to those; with `drain` it leaves when none of their trials is left
    to train, here or on another worker, with `no_wait` also when other workers hold all of them; `trials` is how many
    to end before it leaves; `slots` how many to train at once, with the device's memory and the host's cores shared
    out; `timing` is how long it waits for what.

    Raises:
        NotFoundError: there is no study of a name in `study_names`.
        UsageError: see `settings.serves_own_code`.
    """

    def __init__(
        self,
        database: Database,
        display: WorkerDisplay,
        *,
        gpu: Gpu | None = None,
        study_names: Sequence[str] = (),
        drain: bool = False,
        no_wait: bool = False,
        trials: int | None = None,
        slots: int = 1,
        timing: Timing = DEFAULT_TIMING,
    ) -> None:
        database.transact(lambda connection: [studies.find_row(connection, name) for name in study_names])
        host = socket.gethostname()
        self.identity = WorkerIdentity(
            f"{host}-{os.getpid()}-{uuid.uuid4().hex[:8]}",
            host,
            str(gpu) if gpu else "CPU",
            settings.read_job(),
        )
        self._database = database
        database.limits.seconds = timing.silence
        self._timing = timing
        self._stop = StopRequest()
        self._renewal = LeaseRenewal(database, self.identity.worker_id, timing)
        self._code = CodeDirectories(database, display.note)
        shared = SharedSlotState(
            database,
            display,
            self.identity,
            self._renewal,
            self._stop,
            Quota(trials),
            tuple(study_names),
            drain,
            lambda: TrainerProcess(gpu, slots, timing),
            ArtifactCleanup(database, timing.cleanup),
            timing,
            self._code,
            no_wait=no_wait,
        )
        self._slots = [Slot(shared) for _ in range(slots)]
        self._failures: list[BaseException] = []

    def serve(self) -> None:
        """Serve until told to stop, or until there is nothing left to do.

        Raises:
            NotFoundError: the framework does not see the GPU, or (draining) this host lacks the data of every study.
            DatabaseError: the database could not be reached at the start.
        """
        scratch.sweep()
        with ExitStack() as stack:
            stack.callback(self._code.close)
            stack.callback(self._close_pipes)  # the last, because signals and renewals write to them
            stack.enter_context(signals.handle(self._make_signal_handler()))
            self._database.transact(lambda connection: workers.register(connection, self.identity, os.getpid()))
            stack.callback(self._leave)
            stack.enter_context(self._renewal)
            threads = [threading.Thread(target=self._serve, args=(slot,)) for slot in self._slots]
            for thread in threads:
                thread.start()
            for thread in threads:
                while thread.is_alive():
                    # Not without end: a signal that comes just before the wait is seen only after it.
                    thread.join(self._timing.signal)
        if self._failures:
            raise self._failures[0]

    def is_unfinished(self) -> bool:
        """Return, after `serve`, whether it was told to leave while a study that it serves still runs.

        An unreachable database counts as one with work.
        """
        if not self._stop.requested or self._failures:
            return False
        try:
            rows = self._database.execute(studies.list_all)
        except UnreachableError:
            return True
        shared = self._slots[0].shared
        return any(
            study.status == StudyStatus.RUNNING
            and (not shared.study_names or study.name in shared.study_names)
            and study.study_id not in shared.refused_studies
            and not self._code.refuses(study.study_id)
            for study in rows
        )

    def _serve(self, slot: Slot) -> None:
        try:
            slot.serve()
        except BaseException as failure:  # noqa: BLE001 - raised again by the main thread
            self._failures.append(failure)
            self._request_stop()

    def _request_stop(self) -> None:
        self._stop.requested = True
        self._database.limits.hurry(self._timing.leave)
        for slot in self._slots:
            slot.wakeup.wake()

    def _close_pipes(self) -> None:
        for slot in self._slots:
            slot.wakeup.close()

    def _leave(self) -> None:
        with contextlib.suppress(HpsearchError):  # its last renewal says as much
            self._database.transact(lambda connection: workers.unregister(connection, self.identity.worker_id))

    def _make_signal_handler(self) -> signals.Handler:
        """Return what takes each signal as a request to stop; a second SIGTERM or Ctrl-C ends everything at once.

        In a job SIGTERM is never urgent: Slurm sends it twice, from its daemon and from srun, and an engine kills what
        has not left in time.
        """
        notices = signals.REQUESTS if self.identity.job else signals.NOTICES
        is_urgent = False

        def take(number: int, frame: FrameType | None) -> None:
            nonlocal is_urgent
            if number in notices:
                self._request_stop()
                return
            if is_urgent:
                for slot in self._slots:
                    slot.kill_trainer()
                os._exit(ExitCode.INTERRUPTED)
            is_urgent = True
            self._request_stop()

        return take
