"""What a worker tells of its trials while it trains them."""

from collections.abc import Mapping
from typing import Protocol

from hpsearch.metrics import EpochMetrics
from hpsearch.spec.rows import Value
from hpsearch.storage.attempts import Attempt
from hpsearch.training.protocol import BatchProgress


class WorkerDisplay(Protocol):
    """Where a worker says what it does; `cli/training_progress.py` prints it."""

    def trial_started(self, held: Attempt, params: Mapping[str, Value]) -> None:
        """A trial goes to the trainer, from its first epoch or a later one."""

    def progress(self, held: Attempt, progress: BatchProgress) -> None:
        """Batches done."""

    def epoch(self, held: Attempt, metrics: EpochMetrics) -> None:
        """An epoch is over."""

    def trial_ended(self, held: Attempt, ending: str, detail: str) -> None:
        """The attempt is over: an ending, or `released`, `lost`, and so on."""

    def note(self, line: str) -> None:
        """Something the user should know."""
