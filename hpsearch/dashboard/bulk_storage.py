"""Optuna's storage, with a quick reading of a study's trials: one query, and no object a row."""

import json
from collections.abc import Container
from typing import Any

from optuna.storages import RDBStorage
from optuna.storages._rdb.storage import _create_scoped_session
from optuna.trial import FrozenTrial, TrialState

from hpsearch.sampling.readonly_storage import make_frozen_trial
from hpsearch.storage import dashboard_queries
from hpsearch.storage.optuna_tables import SPECIAL_VALUES


class BulkStorage(RDBStorage):
    """Optuna's RDBStorage on Postgres, whose own reading makes an object of each row.

    That takes 13 CPU seconds for 10,000 trials.
    """

    def _get_trials(
        self,
        study_id: int,
        states: Container[TrialState] | None,
        included_trial_ids: set[int],
        trial_id_greater_than: int,
    ) -> list[FrozenTrial]:
        with _create_scoped_session(self.scoped_session) as session:
            rows = dashboard_queries.list_trial_rows(session, study_id, trial_id_greater_than, included_trial_ids)
        trials = map(_make_trial, rows)
        return [trial for trial in trials if states is None or trial.state in states]


def _make_trial(row: Any) -> FrozenTrial:
    return make_frozen_trial(
        row,
        value=None,
        values=[SPECIAL_VALUES.get(kind, value) for value, kind in row.objectives] if row.objectives else None,
        user_attrs={key: json.loads(value) for key, value in (row.user_attributes or {}).items()},
        system_attrs={key: json.loads(value) for key, value in (row.system_attributes or {}).items()},
    )
