"""What the runs of the search benchmark recorded, and the figures drawn from it."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from statistics import median
from typing import Any

from search_sides import BUILD, Task

RESULTS = BUILD / "search"
"""Where runs are recorded: a file for each data set, `DATASET.jsonl`, with a line of JSON for each complete run."""


@dataclass(frozen=True)
class Epoch:
    """A finished epoch, and the CPU seconds that the whole run had taken by then.

    `val_loss` is None where it was not finite.
    """

    cpu: float
    trial: int
    val_accuracy: float
    val_loss: float | None

    @classmethod
    def from_line(cls, cpu: float, line: Mapping[str, Any]) -> "Epoch":
        """Read an epoch as a side prints it, rounded to what the images can tell: equal figures shall be equal."""
        loss = line.get("val_loss")
        finite = round(loss, 4) if loss is not None and math.isfinite(loss) else None
        return cls(round(cpu, 2), line["trial"], round(line["val_accuracy"], 6), finite)


@dataclass(frozen=True)
class Origin:
    """What a run was made with. `configuration` holds what distinguishes its side from the others."""

    side: str
    seed: int
    machine: str
    commit: str
    versions: Mapping[str, str]
    configuration: Mapping[str, Any]


@dataclass(frozen=True)
class Run:
    """A complete run: what it was made with, how it ended, CPU seconds up to its end, and its epochs as they came."""

    origin: Origin
    end: str
    cpu: float
    epochs: tuple[Epoch, ...]

    def first(self, trials: int) -> "Run":
        """Return the run as if it had ended after its first `trials` trials, which came one after the other."""
        kept = tuple(epoch for epoch in self.epochs if epoch.trial < trials)
        return replace(self, cpu=self.cpu if kept == self.epochs else kept[-1].cpu, epochs=kept)

    def best(self, cpu: float = math.inf) -> float:
        """Return the highest validation accuracy of any epoch that was over by then; 0 where none was."""
        return max((epoch.val_accuracy for epoch in self.until(cpu)), default=0.0)

    def until(self, cpu: float) -> list[Epoch]:
        """Return the epochs that were over by then."""
        return [epoch for epoch in self.epochs if epoch.cpu <= cpu]

    def reaches(self, target: float) -> float | None:
        """Return the CPU seconds until an epoch had that validation accuracy; None where none did."""
        return next((epoch.cpu for epoch in self.epochs if epoch.val_accuracy >= target), None)

    def to_json(self) -> str:
        """Return the run as one line: its epochs are four columns of equal length."""
        columns = {column.name: [getattr(epoch, column.name) for epoch in self.epochs] for column in fields(Epoch)}
        line = {**asdict(self.origin), "end": self.end, "cpu": self.cpu, "epochs": columns}
        return json.dumps(line, separators=(",", ":"))

    @classmethod
    def from_json(cls, line: str) -> "Run":
        """Read what `to_json` wrote."""
        record = json.loads(line)
        columns = record.pop("epochs")
        end, cpu = record.pop("end"), record.pop("cpu")
        epochs = zip(*(columns[column.name] for column in fields(Epoch)), strict=True)
        return cls(Origin(**record), end, cpu, tuple(Epoch(*epoch) for epoch in epochs))


def append(file: Path, run: Run) -> None:
    """Add a complete run to a file; in a single write, because runs of other seeds may end at the same time."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("ab", buffering=0) as records:
        records.write(f"{run.to_json()}\n".encode())


def read(file: Path) -> dict[str, list[Run]]:
    """Return the runs of each side, by seed; of a seed that was run again, the latest."""
    lines = file.read_text("utf-8").splitlines() if file.exists() else []
    latest = {(run.origin.side, run.origin.seed): run for run in map(Run.from_json, lines)}
    sides: dict[str, list[Run]] = {}
    for (side, _), run in sorted(latest.items(), key=lambda item: item[0]):
        sides.setdefault(side, []).append(run)
    return sides


@dataclass(frozen=True)
class Measure:
    """What plain Optuna's runs set for everyone: two targets, and the CPU seconds its median run took."""

    targets: tuple[float, float]
    cpu: float


def measure(optuna: Sequence[Run]) -> Measure | None:
    """Return the targets: the median of the best values of Optuna's runs, and the best of all of them."""
    if not optuna:
        return None
    bests = [run.best() for run in optuna]
    return Measure((median(bests), max(bests)), median(run.cpu for run in optuna))


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


def time_to(target: float, runs: Sequence[Run]) -> Span:
    """Return the CPU seconds to the target."""
    reached = [run.reaches(target) for run in runs]
    lows = [run.cpu if cpu is None else cpu for run, cpu in zip(runs, reached, strict=True)]
    highs = [math.inf if cpu is None else cpu for cpu in reached]
    return Span(median(lows), median(highs), min(lows), max(lows), reached.count(None))


def at_chance(task: Task, epoch: Epoch) -> bool:
    """Return whether a model that guesses could have had these validation figures.

    As `hpsearch.training.fit.at_chance`, but for the training loss, which the other sides do not print.
    """
    chance = 1 / task.classes
    lucky = chance + 3 * math.sqrt(chance * (1 - chance) / task.data["validation"])
    guessing = epoch.val_loss is None or not epoch.val_loss < 0.99 * math.log(task.classes)
    return epoch.val_accuracy <= lucky and guessing


def share_at_chance(task: Task, epochs: Iterable[Epoch]) -> float:
    """Return the fraction of the epochs that are at chance."""
    marks = [at_chance(task, epoch) for epoch in epochs]
    return sum(marks) / len(marks) if marks else 0.0
