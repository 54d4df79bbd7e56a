"""The table `hpsearch.ablations`: which study ablates which other one, and what it trains for that."""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, text

from hpsearch.outcomes import TrialOutcome
from hpsearch.storage import optuna_tables, trials
from hpsearch.storage.studies import Study

COLUMNS = "study_id, ablated, number, design, requested_at"

UNFINISHED = """
select count(*) filter (where number < :first and state in ('RUNNING', 'WAITING')) as earlier,
       count(*) filter (where number >= :first and state = 'WAITING') as later
  from trials where study_id = :study_id
"""
"""The trials of a study before trial `first` that have not ended, and the waiting ones from there on."""


@dataclass(frozen=True)
class AblationRow:
    """A row: the study `study_id` trains `design`, which is the `number`-th ablation of the study `ablated`."""

    study_id: int
    ablated: int
    number: int
    design: Mapping[str, Any]
    requested_at: datetime


def find_latest(connection: Connection, ablated: int) -> AblationRow | None:
    """Return the latest ablation of a study; None where there is none, or all were deleted."""
    query = f"select {COLUMNS} from hpsearch.ablations where ablated = :ablated order by number desc limit 1"
    row = connection.execute(text(query), {"ablated": ablated}).one_or_none()
    return AblationRow(*row) if row else None


def find(connection: Connection, study_id: int) -> AblationRow | None:
    """Return the ablation that a study trains; None where it trains none, or the ablated study was deleted."""
    query = f"select {COLUMNS} from hpsearch.ablations where study_id = :study_id"
    row = connection.execute(text(query), {"study_id": study_id}).one_or_none()
    return AblationRow(*row) if row else None


def insert(connection: Connection, ablated: Study, number: int, study_id: int, design: Mapping[str, Any]) -> None:
    """Store that the study `study_id` trains this ablation of a study.

    It takes over what is known of the ablated study's data, so that its workers must have the same images.
    """
    connection.execute(
        text(
            "update hpsearch.studies set (data_fingerprint, data_facts) = (select data_fingerprint, data_facts "
            "from hpsearch.studies where study_id = :ablated) where study_id = :study_id"
        ),
        {"study_id": study_id, "ablated": ablated.study_id},
    )
    connection.execute(
        text(
            "insert into hpsearch.ablations (study_id, ablated, number, design) "
            "values (:study_id, :ablated, :number, :design)"
        ),
        {"study_id": study_id, "ablated": ablated.study_id, "number": number, "design": json.dumps(design)},
    )


def has_later_waiting(connection: Connection, study_id: int, first: int) -> bool:
    """Return whether all trials before trial `first` have ended, and one from there on waits."""
    row = connection.execute(text(UNFINISHED), {"study_id": study_id, "first": first}).one()
    return bool(row.earlier == 0 and row.later > 0)


def drop_waiting(connection: Connection, study: Study, numbers: Collection[int], detail: str) -> int:
    """End those trials of `numbers` that wait, as pruned, and return how many. The caller holds the study's lock."""
    rows = connection.execute(
        text(
            f"update trials set datetime_start = {optuna_tables.UTC_NOW} "
            "where study_id = :study_id and number = any(:numbers) and state = 'WAITING' returning trial_id"
        ),
        {"study_id": study.study_id, "numbers": sorted(numbers)},
    ).all()
    for (trial_id,) in rows:
        trials.end(connection, study, trial_id, TrialOutcome.PRUNED, {"detail": detail})
    return len(rows)
