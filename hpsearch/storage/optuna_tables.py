"""Our SQL on Optuna's tables, all of it: trials, their parameters, values and attributes.

Optuna commits on connections of its own, and what a worker writes about a trial must share a transaction with the
attempt that allows it. Every function here takes the connection of such a transaction; the rows are what Optuna 5
itself would have written.
"""

import contextlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import Connection, text

from hpsearch.outcomes import TrialState

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

NOTE_PART = 2045
"""Characters of a note that the Optuna dashboard keeps in one attribute."""

UTC_NOW = "(clock_timestamp() at time zone 'utc')"

SPECIAL_VALUES = {"INF_POS": float("inf"), "INF_NEG": float("-inf"), "NAN": float("nan")}
"""What Optuna's `value_type` columns say in the place of a number that a column of floats does not hold."""


ENQUEUED_AT_ONCE = 5_000
"""Trials in one statement: a small part of a second, so that neither a timeout nor a lock has to wait for many."""

_ENQUEUE = text("""
with point as (
    select :first + place::integer - 1 as number, parameters
      from unnest(cast(:points as text[])) with ordinality p (parameters, place)
), trial as (
    insert into trials (number, study_id, state)
    select number, :study_id, 'WAITING' from point order by number
    returning trial_id, number
)
insert into trial_system_attributes (trial_id, key, value_json)
select trial_id, :key, parameters from trial join point using (number) order by number
""")


@dataclass
class TrialWrites:
    """What a sampler or pruner asks to have written: parameters as Optuna's internal values, and attributes."""

    parameters: "dict[str, tuple[float, BaseDistribution]]" = field(default_factory=dict)
    attributes: dict[str, Any] = field(default_factory=dict)


@lru_cache(maxsize=1024)
def parse_distribution(described: str) -> "BaseDistribution":
    """Read a distribution as `trial_params.distribution_json` holds it.

    Raises:
        ValueError: it is none that Optuna knows.
    """
    from optuna.distributions import json_to_distribution

    return json_to_distribution(described)


def create(connection: Connection, study_id: int, number: int, state: TrialState = TrialState.RUNNING) -> int:
    """Create a trial and return its id. `number` is how many the study has; the caller holds its lock.

    Raises:
        sqlalchemy.exc.IntegrityError: the study is gone.
    """
    started = UTC_NOW if state is TrialState.RUNNING else "null"
    trial_id: int = connection.execute(
        text(
            "insert into trials (number, study_id, state, datetime_start) "
            f"values (:number, :study_id, :state, {started}) returning trial_id"
        ),
        {"number": number, "study_id": study_id, "state": state.optuna},
    ).scalar_one()
    return trial_id


def enqueue(connection: Connection, study_id: int, number: int, params: Mapping[str, object]) -> int:
    """Create a waiting trial that will be suggested exactly `params`, as `Study.enqueue_trial` does; return its id."""
    trial_id = create(connection, study_id, number, TrialState.WAITING)
    set_attributes(connection, "system", trial_id, {"fixed_params": dict(params)})
    return trial_id


def enqueue_all(connection: Connection, study_id: int, number: int, points: Sequence[Mapping[str, object]]) -> None:
    """Create a waiting trial for each of `points`, as `enqueue` does, numbered from `number` on."""
    for start in range(0, len(points), ENQUEUED_AT_ONCE):
        described = [json.dumps(dict(point)) for point in points[start : start + ENQUEUED_AT_ONCE]]
        connection.execute(
            _ENQUEUE, {"study_id": study_id, "first": number + start, "key": "fixed_params", "points": described}
        )


def start_waiting(connection: Connection, study_id: int) -> tuple[int, int] | None:
    """Set the first of the study's waiting trials running; return its id and number, None where none waits."""
    row = connection.execute(
        text(f"""
            update trials set state = 'RUNNING', datetime_start = {UTC_NOW}
             where trial_id = (select trial_id from trials where study_id = :study_id and state = 'WAITING'
                                order by number limit 1 for no key update)
            returning trial_id, number
        """),
        {"study_id": study_id},
    ).one_or_none()
    return (row.trial_id, row.number) if row else None


# Parts of a statement that begins with `fence`, the trial that they write about; empty where they must not write.

PARAMETERS = """
parameters as (
    insert into trial_params (trial_id, param_name, param_value, distribution_json)
    select fence.trial_id, p.name, p.value, p.distribution
      from fence, unnest(cast(:names as text[]), cast(:inner as float[]), cast(:distributions as text[]))
                 with ordinality p (name, value, distribution, place)
     order by p.place
    on conflict do nothing
)
"""
"""Insert the suggested parameters, in Optuna's internal representation; one that is there stays."""

_ATTRIBUTES = """
{kind}_attributes as (
    insert into trial_{kind}_attributes (trial_id, key, value_json)
    select fence.trial_id, a.key, a.value
      from fence, unnest(cast(:{kind}_keys as text[]), cast(:{kind}_values as text[])) a (key, value)
    on conflict (trial_id, key) do update set value_json = excluded.value_json
)
"""
USER, SYSTEM = _ATTRIBUTES.format(kind="user"), _ATTRIBUTES.format(kind="system")
"""Insert attributes; an earlier value is replaced."""

INTERMEDIATE = """
intermediate as (
    insert into trial_intermediate_values (trial_id, step, intermediate_value, intermediate_value_type)
    select fence.trial_id, :step, :value, cast(:type as trialintermediatevaluetype) from fence
    on conflict (trial_id, step) do update
       set intermediate_value = excluded.intermediate_value, intermediate_value_type = excluded.intermediate_value_type
     where exists (select 1 from epoch)
)
"""
"""Insert the value at a step, after the part `epoch`, which returns a row where it inserted that epoch.

The first one that we wrote stays; one that another program reported before goes."""

_END = text(f"""
with fence as (select cast(:trial_id as integer) as trial_id),
{USER}, {SYSTEM},
objective as (
    insert into trial_values (trial_id, objective, value, value_type)
    select fence.trial_id, 0, :value, cast(:type as trialvaluetype) from fence where :valued
    on conflict do nothing
)
update trials set state = :state, datetime_complete = {UTC_NOW} where trial_id = :trial_id
""")


def bind_parameters(suggested: "Mapping[str, tuple[float, BaseDistribution]]") -> dict[str, object]:
    """Return the arguments of PARAMETERS."""
    from optuna.distributions import distribution_to_json

    return {
        "names": list(suggested),
        "inner": [value for value, _ in suggested.values()],
        "distributions": [distribution_to_json(distribution) for _, distribution in suggested.values()],
    }


def bind_attributes(kind: Literal["user", "system"], named: Mapping[str, object]) -> dict[str, object]:
    """Return the arguments of USER or SYSTEM."""
    return {f"{kind}_keys": list(named), f"{kind}_values": [json.dumps(value) for value in named.values()]}


def bind_intermediate(step: int, value: float) -> dict[str, object]:
    """Return the arguments of INTERMEDIATE."""
    return {"step": step, "value": _finite(value), "type": _kind(value)}


def set_attributes(
    connection: Connection, kind: Literal["user", "system"], trial_id: int, attributes: Mapping[str, object]
) -> None:
    """Store user or system attributes of a trial; an earlier value is replaced."""
    _set_attributes(connection, "trial", kind, trial_id, attributes)


def set_study_attributes(
    connection: Connection, kind: Literal["user", "system"], study_id: int, attributes: Mapping[str, object]
) -> None:
    """Store user or system attributes of a study; an earlier value is replaced."""
    _set_attributes(connection, "study", kind, study_id, attributes)


def _set_attributes(
    connection: Connection, owner: str, kind: str, owner_id: int, attributes: Mapping[str, object]
) -> None:
    if attributes:
        connection.execute(
            text(
                f"insert into {owner}_{kind}_attributes ({owner}_id, key, value_json) "
                "select :id, key, value from unnest(cast(:keys as text[]), cast(:values as text[])) a (key, value) "
                f"on conflict ({owner}_id, key) do update set value_json = excluded.value_json"
            ),
            {"id": owner_id, "keys": list(attributes), "values": [json.dumps(value) for value in attributes.values()]},
        )


def parse_attributes(rows: Iterable[Sequence[Any]]) -> dict[Any, Any]:
    """Return attributes by their keys, from rows of a key and JSON; those that are no JSON are left out."""
    attributes = {}
    for key, value in rows:
        with contextlib.suppress(ValueError):
            attributes[key] = json.loads(value)
    return attributes


def write_note(connection: Connection, study_id: int, trial_id: int, markdown: str) -> None:
    """Add to the note that the Optuna dashboard shows beside a trial; what a person wrote there stays above it."""
    prefix = f"dashboard:{trial_id}:note_"
    rows = connection.execute(
        text(
            "select key, value_json from study_system_attributes "
            "where study_id = :study_id and starts_with(key, :prefix)"
        ),
        {"study_id": study_id, "prefix": prefix},
    )
    note = parse_attributes(rows)
    version = note.pop(f"{prefix}ver", 0)
    version = version if isinstance(version, int) else 0  # it may be in a form that only another dashboard knows
    written = "".join(str(note.get(f"{prefix}str:{part}", "")) for part in range(len(note)))
    whole = f"{written}\n\n{markdown}" if written else markdown
    parts = [whole[start : start + NOTE_PART] for start in range(0, len(whole), NOTE_PART)]
    numbered = {f"{prefix}str:{number}": part for number, part in enumerate(parts)}
    set_study_attributes(connection, "system", study_id, {f"{prefix}ver": version + 1, **numbered})


def discard_epochs(connection: Connection, trial_id: int, last: int) -> None:
    """Delete the epochs after `last`, in Optuna's table and in ours."""
    for table, column in (("trial_intermediate_values", "step"), ("hpsearch.epochs", "epoch")):
        connection.execute(
            text(f"delete from {table} where trial_id = :trial_id and {column} > :last"),
            {"trial_id": trial_id, "last": last},
        )


def end(
    connection: Connection,
    trial_id: int,
    state: TrialState,
    value: float | None,
    user: Mapping[str, object],
    system: Mapping[str, object],
) -> None:
    """Finish a trial, and store user and system attributes with it.

    A value that is not a number is left out, as `Study.tell` does for a pruned one.
    """
    if value is not None and math.isnan(value):
        value = None
    connection.execute(
        _END,
        {
            "trial_id": trial_id,
            "state": state.optuna,
            "valued": value is not None,
            "value": None if value is None else _finite(value),
            "type": None if value is None else _kind(value),
            **bind_attributes("user", user),
            **bind_attributes("system", system),
        },
    )


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _kind(value: float) -> str:
    if math.isnan(value):
        return "NAN"
    if math.isinf(value):
        return "INF_POS" if value > 0 else "INF_NEG"
    return "FINITE"
