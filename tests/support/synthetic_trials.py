"""Trials that were never trained, with the figures a test gives them."""

from collections.abc import Mapping, Sequence
from typing import Any

from hpsearch.analysis import findings
from hpsearch.analysis.effects import Effect
from hpsearch.analysis.findings import Findings
from hpsearch.analysis.statistics import Difference
from hpsearch.metrics import EpochMetrics, find_best_epoch
from hpsearch.spec import study_spec
from hpsearch.storage.results import Summary, Trial
from hpsearch.storage.studies import Study

GRID: dict[str, Any] = {
    "budget": {"repeats": 3, "epochs": 3},
    "space": {"optimizer": ["nesterov", "adam", "sgd"]},
    "sampler": {"name": "grid"},
}
VALUES = {"nesterov": (0.60, 0.622, 0.61), "adam": (0.70, 0.71, 0.73), "sgd": (0.40, 0.47, 0.41)}


def trial(
    number: int,
    params: Mapping[str, Any],
    accuracies: Sequence[float],
    state: str = "complete",
    outcome: str | None = "completed",
    seconds: float = 2.0,
    gap: float = 0.1,
    metric: str = "val_accuracy",
) -> Trial:
    """A trial with an epoch for each validation accuracy, its validation loss 2 less that; the first takes thrice."""
    epochs = [
        EpochMetrics(epoch, 1.5 - value, value + gap, 2.0 - value, value, 0.01, seconds * (3 if epoch == 1 else 1))
        for epoch, value in enumerate(accuracies, start=1)
    ]
    chosen = find_best_epoch(epochs, metric) if state in {"complete", "pruned"} else None
    return Trial(
        number=number,
        state=state,
        outcome=outcome,
        value=chosen.value(metric) if chosen else None,
        params=params,
        attempts=1,
        worker="w",
        seconds=1.0,
        weights=7,
        epochs=tuple(epochs),
        detail=None,
        retry_of=None,
        history=(),
        best_epoch=chosen.epoch if chosen else None,
        confusion=None,
        made_by={},
        began=None,
        ended=None,
    )


def summary(raw: Mapping[str, Any], trials: Sequence[Trial], status: str = "finished") -> Summary:
    """The summary of a study with these trials."""
    described = study_spec.from_dict({"study": {"name": "synthetic"}, **raw})
    found = Study(1, described.study.name, described, described.fingerprint, status, None, 0, None, None)
    counts = {state: sum(trial.state == state for trial in trials) for state in STATES}
    complete = [trial for trial in trials if trial.state == "complete" and trial.value is not None]
    sign = 1 if described.direction == "maximize" else -1
    top = max(complete, key=lambda trial: (sign * (trial.value or 0.0), -trial.number), default=None)
    return Summary(found, counts, {"number": top.number, "value": top.value, "params": top.params} if top else None)


def repeated(**extra: Any) -> list[Trial]:
    """Three optimizers, three seeds each; the last of three epochs is not the best."""
    return [
        trial(number, {"optimizer": optimizer}, (value / 2, value, value - 0.05), **extra)
        for number, (optimizer, value) in enumerate(
            (optimizer, VALUES[optimizer][seed]) for seed in range(3) for optimizer in VALUES
        )
    ]


def find(raw: dict[str, Any], trials: list[Trial], status: str = "finished") -> Findings:
    """What is found."""
    return findings.analyze_study(summary(raw, trials, status), trials)


def difference(effect: Effect, first: str, second: str) -> Difference:
    """The difference of two levels."""
    return next(each for each in effect.values if {each.better, each.worse} == {first, second})


STATES = ("complete", "pruned", "failed", "running", "waiting")
