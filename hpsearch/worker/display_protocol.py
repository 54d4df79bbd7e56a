"""What a worker shows of its trials while it trains them."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from hpsearch.metrics import EpochMetrics
from hpsearch.outcomes import AttemptEnd
from hpsearch.spec.rows import Value
from hpsearch.storage.attempts import Attempt
from hpsearch.training.protocol import BatchProgress, DataProgress


class WorkerDisplay(Protocol):
    """Where a worker shows what it does; `cli/training_progress.py` prints it."""

    def start_trial(self, attempt: Attempt, params: Mapping[str, Value]) -> None:
        """Show that a trial goes to the trainer."""

    def show_start(self, attempt: Attempt, epochs: Sequence[EpochMetrics]) -> None:
        """Show that the training begins, after the `epochs` that an earlier attempt has left."""

    def show_loading(self, attempt: Attempt, progress: DataProgress) -> None:
        """Show how many images are decoded before the training begins."""

    def show_progress(self, attempt: Attempt, progress: BatchProgress) -> None:
        """Show how many batches of an epoch are done."""

    def show_epoch(self, attempt: Attempt, metrics: EpochMetrics) -> None:
        """Show a finished epoch."""

    def end_trial(self, attempt: Attempt, end: AttemptEnd, detail: str) -> None:
        """Show how the attempt ended."""

    def note(self, line: str) -> None:
        """Show a line that the user should know."""
