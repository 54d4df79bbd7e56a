"""Whether the pruner is asked about an epoch, and what it answers."""

from sqlalchemy import Connection

from hpsearch.metrics import EpochMetrics
from hpsearch.sampling import suggest
from hpsearch.sampling.readonly_storage import ReadOnlyStorage
from hpsearch.storage.attempts import Attempt, PrunerVerdict


def is_compared(held: Attempt, metrics: EpochMetrics, *, overdue: bool = False) -> bool:
    """Whether the pruner is asked about an epoch: where it compares trials, or an earlier answer is `overdue`.

    Not after the last one, which leaves nothing to save, nor about a value that is not finite, which the trainer ends
    as diverged.
    """
    spec = held.study.spec
    return metrics.epoch < spec.budget.epochs and metrics.finite and (overdue or spec.compares_after(metrics.epoch))


def decide(connection: Connection, held: Attempt, metrics: EpochMetrics, history: ReadOnlyStorage) -> PrunerVerdict:
    """What the pruner makes of an epoch that is not stored yet; reads what is new, in a single statement."""
    history.refresh(connection)
    spec = held.study.spec
    return PrunerVerdict(*suggest.decide(spec, history, held.trial_id, metrics.epoch, metrics.value(spec.study.metric)))
