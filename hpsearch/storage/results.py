"""What a study found, as plain values: read only, from the database alone."""

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, text

from hpsearch.metrics import METRICS, EpochMetrics, find_best_epoch
from hpsearch.storage import attempts, studies, trials
from hpsearch.storage.studies import Study

STATES = {
    "COMPLETE": "complete",
    "PRUNED": "pruned",
    "FAIL": "failed",
    "RUNNING": "running",
    "WAITING": "waiting",
}


UNDOCUMENTED = frozenset({"detail", "retry_of", "history", "best_epoch", "confusion", "made_by", "began", "ended"})
"""The fields of `Trial` that the document leaves out."""


@dataclass(frozen=True)
class AttemptRecord:
    """One worker's hold on a trial, times by the server's clock; `ended` and `why` are None while it has not."""

    number: int
    worker: str
    host: str
    device: str
    seconds: float
    epochs: int
    why: str | None
    began: datetime
    ended: datetime | None


@dataclass(frozen=True)
class Trial:
    """One trial. `value` is the best epoch's, of an ended trial that has one; `seconds` the time it was held.

    `detail` says why it ended so, `retry_of` is the number of the trial it repeats, `best_epoch` the one that `value`
    is of. `confusion[i][j]` says how many validation images of class i the best epoch's model took for class j; None
    where no epoch was finished. `made_by` has the seed, data, backend, precision and versions. `UNDOCUMENTED` ones are
    not in the document.
    """

    number: int
    state: str
    outcome: str | None
    value: float | None
    params: Mapping[str, Any]
    attempts: int
    worker: str | None
    seconds: float | None
    weights: int | None
    epochs: tuple[EpochMetrics, ...]
    detail: str | None
    retry_of: int | None
    history: tuple[AttemptRecord, ...]
    best_epoch: int | None
    confusion: tuple[tuple[int, ...], ...] | None
    made_by: Mapping[str, Any]
    began: datetime | None
    ended: datetime | None


@dataclass(frozen=True)
class Summary:
    """A study at a glance; `best` is None while no trial is complete."""

    study: Study
    counts: Mapping[str, int]
    best: Mapping[str, Any] | None

    @property
    def status(self) -> str:
        """Finished also where the last worker left before it could say so."""
        budget = self.study.spec.budget.trials
        over = sum(self.counts.values()) >= budget and not (self.counts["running"] or self.counts["waiting"])
        return "finished" if self.study.status == "running" and over else self.study.status


def read(connection: Connection, name: str) -> tuple[Summary, list[Trial]]:
    """A study and every trial of it, by number.

    Raises:
        NotFoundError: there is no such study.
    """
    found = studies.find(connection, name)
    trials = _trials(connection, found)
    return summarize(connection, found), trials


def summarize(connection: Connection, found: Study) -> Summary:
    """Count a study's trials by state, and find the best one."""
    counts = dict.fromkeys(STATES.values(), 0)
    rows = connection.execute(
        text("select state::text, count(*) from trials where study_id = :study_id group by state"), _of(found)
    )
    counts.update({STATES[state]: count for state, count in rows})
    return Summary(found, counts, _best(connection, found))


def _best(connection: Connection, found: Study) -> dict[str, Any] | None:
    order = "desc" if found.spec.direction == "maximize" else "asc"
    row = connection.execute(
        text(
            "select t.trial_id, t.number, v.value from trials t join trial_values v using (trial_id) "
            "where t.study_id = :study_id and t.state = 'COMPLETE' and v.value is not null "
            f"order by v.value {order}, t.number limit 1"
        ),
        _of(found),
    ).one_or_none()
    if row is None:
        return None
    return {"number": row.number, "value": row.value, "params": _params(connection, [row.trial_id])[row.trial_id]}


def make_document(summary: Summary, trials: Iterable[Trial]) -> dict[str, Any]:
    """What `hpsearch results --json` prints; what is absent or not finite is None."""
    found = summary.study
    described: dict[str, Any] = {
        "study": {
            "name": found.name,
            "status": summary.status,
            "metric": found.spec.study.metric,
            "direction": METRICS[found.spec.study.metric],
            "fingerprint": found.fingerprint,
            "fixed": found.spec.fixed_values(),
            "counts": summary.counts,
            "best": summary.best,
        },
        "trials": [_shown(trial) for trial in trials],
    }
    cleaned: dict[str, Any] = keep_finite(described)
    return cleaned


def keep_finite(value: Any) -> Any:
    """`value` with None for every number in it that JSON cannot hold."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: keep_finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [keep_finite(item) for item in value]
    return value


def _shown(trial: Trial) -> dict[str, Any]:
    shown = {key: value for key, value in vars(trial).items() if key not in UNDOCUMENTED}
    return {**shown, "epochs": [asdict(epoch) for epoch in trial.epochs]}


def _trials(connection: Connection, found: Study) -> list[Trial]:
    rows = connection.execute(
        text(
            "select trial_id, number, state::text, datetime_start, datetime_complete "
            "from trials where study_id = :study_id order by number"
        ),
        _of(found),
    ).all()
    ids = [row.trial_id for row in rows]
    params, attributes = _params(connection, ids), _attributes(connection, found)
    epochs, held = _epochs(connection, found), read_attempts(connection, found)
    return [
        _trial(row, found, params[row.trial_id], attributes[row.trial_id], epochs[row.trial_id], held[row.number])
        for row in rows
    ]


def _trial(
    row: Any,
    found: Study,
    params: Mapping[str, Any],
    attributes: Mapping[str, Any],
    epochs: list[EpochMetrics],
    history: tuple[AttemptRecord, ...],
) -> Trial:
    state = STATES[row.state]
    metric = found.spec.study.metric
    chosen = find_best_epoch(epochs, metric) if state in {"complete", "pruned"} else None
    return Trial(
        number=row.number,
        state=state,
        outcome=attributes.get("outcome"),
        value=chosen.value(metric) if chosen else None,
        params=params or attributes.get("fixed_params", {}),
        attempts=len(history),
        worker=history[-1].worker if history else None,
        seconds=sum(each.seconds for each in history) if history else None,
        weights=attributes.get("weights"),
        epochs=tuple(epochs),
        detail=attributes.get("detail"),
        retry_of=attributes.get("retry_of"),
        history=history,
        best_epoch=chosen.epoch if chosen else None,
        confusion=_matrix(attributes.get(trials.CONFUSION)),
        made_by=attributes.get(attempts.MADE_BY, {}),
        began=_utc(row.datetime_start),
        ended=_utc(row.datetime_complete),
    )


def _matrix(stored: list[list[int]] | None) -> tuple[tuple[int, ...], ...] | None:
    return tuple(tuple(row) for row in stored) if stored else None


def _utc(stored: datetime | None) -> datetime | None:
    """Optuna's columns have no time zone; what a worker writes there is UTC."""
    return stored.replace(tzinfo=UTC) if stored else None


def _params(connection: Connection, ids: list[int]) -> dict[int, dict[str, Any]]:
    params: dict[int, dict[str, Any]] = defaultdict(dict)
    rows = connection.execute(
        text(
            "select trial_id, param_name, param_value, distribution_json from trial_params "
            "where trial_id = any(:ids) order by param_id"
        ),
        {"ids": ids},
    )
    for trial_id, name, value, distribution in rows:
        choices, whole = _distribution(distribution)
        params[trial_id][name] = choices[int(value)] if choices else int(value) if whole else value
    return params


@lru_cache(maxsize=1024)
def _distribution(described: str) -> tuple[list[Any] | None, bool]:
    """The choices of a stored distribution, None where it is of numbers; and whether those are whole.

    Optuna's own reading of it takes Optuna's import, longer than all else that `hpsearch status` does.
    """
    read = json.loads(described)
    return read["attributes"].get("choices"), read["name"].startswith("Int")


def _attributes(connection: Connection, found: Study) -> dict[int, dict[str, Any]]:
    attributes: dict[int, dict[str, Any]] = defaultdict(dict)
    rows = connection.execute(
        text("""
            select trial_id, key, value_json from trial_user_attributes join trials using (trial_id)
             where study_id = :study_id and key in ('outcome', 'weights', 'detail', 'retry_of')
            union all
            select trial_id, key, value_json from trial_system_attributes join trials using (trial_id)
             where study_id = :study_id and key in ('fixed_params', :confusion, :made_by)
        """),
        {**_of(found), "confusion": trials.CONFUSION, "made_by": attempts.MADE_BY},
    )
    for trial_id, key, value in rows:
        attributes[trial_id][key] = json.loads(value)
    return attributes


def _epochs(connection: Connection, found: Study) -> dict[int, list[EpochMetrics]]:
    epochs: dict[int, list[EpochMetrics]] = defaultdict(list)
    rows = connection.execute(
        text("""
            select e.trial_id, e.epoch, e.train_loss, e.train_accuracy, e.val_loss, e.val_accuracy, e.learning_rate,
                   e.seconds
              from hpsearch.epochs e join trials t using (trial_id) where t.study_id = :study_id
             order by e.trial_id, e.epoch
        """),
        _of(found),
    )
    for trial_id, *values in rows:
        epochs[trial_id].append(EpochMetrics(*values))
    return epochs


def read_attempts(connection: Connection, found: Study) -> Mapping[int, tuple[AttemptRecord, ...]]:
    """Every attempt at each trial, in order, by the trial's number; an empty tuple for one that nobody held yet."""
    history: dict[int, tuple[AttemptRecord, ...]] = defaultdict(tuple)
    rows = connection.execute(
        text("""
            select t.number as trial, a.number, a.worker_id, a.host, a.device,
                   extract(epoch from coalesce(a.ended_at, clock_timestamp()) - a.opened_at)::float, a.epochs, a.why,
                   a.opened_at, a.ended_at
              from hpsearch.attempts a join trials t using (trial_id)
             where t.study_id = :study_id order by t.number, a.number
        """),
        _of(found),
    )
    for trial, *values in rows:
        history[trial] += (AttemptRecord(*values),)
    return history


def _of(found: Study) -> dict[str, int]:
    return {"study_id": found.study_id}
