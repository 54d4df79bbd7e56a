"""One row that this version cannot read stops nobody: each field of a stored study is corrupted in turn.

A newer hpsearch, another program or a person may have written it; a migration is not needed for most of that.
"""

import json
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest
from sqlalchemy import Connection, text

from hpsearch.cli import status_view
from hpsearch.errors import UnreadableStudyError
from hpsearch.evaluation import answers, evaluation
from hpsearch.outcomes import AttemptEnd, StudyStatus, TrialOutcome
from hpsearch.sampling.readonly_storage import ReadOnlyStorage
from hpsearch.storage import (
    attempts,
    claims,
    dashboard_queries,
    results,
    status,
    studies,
    study_control,
    study_deletion,
)
from hpsearch.storage.artifacts.cleanup import ArtifactCleanup
from hpsearch.storage.attempts import Attempt
from hpsearch.storage.database import Database
from hpsearch.storage.studies import Study, UnreadableStudy
from hpsearch.storage.workers import WorkerIdentity
from hpsearch.worker.db_retry import StopRequest
from hpsearch.worker.display_protocol import WorkerDisplay
from hpsearch.worker.lease_renewal import LeaseRenewal
from hpsearch.worker.resources import Quota
from hpsearch.worker.slot import SharedSlotState, Slot
from hpsearch.worker.study_code import CodeDirectories
from hpsearch.worker.timing import DEFAULT_TIMING
from tests.support.dashboard_client import DashboardClient
from tests.support.small_study import claim, finish_trial, metrics

LINE = "made by a newer hpsearch: upgrade this one"

Begin = Callable[..., Attempt]
Enrol = Callable[[str], WorkerIdentity]
Started = Callable[..., Study]

NEWER = {
    "sampler": {"sampler": {"name": "nsga", "options": {}}},
    "an option of the sampler": {"sampler": {"name": "tpe", "options": {"kernel": "rbf"}}},
    "pruner": {"pruner": {"name": "wilcoxon", "options": {}}},
    "a fixed hyperparameter": {"fixed": {"lookahead": 5}},
    "a searched hyperparameter": {"space": [{"name": "lookahead", "low": 1, "high": 9}]},
    "a kind of dimension": {"space": [{"name": "dropout", "beta": [2, 5]}]},
    "a value": {"fixed": {"optimizer": "sophia"}},
    "a range turned round": {"space": [{"name": "dropout", "low": 0.5, "high": 0.1}]},
    "no choices": {"space": [{"name": "dropout", "choices": []}]},
    "a bound": {"space": [{"name": "dropout", "low": 0.0, "high": 3.0}]},
    "a baseline": {"baselines": [{"dropout": 3.0}]},
    "data": {"data": {"name": "imagenet"}},
    "model": {"model": {"name": "vit"}},
    "metric": {"study": {"name": "bad", "metric": "val_iou"}},
    "budget": {"budget": {"trials": 10**12}},
    "a key": {"budget": {"trials": 4, "flops": 1e15}},
    "a section": {"objectives": [{"metric": "val_loss"}]},
    "a kind of study": {"evaluation": "of three"},
    "no name": {"study": {}},
    "code": {"code": {"digest": "0" * 64}},
    "code of another form": {"code": {"sha256": ["0" * 64], "directory": "."}},
}
"""What a newer hpsearch might store, as changes of a stored spec."""

NO_SPECS = ["[]", "5", "null", '"spec"', "{}", "[" * 5000 + "]" * 5000]


class Notes:
    """What a worker says beside its trials, of which none trains here."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, line: str) -> None:
        self.lines.append(line)


def make_slot(database: Database, worker: WorkerIdentity, notes: Notes) -> Slot:
    """Return a slot that claims and never trains."""

    def refuse() -> Any:
        raise AssertionError("nothing is trained here")

    shared = SharedSlotState(
        database,
        cast(WorkerDisplay, notes),
        worker,
        LeaseRenewal(database, worker.worker_id, DEFAULT_TIMING),
        StopRequest(),
        Quota(None),
        (),
        True,
        refuse,
        ArtifactCleanup(database),
        DEFAULT_TIMING,
        CodeDirectories(database, notes.note),
    )
    return Slot(shared)


def set_column(database: Database, study_id: int, column: str, value: str | None) -> None:
    query = f"update hpsearch.studies set {column} = :value where study_id = :study_id"
    database.transact(lambda c: c.execute(text(query), {"value": value, "study_id": study_id}))


def list_corruptions(spec: dict[str, Any]) -> Iterator[str]:
    """Yield the spec with each of its values, and each table, replaced by something else, or gone."""

    def replace(tree: Any, path: tuple[Any, ...], value: Any) -> Any:
        if not path:
            return value
        copied = dict(tree) if isinstance(tree, dict) else list(tree)
        copied[path[0]] = replace(tree[path[0]], path[1:], value)
        return copied

    def list_paths(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
        yield path
        if isinstance(tree, dict | list):
            for key in tree if isinstance(tree, dict) else range(len(tree)):
                yield from list_paths(tree[key], (*path, key))

    for path in list_paths(spec):
        for value in (None, "zzz", -1e300, {"x": {"y": 1}}):
            yield json.dumps(replace(spec, path, value))


def read_everything(database: Database, good: Study, bad_id: int) -> None:
    """Read what a command, a page and a worker's round read of a database; nothing raises for the good study."""

    def read(connection: Connection) -> None:
        overview = status.read(connection)
        json.dumps(status.make_document(overview))
        status_view.make_tables(overview)
        listed = {speed.summary.study.name for speed in overview.studies} | {row.name for row in overview.unreadable}
        assert listed == {"good", "bad"}
        assert results.read(connection, "good")[0].study == good
        answers.read_answer_source(connection, "good")
        assert evaluation.list_evaluations(connection, good) == []
        dashboard_queries.read_study_version(connection, bad_id)
        study_deletion.read_contents(connection, "bad")
        if any(row.name == "bad" for row in overview.unreadable):
            with pytest.raises(UnreadableStudyError, match=LINE):
                results.read(connection, "bad")
        else:
            results.read(connection, "bad")

    database.transact(read)


def claim_in_round(slot: Slot, database: Database) -> str | None:
    """Return the study of which a worker's round claims a trial, which it lets go again."""
    attempt = slot._claim()
    if attempt is None:
        return None
    database.transact(lambda c: attempts.release(c, attempt, AttemptEnd.RELEASED))
    return attempt.study.name


@pytest.fixture
def good(started: Started) -> Study:
    return started(study={"name": "good", "priority": 1})


@pytest.fixture
def bad(database: Database, started: Started, begin: Begin, good: Study) -> Study:
    """A study that workers serve before the good one, with a trial that ended and one that a worker holds."""
    bad = started(study={"name": "bad", "priority": 5})
    finish_trial(database, begin(bad, 0.5))
    begin(bad, 0.4)
    return bad


@pytest.mark.usefixtures("server_long_up")
def test_corrupted_spec_stops_nobody(database: Database, good: Study, bad: Study, holder: Enrol) -> None:
    """Whatever is in a stored spec, all studies are listed, and a worker serves the good one."""
    stored = bad.spec.to_json()
    worker, told = holder("reader"), set()
    for spec in {*list_corruptions(stored), *NO_SPECS}:
        set_column(database, bad.study_id, "spec", spec)
        read_everything(database, good, bad.study_id)
        notes = Notes()
        slot = make_slot(database, worker, notes)
        served = claim_in_round(slot, database)
        row = database.transact(lambda c: studies.read_row(c, bad.study_id))
        if isinstance(row, UnreadableStudy):
            assert served == "good", spec
            assert notes.lines == [f"bad is not served here: it was {LINE}"], spec
            told.add(spec)
        else:
            assert row.spec.fingerprint
    assert len(told) > 100


@pytest.mark.parametrize("change", NEWER.values(), ids=NEWER)
def test_what_a_newer_hpsearch_stored_is_told_by_name(
    database: Database, good: Study, started: Started, change: dict[str, Any]
) -> None:
    """It is listed with one line, paused, resumed, stopped and deleted by its name."""
    bad = started(study={"name": "bad"})
    set_column(database, bad.study_id, "spec", json.dumps(bad.spec.to_json() | change))
    document = database.transact(lambda c: status.make_document(status.read(c)))
    assert {study["name"]: study["unreadable"] for study in document["studies"]} == {"good": None, "bad": LINE}

    def control(command: Callable[[Connection, str], study_control.StatusChange]) -> StudyStatus | str:
        def run(connection: Connection) -> study_control.StatusChange:
            return command(connection, "bad")

        return database.transact(run).study.status

    commands = (study_control.pause, study_control.resume, study_control.stop, study_control.resume)
    assert [control(command) for command in commands] == ["paused", "running", "stopped", "running"]
    database.transact(lambda c: study_deletion.delete(c, bad.study_id))
    assert database.transact(studies.list_all) == [good]


@pytest.mark.usefixtures("server_long_up")
def test_other_columns_of_a_study_stop_nobody(database: Database, good: Study, bad: Study, holder: Enrol) -> None:
    """An unknown status, facts of another form and packages that are none make a study unreadable, no more."""
    database.transact(lambda c: c.execute(text("alter table hpsearch.studies drop constraint studies_status_check")))
    notes = Notes()
    slot = make_slot(database, holder("reader"), notes)
    for column, value in (("data_facts", "[1]"), ("data_facts", '{"shape": 3}'), ("status", "archived")):
        set_column(database, bad.study_id, column, value)
        read_everything(database, good, bad.study_id)
        assert isinstance(database.transact(lambda c: studies.read_row(c, bad.study_id)), UnreadableStudy), value
        assert claim_in_round(slot, database) == "good"
        set_column(database, bad.study_id, column, "running" if column == "status" else None)
    assert notes.lines == [f"bad is not served here: it was {LINE}"]


@pytest.mark.usefixtures("server_long_up")
def test_stopped_unreadable_study_leaves_its_trials(database: Database, bad: Study, holder: Enrol) -> None:
    """Its orphans end at the hands of a worker that can read it; the sweep of one that cannot passes over them."""
    set_column(database, bad.study_id, "spec", "{}")
    database.transact(lambda c: c.execute(text("update hpsearch.attempts set held_until = clock_timestamp()")))
    assert database.transact(lambda c: study_control.stop(c, "bad")).ended == 0
    assert database.transact(claims.end_abandoned) == 0
    assert claim_in_round(make_slot(database, holder("reader"), Notes()), database) == "good"


def test_study_that_is_rewritten_meanwhile_ends_no_worker(database: Database, bad: Study, holder: Enrol) -> None:
    """A worker finishes the trial that it holds; it claims no other of that study."""
    slot = make_slot(database, holder("reader"), Notes())
    attempt = slot._claim()
    assert attempt is not None
    set_column(database, bad.study_id, "spec", "{}")
    set_column(database, bad.study_id, "status", "paused")
    assert database.transact(lambda c: attempts.renew(c, attempt)) is StudyStatus.PAUSED
    database.transact(lambda c: attempts.store_epoch(c, attempt, metrics(1), attempts.PrunerVerdict()))
    assert database.transact(lambda c: studies.record_data(c, bad.study_id, "data", None)) == "data"
    finish_trial(database, attempt)
    slot._settle(attempt)
    assert slot._claim_from(bad) is None


def test_renewal_takes_an_unknown_status_for_a_pause(database: Database, bad: Study, begin: Begin) -> None:
    """The trial is left with its checkpoint; the leases renewed after it are renewed all the same."""
    attempt = begin(bad)
    database.transact(lambda c: c.execute(text("alter table hpsearch.studies drop constraint studies_status_check")))
    set_column(database, bad.study_id, "status", "archived")
    assert database.transact(lambda c: attempts.renew(c, attempt)) is StudyStatus.PAUSED


ROWS = {
    "the end of an attempt": "update hpsearch.attempts set why = 'evicted', ended_at = coalesce(ended_at, now())",
    "an outcome": "update trial_user_attributes set value_json = '\"evicted\"' where key = 'outcome'",
    "an outcome of another form": "update trial_user_attributes set value_json = '[{}]'",
    "a user attribute": "update trial_user_attributes set value_json = 'no JSON'",
    "a system attribute": "update trial_system_attributes set value_json = 'no JSON'",
    "a confusion matrix": "insert into trial_system_attributes (trial_id, key, value_json) "
    "select trial_id, 'hpsearch:confusion', '[[1, 2], 3]' from trials",
    "a kind of distribution": 'update trial_params set distribution_json = \'{"name": "Beta"}\'',
    "a distribution that is none": "update trial_params set distribution_json = '5'",
    "a choice": "update trial_params set param_value = 99",
    "no parameter": "update trial_params set param_value = 'NaN'",
    "a state": "update trials set state = 'ARCHIVED' where number = 0",
}
"""Statements that store what this version does not know."""


@pytest.mark.usefixtures("server_long_up")
@pytest.mark.parametrize("statement", ROWS.values(), ids=ROWS)
def test_corrupted_row_of_any_table_stops_nobody(
    database: Database, good: Study, bad: Study, client: DashboardClient, holder: Enrol, statement: str
) -> None:
    """What cannot be read of a trial is left out, of its own study too."""
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("alter type trialstate add value if not exists 'ARCHIVED'"))
        connection.execute(text("alter table hpsearch.attempts drop constraint attempts_why"))
    before = claim(database, bad, holder("earlier"))
    assert before is not None
    database.transact(lambda c: c.execute(text(statement)))
    read_everything(database, good, bad.study_id)
    database.transact(lambda c: answers.answer(answers.read_answer_source(c, "bad")))
    database.transact(ReadOnlyStorage(bad.study_id, bad.spec.direction).refresh)
    assert client.study(bad)["name"] == "bad"
    slot = make_slot(database, holder("reader"), Notes())
    assert claim_in_round(slot, database) in {"bad", "good"}
    if database.transact(lambda c: attempts.read_end(c, before)) is None:
        database.transact(lambda c: attempts.finish(c, before, TrialOutcome.ERROR, {"detail": "why"}))
    assert database.transact(lambda c: attempts.read_end(c, before)) in set(AttemptEnd)


def test_note_of_another_form_keeps_no_trial_from_ending(database: Database, started: Started, begin: Begin) -> None:
    """What a person's note cannot be added to is replaced."""
    study = started()
    attempt = begin(study, 0.5)
    query = "insert into study_system_attributes (study_id, key, value_json) values (:study_id, :key, :value)"
    prefix = f"dashboard:{attempt.trial_id}:note_"
    rows = [
        {"study_id": study.study_id, "key": f"{prefix}{key}", "value": value}
        for key, value in (("ver", '"x"'), ("str:0", "[1]"), ("str:1", "no JSON"))
    ]
    database.transact(lambda c: c.execute(text(query), rows))
    finish_trial(database, attempt, TrialOutcome.ERROR, detail="why")
    assert database.transact(lambda c: attempts.read_end(c, attempt)) is AttemptEnd.ERROR


def test_dashboard_says_that_a_study_cannot_be_read(
    database: Database, bad: Study, client: DashboardClient, caplog: pytest.LogCaptureFixture
) -> None:
    """Its page has the trials as Optuna has them, with the line as its note; nothing is logged as a fault."""
    set_column(database, bad.study_id, "spec", json.dumps({**bad.spec.to_json(), "sampler": {"name": "nsga"}}))
    page = client.study(bad)
    assert LINE in page["note"]["body"]
    assert [trial["state"] for trial in page["trials"]] == ["Complete", "Running"]
    assert client.importance(bad) == []
    assert caplog.records == []
