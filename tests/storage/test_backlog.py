"""The view `hpsearch.backlog` beside what claims really give, through the lives of studies."""

import importlib
import json
import random
import re
import uuid
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from sqlalchemy import Connection, text

from hpsearch.metrics import METRICS, EpochMetrics
from hpsearch.outcomes import AttemptEnd, StudyStatus, TrialOutcome
from hpsearch.spec.sections.study import BudgetSection, StudySection
from hpsearch.storage import attempts, claims, studies, study_control
from hpsearch.storage.attempts import Attempt
from hpsearch.storage.database import Database
from hpsearch.storage.studies import Study
from hpsearch.storage.tables import backlog
from hpsearch.storage.workers import WorkerIdentity
from tests.support.small_study import claim, finish_trial, metrics

Started = Callable[..., Study]
Enrol = Callable[[str], WorkerIdentity]

BACKLOG: str = importlib.import_module("hpsearch.storage.migrations.versions.0009_backlog").BACKLOG

DOCS = Path(__file__).parents[2] / "docs" / "storage.md"


class _Undone(Exception):
    """Rolls a transaction back."""


@pytest.fixture
def view_long_up(database: Database, server_long_up: None) -> None:
    """Have the view, as `server_long_up` has claims, take the server to be up for longer than a lease."""
    long_up = BACKLOG.replace("create view", "create or replace view").replace(
        "pg_postmaster_start_time()", "timestamptz '-infinity'"
    )
    assert long_up.count("-infinity'") == 1
    execute(database, long_up)


def read(database: Database) -> dict[str, tuple[int, int | None, int]]:
    """Return the priority of each study in the view, how many more trials could be held, and how many are."""
    rows = database.transact(lambda c: c.execute(text("select name, priority, free, held from hpsearch.backlog")).all())
    return {row.name: (row.priority, row.free, row.held) for row in rows}


def ask(database: Database, *names: str) -> int:
    """Return what an autoscaler's query answers: one integer in one row."""
    return send(database, backlog.make_query(names))


def send(database: Database, query: str, before: str = "") -> int:
    """Return the integer that a query answers, sent as it is after the statement `before`."""
    url = database.url.set(drivername="postgresql").render_as_string(hide_password=False)
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute(f"{before};{query}")
        ((answer,),) = cursor.fetchall()
    assert isinstance(answer, int)
    return answer


def count_claims(database: Database, study: Study, worker: WorkerIdentity) -> int:
    """Claim trials until none is left, return how many there were, and undo it all."""
    count = 0

    def claim_all(connection: Connection) -> None:
        nonlocal count
        count = 0
        while claims.claim_trial(connection, study.study_id, worker):
            count += 1
        raise _Undone

    with pytest.raises(_Undone):
        database.transact(claim_all)
    return count


def execute(database: Database, query: str, **arguments: object) -> None:
    database.transact(lambda c: c.execute(text(query), arguments))


def expire(database: Database, attempt: Attempt) -> None:
    query = "update hpsearch.attempts set held_until = clock_timestamp() - interval '1 s'"
    execute(database, f"{query} where trial_id = :trial_id and ended_at is null", trial_id=attempt.trial_id)


class Life:
    """A study in which whatever can happen to one happens, at random."""

    def __init__(self, database: Database, study: Study, worker: WorkerIdentity, seed: int) -> None:
        self.database, self.study, self.worker = database, study, worker
        self.random = random.Random(seed)
        self.attempts: list[Attempt] = []

    def take_step(self) -> str:
        """Let something happen; return what."""
        step = self.random.choice(
            [self.claim, self.claim, self.claim, self.end, self.end, self.release, self.lose, self.end_outside]
        )
        step()
        return step.__name__

    def claim(self) -> None:
        attempt = claim(self.database, self.study, self.worker)
        if attempt is not None:
            self.attempts.append(attempt)

    def end(self) -> None:
        if (attempt := self._leave()) is not None:
            value = self.random.random()
            epochs = self.random.randint(0, 2)
            for epoch in range(len(attempt.epochs) + 1, len(attempt.epochs) + 1 + epochs):
                self._store_epoch(attempt, epoch, value)
            completed = TrialOutcome.COMPLETED if epochs else TrialOutcome.DIVERGED
            outcomes = (completed, completed, TrialOutcome.PRUNED, TrialOutcome.ERROR, TrialOutcome.ERROR)
            finish_trial(self.database, attempt, self.random.choice(outcomes))

    def release(self) -> None:
        if (attempt := self._leave()) is not None:
            ends = (AttemptEnd.CRASHED, AttemptEnd.STALLED, AttemptEnd.PREEMPTED, AttemptEnd.OUT_OF_MEMORY)
            end = self.random.choice(ends)
            self.database.transact(lambda c: attempts.release(c, attempt, end))

    def lose(self) -> None:
        if (attempt := self._leave()) is not None:
            if self.random.random() < 0.5:
                self._store_epoch(attempt, len(attempt.epochs) + 1, 0.2)
            expire(self.database, attempt)

    def end_outside(self) -> None:
        if self.random.random() < 0.3 and (attempt := self._leave()) is not None:
            query = "update trials set state = 'COMPLETE', datetime_complete = now() at time zone 'utc'"
            execute(self.database, f"{query} where trial_id = :trial_id", trial_id=attempt.trial_id)
            value = "insert into trial_values (trial_id, objective, value, value_type) values (:t, 0, 0.99, 'FINITE')"
            execute(self.database, value, t=attempt.trial_id)

    def _store_epoch(self, attempt: Attempt, epoch: int, value: float) -> None:
        verdict = attempts.PrunerVerdict()
        self.database.transact(lambda c: attempts.store_epoch(c, attempt, metrics(epoch, value), verdict))

    def _leave(self) -> Attempt | None:
        return self.attempts.pop(self.random.randrange(len(self.attempts))) if self.attempts else None


BUDGETS: list[dict[str, Any]] = [
    {"trials": 9, "attempts": 2},
    {"trials": 9, "attempts": 1, "failures": 2},
    {"trials": 12, "failures": 3, "target": 0.8},
]


@pytest.mark.usefixtures("view_long_up")
@pytest.mark.parametrize("seed", range(6))
def test_view_gives_what_claims_give(database: Database, started: Started, holder: Enrol, seed: int) -> None:
    """At every step of a study's life as many more workers find a trial as the view says, and as many hold one."""
    sections: dict[str, Any] = {"budget": {"epochs": 4, **BUDGETS[seed % 3]}}
    if seed % 2:
        sections["baseline"] = [{"optimizer": "sgd", "learning_rate": 0.01}]
    study, worker = started(**sections), holder("w")
    life = Life(database, study, worker, seed)
    for step in range(40):
        done = life.take_step()
        expected = count_claims(database, study, worker)
        there = read(database)
        status = database.transact(lambda c: studies.read(c, study.study_id)).status
        if status is not StudyStatus.RUNNING:
            assert there == {}
            return
        assert there["small"][1:] == (expected, len(life.attempts)), (step, done)
        assert ask(database) == (expected or (0 if life.attempts else 1))


def test_each_running_study_has_a_row(database: Database, started: Started, holder: Enrol) -> None:
    """A study that is paused, stopped or finished has none, and without any the query is one row all the same."""
    assert (read(database), ask(database)) == ({}, 0)
    study = started(study={"name": "it's \\ one", "priority": 7}, budget={"trials": 3, "epochs": 1})
    started(budget={"trials": 5, "epochs": 1})
    assert claim(database, study, holder("w")) is not None
    assert read(database) == {"it's \\ one": (7, 2, 1), "small": (0, 5, 0)}
    for name, status in (("small", "paused"), ("it's \\ one", "stopped")):
        database.transact(lambda c: studies.set_status(c, studies.find(c, name).study_id, StudyStatus(status)))
    assert (read(database), ask(database)) == ({}, 0)
    database.transact(lambda c: study_control.resume(c, "it's \\ one"))
    assert read(database) == {"it's \\ one": (7, 2, 1)}


def test_restarted_server_gives_holders_a_lease(database: Database, started: Started, holder: Enrol) -> None:
    """A lease counts from the server's start, just now; a trial that was released is free at once."""
    study = started(budget={"trials": 2, "epochs": 1})
    lost, released = (claim(database, study, holder(name)) for name in "ab")
    assert lost is not None
    assert released is not None
    expire(database, lost)
    database.transact(lambda c: attempts.release(c, released, AttemptEnd.PREEMPTED))
    execute(database, "set local timezone = 'Asia/Kathmandu'")
    up = database.transact(lambda c: c.scalar(text("select clock_timestamp() - pg_postmaster_start_time() < '80 s'")))
    assert read(database) == {"small": (0, 1, 1) if up else (0, 2, 0)}


@pytest.mark.usefixtures("view_long_up")
@pytest.mark.parametrize("metric", METRICS)
def test_target_closes_a_study(database: Database, started: Started, holder: Enrol, metric: str) -> None:
    """A trial as good as the target, by the metric and its direction, leaves no trial to begin; a worse one does."""
    sign = METRICS[metric].direction.sign
    study, worker = (
        started(study={"name": "small", "metric": metric}, budget={"trials": 4, "epochs": 2, "target": 0.5}),
        holder("w"),
    )
    for value, left in ((0.5 - 0.1 * sign, 2), (0.5 + 0.1 * sign, 0)):
        held, attempt = claim(database, study, worker), claim(database, study, worker)
        assert held is not None
        assert attempt is not None
        own = None if metric in ("val_accuracy", "val_loss") else value
        epoch = EpochMetrics(1, 1.0, 0.4, value, value, 0.01, 2.0, own)
        database.transact(lambda c: attempts.store_epoch(c, attempt, epoch, attempts.PrunerVerdict()))
        finish_trial(database, attempt)
        assert read(database)["small"][1:] == (left, 1)
        assert count_claims(database, study, worker) == left
        finish_trial(database, held, TrialOutcome.PRUNED)


def test_hours_close_a_study(database: Database, started: Started, holder: Enrol) -> None:
    """After its hours only a trial that somebody left is free; then the study waits for a worker that finishes it."""
    study = started(budget={"trials": 9, "epochs": 1, "hours": 0.5})
    left = claim(database, study, holder("w"))
    assert left is not None
    assert read(database)["small"] == (0, 8, 1)
    execute(database, "update hpsearch.studies set running_since = clock_timestamp() - interval '31 minutes'")
    assert (read(database)["small"], ask(database)) == ((0, 0, 1), 0)
    database.transact(lambda c: attempts.release(c, left, AttemptEnd.PREEMPTED))
    assert (read(database)["small"], ask(database)) == ((0, 1, 0), 1)
    attempt = claim(database, study, holder("v"))
    assert attempt is not None
    finish_trial(database, attempt)
    assert (read(database)["small"], ask(database)) == ((0, 0, 0), 1)
    assert claim(database, study, holder("u")) is None
    assert (read(database), ask(database)) == ({}, 0)


SPECS = ["[]", "5", "null", '"spec"', "{}", '{"study": {}}', "[" * 5000 + "]" * 5000]


def test_unreadable_study_has_a_row_without_a_number(database: Database, started: Started) -> None:
    """What is no budget makes the view raise nothing; the other studies are there, and it starts no worker."""
    bad = started(study={"name": "bad"})
    started(budget={"trials": 5, "epochs": 1})
    stored = bad.spec.to_json()
    budgets = [{**stored["budget"], "trials": value} for value in (None, "zzz", -1e300, {"x": 1}, 10**12, "\0")]
    budgets += [{**stored["budget"], key: "\ud800"} for key in ("hours", "target", "attempts", "failures")]
    changed = [json.dumps(stored).replace('"trials": 4', '"trials": 1e99999')]
    changed += [json.dumps(stored | {"budget": budget}) for budget in [*budgets, None, 5, [1], "x"]]
    for spec in [*SPECS, *changed]:
        execute(database, "update hpsearch.studies set spec = :spec where study_id = :id", spec=spec, id=bad.study_id)
        assert read(database) == {"bad": (0, None, 0), "small": (0, 5, 0)}, spec[:100]
        assert ask(database) == 5


def test_defaults_are_those_of_the_study_file(database: Database) -> None:
    """A spec of an older version, without them, has the attempts and failures that this version reads."""
    budget = BudgetSection()
    query = 'select * from hpsearch.read_budget(\'{"study": {}, "budget": {"trials": 3}}\')'
    row = database.transact(lambda c: c.execute(text(query)).one())
    assert tuple(row) == (3, budget.attempts, budget.failures, None, None, StudySection(name="a").metric)


def test_role_of_the_docs_reads_the_view_alone(database: Database, started: Started) -> None:
    """The role that docs/storage.md makes asks for the backlog, and is refused every table of ours and of Optuna."""
    started(study={"name": 'it\'s \\ "1" :x %s'}, budget={"trials": 5, "epochs": 1})
    (statements,) = re.findall(r"^```sql\n(.*?)^```", DOCS.read_text(), flags=re.MULTILINE | re.DOTALL)
    role = f"backlog_{uuid.uuid4().hex[:12]}"
    execute(database, statements.replace("hpsearch_backlog", role))
    reads = text("""
        select relname::text from pg_class
         where relkind in ('r', 'v', 'm', 'p', 'f')
           and relnamespace in ('hpsearch'::regnamespace, 'public'::regnamespace)
           and has_table_privilege(:role, oid, 'select, insert, update, delete, truncate, references, trigger')
    """)
    try:
        assert database.transact(lambda c: c.scalars(reads, {"role": role}).all()) == ["backlog"]
        become = f"set session authorization {role}"
        for names, expected in (((), 5), (('it\'s \\ "1" :x %s', "x"), 5), (("x' or 'a' = 'a",), 0)):
            assert send(database, backlog.make_query(names), become) == expected
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            send(database, "select count(*) from hpsearch.studies", become)
    finally:
        execute(database, f"drop owned by {role}; drop role {role}")
