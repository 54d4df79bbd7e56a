"""The service's side of the search benchmark: one study, one worker, a line of JSON an epoch.

    python benchmarks/search_service.py STUDY_AS_JSON

The database is the embedded one of the user's data directory, which the benchmark makes anew for every run.
"""

import json
import sys
from collections.abc import Mapping, Sequence

from hpsearch.metrics import EpochMetrics
from hpsearch.outcomes import AttemptEnd
from hpsearch.spec import loader
from hpsearch.storage import study_creation
from hpsearch.storage.attempts import Attempt
from hpsearch.storage.database import connect
from hpsearch.training.protocol import BatchProgress, DataProgress
from hpsearch.worker.worker import Worker


class EpochPrinter:
    """A worker's display that prints epochs as JSON and writes the rest to the log."""

    def start_trial(self, attempt: Attempt, params: Mapping[str, object]) -> None:
        """Log the parameters."""
        self.note(f"trial {attempt.trial_number}: {dict(params)}")

    def show_start(self, attempt: Attempt, epochs: Sequence[EpochMetrics]) -> None:
        """Log after which epoch it begins."""
        self.note(f"trial {attempt.trial_number}: after epoch {len(epochs)}")

    def show_loading(self, attempt: Attempt, progress: DataProgress) -> None:
        """Ignore the decoding of images, which the built-in datasets do not take."""

    def show_progress(self, attempt: Attempt, progress: BatchProgress) -> None:
        """Ignore the batches of an epoch."""

    def show_epoch(self, attempt: Attempt, metrics: EpochMetrics) -> None:
        """Print the epoch."""
        figures = {"val_accuracy": metrics.val_accuracy, "val_loss": metrics.val_loss}
        print(json.dumps({"trial": attempt.trial_number, "epoch": metrics.epoch, **figures}), flush=True)

    def end_trial(self, attempt: Attempt, end: AttemptEnd, detail: str) -> None:
        """Log how it ended."""
        self.note(f"trial {attempt.trial_number}: {end} {detail}")

    def note(self, line: str) -> None:
        """Log the line."""
        print(line, file=sys.stderr, flush=True)


def main() -> None:
    """Serve the study until it is over, or until killed."""
    described = loader.from_dict(json.loads(sys.argv[1]))
    with connect(None, "hpsearch benchmark") as database:
        study_creation.start(database, described)
        Worker(database, EpochPrinter(), study_names=[described.study.name], drain=True).serve()


if __name__ == "__main__":
    main()
