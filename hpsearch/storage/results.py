"""Read what a study found, as plain values, from the database alone."""

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, text

from hpsearch.metrics import EpochMetrics, find_best_epoch
from hpsearch.outcomes import AttemptEnd, Confusion, StudyStatus, TrialOutcome, TrialState
from hpsearch.storage import attempts, studies, trials
from hpsearch.storage.studies import Study

COUNTED_STATES = (
    TrialState.COMPLETE,
    TrialState.PRUNED,
    TrialState.FAILED,
    TrialState.RUNNING,
    TrialState.WAITING,
)
"""The states in the order in which a reader sees their counts."""

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
    why: AttemptEnd | None
    began: datetime
    ended: datetime | None


@dataclass(frozen=True)
class Trial:
    """One trial. `outcome` is None where hpsearch did not end it, or a later version did, in a way unknown to this one.

    `value` is the best epoch's, of an ended trial that has one; `seconds` the time it was held.

    `detail` says why it ended so, `retry_of` is the number of the trial it repeats, `best_epoch` the one that `value`
    is of. `confusion[i][j]` says how many validation images of class i the best epoch's model took for class j; None
    where no epoch was finished. `made_by` has the seed, data, backend, precision and versions. `UNDOCUMENTED` ones are
    not in the document.
    """

    number: int
    state: TrialState
    outcome: TrialOutcome | None
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
    confusion: Confusion | None
    made_by: Mapping[str, Any]
    began: datetime | None
    ended: datetime | None


@dataclass(frozen=True)
class Summary:
    """A study, its trials counted by state, and its best trial; `best` is None while none is complete."""

    study: Study
    counts: Mapping[str, int]
    best: Mapping[str, Any] | None

    @property
    def ended(self) -> int:
        """Return how many trials have ended."""
        return sum(self.counts[state] for state in TrialState if state.is_finished)

    def describe_counts(self) -> str:
        """Return how many trials are in which state, as `4 complete, 1 running`; empty where there is none."""
        return ", ".join(f"{count} {state}" for state, count in self.counts.items() if count)

    @property
    def status(self) -> StudyStatus:
        """Return the study's status: finished also where the last worker left before it could store that."""
        unfinished = self.counts[TrialState.RUNNING] + self.counts[TrialState.WAITING]
        over = sum(self.counts.values()) >= self.study.spec.budget.trials and not unfinished
        return StudyStatus.FINISHED if over and self.study.status is StudyStatus.RUNNING else self.study.status


def read(connection: Connection, name: str) -> tuple[Summary, list[Trial]]:
    """Return a study and every trial of it, by number.

    Raises:
        NotFoundError: there is no such study.
    """
    study = studies.find(connection, name)
    trials = _trials(connection, study)
    return summarize(connection, study), trials


def summarize(connection: Connection, study: Study) -> Summary:
    """Count a study's trials by state, and find the best one."""
    counts: dict[str, int] = dict.fromkeys(COUNTED_STATES, 0)
    rows = connection.execute(
        text("select state::text, count(*) from trials where study_id = :study_id group by state"),
        {"study_id": study.study_id},
    )
    counts.update({TrialState.from_optuna(state): count for state, count in rows})
    return Summary(study, counts, _best(connection, study))


def _best(connection: Connection, study: Study) -> dict[str, Any] | None:
    row = connection.execute(
        text(
            "select t.trial_id, t.number, v.value from trials t join trial_values v using (trial_id) "
            "where t.study_id = :study_id and t.state = 'COMPLETE' and v.value is not null "
            f"order by v.value {study.spec.direction.sql_order}, t.number limit 1"
        ),
        {"study_id": study.study_id},
    ).one_or_none()
    if row is None:
        return None
    return {"number": row.number, "value": row.value, "params": _params(connection, [row.trial_id])[row.trial_id]}


def make_document(summary: Summary, trials: Iterable[Trial]) -> dict[str, Any]:
    """Return what `hpsearch results --json` prints; what is absent or not finite is None."""
    study = summary.study
    described: dict[str, Any] = {
        "study": {
            "name": study.name,
            "status": summary.status,
            "metric": study.spec.study.metric,
            "direction": study.spec.direction,
            "fingerprint": study.fingerprint,
            "fixed": study.spec.list_unsearched(),
            "counts": summary.counts,
            "best": summary.best,
        },
        "trials": [_shown(trial) for trial in trials],
    }
    cleaned: dict[str, Any] = keep_finite(described)
    return cleaned


def keep_finite(value: Any) -> Any:
    """Return `value` with None for every number in it that JSON cannot hold."""
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


def _trials(connection: Connection, study: Study) -> list[Trial]:
    rows = connection.execute(
        text(
            "select trial_id, number, state::text, datetime_start, datetime_complete "
            "from trials where study_id = :study_id order by number"
        ),
        {"study_id": study.study_id},
    ).all()
    ids = [row.trial_id for row in rows]
    params, attributes = _params(connection, ids), _attributes(connection, study)
    epochs, history = _epochs(connection, study), read_attempts(connection, study)
    return [
        _trial(row, study, params[row.trial_id], attributes[row.trial_id], epochs[row.trial_id], history[row.number])
        for row in rows
    ]


def _trial(
    row: Any,
    study: Study,
    params: Mapping[str, Any],
    attributes: Mapping[str, Any],
    epochs: list[EpochMetrics],
    history: tuple[AttemptRecord, ...],
) -> Trial:
    state = TrialState.from_optuna(row.state)
    metric = study.spec.study.metric
    best = find_best_epoch(epochs, metric) if state in {TrialState.COMPLETE, TrialState.PRUNED} else None
    return Trial(
        number=row.number,
        state=state,
        outcome=_parse_outcome(attributes.get("outcome")),
        value=best.value(metric) if best else None,
        params=params or attributes.get("fixed_params", {}),
        attempts=len(history),
        worker=history[-1].worker if history else None,
        seconds=sum(attempt.seconds for attempt in history) if history else None,
        weights=attributes.get("weights"),
        epochs=tuple(epochs),
        detail=attributes.get("detail"),
        retry_of=attributes.get("retry_of"),
        history=history,
        best_epoch=best.epoch if best else None,
        confusion=_parse_matrix(attributes.get(trials.CONFUSION)),
        made_by=attributes.get(attempts.MADE_BY, {}),
        began=_as_utc(row.datetime_start),
        ended=_as_utc(row.datetime_complete),
    )


def _parse_outcome(outcome: str | None) -> TrialOutcome | None:
    return TrialOutcome(outcome) if outcome in set(TrialOutcome) else None


def _parse_matrix(rows: list[list[int]] | None) -> Confusion | None:
    return tuple(tuple(row) for row in rows) if rows else None


def _as_utc(time: datetime | None) -> datetime | None:
    """Add the time zone that Optuna's columns lack: what a worker writes there is UTC."""
    return time.replace(tzinfo=UTC) if time else None


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
    """Return the choices of a stored distribution, None where it is of numbers; and whether those are whole.

    Optuna's own reading of it takes Optuna's import, longer than all else that `hpsearch status` does.
    """
    distribution = json.loads(described)
    return distribution["attributes"].get("choices"), distribution["name"].startswith("Int")


def _attributes(connection: Connection, study: Study) -> dict[int, dict[str, Any]]:
    attributes: dict[int, dict[str, Any]] = defaultdict(dict)
    rows = connection.execute(
        text("""
            select trial_id, key, value_json from trial_user_attributes join trials using (trial_id)
             where study_id = :study_id and key in ('outcome', 'weights', 'detail', 'retry_of')
            union all
            select trial_id, key, value_json from trial_system_attributes join trials using (trial_id)
             where study_id = :study_id and key in ('fixed_params', :confusion, :made_by)
        """),
        {"study_id": study.study_id, "confusion": trials.CONFUSION, "made_by": attempts.MADE_BY},
    )
    for trial_id, key, value in rows:
        attributes[trial_id][key] = json.loads(value)
    return attributes


def _epochs(connection: Connection, study: Study) -> dict[int, list[EpochMetrics]]:
    epochs: dict[int, list[EpochMetrics]] = defaultdict(list)
    rows = connection.execute(
        text(
            f"select trial_id, {trials.EPOCH_COLUMNS} from hpsearch.epochs join trials using (trial_id) "
            "where study_id = :study_id order by trial_id, epoch"
        ),
        {"study_id": study.study_id},
    )
    for trial_id, *values in rows:
        epochs[trial_id].append(EpochMetrics(*values))
    return epochs


def read_attempts(connection: Connection, study: Study) -> Mapping[int, tuple[AttemptRecord, ...]]:
    """Return the attempts at each trial, in order, by the trial's number; none for one that nobody claimed yet."""
    history: dict[int, tuple[AttemptRecord, ...]] = defaultdict(tuple)
    rows = connection.execute(
        text("""
            select t.number as trial, a.number, a.worker_id, a.host, a.device,
                   extract(epoch from coalesce(a.ended_at, clock_timestamp()) - a.opened_at)::float as seconds,
                   a.epochs, a.why, a.opened_at, a.ended_at
              from hpsearch.attempts a join trials t using (trial_id)
             where t.study_id = :study_id order by t.number, a.number
        """),
        {"study_id": study.study_id},
    )
    for row in rows:
        end = AttemptEnd(row.why) if row.why else None
        history[row.trial] += (
            AttemptRecord(
                row.number,
                row.worker_id,
                row.host,
                row.device,
                row.seconds,
                row.epochs,
                end,
                row.opened_at,
                row.ended_at,
            ),
        )
    return history
