"""The table `hpsearch.evaluations`: which study tests which configurations of which other one, and what came of it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, text

USED = """
    (e.result is not null or exists (select 1 from trials t where t.study_id = e.study_id and t.state = 'COMPLETE'))
"""
"""Whether a model of the evaluation has been shown the test images. A result that was deleted is JSON's null."""


@dataclass(frozen=True)
class EvaluationRow:
    """A row, with what is counted for it.

    `study_id` is the study that trains the configurations, None where it was deleted. `later_trials` are the complete
    trials of the evaluated study that ended after the request.
    """

    number: int
    study_id: int | None
    configurations: Sequence[Mapping[str, Any]]
    requested_at: datetime
    result: Mapping[str, Any] | None
    later_trials: int
    is_used: bool


def list_rows(connection: Connection, evaluated: int) -> list[EvaluationRow]:
    """Return the evaluations of the study `evaluated`, in order, but those deleted before they had a result."""
    rows = connection.execute(
        text(f"""
            select number, study_id, configurations, asked_at, result,
                   (select count(*) from trials t where t.study_id = evaluated and t.state = 'COMPLETE'
                       and t.datetime_complete > asked_at at time zone 'utc') as later_trials,
                   {USED} as is_used
              from hpsearch.evaluations e
             where evaluated = :evaluated and (study_id is not null or json_typeof(result) <> 'null') order by number
        """),
        {"evaluated": evaluated},
    )
    return [EvaluationRow(*row) for row in rows]


def count_uses(connection: Connection, evaluated: int) -> int:
    """Count the evaluations of a study that have shown a model the test images, those included that were deleted."""
    query = f"select count(*) from hpsearch.evaluations e where evaluated = :evaluated and {USED}"
    return int(connection.execute(text(query), {"evaluated": evaluated}).scalar_one())


def find_evaluated(connection: Connection, study_id: int) -> int | None:
    """Return the id of the study that `study_id` evaluates; None where it evaluates none, or that was deleted."""
    evaluated: int | None = connection.scalar(
        text("select evaluated from hpsearch.evaluations where study_id = :study_id"), {"study_id": study_id}
    )
    return evaluated


def next_number(connection: Connection, evaluated: int) -> int:
    """Return the number of the next evaluation of a study, from 1; the caller holds the study's lock."""
    last: int | None = connection.scalar(
        text("select max(number) from hpsearch.evaluations where evaluated = :evaluated"), {"evaluated": evaluated}
    )
    return (last or 0) + 1


def insert(
    connection: Connection, evaluated: int, number: int, study_id: int, configurations: Sequence[Mapping[str, Any]]
) -> None:
    """Store that the study `study_id` trains these configurations of the study `evaluated`.

    It takes over what is known of the evaluated study's data: the first worker must find the images that the search
    has learned from, see `studies.record_data`.
    """
    connection.execute(
        text(
            "update hpsearch.studies set (data_fingerprint, data_facts) = (select data_fingerprint, data_facts "
            "from hpsearch.studies where study_id = :evaluated) where study_id = :study_id"
        ),
        {"study_id": study_id, "evaluated": evaluated},
    )
    connection.execute(
        text(
            "insert into hpsearch.evaluations (evaluated, number, study_id, configurations) "
            "values (:evaluated, :number, :study_id, :configurations)"
        ),
        {
            "evaluated": evaluated,
            "number": number,
            "study_id": study_id,
            "configurations": json.dumps(configurations),
        },
    )


def store_result(connection: Connection, evaluated: int, number: int, result: Mapping[str, Any]) -> None:
    """Store the result of an evaluation, in place of an earlier one.

    Raises:
        ValueError: a number in it is not finite.
    """
    connection.execute(
        text("update hpsearch.evaluations set result = :result where evaluated = :evaluated and number = :number"),
        {"result": json.dumps(result, allow_nan=False), "evaluated": evaluated, "number": number},
    )
