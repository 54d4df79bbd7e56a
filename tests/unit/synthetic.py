"""Trials that were never trained, with the figures a test gives them."""

from collections.abc import Mapping, Sequence
from typing import Any

from hpsearch import spec
from hpsearch.outcome import EpochMetrics, best
from hpsearch.results import Summary, Trial
from hpsearch.study import Study


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
    chosen = best(epochs, metric) if state in {"complete", "pruned"} else None
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
    described = spec.from_dict({"study": {"name": "synthetic"}, **raw})
    found = Study(1, described.study.name, described, described.fingerprint, status, None, 0, None, None)
    counts = {state: sum(trial.state == state for trial in trials) for state in STATES}
    complete = [trial for trial in trials if trial.state == "complete" and trial.value is not None]
    sign = 1 if described.direction == "maximize" else -1
    top = max(complete, key=lambda trial: (sign * (trial.value or 0.0), -trial.number), default=None)
    return Summary(found, counts, {"number": top.number, "value": top.value, "params": top.params} if top else None)


STATES = ("complete", "pruned", "failed", "running", "waiting")
