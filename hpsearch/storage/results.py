"""Read what a study found, as plain values, from the database alone."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

from sqlalchemy import Connection, text

from hpsearch.metrics import EpochMetrics
from hpsearch.outcomes import AttemptEnd, Confusion, StudyStatus, TrialOutcome, TrialState
from hpsearch.storage import attempts, optuna_tables, studies, trials
from hpsearch.storage.studies import Study
from hpsearch.storage.tables import trial_params, trial_values

_T = TypeVar("_T")

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
    """One worker's hold on a trial, times by the server's clock; `ended` and `why` are None while it has not.

    `job` is the one of a batch engine that the worker ran in.
    """

    number: int
    worker: str
    host: str
    device: str
    seconds: float
    epochs: int
    why: AttemptEnd | str | None
    """How it ended, as the database says it where only a newer hpsearch knows that way; None while it has not."""
    began: datetime
    ended: datetime | None
    job: str | None = None


@dataclass(frozen=True)
class Trial:
    """One trial. `outcome` is None where hpsearch did not end it, or a later version did, in a way unknown to this one.

    `value` is as `trial_values` says: the best epoch's, of an ended trial that has one; where it `is_foreign`, told by
    another program, what that told. `seconds` is the time it was held.

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
    is_foreign: bool = False

    @property
    def is_compared(self) -> bool:
        """Whether the trial is complete with a value from epochs of ours, so that it is compared with others."""
        return self.state == TrialState.COMPLETE and self.value is not None and not self.is_foreign


@dataclass(frozen=True)
class Summary:
    """A study, its trials counted by state, and its best trial; `best` is None while none is complete.

    `best` has a trial's `number`, `value`, `params` and whether it `is_foreign`, told by another program.
    """

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
    counts.update({state: count for name, count in rows if (state := TrialState.from_optuna(name))})
    return Summary(study, counts, _best(connection, study))


def _best(connection: Connection, study: Study) -> dict[str, Any] | None:
    best = trial_values.find_best(connection, study.study_id, study.spec)
    if best is None:
        return None
    return {
        "number": best.number,
        "value": best.value,
        "params": trial_params.read(connection, [best.trial_id])[best.trial_id],
        "is_foreign": best.is_foreign,
    }


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


def count_precisions(trials: Iterable[Trial]) -> Mapping[str, int]:
    """Return how many trials were computed in each precision, where that is known."""
    return Counter(precision for trial in trials if (precision := trial.made_by.get("precision")))


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
            "select trial_id, number, state::text, datetime_start, datetime_complete, v.value "
            "from trials left join trial_values v using (trial_id) "
            "where study_id = :study_id and coalesce(v.objective, 0) = 0 order by number"
        ),
        {"study_id": study.study_id},
    ).all()
    ids = [row.trial_id for row in rows]
    params, attributes = trial_params.read(connection, ids), _attributes(connection, study)
    epochs, history = _epochs(connection, study), read_attempts(connection, study)
    return [
        _trial(
            row, state, study, params[row.trial_id], attributes[row.trial_id], epochs[row.trial_id], history[row.number]
        )
        for row in rows
        if (state := TrialState.from_optuna(row.state))
    ]


def _trial(
    row: Any,
    state: TrialState,
    study: Study,
    params: Mapping[str, Any],
    attributes: Mapping[str, Any],
    epochs: list[EpochMetrics],
    history: tuple[AttemptRecord, ...],
) -> Trial:
    value = trial_values.choose_value(
        state,
        attributes.get("outcome"),
        [attempt.why for attempt in history],
        epochs,
        row.value,
        study.spec.study.metric,
    )
    return Trial(
        number=row.number,
        state=state,
        outcome=trials.parse_outcome(attributes.get("outcome")),
        value=value.value,
        params=params or _only(dict, attributes.get("fixed_params")) or {},
        attempts=len(history),
        worker=history[-1].worker if history else None,
        seconds=sum(attempt.seconds for attempt in history) if history else None,
        weights=_only(int, attributes.get("weights")),
        epochs=tuple(epochs),
        detail=_only(str, attributes.get("detail")),
        retry_of=_only(int, attributes.get("retry_of")),
        history=history,
        best_epoch=value.epoch,
        confusion=trials.parse_confusion(attributes.get(trials.CONFUSION)),
        made_by=_only(dict, attributes.get(attempts.MADE_BY)) or {},
        began=_as_utc(row.datetime_start),
        ended=_as_utc(row.datetime_complete),
        is_foreign=value.is_foreign,
    )


def _only(kind: type[_T], value: object) -> _T | None:
    """Return an attribute where it is of the type that hpsearch stores; None where somebody else stored another."""
    return value if isinstance(value, kind) else None


def _as_utc(time: datetime | None) -> datetime | None:
    """Add the time zone that Optuna's columns lack: what a worker writes there is UTC."""
    return time.replace(tzinfo=UTC) if time else None


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
    parsed = optuna_tables.parse_attributes(((trial_id, key), value) for trial_id, key, value in rows)
    for (trial_id, key), value in parsed.items():
        attributes[trial_id][key] = value
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
    """Return the attempts at each trial, in order, by the trial's number; none for one that nobody claimed yet.

    One whose worker was gone ends at the latest when its lease does: it is closed only when the trial is adopted, which
    may be days later.
    """
    history: dict[int, tuple[AttemptRecord, ...]] = defaultdict(tuple)
    rows = connection.execute(
        text("""
            select t.number as trial, a.number, a.worker_id, a.host, a.device,
                   extract(epoch from
                       case when a.why is null or a.why = :lost
                            then least(coalesce(a.ended_at, clock_timestamp()), greatest(a.held_until, a.opened_at))
                            else a.ended_at end - a.opened_at
                   )::float as seconds,
                   a.epochs, a.why, a.opened_at, a.ended_at, w.job
              from hpsearch.attempts a join trials t using (trial_id)
              left join hpsearch.workers w on w.worker_id = a.worker_id
             where t.study_id = :study_id order by t.number, a.number
        """),
        {"study_id": study.study_id, "lost": AttemptEnd.LOST},
    )
    for row in rows:
        end = AttemptEnd(row.why) if row.why in set(AttemptEnd) else row.why
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
                row.job,
            ),
        )
    return history
