"""Delete a study: its rows in Optuna's tables and in ours, and its files."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, text

from hpsearch.storage import studies
from hpsearch.storage.studies import StudyRow
from hpsearch.storage.tables import code

TRIAL_TABLES = (
    "trial_values",
    "trial_intermediate_values",
    "trial_params",
    "trial_user_attributes",
    "trial_system_attributes",
    "trial_heartbeats",
)
STUDY_TABLES = ("study_directions", "study_user_attributes", "study_system_attributes")
"""Optuna's foreign keys do not cascade, so what points at a row goes before it. Ours do."""

DELETED_AT_ONCE = 5_000
"""Trials in one statement, which takes a second or so: with all of a study's it may meet the timeout of a statement."""

OF_STUDY = "trial_id in (select trial_id from trials where study_id = :study_id)"

ATTACHED_KEYS = f"""
    select substr(key, length('artifacts:') + 1) from trial_system_attributes
     where {OF_STUDY} and starts_with(key, 'artifacts:')
    union all
    select substr(key, length('artifacts:') + 1) from study_system_attributes
     where study_id = :study_id and starts_with(key, 'artifacts:')
"""
"""The keys of what Optuna attached to the study or its trials."""

TEST_SET_SEEN = """
    update hpsearch.evaluations set result = 'null' where study_id = :study_id and result is null
       and exists (select 1 from trials where study_id = :study_id and state = 'COMPLETE')
"""
"""Mark an evaluation without a result as done, by JSON's null: models may have seen the test images all the same."""


@dataclass(frozen=True)
class StudyContents:
    """What is deleted with a study, counted."""

    study: StudyRow
    trials: int
    running: int
    files: int


def read_contents(connection: Connection, name: str) -> StudyContents:
    """Return what `delete` would remove.

    Raises:
        NotFoundError: there is no such study.
    """
    study = studies.find_row(connection, name)
    trials = studies.count_trials(connection, study.study_id)
    query = f"select count(*) from hpsearch.files where {OF_STUDY} or key in ({ATTACHED_KEYS})"
    files = connection.execute(text(query), {"study_id": study.study_id}).scalar_one()
    return StudyContents(study, trials.total, trials.running, files)


def delete(connection: Connection, study_id: int) -> None:
    """Delete a study. Workers that hold its trials find them lost.

    Raises:
        NotFoundError: it is gone already.
    """
    studies.lock(connection, study_id)
    studies.read_row(connection, study_id)
    # In the lock order that `claims` documents: a worker either commits before this, or finds its attempt gone.
    _execute(connection, study_id, "select 1 from hpsearch.studies where study_id = :study_id for update")
    _execute(connection, study_id, "select 1 from hpsearch.attempts where study_id = :study_id for update")
    sha256 = connection.scalar(
        text("select code from hpsearch.studies where study_id = :study_id"), {"study_id": study_id}
    )
    query = "select trial_id from trials where study_id = :study_id order by trial_id for update"
    trials = list(connection.scalars(text(query), {"study_id": study_id}))
    _execute(connection, study_id, TEST_SET_SEEN)
    _execute(connection, study_id, f"delete from hpsearch.files where key in ({ATTACHED_KEYS})")
    for start in range(0, len(trials), DELETED_AT_ONCE):
        _delete_trials(connection, trials[start : start + DELETED_AT_ONCE])
    for table in (*STUDY_TABLES, "studies"):
        _execute(connection, study_id, f"delete from {table} where study_id = :study_id")
    if sha256 is not None:
        code.remove_unused(connection, sha256)


def _delete_trials(connection: Connection, trial_ids: Sequence[int]) -> None:
    for table in (*TRIAL_TABLES, "trials"):
        connection.execute(text(f"delete from {table} where trial_id = any(:trial_ids)"), {"trial_ids": trial_ids})


def _execute(connection: Connection, study_id: int, statement: str) -> None:
    connection.execute(text(statement), {"study_id": study_id})
