"""Studies in the database: put one there, find it, and see whether its search is over."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from sqlalchemy import Connection, Row, text

from hpsearch.errors import NotFoundError, RefusedError
from hpsearch.metrics import METRICS
from hpsearch.settings import Setting
from hpsearch.spec.hyperparameters import Value
from hpsearch.spec.study_spec import StudySpec
from hpsearch.spec.validation import escape_controls
from hpsearch.storage import optuna_tables
from hpsearch.storage.database import Database

STUDY_LOCK = 0x68707374
"""The class of the advisory locks on studies ("hpst"); the object is the study's id."""

NAME_LOCK = 0x68706E61
"""The class of the advisory locks on names that are about to become studies ("hpna")."""

SELECT = """
select s.study_id, s.study_name, h.spec::text as spec, h.fingerprint, h.status, h.reason, h.priority,
       h.data_fingerprint, h.artifacts
  from studies s join hpsearch.studies h using (study_id)
"""


@dataclass(frozen=True)
class Study:
    """A study as the database has it."""

    study_id: int
    name: str
    spec: StudySpec
    fingerprint: str
    status: str
    reason: str | None
    priority: int
    data_fingerprint: str | None
    artifacts: str | None
    """Where its files are kept: the URL of its home in a directory or bucket; None in Postgres."""


@dataclass(frozen=True)
class StartResult:
    """What `start` did: made a study, or found it and changed what `changes` says; `kept` differs and was left."""

    study: Study
    made: bool
    changes: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()


@dataclass(frozen=True)
class StudyProgress:
    """How far a study is. `closed` says why it takes no new trials although its trials are not used up.

    `failing`: its last trials only failed, as many as its budget allows in a row.
    """

    total: int
    running: int
    waiting: int
    closed: str | None
    failing: bool

    def over(self, budget: int) -> bool:
        """Nothing is running and nothing more may start."""
        return self.running == 0 and (self.closed is not None or (self.waiting == 0 and self.total >= budget))

    def settles(self, study: Study) -> bool:
        """Whether the study, where it is running, is to be finished or paused."""
        return study.status == "running" and (self.failing or self.over(study.spec.budget.trials))


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

    home = None
    if place is not None and database.transact(lambda connection: _free(connection, spec.study.name)):
        home = stores.create_store(place, spec.study.name)
    started = database.transact(lambda connection: _start(connection, spec, home.url if home else None))
    if home is not None and started.study.artifacts != home.url:  # somebody else made it meanwhile
        home.clear()
    return started


def _free(connection: Connection, name: str) -> bool:
    return connection.scalar(text("select 1 from studies where study_name = :name"), {"name": name}) is None


def reserve(connection: Connection, name: str) -> bool:
    """Whether no study has this name; no other hpsearch gives it to one until the transaction ends."""
    connection.execute(
        text("select pg_advisory_xact_lock(:class, hashtext(:name))"), {"class": NAME_LOCK, "name": name}
    )
    return _free(connection, name)


def _start(connection: Connection, spec: StudySpec, artifacts: str | None) -> StartResult:
    name = spec.study.name
    if reserve(connection, name):
        return StartResult(make(connection, spec, artifacts), made=True)
    found = connection.execute(text(SELECT + "where s.study_name = :name"), {"name": name}).one_or_none()
    if found is None:
        raise RefusedError(
            f"{name}: this database has a study of that name made by another program: choose another name"
        )
    stored = _study(found)
    if stored.spec.evaluation:
        raise RefusedError(f"{name} is in the database as the evaluation of a study: give this one another --name")
    if stored.fingerprint != spec.fingerprint:
        differences = "\n".join(f"  {line}" for line in stored.spec.differences(spec))
        raise RefusedError(
            f"{name} is in the database with another search; give this one another --name, or undo:\n{differences}"
        )
    return _extend(connection, stored, spec)


def make(connection: Connection, spec: StudySpec, artifacts: str | None) -> Study:
    """A new study under a name that the caller has reserved, its first trials waiting."""
    study_id: int = connection.execute(
        text("insert into studies (study_name) values (:name) returning study_id"), {"name": spec.study.name}
    ).scalar_one()
    connection.execute(
        text("insert into study_directions (direction, study_id, objective) values (:direction, :study_id, 0)"),
        {"direction": METRICS[spec.study.metric].upper(), "study_id": study_id},
    )
    optuna_tables.set_study_attributes(connection, "system", study_id, {"study:metric_names": [spec.study.metric]})
    connection.execute(
        text(
            "insert into hpsearch.studies (study_id, spec, fingerprint, priority, trials, artifacts) "
            "values (:study_id, :spec, :fingerprint, :priority, :trials, :artifacts)"
        ),
        {"study_id": study_id, "fingerprint": spec.fingerprint, "artifacts": artifacts, **_columns(spec)},
    )
    _enqueue(connection, study_id, [*spec.baselines, *_grid(spec)][: spec.budget.trials])
    return read(connection, study_id)


def _extend(connection: Connection, stored: Study, spec: StudySpec) -> StartResult:
    lock(connection, stored.study_id)
    retried = count_retries(connection, stored.study_id)
    spec = _with_trials(spec, spec.budget.trials + retried)
    priority = stored.spec.study.model_copy(update={"priority": spec.study.priority})
    renewed = replace(stored.spec, budget=spec.budget, study=priority)
    old, new = stored.spec.to_json(), spec.to_json()
    changes = _changes(old, renewed.to_json())
    if stored.spec.sampler.name == "grid":
        there = measure_progress(connection, stored).total
        _enqueue(connection, stored.study_id, _grid(renewed)[there - retried : spec.budget.trials - retried])
    _update(connection, stored.study_id, renewed)
    current = read(connection, stored.study_id)
    if stored.status in {"finished", "stopped"} and not measure_progress(connection, current).over(spec.budget.trials):
        set_status(connection, stored.study_id, "running")
        changes = (*changes, f"status: {stored.status} becomes running")
    kept = tuple(line for line in _changes(old, new) if line not in changes)
    return StartResult(read(connection, stored.study_id), made=False, changes=changes, kept=kept)


def grow(connection: Connection, stored: Study, trials: int) -> None:
    """So many trials more in the budget. The caller holds the study's lock."""
    _update(connection, stored.study_id, _with_trials(stored.spec, stored.spec.budget.trials + trials))


def count_retries(connection: Connection, study_id: int) -> int:
    """How many trials repeat a failed one; the budget of a study file does not count them."""
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
    return spec.grid() if spec.sampler.name == "grid" else []


def _enqueue(connection: Connection, study_id: int, points: Sequence[Mapping[str, Value]]) -> None:
    there: int = connection.execute(
        text("select count(*) from trials where study_id = :study_id"), {"study_id": study_id}
    ).scalar_one()
    for number, point in enumerate(points, start=there):
        optuna_tables.enqueue(connection, study_id, number, point)


def _columns(spec: StudySpec) -> dict[str, object]:
    return {"spec": json.dumps(spec.to_json()), "priority": spec.study.priority, "trials": spec.budget.trials}


def _changes(old: object, new: object, path: str = "") -> tuple[str, ...]:
    if isinstance(old, dict) and isinstance(new, dict):
        keys = [*old, *(key for key in new if key not in old)]
        return tuple(
            line for key in keys for line in _changes(old.get(key), new.get(key), f"{path}.{key}" if path else str(key))
        )
    return () if old == new else (f"{path}: {json.dumps(old)} becomes {json.dumps(new)}",)


def lock(connection: Connection, study_id: int) -> None:
    """Take the study's lock until the transaction ends, and Optuna's own lock on numbering its trials."""
    connection.execute(
        text(
            "select pg_advisory_xact_lock(:class, :study_id); "
            "select 1 from studies where study_id = :study_id for no key update"
        ),
        {"class": STUDY_LOCK, "study_id": study_id},
    )


def read(connection: Connection, study_id: int) -> Study:
    """One study by id.

    Raises:
        NotFoundError: it was deleted.
    """
    row = connection.execute(text(SELECT + "where study_id = :study_id"), {"study_id": study_id}).one_or_none()
    if row is None:
        raise NotFoundError(f"study {study_id} is no longer in the database")
    return _study(row)


def find(connection: Connection, name: str) -> Study:
    """One study by name.

    Raises:
        NotFoundError: there is none, with the names there are.
    """
    # No study has a name that is not printable, and Postgres could not even be asked for some of them.
    query = text(SELECT + "where s.study_name = :name")
    row = connection.execute(query, {"name": name}).one_or_none() if name.isprintable() else None
    if row is None:
        names = [stored.name for stored in list_all(connection)]
        there = f"there are {', '.join(names)}" if names else "hpsearch start-study makes the first one"
        raise NotFoundError(escape_controls(f"there is no study {name}: {there}"))
    return _study(row)


def list_all(connection: Connection) -> list[Study]:
    """All studies, in the order in which workers serve them: by priority, then the oldest first."""
    rows = connection.execute(text(SELECT + "order by h.priority desc, study_id"))
    return [_study(row) for row in rows]


def measure_progress(connection: Connection, study: Study) -> StudyProgress:
    """Count the study's trials, see whether its time or target closes it, and whether its trials only fail."""
    budget = study.spec.budget
    row = connection.execute(
        text("""
            select count(*) as total,
                   count(*) filter (where t.state = 'RUNNING') as running,
                   count(*) filter (where t.state = 'WAITING') as waiting,
                   (select extract(epoch from ran + coalesce(clock_timestamp() - running_since, '0')) / 3600
                      from hpsearch.studies where study_id = :study_id)::float as hours,
                   count(*) filter (where t.state = 'FAIL') as failed
              from trials t where t.study_id = :study_id
        """),
        {"study_id": study.study_id},
    ).one()
    closed = None
    if budget.hours is not None and row.hours >= budget.hours:
        closed = f"its {budget.hours:g} hours are over"
    elif budget.target is not None and _reached(connection, study, budget.target):
        closed = f"the target {budget.target:g} is reached"
    failing = row.failed >= budget.failures and _failing(connection, study.study_id, budget.failures)
    return StudyProgress(row.total, row.running, row.waiting, closed, failing)


def _reached(connection: Connection, study: Study, target: float) -> bool:
    better = ">=" if study.spec.direction == "maximize" else "<="
    query = (
        "select exists (select 1 from trials t join trial_values v using (trial_id) "
        f"where t.study_id = :study_id and t.state = 'COMPLETE' and v.value {better} :target)"
    )
    return bool(connection.scalar(text(query), {"study_id": study.study_id, "target": target}))


def set_status(connection: Connection, study_id: int, status: str, reason: str | None = None) -> None:
    """Change the status; the study's clock stands still while it is not running."""
    connection.execute(
        text("""
            update hpsearch.studies
               set ran = ran + coalesce(clock_timestamp() - running_since, '0'),
                   running_since = case when :status = 'running' then clock_timestamp() end,
                   status = :status, reason = :reason
             where study_id = :study_id
        """),
        {"study_id": study_id, "status": status, "reason": reason},
    )


def settle(connection: Connection, study: Study) -> StudyProgress:
    """Finish a study whose search is over, or pause one whose trials only fail. The caller holds its lock."""
    found = measure_progress(connection, study)
    if not found.settles(study):
        return found
    if found.over(study.spec.budget.trials):
        set_status(connection, study.study_id, "finished", found.closed)
    else:
        reason = f"the last {study.spec.budget.failures} trials ended in errors: see hpsearch results"
        set_status(connection, study.study_id, "paused", reason)
    return found


def _failing(connection: Connection, study_id: int, failures: int) -> bool:
    # Since it was set running: a study that somebody resumed after its failures may fail as often again.
    states = connection.scalars(
        text("""
            select state::text from trials t join hpsearch.studies h using (study_id)
             where study_id = :study_id and t.datetime_complete >= h.running_since at time zone 'utc'
             order by t.datetime_complete desc, trial_id desc limit :failures
        """),
        {"study_id": study_id, "failures": failures},
    ).all()
    return len(states) == failures and set(states) == {"FAIL"}


def record_data(connection: Connection, study_id: int, fingerprint: str) -> str:
    """The fingerprint of the study's data: that of the first worker to load them.

    An evaluation starts with its search's, which the first worker's ends with where the images are the same.
    """
    connection.execute(
        text(
            "update hpsearch.studies set data_fingerprint = :fingerprint where study_id = :study_id "
            "and (data_fingerprint is null or :fingerprint like '%+' || data_fingerprint)"
        ),
        {"study_id": study_id, "fingerprint": fingerprint},
    )
    return read(connection, study_id).data_fingerprint or fingerprint


@lru_cache(maxsize=256)
def _spec(stored: str) -> StudySpec:
    return StudySpec.from_json(json.loads(stored))


def _study(row: Row[tuple[object, ...]]) -> Study:
    return Study(
        row.study_id,
        row.study_name,
        _spec(row.spec),
        row.fingerprint,
        row.status,
        row.reason,
        row.priority,
        row.data_fingerprint,
        row.artifacts,
    )
