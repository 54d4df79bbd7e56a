"""The value of a trial: the one rule, for whoever reads it, in SQL and for epochs that are read already.

Another program may tell Optuna's tables a value, also of a trial that is trained here: by `Study.add_trial`,
`Study.tell`, a `Study.optimize` beside the workers, an editable dashboard. So:

- the value of a trial is that of its epochs: of a complete or pruned one the best finite epoch's, whatever was told;
- a trial that has ended without an epoch and was not ended by hpsearch is **foreign**: told by another program. Its
  value is the one in Optuna's tables, where that is finite. It counts in the budget, and every listing marks it; it may
  be the best trial, marked. It reaches no target, has no model, and is compared with nothing: nobody trained it here.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, text

from hpsearch.metrics import METRICS, EpochMetrics, Metric, find_best_epoch
from hpsearch.outcomes import AttemptEnd, TrialOutcome, TrialState
from hpsearch.spec.sections.study import StudySection
from hpsearch.spec.study_spec import StudySpec

_DEFAULT_METRIC = StudySection.model_fields["metric"].default
_METRIC = f"coalesce(h.spec #>> '{{study,metric}}', '{_DEFAULT_METRIC}')"


def _name_column(metric: Metric) -> str:
    return "val_metric" if metric.is_own else metric.name


_CASES = "case {metric} {cases} end"
_FIGURE = _CASES.format(
    metric=_METRIC, cases=" ".join(f"when '{name}' then e.{_name_column(metric)}" for name, metric in METRICS.items())
)
_SIGN = _CASES.format(
    metric=_METRIC, cases=" ".join(f"when '{name}' then {metric.direction.sign}" for name, metric in METRICS.items())
)

SOURCES = f"""
       trials t
  left join trial_values v on v.trial_id = t.trial_id and v.objective = 0
  left join hpsearch.attempts c on c.trial_id = t.trial_id and c.why = '{AttemptEnd.COMPLETED}'
  left join lateral (
           select count(*) as epochs,
                  max({_SIGN} * {_FIGURE}) filter (where {_FIGURE} not in ('NaN', 'Infinity', '-Infinity'))
                      * max({_SIGN}) as value
             from hpsearch.epochs e, hpsearch.studies h
            where t.state = 'COMPLETE' and c.trial_id is null and e.trial_id = t.trial_id and h.study_id = t.study_id
       ) own on true
"""
"""The trials `t` with what Optuna's tables have as value (`v`) and, of a complete trial that no attempt of ours
completed (`c`), how many epochs it has and the best one's value (`own`). Where an attempt completed it, the value in
Optuna's tables was written with that: it is the best epoch's, and thousands of epochs need not be read for it."""

VALUE = "case when own.epochs > 0 then own.value else v.value end"
"""The value of a complete trial from SOURCES, null where it has no finite one."""

IS_FOREIGN = "(t.state = 'COMPLETE' and c.trial_id is null and own.epochs = 0)"
"""Whether a complete trial from SOURCES is foreign."""

COMPLETE = f"""
select t.trial_id, t.number, {VALUE} as value, {IS_FOREIGN} as is_foreign
  from {SOURCES} where t.study_id = :study_id and t.state = 'COMPLETE'
"""
"""The complete trials of a study with their values."""


@dataclass(frozen=True)
class TrialValue:
    """A trial's value and the epoch it is of, None where there is none; `is_foreign`: told by another program."""

    value: float | None
    epoch: int | None
    is_foreign: bool


@dataclass(frozen=True)
class BestTrial:
    """The best of a study's complete trials."""

    trial_id: int
    number: int
    value: float
    is_foreign: bool


def choose_value(
    state: TrialState,
    outcome: TrialOutcome | str | None,
    ends: Sequence[AttemptEnd | str | None],
    epochs: Sequence[EpochMetrics],
    stored: float | None,
    metric: str,
) -> TrialValue:
    """Return the value of a trial whose epochs are at hand.

    Args:
        state: the trial's.
        outcome: what hpsearch stored with the trial's end; None where it did not end it.
        ends: how the attempts at it ended.
        epochs: those of ours.
        stored: the value in Optuna's tables.
        metric: what the study optimizes.
    """
    valued = state in {TrialState.COMPLETE, TrialState.PRUNED}
    if epochs:
        best = find_best_epoch(list(epochs), metric) if valued else None
        return TrialValue(best.value(metric), best.epoch, False) if best else TrialValue(None, None, False)
    # A trial that was copied brings its outcome along. One that we ended without an epoch has no value.
    is_foreign = state.is_finished and AttemptEnd.COMPLETED not in ends and (outcome is None or stored is not None)
    value = stored if is_foreign and valued and stored is not None and math.isfinite(stored) else None
    return TrialValue(value, None, is_foreign)


def find_best(connection: Connection, study_id: int, spec: StudySpec) -> BestTrial | None:
    """Return the best complete trial of a study, of equals the earlier one; None while none has a value."""
    row = connection.execute(
        text(
            f"select trial_id, number, value, is_foreign from ({COMPLETE}) complete where value is not null "
            f"order by value {spec.direction.sql_order}, number limit 1"
        ),
        {"study_id": study_id},
    ).one_or_none()
    return BestTrial(*row) if row else None


def has_reached(connection: Connection, study_id: int, spec: StudySpec, target: float) -> bool:
    """Return whether a complete trial that was trained here is as good as `target`."""
    query = (
        f"select exists (select 1 from ({COMPLETE}) complete "
        f"where not is_foreign and value {spec.direction.sql_better}= :target)"
    )
    return bool(connection.scalar(text(query), {"study_id": study_id, "target": target}))


WITH_MODEL = f"""
select t.trial_id, {VALUE} as value from {SOURCES}
 where t.study_id = :study_id and t.state = 'COMPLETE'
   and t.trial_id in (select trial_id from hpsearch.files where key like 'model/%')
"""
"""The complete trials of a study of which a model is kept, with their values."""


def count_better_models(connection: Connection, study_id: int, spec: StudySpec, value: float) -> int:
    """Return how many models are kept of trials that are better than `value`."""
    query = f"select count(*) from ({WITH_MODEL}) kept where value {spec.direction.sql_better} :value"
    return int(connection.execute(text(query), {"study_id": study_id, "value": value}).scalar_one())
