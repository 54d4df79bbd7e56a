"""What a tracker is to show of a study and its trials: a run for each, as plain values that no tracker is named in."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from hpsearch.formatting import format_count
from hpsearch.metrics import METRICS, EpochMetrics
from hpsearch.outcomes import FOREIGN, StudyStatus, TrialState
from hpsearch.spec.dimension import Choices, Range
from hpsearch.spec.study_spec import StudySpec
from hpsearch.storage.results import AttemptRecord, Summary, Trial

Fact = str | int | float | bool

KEY_DIGITS = 12


@dataclass(frozen=True)
class LoggedEpoch:
    """A finished epoch: its number is the step. What was not measured is left out; the rest may be NaN or infinite."""

    epoch: int
    at: datetime
    figures: Mapping[str, float]


@dataclass(frozen=True)
class StudyRun:
    """The run of the study itself. `key` is the same on every host, and no other study's in any database."""

    key: str
    name: str
    question: str
    status: StudyStatus
    metric: str
    fixed: Mapping[str, Fact]
    searched: Mapping[str, Sequence[Fact] | None]
    """The searched hyperparameters: the choices of each, None where it is a range."""
    facts: Mapping[str, Fact]
    best: Mapping[str, float]
    ended: int
    """Trials that have."""
    began: datetime
    now: datetime
    """When all this was read, by the server's clock."""

    @property
    def title(self) -> str:
        """What a reader sees."""
        return self.name

    @property
    def digest(self) -> str:
        """Return a digest of what the run shows."""
        return _digest(self.status, self.facts, self.best, self.ended)


@dataclass(frozen=True)
class TrialRun:
    """The run of a trial. `key` has the study's in it."""

    key: str
    number: int
    state: TrialState
    params: Mapping[str, Fact]
    facts: Mapping[str, Fact]
    best: Mapping[str, float]
    """The trial's value, by the name of the metric with `best_` before it."""
    best_epoch: int
    """Whose value that is; 0 where there is none."""
    epochs: tuple[LoggedEpoch, ...]
    began: datetime
    ended: datetime | None
    model: str | None
    """The key of its stored model."""
    trial: Trial = field(repr=False)

    @property
    def title(self) -> str:
        """What a reader sees."""
        return f"trial {self.number}"

    @property
    def digest(self) -> str:
        """Return a digest of what the run shows besides its epochs."""
        ended = self.ended.isoformat() if self.ended else None
        return _digest(self.state, self.params, self.facts, self.best, ended, self.model)


def _digest(*values: object) -> str:
    return hashlib.sha256(json.dumps(values, default=str, sort_keys=True).encode()).hexdigest()[:32]


def make_study_key(study_id: int, name: str, created_at: datetime) -> str:
    """Return a study's key; a study of the same name that was made later has another one."""
    content = f"{study_id} {created_at.isoformat()} {name}"
    return hashlib.sha256(content.encode()).hexdigest()[:KEY_DIGITS]


def make_study_run(summary: Summary, key: str, began: datetime, now: datetime) -> StudyRun:
    """Return what a tracker shows of a study."""
    study, spec = summary.study, summary.study.spec
    best = None if spec.evaluation else summary.best  # no trial is chosen by the test images
    facts: dict[str, Fact] = {
        "status": summary.status.value,
        "metric": spec.study.metric,
        "direction": spec.direction.value,
        "trials": spec.budget.trials,
        "epochs": spec.budget.epochs,
        "ended_trials": summary.ended,
        "sampler": spec.sampler.name,
        "pruner": spec.pruner.name,
        "data": spec.data.title,
    }
    if study.reason:
        facts["reason"] = study.reason
    if best:
        facts["best_trial"] = int(best["number"])
    return StudyRun(
        key=key,
        name=study.name,
        question=spec.study.description.strip(),
        status=summary.status,
        metric=_name_metric(spec),
        fixed={name: _simplify(value) for name, value in spec.list_unsearched().items() if value is not None},
        searched={name: _list_choices(dimension) for name, dimension in spec.space.items()},
        facts=facts,
        best={f"best_{_name_metric(spec)}": float(best["value"])} if best else {},
        ended=summary.ended,
        began=began,
        now=now,
    )


def make_trial_run(
    spec: StudySpec, trial: Trial, study_key: str, times: Mapping[int, datetime], model: str | None, now: datetime
) -> TrialRun:
    """Return what a tracker shows of a trial that has begun.

    Args:
        spec: its study's.
        trial: as `results.read` has it.
        study_key: the key of the study's run.
        times: when each epoch was stored.
        model: the key of the stored model.
        now: the server's clock, for what has no time of its own.
    """
    began = trial.began or trial.ended or now
    best = {} if trial.value is None else {f"best_{_name_metric(spec)}": trial.value}
    return TrialRun(
        key=f"{study_key}-{trial.number}",
        number=trial.number,
        state=trial.state,
        params={name: _simplify(value) for name, value in trial.params.items() if value is not None},
        facts=_list_facts(trial),
        best=best if trial.state.is_finished else {},
        best_epoch=trial.best_epoch or 0,
        epochs=tuple(
            LoggedEpoch(epoch.epoch, times.get(epoch.epoch, began), _list_figures(spec, epoch))
            for epoch in trial.epochs
        ),
        began=began,
        ended=trial.ended if trial.state.is_finished else None,
        model=model,
        trial=trial,
    )


def _list_facts(trial: Trial) -> dict[str, Fact]:
    made_by = trial.made_by
    facts: dict[str, Fact | None] = {
        "outcome": trial.outcome.value if trial.outcome else trial.state.value,
        "detail": trial.detail,
        "told_by": FOREIGN if trial.is_foreign else None,
        "best_epoch": trial.best_epoch,
        "retry_of": trial.retry_of,
        "weights": trial.weights,
        "attempts": trial.attempts,
        "trial_seconds": round(trial.seconds, 3) if trial.seconds is not None and trial.state.is_finished else None,
        "seed": made_by.get("seed"),
        "data": made_by.get("data"),
        "precision": made_by.get("precision"),
        "backend": made_by.get("backend"),
    }
    if trial.history:
        last = trial.history[-1]
        facts |= {"worker": last.worker, "host": last.host, "device": last.device, "job": last.job}
    if len(trial.history) > 1:
        facts["history"] = "; ".join(_describe_attempt(attempt) for attempt in trial.history)
    versions = made_by.get("versions")
    if isinstance(versions, Mapping):
        facts |= {f"version_{name}": str(version) for name, version in versions.items()}
    return {name: _simplify(value) for name, value in facts.items() if value not in (None, "")}


def _describe_attempt(attempt: AttemptRecord) -> str:
    end = f"{attempt.why} after {format_count(attempt.epochs, 'epoch')}" if attempt.why else "open"
    job = f" as {attempt.job}" if attempt.job else ""
    return f"attempt {attempt.number} on {attempt.host}, {attempt.device}{job}: {end}"


def _list_figures(spec: StudySpec, epoch: EpochMetrics) -> Mapping[str, float]:
    """Return the figures of an epoch by their plain names; those of an evaluation are of the test images."""
    prefix = "test" if spec.evaluation else "val"
    figures = {"train_loss": epoch.train_loss, "train_accuracy": epoch.train_accuracy}
    if epoch.validated:
        figures |= {f"{prefix}_loss": epoch.val_loss, f"{prefix}_accuracy": epoch.val_accuracy}
        if epoch.val_metric is not None:
            figures[_name_metric(spec)] = epoch.val_metric
    return {**figures, "learning_rate": epoch.learning_rate, "seconds": epoch.seconds}


def _name_metric(spec: StudySpec) -> str:
    name = METRICS[spec.study.metric].name
    return name.replace("val_", "test_", 1) if spec.evaluation else name


def _list_choices(dimension: Choices | Range) -> Sequence[Fact] | None:
    return [_simplify(value) for value in dimension.values] if isinstance(dimension, Choices) else None


def _simplify(value: object) -> Fact:
    return value if isinstance(value, str | int | float | bool) else json.dumps(value, default=str)
