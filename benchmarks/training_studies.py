"""The studies of the benchmark of answers on real training: a grid that says what is true, and searches of its space.

A grid and a search are of one study file in benchmarks/studies; the grid takes a few learning rates of the range, has
no pruner, and trains for all epochs what does not learn. Each repetition of it is a study with a seed of its own, so
that the images are divided anew too, as they are in each search.
"""

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from search_service import EpochPrinter

from hpsearch.metrics import EpochMetrics
from hpsearch.outcomes import StudyStatus
from hpsearch.spec import loader
from hpsearch.storage import results, study_creation
from hpsearch.storage.attempts import Attempt
from hpsearch.storage.database import Database
from hpsearch.storage.results import Trial
from hpsearch.worker.worker import Worker

STUDIES = Path(__file__).parent / "studies"


@dataclass(frozen=True)
class Task:
    """What is measured on one data set.

    `rates` are the grid's learning rates, spread evenly over the range's logarithm from end to end, and `between` some
    between them, where the metric bends most: a study of their own.
    """

    name: str
    rates: tuple[float, ...]
    between: tuple[float, ...]
    grid_seeds: tuple[int, ...]
    search_seeds: tuple[int, ...]

    def describe_search(self, seed: int) -> dict[str, Any]:
        """Return the study of one search, as its file would say it."""
        described = tomllib.loads((STUDIES / f"{self.name}.toml").read_text("utf-8"))
        described["study"] = {**described["study"], "name": f"search-{seed}", "seed": seed, "keep_models": 0}
        return described

    def describe_grid(self, seed: int, between: bool = False) -> dict[str, Any]:
        """Return the study of one repetition of the grid, as its file would say it."""
        described = self.describe_search(seed)
        epochs = described["budget"]["epochs"]
        rates = self.between if between else self.rates
        return described | {
            "study": {**described["study"], "name": f"grid-{seed}{'-between' if between else ''}"},
            "budget": {"epochs": epochs, "patience": epochs + 1},
            "space": {**described["space"], "learning_rate": list(rates)},
            "sampler": {"name": "grid"},
        }

    def describe(self) -> Iterator[dict[str, Any]]:
        """Yield every study, in the order in which they are trained."""
        yield from map(self.describe_grid, self.grid_seeds)
        yield from map(self.describe_search, self.search_seeds)
        if self.between:
            yield from (self.describe_grid(seed, between=True) for seed in self.grid_seeds)


DECADES = (1e-4, 1e-3, 1e-2, 1e-1)
TASKS = {
    task.name: task
    for task in (
        Task("digits", DECADES, (3.16e-2,), grid_seeds=(0, 1), search_seeds=(2, 3, 4)),
        Task(
            "cifar10", (1e-4, 3.98e-4, 1.58e-3, 6.31e-3, 2.51e-2, 1e-1), (), grid_seeds=(0, 1), search_seeds=(2, 3, 4)
        ),
        Task("quick", (1e-3, 1e-1), (), grid_seeds=(0, 1), search_seeds=(2,)),
    )
}


class TrialPrinter(EpochPrinter):
    """A worker's display that writes the beginnings and ends of trials to the log, and no epochs."""

    def show_epoch(self, attempt: Attempt, metrics: EpochMetrics) -> None:
        """Ignore the epoch, which is in the database."""


def train(described: Mapping[str, Any], database: Database) -> list[Trial]:
    """Train what is missing of a study with one worker, and return its trials.

    Raises:
        SystemExit: the worker was told to leave before the study was over.
    """
    name = described["study"]["name"]
    study_creation.start(database, loader.from_dict(described))
    Worker(database, TrialPrinter(), study_names=[name], drain=True).serve()
    summary, trials = database.transact(lambda connection: results.read(connection, name))
    if summary.status is not StudyStatus.FINISHED:
        raise SystemExit(f"{name} is not over: the same command goes on with it")
    return trials
