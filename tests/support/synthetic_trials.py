"""Trials that were never trained, with the figures a test gives them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from hpsearch.analysis.answer import Answer, answer_study
from hpsearch.analysis.effects import Effect
from hpsearch.analysis.statistics import Difference
from hpsearch.metrics import METRICS, EpochMetrics, find_best_epoch
from hpsearch.outcomes import StudyStatus, TrialOutcome, TrialState
from hpsearch.spec import loader
from hpsearch.spec.datasets import DataFacts
from hpsearch.storage.results import Summary, Trial
from hpsearch.storage.studies import Study

GRID: dict[str, Any] = {
    "budget": {"repeats": 3, "epochs": 3},
    "space": {"optimizer": ["nesterov", "adam", "sgd"]},
    "sampler": {"name": "grid"},
}
"""Three optimizers with three seeds each."""
VALUES = {"nesterov": (0.60, 0.622, 0.61), "adam": (0.70, 0.71, 0.73), "sgd": (0.40, 0.47, 0.41)}
"""The best epoch's validation accuracies of `make_repeated_grid`, by seed."""
SEARCH: dict[str, Any] = {
    "budget": {"trials": 60, "epochs": 3},
    "space": {
        "learning_rate": {"low": 1e-5, "high": 1e-1, "log": True},
        "optimizer": ["sgd", "momentum", "adam"],
        "momentum": {"low": 0.5, "high": 0.95, "when": {"optimizer": ["momentum"]}},
    },
}
"""A search by TPE with a conditional hyperparameter."""


def make_trial(
    number: int,
    params: Mapping[str, Any],
    accuracies: Sequence[float],
    state: str = TrialState.COMPLETE,
    outcome: str | None = TrialOutcome.COMPLETED,
    seconds: float = 2.0,
    gap: float = 0.1,
    metric: str = "val_accuracy",
) -> Trial:
    """Return a trial with an epoch for each validation accuracy, the validation loss 2 less that.

    The first epoch takes three times `seconds`; training accuracy is `gap` above validation accuracy.
    """
    epochs = [
        EpochMetrics(epoch, 1.5 - value, value + gap, 2.0 - value, value, 0.01, seconds * (3 if epoch == 1 else 1))
        for epoch, value in enumerate(accuracies, start=1)
    ]
    if METRICS[metric].is_own:
        epochs = [replace(epoch, val_metric=epoch.val_accuracy) for epoch in epochs]
    best = find_best_epoch(epochs, metric) if state in {TrialState.COMPLETE, TrialState.PRUNED} else None
    return Trial(
        number=number,
        state=TrialState(state),
        outcome=TrialOutcome(outcome) if outcome else None,
        value=best.value(metric) if best else None,
        params=params,
        attempts=1,
        worker="w",
        seconds=1.0,
        weights=7,
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


def make_summary(
    described: Mapping[str, Any], trials: Sequence[Trial], status: str = "finished", facts: DataFacts | None = None
) -> Summary:
    """Return the summary of the study that is `described` as in its file, with these trials."""
    spec = replace(loader.from_dict({"study": {"name": "synthetic"}, **described}), facts=facts)
    study = Study(1, spec.study.name, spec, spec.fingerprint, StudyStatus(status), None, 0, None, None)
    counts = {state.value: sum(trial.state == state for trial in trials) for state in TrialState}
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE and trial.value is not None]
    best = max(complete, key=lambda trial: (spec.direction.sign * (trial.value or 0.0), -trial.number), default=None)
    shown = {"number": best.number, "value": best.value, "params": best.params, "is_foreign": False} if best else None
    return Summary(study, counts, shown)


def make_repeated_grid(**options: Any) -> list[Trial]:
    """Return the trials of `GRID`, whose values are `VALUES`; the second of three epochs is the best."""
    return [
        make_trial(number, {"optimizer": optimizer}, (value / 2, value, value - 0.05), **options)
        for number, (optimizer, value) in enumerate(
            (optimizer, VALUES[optimizer][seed]) for seed in range(3) for optimizer in VALUES
        )
    ]


def make_search_trials(count: int, epochs: int = 3) -> list[Trial]:
    """Return trials of `SEARCH` with every ending."""
    random = np.random.default_rng(0)
    outcomes = [TrialOutcome.COMPLETED] * 5 + [TrialOutcome.PRUNED] * 3
    outcomes += [TrialOutcome.DIVERGED, TrialOutcome.AT_CHANCE, TrialOutcome.OUT_OF_MEMORY, TrialOutcome.ERROR]
    endings = [*((outcome.state, outcome) for outcome in outcomes), (TrialState.RUNNING, None)]
    trials = []
    for number in range(count):
        optimizer = str(random.choice(["sgd", "momentum", "adam"]))
        params: dict[str, Any] = {"learning_rate": float(10 ** random.uniform(-5, -1)), "optimizer": optimizer}
        if optimizer == "momentum":
            params["momentum"] = float(random.uniform(0.5, 0.95))
        state, outcome = endings[int(random.integers(len(endings)))]
        value = 0.5 + 0.1 * (optimizer == "adam") + 0.01 * random.normal()
        accuracies = [value * epoch / epochs for epoch in range(1, epochs + 1)]
        if outcome is TrialOutcome.DIVERGED:
            accuracies = [float("nan")]
        elif outcome is TrialOutcome.AT_CHANCE:
            accuracies = [0.09, 0.1]
        trials.append(make_trial(number, params, accuracies, state, outcome))
    return trials


def analyze(described: Mapping[str, Any], trials: Sequence[Trial], status: str = "finished") -> Answer:
    """Return the answer to the study that is `described` as in its file, with these trials."""
    return answer_study(make_summary(described, trials, status), trials)


def find_difference(effect: Effect, first: str, second: str) -> Difference:
    """Return the difference of two levels' values."""
    return next(entry for entry in effect.values if {entry.better, entry.worse} == {first, second})
