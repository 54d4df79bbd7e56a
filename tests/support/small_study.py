"""A small study, and the steps of a worker on it."""

from contextlib import closing
from typing import Any

import psycopg2

from hpsearch.metrics import EpochMetrics
from hpsearch.outcomes import TrialOutcome
from hpsearch.storage import attempts, claims
from hpsearch.storage.attempts import Attempt
from hpsearch.storage.database import Database
from hpsearch.storage.studies import Study
from hpsearch.storage.workers import WorkerIdentity

SMALL: dict[str, Any] = {
    "study": {"name": "small"},
    "budget": {"trials": 4, "epochs": 3},
    "data": {"name": "digits"},
    "space": {
        "learning_rate": {"low": 1e-4, "high": 1e-1, "log": True},
        "optimizer": ["sgd", "momentum", "adam"],
        "momentum": {"low": 0.5, "high": 0.99, "when": {"optimizer": ["momentum"]}},
    },
    "pruner": {"name": "none"},
}


def claim(database: Database, study: Study, holder: WorkerIdentity) -> Attempt | None:
    """Claim a trial of the study in a transaction."""
    return database.transact(lambda connection: claims.claim_trial(connection, study.study_id, holder))


def finish_trial(
    database: Database, attempt: Attempt, outcome: TrialOutcome = TrialOutcome.COMPLETED, **attributes: object
) -> None:
    """End a trial."""
    database.transact(lambda connection: attempts.finish(connection, attempt, outcome, attributes))


def end_session(database: Database, raw: Any) -> None:
    """Have the server end the session of a psycopg2 connection."""
    url = database.url.set(drivername="postgresql").render_as_string(hide_password=False)
    with closing(psycopg2.connect(url)) as other, other.cursor() as cursor:
        cursor.execute("select pg_terminate_backend(%s, 10000)", (raw.info.backend_pid,))


def metrics(epoch: int, value: float = 0.5) -> EpochMetrics:
    """Return an epoch with that validation accuracy."""
    return EpochMetrics(epoch, 1.0, 0.4, 1.1, value, 0.01, 2.0)
