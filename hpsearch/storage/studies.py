"""Studies in the database: find one, lock it, and see whether its search is over."""

import json
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import lru_cache

from sqlalchemy import Connection, Row, text

from hpsearch.errors import NotFoundError, UnreadableStudyError
from hpsearch.formatting import list_some, make_printable
from hpsearch.outcomes import StudyStatus, TrialState
from hpsearch.spec.datasets import DataFacts
from hpsearch.spec.study_spec import StudySpec
from hpsearch.storage.tables import trial_values

NAMES_LISTED = 5
"""Of the studies there are, those with a name like that of one that is not there first."""

STUDY_LOCK = 0x68707374
"""The class of the advisory locks on studies ("hpst"); the object is the study's id."""

SELECT = """
select s.study_id, s.study_name, h.spec::text as spec, h.fingerprint, h.status, h.reason, h.priority,
       h.data_fingerprint, h.data_facts::text as data_facts, h.artifacts, h.packages::text as packages
  from studies s join hpsearch.studies h using (study_id)
"""
"""Optuna's row of a study and ours; a study that another program created has none of ours."""

PROGRESS = """
select count(*) as total,
       count(*) filter (where t.state = 'RUNNING') as running,
       count(*) filter (where t.state = 'WAITING') as waiting,
       count(*) filter (where t.state = 'FAIL') as failed,
       (select extract(epoch from ran + coalesce(clock_timestamp() - running_since, '0')) / 3600
          from hpsearch.studies where study_id = :study_id)::float as hours
  from trials t where t.study_id = :study_id
"""
"""The trials of a study by state, and the hours it has been set running."""

LAST_STATES = """
select state::text from trials t join hpsearch.studies h using (study_id)
 where study_id = :study_id and t.datetime_complete >= h.running_since at time zone 'utc'
 order by t.datetime_complete desc, trial_id desc limit :limit
"""
"""The states of the trials that ended last, since the study was set running: one that somebody resumed after its
failures may fail as often again."""

UNREADABLE = "made by a newer hpsearch: upgrade this one"
"""Of a study whose row cannot be read."""

SET_STATUS = """
with changed as (
    update hpsearch.studies
       set ran = ran + coalesce(clock_timestamp() - running_since, '0'),
           running_since = case when :runs then clock_timestamp() end,
           status = :status, reason = :reason
     where study_id = :study_id
    returning study_id
)
insert into hpsearch.status_changes (study_id, status, reason) select study_id, :status, :reason from changed
"""
"""Changes the status, and keeps that it changed: a webhook is told of each change, whenever it is asked for."""


@dataclass(frozen=True)
class Study:
    """A study as the database has it."""

    study_id: int
    name: str
    spec: StudySpec
    fingerprint: str
    status: StudyStatus
    reason: str | None
    priority: int
    data_fingerprint: str | None
    artifacts: str | None
    """Where its files are kept: the URL of its home in a directory or bucket; None in Postgres."""


@dataclass(frozen=True)
class UnreadableStudy:
    """A study whose row this version cannot read: the others are served, and this one is paused, stopped and deleted.

    A newer hpsearch needs no migration for a sampler, a hyperparameter or a key that this version does not know.
    """

    study_id: int
    name: str
    status: StudyStatus | str
    reason: str | None
    priority: int

    @property
    def obstacle(self) -> str:
        """What to show in the place of all else."""
        return UNREADABLE


StudyRow = Study | UnreadableStudy


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

    def is_over(self, budget: int) -> bool:
        """Return whether nothing is running and nothing more may start, of `budget` trials."""
        return self.running == 0 and (self.closed is not None or (self.waiting == 0 and self.total >= budget))

    def changes_status(self, study: Study) -> bool:
        """Return whether the study, where it is running, is to be finished or paused."""
        return study.status is StudyStatus.RUNNING and (self.failing or self.is_over(study.spec.budget.trials))


def lock(connection: Connection, study_id: int) -> None:
    """Take the study's lock until the transaction ends, and Optuna's own lock on numbering its trials.

    It comes before every lock on a row of the study, its attempts or its trials: see `claims` for the order.
    """
    connection.execute(
        text(
            "select pg_advisory_xact_lock(:class, :study_id); "
            "select 1 from studies where study_id = :study_id for no key update"
        ),
        {"class": STUDY_LOCK, "study_id": study_id},
    )


def read(connection: Connection, study_id: int) -> Study:
    """Return one study by id.

    Raises:
        NotFoundError: it was deleted.
        UnreadableStudyError: a newer hpsearch made it.
    """
    return _require_readable(read_row(connection, study_id))


def read_row(connection: Connection, study_id: int) -> StudyRow:
    """Return one study by id, also one that cannot be read.

    Raises:
        NotFoundError: it was deleted.
    """
    row = connection.execute(text(SELECT + "where study_id = :study_id"), {"study_id": study_id}).one_or_none()
    if row is None:
        raise NotFoundError(f"study {study_id} is no longer in the database")
    return _make_study(row)


def find(connection: Connection, name: str) -> Study:
    """Return one study by name.

    Raises:
        NotFoundError: there is none, with the names there are.
        UnreadableStudyError: a newer hpsearch made it.
    """
    return _require_readable(find_row(connection, name))


def find_row(connection: Connection, name: str) -> StudyRow:
    """Return one study by name, also one that cannot be read.

    Raises:
        NotFoundError: there is none, with the names there are.
    """
    study = _find_row_if_any(connection, name)
    if study is None:
        names = [study.name for study in list_all(connection)]
        similar = get_close_matches(name, names, n=NAMES_LISTED, cutoff=0.5)
        names = [*similar, *(other for other in names if other not in similar)]
        there = f"there are {list_some(names, NAMES_LISTED)}" if names else "hpsearch start-study makes the first one"
        raise NotFoundError(make_printable(f"there is no study {name}: {there}"))
    return study


def find_if_any(connection: Connection, name: str) -> Study | None:
    """Return the study of that name; None where hpsearch created none.

    Raises:
        UnreadableStudyError: a newer hpsearch made it.
    """
    study = _find_row_if_any(connection, name)
    return None if study is None else _require_readable(study)


def _find_row_if_any(connection: Connection, name: str) -> StudyRow | None:
    if not name.isprintable():  # no study has such a name, and Postgres could not even be asked for some of them
        return None
    row = connection.execute(text(SELECT + "where s.study_name = :name"), {"name": name}).one_or_none()
    return None if row is None else _make_study(row)


def list_all(connection: Connection) -> list[StudyRow]:
    """Return all studies, in the order in which workers serve them: by priority, then the oldest first."""
    rows = connection.execute(text(SELECT + "order by h.priority desc, study_id"))
    return [_make_study(row) for row in rows]


def refresh(connection: Connection, study: Study) -> Study:
    """Return the study as it is now; as it was, where it is deleted or a newer hpsearch has rewritten it meanwhile."""
    try:
        return read(connection, study.study_id)
    except (NotFoundError, UnreadableStudyError):
        return study


def count_trials(connection: Connection, study_id: int) -> Row[tuple[int, int, int, int, float]]:
    """Return a row of how many trials a study has, in `total` and by state, and its `hours`."""
    return connection.execute(text(PROGRESS), {"study_id": study_id}).one()


def measure_progress(connection: Connection, study: Study) -> StudyProgress:
    """Count the study's trials, see whether its time or target closes it, and whether its trials only fail."""
    budget = study.spec.budget
    row = count_trials(connection, study.study_id)
    closed = None
    if budget.hours is not None and row.hours >= budget.hours:
        closed = f"its {budget.hours:g} hours are over"
    elif budget.target is not None and trial_values.has_reached(connection, study.study_id, study.spec, budget.target):
        closed = f"the target {budget.target:g} is reached"
    failing = row.failed >= budget.failures and _is_failing(connection, study.study_id, budget.failures)
    return StudyProgress(row.total, row.running, row.waiting, closed, failing)


def _is_failing(connection: Connection, study_id: int, failures: int) -> bool:
    states = connection.scalars(text(LAST_STATES), {"study_id": study_id, "limit": failures}).all()
    return len(states) == failures and set(states) == {TrialState.FAILED.optuna}


def set_status(connection: Connection, study_id: int, status: StudyStatus, reason: str | None = None) -> None:
    """Change the status; the study's clock stands still while it is not running."""
    runs = status is StudyStatus.RUNNING
    connection.execute(text(SET_STATUS), {"study_id": study_id, "status": status, "runs": runs, "reason": reason})


def update_status(connection: Connection, study: Study) -> StudyProgress:
    """Finish a study whose search is over, or pause one whose trials only fail. The caller holds its lock."""
    progress = measure_progress(connection, study)
    if not progress.changes_status(study):
        return progress
    if progress.is_over(study.spec.budget.trials):
        set_status(connection, study.study_id, StudyStatus.FINISHED, progress.closed)
    else:
        reason = f"the last {study.spec.budget.failures} trials ended in errors: see hpsearch results"
        set_status(connection, study.study_id, StudyStatus.PAUSED, reason)
    return progress


def record_data(connection: Connection, study_id: int, fingerprint: str, facts: DataFacts | None) -> str:
    """Return the fingerprint of the study's data: that of the first worker to load them, which is stored with `facts`.

    An evaluation starts with its search's, which the first worker's ends with where the images are the same. Facts that
    an older hpsearch did not store are added to their fingerprint.
    """
    connection.execute(
        text(
            "update hpsearch.studies set data_fingerprint = :fingerprint, data_facts = :facts "
            "where study_id = :study_id and (data_fingerprint is null or :fingerprint like '%+' || data_fingerprint "
            "or (data_fingerprint = :fingerprint and data_facts is null))"
        ),
        {
            "study_id": study_id,
            "fingerprint": fingerprint,
            "facts": json.dumps(facts.to_json()) if facts else None,
        },
    )
    stored: str | None = connection.execute(
        text("select data_fingerprint from hpsearch.studies where study_id = :study_id"), {"study_id": study_id}
    ).scalar_one_or_none()
    return stored or fingerprint


@lru_cache(maxsize=256)
def _parse_spec(spec: str, packages: str | None, facts: str | None) -> StudySpec | None:
    """Return a stored spec; None where this version cannot read it."""
    try:
        known = DataFacts.from_json(json.loads(facts)) if facts else None
        parsed = replace(StudySpec.from_json(json.loads(spec)), facts=known)
        if parsed.code is not None and packages is not None:
            parsed = replace(parsed, code=replace(parsed.code, packages=dict(json.loads(packages))))
    except Exception:  # noqa: BLE001 - what a later version stores may be of any form
        return None
    return parsed


def _make_study(row: Row[tuple[object, ...]]) -> StudyRow:
    spec = _parse_spec(row.spec, row.packages, row.data_facts)
    status = StudyStatus(row.status) if row.status in set(StudyStatus) else None
    if spec is None or status is None:
        return UnreadableStudy(row.study_id, row.study_name, status or str(row.status), row.reason, row.priority)
    return Study(
        row.study_id,
        row.study_name,
        spec,
        row.fingerprint,
        status,
        row.reason,
        row.priority,
        row.data_fingerprint,
        row.artifacts,
    )


def _require_readable(study: StudyRow) -> Study:
    if isinstance(study, UnreadableStudy):
        raise UnreadableStudyError(f"{study.name} was {study.obstacle}")
    return study
