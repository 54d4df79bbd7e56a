"""patches.py: what optuna-dashboard would get wrong of our studies."""

import subprocess
import sys
from collections.abc import Callable
from contextlib import closing

import psycopg2
import pytest

from hpsearch.outcomes import TrialOutcome
from hpsearch.storage.attempts import Attempt
from hpsearch.storage.database import Database
from hpsearch.storage.studies import Study
from tests.support.dashboard_client import DashboardClient
from tests.support.small_study import finish_trial

Started = Callable[..., Study]
NAN = float("nan")


def test_importing_the_dashboard_patches_nothing() -> None:
    """Optuna-dashboard is as it was until a dashboard is built."""
    script = (
        "import hpsearch.dashboard.server; from optuna_dashboard import _app, _inmemory_cache, _serializer; "
        "patched = (_serializer.serialize_frozen_trial, _app.get_param_importance_from_trials_cache, "
        "_inmemory_cache._CachedExtraStudyProperty._update_search_space); "
        "print({each.__module__.split('.')[0] for each in patched})"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ended.stdout == "{'optuna_dashboard'}\n"


def test_waiting_trial_leaves_the_parameters_of_the_others(
    database: Database, started: Started, begin: Callable[..., Attempt], client: DashboardClient
) -> None:
    """Parallel coordinates keep their hyperparameters though the dashboard saw trials before they were sampled."""
    study = started(baseline=[{"optimizer": "sgd", "learning_rate": rate} for rate in (0.1, 0.01)])
    assert client.study(study)["intersection_search_space"] == []
    for _ in range(2):
        finish_trial(database, begin(study, 0.5), TrialOutcome.COMPLETED)
        common = client.study(study)["intersection_search_space"]
        assert [each["name"] for each in common] == ["learning_rate", "optimizer"]


def test_study_that_searches_nothing_has_no_importance(
    database: Database, started: Started, begin: Callable[..., Attempt], client: DashboardClient
) -> None:
    """Trials of the base model alone are shown without an importance, and without an error."""
    study = started(space={})
    for value in (0.1, 0.2, 0.3):
        finish_trial(database, begin(study, value), TrialOutcome.COMPLETED)
    assert client.importance(study) == []
    assert [trial["values"] for trial in client.trials(study)] == [[0.1], [0.2], [0.3]]


def test_outage_is_a_line_in_the_log(
    server: str, database: Database, started: Started, client: DashboardClient, caplog: pytest.LogCaptureFixture
) -> None:
    """While the database lets nobody in, each request says why in one line; after that, all is as before."""
    study = started()
    client.study(study)
    caplog.clear()
    with closing(psycopg2.connect(server)) as elsewhere, elsewhere.cursor() as cursor:
        elsewhere.autocommit = True
        name = database.url.database
        cursor.execute(f'alter database "{name}" allow_connections false')
        cursor.execute("select pg_terminate_backend(pid, 10000) from pg_stat_activity where datname = %s", (name,))
        assert client.get("/api/studies")[0] == 503
        cursor.execute(f'alter database "{name}" allow_connections true')
    (message,) = caplog.messages
    assert message.startswith("the database does not answer: ")
    assert "not currently accepting connections" in message
    assert "\n" not in message
    assert client.study(study)["name"] == "small"


def test_infeasible_trials_are_marked(
    database: Database, started: Started, begin: Callable[..., Attempt], client: DashboardClient
) -> None:
    """A diverged trial breaks a constraint on its page, a complete one does not, a failed one has none."""
    study = started()
    finish_trial(database, begin(study, 0.5), TrialOutcome.COMPLETED)
    finish_trial(database, begin(study, NAN), TrialOutcome.DIVERGED)
    finish_trial(database, begin(study), TrialOutcome.ERROR)
    assert [each["constraints"] for each in client.trials(study)] == [[0.0], [1.0], []]
