"""What the studies of the benchmark of answers on real training left behind: a file a data set, a line of JSON a study.

A trial is `[values, outcome, right]`: the values of its hyperparameters in the order of the space, how it ended, and
how many validation images each epoch had right, null where its loss was not a number. In a grid it is `right` alone,
because its points are known from the study.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from answers_grid import Floats, GridTruth

from hpsearch.metrics import METRICS, EpochMetrics, find_best_epoch
from hpsearch.outcomes import StudyStatus, TrialOutcome, TrialState
from hpsearch.spec import loader
from hpsearch.spec.dimension import Range
from hpsearch.spec.rows import Value
from hpsearch.spec.study_spec import StudySpec
from hpsearch.storage.results import Summary, Trial
from hpsearch.storage.studies import Study

RECORDS = Path(__file__).parent / "measured" / "answers"

ENDED = (TrialOutcome.COMPLETED, TrialOutcome.PRUNED, TrialOutcome.DIVERGED, TrialOutcome.AT_CHANCE)
Right = Sequence[int | None]


@dataclass(frozen=True)
class StudyRecord:
    """One finished study: what it was made with, its description as its file would say it, and its trials."""

    machine: str
    commit: str
    versions: Mapping[str, str]
    described: Mapping[str, Any]
    trials: Sequence[Any]

    @cached_property
    def spec(self) -> StudySpec:
        """Return the study's spec."""
        return loader.from_dict(self.described)

    @property
    def name(self) -> str:
        """Return the study's name: `grid-SEED`, `grid-SEED-between` or `search-SEED`."""
        return self.spec.study.name

    @property
    def seed(self) -> int:
        """Return the study's seed."""
        return self.spec.study.seed

    @property
    def is_grid(self) -> bool:
        """Return whether it is one repetition of a grid, or of a part of it."""
        return self.spec.sampler.name == "grid"

    def read_search(self) -> tuple[Summary, list[Trial]]:
        """Return the search as `results.read` does, of each epoch the accuracies alone."""
        trials = [_make_trial(self.spec, number, *row) for number, row in enumerate(self.trials)]
        complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
        best = max(complete, key=lambda trial: trial.value or 0.0, default=None)
        counts = {str(state): sum(trial.state == state for trial in trials) for state in TrialState}
        study = Study(0, self.name, self.spec, self.spec.fingerprint, StudyStatus.FINISHED, None, 0, None, None)
        named = ("number", "value", "params", "is_foreign")
        shown = {name: getattr(best, name) for name in named} if best else None
        return Summary(study, counts, shown), trials

    def measure_grid(self, epoch: int) -> dict[tuple[Value, ...], float]:
        """Return the best accuracy until an epoch at every point; one that diverged until then counts as a guess."""
        images, guess = self.spec.validation_images, 1 / len(self.spec.classes)
        return {
            tuple(point.values()): guess if None in right[:epoch] else float(max(right[:epoch]) / images)
            for point, right in zip(self.spec.list_grid(), self.trials, strict=True)
        }


def make_record(described: Mapping[str, Any], trials: Sequence[Trial], machine: str, commit: str) -> StudyRecord:
    """Return the record of a finished study.

    Raises:
        SystemExit: a trial ended in a way that says nothing about its configuration.
    """
    spec = loader.from_dict(described)
    rows: list[Any] = []
    for trial in trials:
        if trial.outcome not in ENDED:
            raise SystemExit(
                f"trial {trial.number} of {spec.study.name} ended as {trial.outcome}: retry it, then again"
            )
        images = spec.validation_images
        right = [None if epoch.diverged else round(epoch.val_accuracy * images) for epoch in trial.epochs]
        if spec.sampler.name == "grid" and trial.outcome == TrialOutcome.DIVERGED and None not in right:
            right.append(None)  # an epoch in which the loss ceases to be a number is not always stored
        values = [_round(trial.params[name]) for name in spec.space]
        rows.append(right if spec.sampler.name == "grid" else [values, trial.outcome, right])
    return StudyRecord(machine, commit, trials[0].made_by["versions"], described, rows)


def append(file: Path, record: StudyRecord) -> None:
    """Add a study to a file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a", encoding="utf-8") as records:
        records.write(json.dumps(asdict(record), separators=(",", ":")) + "\n")


def read(file: Path) -> list[StudyRecord]:
    """Return the studies of a file; none where there is no file."""
    lines = file.read_text("utf-8").splitlines() if file.exists() else []
    return [StudyRecord(**json.loads(line)) for line in lines]


def make_truth(grids: Sequence[StudyRecord], search: StudyRecord, epoch: int) -> GridTruth:
    """Return what the grids say is true of a search's space at an epoch; the parts of a repetition have one seed."""
    repetitions: dict[int, dict[tuple[Value, ...], float]] = {}
    for grid in grids:
        repetitions.setdefault(grid.seed, {}).update(grid.measure_grid(epoch))
    common = set.intersection(*(set(points) for points in repetitions.values()))
    names, space = list(search.spec.space), search.spec.space
    points = {
        name: sorted({point[i] for point in common}) if isinstance(space[name], Range) else space[name].list_points()
        for i, name in enumerate(names)
    }
    values: Floats = np.empty((len(repetitions), *map(len, points.values())))
    for place in np.ndindex(values.shape[1:]):
        point = tuple(points[name][i] for name, i in zip(names, place, strict=True))
        values[:, *place] = [measured[point] for measured in repetitions.values()]
    return GridTruth(space, points, values)


def _make_trial(spec: StudySpec, number: int, values: Sequence[Value], outcome: str, right: Right) -> Trial:
    epochs = [_make_epoch(spec, epoch, count) for epoch, count in enumerate(right, start=1)]
    best = find_best_epoch(epochs, spec.study.metric)
    return Trial(
        number=number,
        state=TrialOutcome(outcome).state,
        outcome=TrialOutcome(outcome),
        value=best.value(spec.study.metric) if best else None,
        params=dict(zip(spec.space, values, strict=True)),
        attempts=1,
        worker=None,
        seconds=None,
        weights=None,
        epochs=tuple(epochs),
        detail=None,
        retry_of=None,
        history=(),
        best_epoch=best.epoch if best else None,
        confusion=None,
        made_by={},
        began=None,
        ended=None,
    )


def _make_epoch(spec: StudySpec, number: int, right: int | None) -> EpochMetrics:
    """Return an epoch of that validation accuracy; the rest is not recorded, and stands for a guess or its failure."""
    classes = len(spec.classes)
    loss = float("nan") if right is None else METRICS["val_loss"].bound(spec.class_counts)
    accuracy = 1 / classes if right is None else right / spec.validation_images
    return EpochMetrics(number, loss, accuracy, loss, accuracy, 0.0, 1.0)


def _round(value: Value) -> Value:
    return float(f"{value:.6g}") if isinstance(value, float) else value
