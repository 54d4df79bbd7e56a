"""A person's hand on a study: pause, resume, stop and retry, each in one short transaction under the study's lock.

A worker learns of it when it next renews what it holds. Here is changed only what nobody holds.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, Row, text

from hpsearch.errors import NotFoundError, RefusedError
from hpsearch.storage import claims, optuna_tables, studies
from hpsearch.storage.optuna_tables import parse_distribution
from hpsearch.storage.studies import Study


@dataclass(frozen=True)
class StatusChange:
    """A study as it now is, and the status it had; `held` of its trials are in workers' hands, `ended` had none."""

    study: Study
    before: str
    held: int
    ended: int = 0


@dataclass(frozen=True)
class RetryResult:
    """A study as it now is, the status it had, and the new trials by number, each with the one it repeats."""

    study: Study
    before: str
    trials: tuple[tuple[int, int], ...]


def pause(connection: Connection, name: str) -> StatusChange:
    """Let no trial of a study train; those that do checkpoint and are released.

    Raises:
        NotFoundError: there is no such study.
        RefusedError: it is over.
    """
    stored = _settled(connection, name)
    if stored.status in {"finished", "stopped"}:
        raise RefusedError(f"{name} is {stored.status}: only a running study can be paused")
    if stored.status == "running":
        studies.set_status(connection, stored.study_id, "paused")
    return _turned(connection, stored)


def resume(connection: Connection, name: str) -> StatusChange:
    """Let a paused study go on, or a stopped one with what is left of its budget; it may be finished at once.

    Raises:
        NotFoundError: there is no such study.
        RefusedError: it is finished.
    """
    stored = _settled(connection, name)
    if stored.status == "finished":
        more = (
            "evaluate --again makes another" if stored.spec.evaluation else "start-study with more --trials extends it"
        )
        raise RefusedError(f"{name} is finished: hpsearch {more}")
    if stored.status != "running":
        _run(connection, stored)
    return _turned(connection, stored)


def stop(connection: Connection, name: str) -> StatusChange:
    """End a study: every running trial ends as pruned, those that nobody holds at once. Waiting ones stay for a resume.

    Raises:
        NotFoundError: there is no such study.
    """
    stored = _settled(connection, name)
    if stored.status in {"running", "paused"}:
        studies.set_status(connection, stored.study_id, "stopped")
    ended = claims.end_unheld(connection, stored.study_id)
    return _turned(connection, stored, ended)


def retry(connection: Connection, name: str, number: int | None = None) -> RetryResult:
    """Enqueue failed trials again, beyond the budget: those that no trial repeats yet, or just trial `number`.

    A study that is finished, or paused because of its failures, goes on; one that a person paused or stopped does not.

    Raises:
        NotFoundError: there is no such study or trial.
        RefusedError: the trial did not fail, or the study takes no trials any more.
    """
    stored = _settled(connection, name)
    failed = _failed(connection, stored) if number is None else [_named(connection, stored, number)]
    if not failed:
        return RetryResult(stored, stored.status, ())
    survey = studies.measure_progress(connection, stored)
    if survey.closed is not None:
        raise RefusedError(f"{name} would not run a trial, because {survey.closed}: raise that with start-study first")
    for new, old in enumerate(failed, start=survey.total):
        trial_id = optuna_tables.enqueue(connection, stored.study_id, new, _configuration(connection, old.trial_id))
        optuna_tables.set_attributes(connection, "user", trial_id, {"retry_of": old.number})
    studies.grow(connection, stored, len(failed))
    if stored.status == "finished" or (stored.status == "paused" and stored.reason is not None):
        _run(connection, stored)
    pairs = tuple((new, old.number) for new, old in enumerate(failed, start=survey.total))
    return RetryResult(studies.read(connection, stored.study_id), stored.status, pairs)


def _settled(connection: Connection, name: str) -> Study:
    """The study under its lock, its status up to date also where no worker has looked since its last trial ended."""
    study_id = studies.find(connection, name).study_id
    studies.lock(connection, study_id)
    studies.settle(connection, studies.read(connection, study_id))
    return studies.read(connection, study_id)


def _run(connection: Connection, stored: Study) -> None:
    studies.set_status(connection, stored.study_id, "running")
    studies.settle(connection, studies.read(connection, stored.study_id))


def _turned(connection: Connection, before: Study, ended: int = 0) -> StatusChange:
    held = connection.execute(
        text(
            "select count(*) from hpsearch.attempts join trials t using (trial_id) "
            "where t.study_id = :study_id and t.state = 'RUNNING' and ended_at is null"
        ),
        {"study_id": before.study_id},
    ).scalar_one()
    return StatusChange(studies.read(connection, before.study_id), before.status, held, ended)


def _failed(connection: Connection, stored: Study) -> Sequence[Row[tuple[int, int]]]:
    """The failed trials that no other repeats."""
    return connection.execute(
        text("""
            select t.trial_id, t.number from trials t
             where t.study_id = :study_id and t.state = 'FAIL'
               and not exists (select 1 from trial_user_attributes a join trials o using (trial_id)
                                where o.study_id = :study_id and a.key = 'retry_of'
                                  and a.value_json = t.number::text)
             order by t.number
        """),
        {"study_id": stored.study_id},
    ).all()


def _named(connection: Connection, stored: Study, number: int) -> Row[tuple[int, int]]:
    found = connection.execute(
        text("select trial_id, number, state::text from trials where study_id = :study_id and number = :number"),
        {"study_id": stored.study_id, "number": number},
    ).one_or_none()
    if found is None:
        raise NotFoundError(f"{stored.name} has no trial {number}: hpsearch results lists those it has")
    if found.state != "FAIL":
        state = {"COMPLETE": "is complete", "PRUNED": "was pruned"}.get(found.state, f"is {found.state.lower()}")
        raise RefusedError(f"trial {number} of {stored.name} {state}: only a failed one can be tried again")
    return found


def _configuration(connection: Connection, trial_id: int) -> dict[str, object]:
    """What a trial was to train. One that failed before it was sampled has what it was enqueued with, or nothing."""
    rows = connection.execute(
        text("select param_name, param_value, distribution_json from trial_params where trial_id = :trial_id"),
        {"trial_id": trial_id},
    ).all()
    if rows:
        return {name: parse_distribution(kind).to_external_repr(value) for name, value, kind in rows}
    enqueued = connection.scalar(
        text("select value_json from trial_system_attributes where trial_id = :trial_id and key = 'fixed_params'"),
        {"trial_id": trial_id},
    )
    return dict(json.loads(enqueued)) if enqueued else {}
