"""The service's side of the search benchmark: one study, one worker, a line of JSON an epoch.

    python benchmarks/search_service.py STUDY_AS_JSON

The database is the embedded one of the user's data directory, which the benchmark makes anew for every run.
"""

import json
import math
import sys
from collections.abc import Mapping

from hpsearch.metrics import EpochMetrics
from hpsearch.spec import study_spec
from hpsearch.storage import studies
from hpsearch.storage.attempts import Attempt
from hpsearch.storage.database import connect
from hpsearch.training.protocol import BatchProgress
from hpsearch.worker.worker import Worker


def say(held: Attempt, **said: object) -> None:
    """A line of JSON about a trial."""
    print(json.dumps({"trial": held.trial_number, **said}), flush=True)


class Recording:
    """A worker's display for the benchmark."""

    def trial_started(self, held: Attempt, params: Mapping[str, object]) -> None:
        """The parameters."""
        say(held, params=dict(params))

    def progress(self, held: Attempt, progress: BatchProgress) -> None:
        """Nothing."""

    def epoch(self, held: Attempt, metrics: EpochMetrics) -> None:
        """Its figures."""
        loss = metrics.val_loss if math.isfinite(metrics.val_loss) else None
        say(held, epoch=metrics.epoch, val_accuracy=metrics.val_accuracy, val_loss=loss)

    def trial_ended(self, held: Attempt, ending: str, detail: str) -> None:
        """How it ended."""
        say(held, ended=ending, detail=detail)

    def note(self, line: str) -> None:
        """The line, for the log."""
        print(line, file=sys.stderr, flush=True)


def main() -> None:
    """Serve the study until it is over, or until killed."""
    described = study_spec.from_dict(json.loads(sys.argv[1]))
    with connect(None, "hpsearch benchmark") as database:
        studies.start(database, described)
        Worker(database, Recording(), study_names=[described.study.name], drain=True).serve()


if __name__ == "__main__":
    main()
