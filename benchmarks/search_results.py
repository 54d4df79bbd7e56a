"""What the runs of the search benchmark recorded, and the figures drawn from it."""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from search_sides import BUILD, Task

RESULTS = BUILD / "search"


@dataclass(frozen=True)
class Epoch:
    """A finished epoch, and the CPU seconds that the whole run had taken by then."""

    cpu: float
    trial: int
    epoch: int
    val_accuracy: float
    val_loss: float | None


@dataclass(frozen=True)
class Run:
    """A complete run: CPU seconds up to its end, how it ended, and its epochs as they came."""

    seed: int
    header: dict[str, Any]
    end: str
    cpu: float
    epochs: tuple[Epoch, ...]

    def first(self, trials: int) -> "Run":
        """The run as if it had ended after its first `trials` trials, which came one after the other."""
        kept = tuple(epoch for epoch in self.epochs if epoch.trial < trials)
        return Run(self.seed, self.header, self.end, self.cpu if kept == self.epochs else kept[-1].cpu, kept)

    def best(self, cpu: float = math.inf) -> float:
        """The highest validation accuracy of any epoch that was over by then; 0 where none was."""
        return max((epoch.val_accuracy for epoch in self.until(cpu)), default=0.0)

    def until(self, cpu: float) -> list[Epoch]:
        """The epochs that were over by then."""
        return [epoch for epoch in self.epochs if epoch.cpu <= cpu]

    def reaches(self, target: float) -> float | None:
        """CPU seconds until an epoch had that validation accuracy; None where none did."""
        return next((epoch.cpu for epoch in self.epochs if epoch.val_accuracy >= target), None)


def file_of(task: str, side: str, seed: int) -> Path:
    """Where a run is recorded."""
    return RESULTS / task / side / f"{seed}.jsonl"


def read(file: Path) -> Run | None:
    """A recorded run; None where there is none, or it did not come to its end."""
    if not file.exists():
        return None
    lines = [json.loads(line) for line in file.read_text("utf-8").splitlines() if line.endswith("}")]
    if len(lines) < 2 or "footer" not in lines[-1]:
        return None
    epochs = tuple(
        Epoch(line["cpu"], line["trial"], line["epoch"], rounded(line["val_accuracy"]), line.get("val_loss"))
        for line in lines
        if "val_accuracy" in line
    )
    return Run(int(file.stem), lines[0], lines[-1]["footer"]["end"], lines[-1]["footer"]["cpu"], epochs)


def rounded(accuracy: float) -> float:
    """Of a fraction of thousands of images what is no noise of float32: equals shall be equal."""
    return round(accuracy, 6)


def runs(task: str, side: str) -> list[Run]:
    """Every complete run of a side, by seed."""
    found = [read(file) for file in (RESULTS / task / side).glob("*.jsonl")]
    return sorted((run for run in found if run), key=lambda run: run.seed)


@dataclass(frozen=True)
class Measure:
    """What plain Optuna's runs set for everyone: two targets, and the CPU seconds its median run took."""

    targets: tuple[float, float]
    cpu: float


def measure(rivals: Sequence[Run]) -> Measure | None:
    """The lower target is the median of the best values of Optuna's runs, the higher one the best of all of them."""
    if not rivals:
        return None
    bests = [run.best() for run in rivals]
    return Measure((median(bests), max(bests)), median(run.cpu for run in rivals))


@dataclass(frozen=True)
class Span:
    """A median over seeds that lies between `low` and `high`, and the least and most of the seeds.

    Where a run ended before it reached the target, its figure is only known to be larger than all it took: `high` may
    be infinite. `censored` counts those runs.
    """

    low: float
    high: float
    least: float
    most: float
    censored: int


def time_to(target: float, found: Sequence[Run]) -> Span:
    """CPU seconds to the target."""
    reached = [run.reaches(target) for run in found]
    lows = [run.cpu if cpu is None else cpu for run, cpu in zip(found, reached, strict=True)]
    highs = [math.inf if cpu is None else cpu for cpu in reached]
    return Span(median(lows), median(highs), min(lows), max(lows), reached.count(None))


def at_chance(task: Task, epoch: Epoch) -> bool:
    """Whether a model that guesses could have had these validation figures.

    As `hpsearch.training.fit.at_chance`, but for the training loss, which a rival does not tell.
    """
    chance = 1 / task.classes
    lucky = chance + 3 * math.sqrt(chance * (1 - chance) / task.data["validation"])
    guessing = epoch.val_loss is None or not epoch.val_loss < 0.99 * math.log(task.classes)
    return epoch.val_accuracy <= lucky and guessing


def share_at_chance(task: Task, epochs: Iterable[Epoch]) -> float:
    """Of the epochs, the fraction at chance."""
    marks = [at_chance(task, epoch) for epoch in epochs]
    return sum(marks) / len(marks) if marks else 0.0
