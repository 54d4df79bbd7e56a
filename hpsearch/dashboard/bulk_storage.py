"""Optuna's storage, quick to read a study of thousands of trials: one query, and no object a row."""

import json
from collections.abc import Container
from typing import Any

from optuna.storages import RDBStorage
from optuna.storages._rdb.storage import _create_scoped_session
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import text

from hpsearch.sampling.readonly_storage import make_frozen_trial
from hpsearch.storage.optuna_tables import SPECIAL_VALUES

TRIALS = text("""
select t.trial_id, t.number, t.state::text, t.datetime_start, t.datetime_complete,
       (select json_agg(json_build_array(v.value, v.value_type::text) order by v.objective)
          from trial_values v where v.trial_id = t.trial_id) as objectives,
       (select json_agg(json_build_array(p.param_name, p.param_value, p.distribution_json) order by p.param_id)
          from trial_params p where p.trial_id = t.trial_id) as params,
       (select json_agg(json_build_array(i.step, i.intermediate_value, i.intermediate_value_type::text) order by i.step)
          from trial_intermediate_values i where i.trial_id = t.trial_id) as steps,
       (select json_object_agg(a.key, a.value_json order by a.trial_user_attribute_id)
          from trial_user_attributes a where a.trial_id = t.trial_id) as user_attributes,
       (select json_object_agg(a.key, a.value_json order by a.trial_system_attribute_id)
          from trial_system_attributes a where a.trial_id = t.trial_id) as system_attributes
  from trials t
 where t.study_id = :study_id and (t.trial_id > :newest or t.trial_id = any(:unfinished))
 order by t.trial_id
""")


class BulkStorage(RDBStorage):
    """RDBStorage on Postgres. Its own reading makes an object of each row: 13 CPU seconds for 10,000 trials."""

    def _get_trials(
        self,
        study_id: int,
        states: Container[TrialState] | None,
        included_trial_ids: set[int],
        trial_id_greater_than: int,
    ) -> list[FrozenTrial]:
        arguments = {
            "study_id": study_id,
            "newest": trial_id_greater_than,
            "unfinished": sorted(included_trial_ids),
        }
        with _create_scoped_session(self.scoped_session) as session:
            trials = [_frozen(row) for row in session.execute(TRIALS, arguments)]
        return [trial for trial in trials if states is None or trial.state in states]


def _frozen(row: Any) -> FrozenTrial:
    return make_frozen_trial(
        row,
        value=None,
        values=[SPECIAL_VALUES.get(kind, value) for value, kind in row.objectives] if row.objectives else None,
        user_attrs={key: json.loads(value) for key, value in (row.user_attributes or {}).items()},
        system_attrs={key: json.loads(value) for key, value in (row.system_attributes or {}).items()},
    )
