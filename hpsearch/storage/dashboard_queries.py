"""What the dashboard reads: a study's trials in one query, and a value that changes when the study does."""

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import Connection, Row, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from hpsearch.storage.tables import trial_values

_TRIALS = text(f"""
select t.trial_id, t.number, t.state::text, t.datetime_start, t.datetime_complete,
       case when own.epochs > 0 then json_build_array(json_build_array(own.value, 'FINITE'))
            else (select json_agg(json_build_array(v.value, v.value_type::text) order by v.objective)
                    from trial_values v where v.trial_id = t.trial_id) end as objectives,
       (select json_agg(json_build_array(p.param_name, p.param_value, p.distribution_json) order by p.param_id)
          from trial_params p where p.trial_id = t.trial_id) as params,
       (select json_agg(json_build_array(i.step, i.intermediate_value, i.intermediate_value_type::text) order by i.step)
          from trial_intermediate_values i where i.trial_id = t.trial_id) as steps,
       (select json_object_agg(a.key, a.value_json order by a.trial_user_attribute_id)
          from trial_user_attributes a where a.trial_id = t.trial_id) as user_attributes,
       (select json_object_agg(a.key, a.value_json order by a.trial_system_attribute_id)
          from trial_system_attributes a where a.trial_id = t.trial_id) as system_attributes
  from {trial_values.SOURCES}
 where t.study_id = :study_id and (t.trial_id > :newest or t.trial_id = any(:unfinished))
 order by t.trial_id
""")

_VERSION = text("""
    select h.status, h.reason, h.spec #>> '{budget,trials}' as budget,
           (select json_object_agg(state, counted order by state)::text
              from (select state::text, count(*) as counted from trials where study_id = :study_id group by state) s),
           (select sum(epochs) from hpsearch.attempts where study_id = :study_id),
           (select json_object_agg(study_id, counted order by study_id)::text
              from (select a.study_id, count(*) filter (where t.state in ('COMPLETE', 'PRUNED', 'FAIL')) as counted
                      from hpsearch.ablations a join trials t using (study_id)
                     where a.ablated = :study_id group by a.study_id) s)
      from hpsearch.studies h where h.study_id = :study_id
""")

_RECORDS = text("""
    select (cast(:study_id as integer) is null or exists (select from studies where study_id = :study_id))
       and (cast(:trial_id as integer) is null
            or exists (select from trials where trial_id = :trial_id and study_id = coalesce(:study_id, study_id)))
""")

_OBJECTIVES = text("select count(*) from study_directions join trials using (study_id) where trial_id = :trial_id")


def has_records(connection: Connection, study_id: int | None, trial_id: int | None) -> bool:
    """Return whether there is the study, and the trial in it; None asks for none."""
    return bool(connection.scalar(_RECORDS, {"study_id": study_id, "trial_id": trial_id}))


def count_objectives(connection: Connection, trial_id: int) -> int:
    """Return how many values a complete trial has in the study of this one."""
    return connection.scalar(_OBJECTIVES, {"trial_id": trial_id}) or 0


def list_trial_rows(
    session: Session, study_id: int, newest: int, unfinished: Collection[int]
) -> Sequence[Row[tuple[Any, ...]]]:
    """Return a row a trial, by id: those with an id above `newest`, and those whose ids are in `unfinished`.

    Rows have what `readonly_storage.make_frozen_trial` takes, and `objectives`: value and value type of each. User and
    system attributes map keys to JSON.
    """
    return session.execute(_TRIALS, {"study_id": study_id, "newest": newest, "unfinished": sorted(unfinished)}).all()


def find_best_id(session: Session, study_id: int, order: str) -> int | None:
    """Return the id of the best complete trial of a study by values in `order`, asc or desc; None without one."""
    best: int | None = session.execute(
        text(
            f"select trial_id from ({trial_values.COMPLETE}) complete where value is not null "
            f"order by value {order}, number limit 1"
        ),
        {"study_id": study_id},
    ).scalar()
    return best


def read_study_version(connection: Connection, study_id: int) -> tuple[object, ...] | None:
    """Return a value that differs once the study's status, budget, trials, epochs or ablations changed.

    None where it is no study of ours.
    """
    row = connection.execute(_VERSION, {"study_id": study_id}).one_or_none()
    return None if row is None else tuple(row)


def find_outage(error: BaseException | None) -> str | None:
    """Return in one line why the database did not answer, where that is the cause of `error`; None where it is not."""
    cause = error.__cause__ if error is not None else None
    if not isinstance(cause, OperationalError):
        return None
    return next(iter(str(cause.orig).strip().splitlines()), "no reason given")
