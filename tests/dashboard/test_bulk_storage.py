"""bulk_storage.py: trials read in one query, as Optuna reads them."""

from collections.abc import Callable
from typing import Any

import optuna

from hpsearch.dashboard import bulk_storage
from hpsearch.outcomes import TrialOutcome
from hpsearch.storage.attempts import Attempt
from hpsearch.storage.database import Database
from hpsearch.storage.studies import Study
from tests.support.small_study import finish_trial

Started = Callable[..., Study]
ODD = '<b>"x"</b> / ünï 日本 %s'
NAN = float("nan")


def compared(trial: optuna.trial.FrozenTrial) -> dict[str, Any]:
    """All that a trial holds, its curve as text: one NaN does not equal another."""
    return {**vars(trial), "intermediate_values": repr(sorted(trial.intermediate_values.items()))}


def test_trials_are_read_as_optuna_reads_them(
    database: Database, started: Started, begin: Callable[..., Attempt]
) -> None:
    """In bulk, all at once or only what is new, they equal what Optuna's own storage makes of the same rows."""
    points = [{"optimizer": "momentum", "learning_rate": 0.1, "momentum": 0.75}]
    points += [{"optimizer": "sgd", "learning_rate": value} for value in (0.01, 0.001, 0.002)]
    study = started(budget={"trials": 5, "epochs": 3}, baseline=points)
    finish_trial(database, begin(study, 0.1234567890123456, 0.3, 0.2), TrialOutcome.COMPLETED, weights=7)
    finish_trial(database, begin(study, 0.25, NAN), TrialOutcome.DIVERGED, detail=ODD)
    finish_trial(database, begin(study, float("inf")), TrialOutcome.PRUNED)
    begin(study, 0.5)
    url = database.url.render_as_string(hide_password=False)
    theirs, ours = optuna.storages.RDBStorage(url), bulk_storage.BulkStorage(url)
    for included, newest in ((set(), -1), ({2}, 3), (set(), 3)):
        expected = theirs._get_trials(study.study_id, None, included, newest)
        read = ours._get_trials(study.study_id, None, included, newest)
        assert len(read) == (4 if newest < 0 else 1 + len(included))
        assert [compared(trial) for trial in read] == [compared(trial) for trial in expected]
    running = optuna.trial.TrialState.RUNNING
    assert [trial.number for trial in ours.get_all_trials(study.study_id, states=(running,))] == [3]
