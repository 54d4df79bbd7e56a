"""The epochs that a trainer has reported and the database does not have yet, in order, each behind its checkpoint."""

from collections import deque
from collections.abc import Callable
from pathlib import Path

from hpsearch.errors import DatabaseError, first_line
from hpsearch.metrics import EpochMetrics
from hpsearch.sampling.readonly_storage import ReadOnlyStorage
from hpsearch.storage import attempts
from hpsearch.storage.artifacts import plots
from hpsearch.storage.artifacts.study_artifacts import StudyArtifacts
from hpsearch.storage.attempts import Attempt, LostError, PrunerVerdict
from hpsearch.storage.database import Connection, Database
from hpsearch.training.protocol import EpochReport
from hpsearch.worker import pruning


class EpochQueue:
    """The epochs of one attempt that are not stored yet; `before_end` is called before one ends the attempt."""

    def __init__(
        self,
        database: Database,
        attempt: Attempt,
        storage: ReadOnlyStorage,
        artifacts: StudyArtifacts,
        note: Callable[[str], None],
        before_end: Callable[[], None],
    ) -> None:
        self._database, self._attempt, self._note = database, attempt, note
        self._storage, self._artifacts, self._before_end = storage, artifacts, before_end
        self._reports: deque[EpochReport] = deque()
        # The earlier attempt's last epochs may never have been compared: an outage kept them from being stored, and a
        # checkpoint brings them back.
        self._overdue = attempt.number > 1 and attempt.study.spec.pruner.name != "none"
        self._warned = False
        self.kept_epoch = 0
        """The epoch that the next attempt goes on after; 0 where it would begin anew."""
        self.lost = ""
        """Why the latest checkpoint could not be stored."""

    def __len__(self) -> int:
        return len(self._reports)

    def add(self, report: EpochReport) -> None:
        """Add the next epoch."""
        self._reports.append(report)

    def store(self) -> EpochMetrics | None:
        """Store the epochs; return the one at which the pruner ended the trial, None where it did not.

        Raises:
            LostError: the attempt was closed.
            UnreachableError: the database is unreachable; what is not stored yet is kept.
        """
        while self._reports:
            report = self._reports[0]
            if report.checkpoint:
                self.store_checkpoint(report.checkpoint, report.metrics.epoch)
            pruned = self._store_epoch(report)
            self._reports.popleft()
            if pruned:
                return report.metrics
        return None

    def store_checkpoint(self, file: str, epoch: int) -> None:
        """Store a checkpoint, a local file. One that cannot be stored does not end the trial.

        Raises:
            LostError: the attempt was closed.
            UnreachableError: the database is unreachable.
        """
        path = Path(file)
        if not path.exists():  # stored before, or followed by a later one
            return
        try:
            self._artifacts.save_checkpoint(self._attempt, epoch, path)
            self.kept_epoch = epoch
        except (DatabaseError, LostError):
            raise
        except Exception as error:  # noqa: BLE001 - whatever a store raises
            if not self._warned:
                self._note(f"the checkpoint of epoch {epoch} cannot be stored ({first_line(error)}): going on without")
            self._warned, self.lost = True, first_line(error)
        path.unlink(missing_ok=True)

    def _store_epoch(self, report: EpochReport) -> bool:
        """Store an epoch with the pruner's verdict; True where that ended the trial."""
        attempt, metrics = self._attempt, report.metrics
        verdict = PrunerVerdict()
        if pruning.is_compared(attempt, metrics, overdue=self._overdue):
            verdict = self._database.execute(lambda c: pruning.decide(c, attempt, metrics, self._storage))

        if verdict.pruned:
            self._before_end()

        def store(connection: Connection) -> None:
            attempts.store_epoch(connection, attempt, metrics, verdict, report.confusion)
            if verdict.pruned:
                plots.attach_plots(connection, attempt.trial_id)

        (self._database.transact if verdict.pruned else self._database.execute)(store)
        self._overdue = False
        return verdict.pruned
