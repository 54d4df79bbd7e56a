"""Put a study into the database, or bring the budget and priority of the one that is there up to date."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from sqlalchemy import Connection, text

from hpsearch.errors import RefusedError
from hpsearch.outcomes import OVER, StudyStatus
from hpsearch.settings import Setting
from hpsearch.spec.code import archive
from hpsearch.spec.code.archive import DamagedCodeError
from hpsearch.spec.code.changes import list_changes
from hpsearch.spec.rows import Value
from hpsearch.spec.study_spec import StudySpec
from hpsearch.storage import optuna_tables, studies
from hpsearch.storage.database import Database
from hpsearch.storage.studies import Study
from hpsearch.storage.tables import code

NAME_LOCK = 0x68706E61
"""The class of the advisory locks on names that are about to become studies ("hpna")."""


@dataclass(frozen=True)
class StartResult:
    """What `start` did: created the study, or found it and changed what `changes` says; `kept` differs and was left."""

    study: Study
    created: bool
    changes: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()


def start(database: Database, spec: StudySpec, place: Setting | None = None) -> StartResult:
    """Put a study into the database, or bring the budget and priority of the one that is there up to date.

    Args:
        database: where.
        spec: what to search.
        place: where a new study keeps its files; None in Postgres. One that is there keeps them where it did.

    Raises:
        RefusedError: the name belongs to another search; its text has the differences, a line each.
        StoreError: files cannot be kept in `place`.
    """
    from hpsearch.storage.artifacts import stores

    store = None
    if place is not None and database.transact(lambda connection: _is_free(connection, spec.study.name)):
        store = stores.create_store(place, spec.study.name)
    result = database.transact(lambda connection: _start(connection, spec, store.url if store else None))
    if store is not None and result.study.artifacts != store.url:  # somebody else created the study meanwhile
        store.clear()
    return result


def _is_free(connection: Connection, name: str) -> bool:
    return connection.scalar(text("select 1 from studies where study_name = :name"), {"name": name}) is None


def reserve_name(connection: Connection, name: str) -> bool:
    """Return whether no study has this name; no other hpsearch gives it to one until the transaction ends."""
    connection.execute(
        text("select pg_advisory_xact_lock(:class, hashtext(:name))"), {"class": NAME_LOCK, "name": name}
    )
    return _is_free(connection, name)


def _start(connection: Connection, spec: StudySpec, artifacts: str | None) -> StartResult:
    name = spec.study.name
    if reserve_name(connection, name):
        return StartResult(create(connection, spec, artifacts), created=True)
    study = studies.find_if_any(connection, name)
    if study is None:
        raise RefusedError(
            f"{name}: this database has a study of that name made by another program: choose another name"
        )
    if study.spec.evaluation or study.spec.ablation:
        what = "evaluation" if study.spec.evaluation else "ablation"
        raise RefusedError(f"{name} is in the database as the {what} of a study: give this one another --name")
    if study.fingerprint != spec.fingerprint:
        lines = [*study.spec.list_differences(spec), *_list_code_changes(connection, study.spec, spec)]
        differences = "\n".join(f"  {line}" for line in lines)
        raise RefusedError(
            f"{name} is in the database with another search; give this one another --name, or undo:\n{differences}"
        )
    return _extend(connection, study, spec)


def _list_code_changes(connection: Connection, old: StudySpec, new: StudySpec) -> Iterator[str]:
    """Yield a line for each file in which the study's code in the database differs from that of the study file."""
    if old.code is None or new.code is None or new.code.archive is None or old.code == new.code:
        return
    try:
        before = archive.read(code.fetch(connection, old.code.sha256) or b"", old.code.sha256)
    except DamagedCodeError as error:
        yield f"code: another one; what is in the database cannot be compared: {error}"
        return
    for line in list_changes(before, archive.read(new.code.archive, new.code.sha256)):
        yield f"code: {line}"


def create(connection: Connection, spec: StudySpec, artifacts: str | None) -> Study:
    """Create a study under a name that the caller has reserved, its first trials waiting.

    `artifacts` is the URL of the store of its files; None for Postgres.

    Raises:
        RefusedError: its code is nowhere; see `code.store`.
    """
    if spec.code:
        code.store(connection, spec.code)
    study_id: int = connection.execute(
        text("insert into studies (study_name) values (:name) returning study_id"), {"name": spec.study.name}
    ).scalar_one()
    connection.execute(
        text("insert into study_directions (direction, study_id, objective) values (:direction, :study_id, 0)"),
        {"direction": spec.direction.name, "study_id": study_id},
    )
    optuna_tables.set_study_attributes(connection, "system", study_id, {"study:metric_names": [spec.study.metric]})
    connection.execute(
        text(
            "insert into hpsearch.studies (study_id, spec, fingerprint, priority, trials, artifacts, code, packages) "
            "values (:study_id, :spec, :fingerprint, :priority, :trials, :artifacts, :code, :packages)"
        ),
        {
            "study_id": study_id,
            "fingerprint": spec.fingerprint,
            "artifacts": artifacts,
            "code": spec.code.sha256 if spec.code else None,
            "packages": json.dumps(dict(spec.code.packages)) if spec.code else None,
            **_columns(spec),
        },
    )
    _enqueue(connection, study_id, [*spec.baselines, *_grid(spec)][: spec.budget.trials])
    return studies.read(connection, study_id)


def _extend(connection: Connection, study: Study, spec: StudySpec) -> StartResult:
    studies.lock(connection, study.study_id)
    retries = count_retries(connection, study.study_id)
    spec = _with_trials(spec, spec.budget.trials + retries)
    section = study.spec.study.model_copy(update={"priority": spec.study.priority})
    extended = replace(study.spec, budget=spec.budget, study=section)
    old, new = study.spec.to_json(), spec.to_json()
    changes = (*_changes(old, extended.to_json()), *_update_code(connection, study, spec))
    if study.spec.sampler.name == "grid":
        total = studies.measure_progress(connection, study).total
        _enqueue(connection, study.study_id, _grid(extended)[total - retries : spec.budget.trials - retries])
    _update(connection, study.study_id, extended)
    progress = studies.measure_progress(connection, studies.read(connection, study.study_id))
    if study.status in OVER and not progress.is_over(spec.budget.trials):
        studies.set_status(connection, study.study_id, StudyStatus.RUNNING)
        changes = (*changes, f"status: {study.status} becomes running")
    kept = tuple(line for line in _changes(old, new) if line not in changes)
    return StartResult(studies.read(connection, study.study_id), created=False, changes=changes, kept=kept)


def _update_code(connection: Connection, study: Study, spec: StudySpec) -> Iterator[str]:
    """Take over the versions of the packages here, on which the study was just started; yield what changes."""
    if spec.code is None or study.spec.code is None or spec.code.archive is None:
        return
    code.store(connection, spec.code)
    code.set_packages(connection, study.study_id, spec.code.packages)
    old, new = study.spec.code.packages, spec.code.packages
    for name in sorted({*old, *new}):
        if (before := old.get(name)) != (after := new.get(name)):
            yield f"package {name}: {before or 'no version'} becomes {after or 'no version'}"


def extend_budget(connection: Connection, study: Study, trials: int) -> None:
    """Add `trials` to the budget. The caller holds the study's lock."""
    _update(connection, study.study_id, _with_trials(study.spec, study.spec.budget.trials + trials))


def count_retries(connection: Connection, study_id: int) -> int:
    """Count the trials that repeat a failed one; the budget of a study file does not count them."""
    query = (
        "select count(*) from trial_user_attributes join trials using (trial_id) "
        "where study_id = :study_id and key = 'retry_of'"
    )
    return int(connection.execute(text(query), {"study_id": study_id}).scalar_one())


def _with_trials(spec: StudySpec, trials: int) -> StudySpec:
    return replace(spec, budget=spec.budget.model_copy(update={"trials": trials}))


def _update(connection: Connection, study_id: int, spec: StudySpec) -> None:
    connection.execute(
        text(
            "update hpsearch.studies set spec = :spec, priority = :priority, trials = :trials "
            "where study_id = :study_id"
        ),
        {"study_id": study_id, **_columns(spec)},
    )


def _grid(spec: StudySpec) -> list[dict[str, Value]]:
    return spec.list_grid() if spec.sampler.name == "grid" else []


def _enqueue(connection: Connection, study_id: int, points: Sequence[Mapping[str, Value]]) -> None:
    total: int = connection.execute(
        text("select count(*) from trials where study_id = :study_id"), {"study_id": study_id}
    ).scalar_one()
    optuna_tables.enqueue_all(connection, study_id, total, points)


def _columns(spec: StudySpec) -> dict[str, object]:
    return {"spec": json.dumps(spec.to_json()), "priority": spec.study.priority, "trials": spec.budget.trials}


def _changes(old: object, new: object, path: str = "") -> tuple[str, ...]:
    """Say what differs between two JSON documents, a line a field."""
    if isinstance(old, dict) and isinstance(new, dict):
        keys = [*old, *(key for key in new if key not in old)]
        return tuple(
            line for key in keys for line in _changes(old.get(key), new.get(key), f"{path}.{key}" if path else str(key))
        )
    return () if old == new else (f"{path}: {json.dumps(old)} becomes {json.dumps(new)}",)
