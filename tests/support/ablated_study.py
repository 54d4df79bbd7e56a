"""An ablation of a search, whose trainings have given values."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from hpsearch.analysis.ablations import racing
from hpsearch.evaluation import ablation
from hpsearch.evaluation.ablation import Ablation, AblationRequest
from hpsearch.outcomes import TrialOutcome
from hpsearch.storage import claims
from hpsearch.storage.attempts import Attempt
from hpsearch.storage.database import Connection, Database
from hpsearch.storage.studies import Study
from tests.support.evaluated_study import WORKER, add_epochs
from tests.support.small_study import finish_trial

Value = Callable[[Mapping[str, Any], int], float | None]
"""Returns the value of a configuration and a trial's number; None where the training ends at chance."""


def request_ablation(
    database: Database, name: str = "small", *levels: str, again: bool = False, **options: Any
) -> Ablation:
    """Return the ablation of a study, made now or before."""
    request = AblationRequest(levels=levels, **options)
    return ablation.request_ablation(database, name, request, again=again)[0]


def claim_raced(database: Database, study: Study) -> Attempt | None:
    """Claim a trial as a worker does."""

    def claim(connection: Connection) -> Attempt | None:
        racing.drop_settled(connection, study)
        return claims.claim_trial(connection, study.study_id, WORKER)

    return database.transact(claim)


def train_trial(database: Database, requested: Ablation, value: Value) -> Attempt | None:
    """Claim and end the next trial; None where there is none."""
    study = requested.summary.study
    attempt = claim_raced(database, study)
    if attempt is None:
        return None
    reached = value(study.spec.baselines[attempt.trial_number], attempt.trial_number)
    outcome = TrialOutcome.COMPLETED if reached is not None else TrialOutcome.AT_CHANCE
    add_epochs(database, attempt, [0.1] if reached is None else [reached - 0.1, reached])
    finish_trial(database, attempt, outcome)
    return attempt


def train_all(database: Database, requested: Ablation, value: Value) -> list[int]:
    """Train until nothing is left, and return the numbers of the trials."""
    trained = iter(partial(train_trial, database, requested, value), None)
    return [attempt.trial_number for attempt in trained]
