"""Landscapes, from which validation accuracies are drawn in place of trainings, and searches over them."""

import math
import runpy
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from hpsearch.metrics import EpochMetrics
from hpsearch.spec import loader
from hpsearch.spec.study_spec import StudySpec
from hpsearch.storage.database import Database

sys.path.append(str(Path(__file__).parents[1]))

from tests.support.simulation import Simulation

CLASSES = 10
CHANCE = 1 / CLASSES
PATIENCE = 2
"""Epochs at chance after which a training ends, as in the service."""
SECONDS = 4.0
"""Of an epoch."""

Accuracies = Callable[[Mapping[str, Any], int, np.random.Generator, str], Sequence[float | EpochMetrics]]


@dataclass(frozen=True)
class Landscape:
    """One landscape of a file; `mean` is None where the file has none, `described` is its study without the name."""

    name: str
    accuracies: Accuracies
    mean: Callable[[Mapping[str, Any], int, str], float] | None
    described: Mapping[str, Any]

    def describe(self, study: str, seed: int, trials: int, epochs: int) -> dict[str, Any]:
        """Return the study of one search, as its file would say it."""
        budget = {"trials": trials, "epochs": epochs}
        return {**self.described, "study": {"name": study, "seed": seed}, "budget": budget}

    def make_spec(self, epochs: int) -> StudySpec:
        """Return the spec of its study, whatever the name and seed."""
        return loader.from_dict(self.describe("landscape", 0, 100, epochs))

    def draw(self, params: Mapping[str, Any], epochs: int, rng: np.random.Generator) -> list[float]:
        """Return the validation accuracies of one training, by epoch."""
        drawn = self.accuracies(params, epochs, rng, self.name)
        return [epoch.val_accuracy if isinstance(epoch, EpochMetrics) else float(epoch) for epoch in drawn]


def load(file: Path) -> Iterator[Landscape]:
    """Yield the landscapes of a file: those of its `NAMES`, else one that is named after the file."""
    contents = runpy.run_path(str(file))
    for name in contents.get("NAMES", (file.stem,)):
        yield _make(contents, name)


def find(file: Path, name: str) -> Landscape:
    """Return a landscape of a file, by any name that its functions take."""
    return _make(runpy.run_path(str(file)), name)


def _make(contents: Mapping[str, Any], name: str) -> Landscape:
    default = tomllib.loads(loader.DEFAULT.read_text("utf-8"))
    described = {"data": default["data"], "space": default["space"], "baseline": default["baseline"]}
    if "SPACE" in contents:  # which need not hold the default study's baselines
        described |= {"space": contents["SPACE"], "baseline": []}
    return Landscape(name, contents["curve"], contents.get("mean"), described)


def search(database: Database, landscape: Landscape, study: str, seed: int, trials: int, epochs: int) -> None:
    """Run one search to its end: the service's claim, sampler, pruner and storage, without any training."""
    described = landscape.describe(study, seed, trials, epochs)
    Simulation(database, described, curve=partial(train, landscape), seed=seed).run(trials)


def train(landscape: Landscape, params: Mapping[str, Any], epochs: int, rng: np.random.Generator) -> list[EpochMetrics]:
    """Return the epochs of one training, up to the one at which the trainer would end it."""
    drawn = landscape.accuracies(params, epochs, rng, landscape.name)
    metrics = [
        epoch if isinstance(epoch, EpochMetrics) else _make_epoch(number, float(epoch), params)
        for number, epoch in enumerate(drawn, start=1)
    ]
    for number in range(1, len(metrics) + 1):
        tail = metrics[max(0, number - PATIENCE) : number]
        if not metrics[number - 1].finite or (len(tail) == PATIENCE and all(map(_is_at_chance, tail))):
            return metrics[:number]
    return metrics


def _make_epoch(number: int, accuracy: float, params: Mapping[str, Any]) -> EpochMetrics:
    """Return an epoch of that validation accuracy; one at chance has the loss of a guess, NaN that of NaN."""
    loss = math.log(CLASSES) if accuracy <= CHANCE else -math.log(max(accuracy, 1e-3))
    rate = float(params.get("learning_rate", 0.001))
    return EpochMetrics(number, loss, accuracy, loss, accuracy, rate, SECONDS)


def _is_at_chance(epoch: EpochMetrics) -> bool:
    """Return whether the trainer would take the model for one that guesses: nothing learned, by accuracy and loss."""
    return epoch.val_accuracy <= CHANCE + 1e-9 and epoch.train_loss >= 0.99 * math.log(CLASSES)
