"""What a trainer has reported and the database does not have yet: epochs in order, each behind its checkpoint."""

from collections import deque
from collections.abc import Callable
from pathlib import Path

from sqlalchemy import Connection

from hpsearch.errors import DatabaseError, first_line
from hpsearch.metrics import EpochMetrics
from hpsearch.sampling.readonly_storage import ReadOnlyStorage
from hpsearch.storage import attempts
from hpsearch.storage.artifacts import plots
from hpsearch.storage.artifacts.study_artifacts import StudyArtifacts
from hpsearch.storage.attempts import Attempt, LostError, PrunerVerdict
from hpsearch.storage.database import Database
from hpsearch.training.protocol import EpochReport
from hpsearch.worker import pruning


class EpochQueue:
    """The epochs of one attempt that are not stored yet."""

    def __init__(
        self,
        database: Database,
        held: Attempt,
        history: ReadOnlyStorage,
        depot: StudyArtifacts,
        note: Callable[[str], None],
    ) -> None:
        self._database, self._held, self._history, self._depot, self._note = database, held, history, depot, note
        self._reports: deque[EpochReport] = deque()
        # An outage may have swallowed the earlier attempt's last epochs: a checkpoint brings them back, unjudged.
        self._overdue = held.number > 1 and held.study.spec.pruner.name != "none"
        self._warned = False

    def __len__(self) -> int:
        return len(self._reports)

    def add(self, report: EpochReport) -> None:
        """One more."""
        self._reports.append(report)

    def store(self) -> EpochMetrics | None:
        """Store them; the epoch at which the pruner ended the trial, if it did.

        Raises:
            LostError: the attempt was closed.
            UnreachableError: the database is away; what is not stored yet is kept.
        """
        while self._reports:
            report = self._reports[0]
            if report.checkpoint:
                self.store_checkpoint(report.checkpoint, report.metrics.epoch)
            pruned = self._record(report)
            self._reports.popleft()
            if pruned:
                return report.metrics
        return None

    def _record(self, report: EpochReport) -> bool:
        held, metrics = self._held, report.metrics
        verdict = PrunerVerdict()
        if pruning.is_compared(held, metrics, overdue=self._overdue):
            verdict = self._database.execute(lambda c: pruning.decide(c, held, metrics, self._history))

        def store(connection: Connection) -> None:
            attempts.store_epoch(connection, held, metrics, verdict, report.confusion)
            if verdict.pruned:
                plots.attach_plots(connection, held.trial_id)

        (self._database.transact if verdict.pruned else self._database.execute)(store)
        self._overdue = False
        return verdict.pruned

    def store_checkpoint(self, file: str, epoch: int) -> None:
        """Store a checkpoint. One that cannot be stored is not worth the trial, which goes on without it.

        Raises:
            LostError: the attempt was closed.
            UnreachableError: the database is away.
        """
        path = Path(file)
        if not path.exists():  # stored before, or followed by a later one
            return
        try:
            self._depot.save_checkpoint(self._held, epoch, path)
        except (DatabaseError, LostError):
            raise
        except Exception as error:  # noqa: BLE001 - whatever a store raises
            if not self._warned:
                self._note(f"the checkpoint of epoch {epoch} cannot be stored ({first_line(error)}): going on without")
            self._warned = True
        path.unlink(missing_ok=True)
