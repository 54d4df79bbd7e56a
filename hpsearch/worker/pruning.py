"""When the pruner compares an epoch with other trials', and its verdict."""

from hpsearch.metrics import EpochMetrics
from hpsearch.sampling import suggest
from hpsearch.sampling.readonly_storage import ReadOnlyStorage
from hpsearch.storage.attempts import Attempt, PrunerVerdict
from hpsearch.storage.database import Connection


def is_compared(attempt: Attempt, metrics: EpochMetrics, *, overdue: bool = False) -> bool:
    """Return whether the pruner compares an epoch: where it is due by its settings, or an earlier one is `overdue`.

    Not after the last epoch, which leaves nothing to save, nor with a value that is not finite, which the trainer ends
    as diverged.
    """
    spec = attempt.study.spec
    return metrics.epoch < spec.budget.epochs and metrics.finite and (overdue or spec.compares_after(metrics.epoch))


def decide(connection: Connection, attempt: Attempt, metrics: EpochMetrics, storage: ReadOnlyStorage) -> PrunerVerdict:
    """Return the pruner's verdict on an epoch that is not stored yet; what is new is read in a single statement."""
    storage.refresh(connection)
    spec, value = attempt.study.spec, metrics.value(attempt.study.spec.study.metric)
    return PrunerVerdict(*suggest.decide(spec, storage, attempt.trial_id, metrics.epoch, value))
