"""Pause, resume, stop and retry a study, each in one short transaction under the study's lock.

A worker learns of it when it next renews its leases. Only trials that no worker holds are changed here.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, Row, text

from hpsearch.errors import NotFoundError, RefusedError
from hpsearch.outcomes import OVER, StudyStatus, TrialState
from hpsearch.storage import claims, optuna_tables, studies, study_creation
from hpsearch.storage.optuna_tables import parse_distribution
from hpsearch.storage.studies import Study, StudyRow


@dataclass(frozen=True)
class StatusChange:
    """A study as it now is, and the status it had; workers hold `claimed` of its trials, `ended` orphans ended."""

    study: StudyRow
    before: StudyStatus | str
    claimed: int
    ended: int = 0


@dataclass(frozen=True)
class RetryResult:
    """A study as it now is, the status it had, and the new trials by number, each with the one it repeats."""

    study: Study
    before: StudyStatus
    trials: tuple[tuple[int, int], ...]


def pause(connection: Connection, name: str) -> StatusChange:
    """Let no trial of a study train; those that do checkpoint and are released.

    Raises:
        NotFoundError: there is no such study.
        RefusedError: it is over.
    """
    study = _lock(connection, name)
    if study.status in OVER:
        raise RefusedError(f"{name} is {study.status}: only a running study can be paused")
    if study.status is not StudyStatus.PAUSED:
        studies.set_status(connection, study.study_id, StudyStatus.PAUSED)
    return _describe_change(connection, study)


def resume(connection: Connection, name: str) -> StatusChange:
    """Let a paused study go on, or a stopped one with what is left of its budget; it may be finished at once.

    Raises:
        NotFoundError: there is no such study.
        RefusedError: it is finished.
    """
    study = _lock(connection, name)
    if study.status is StudyStatus.FINISHED:
        more = "start-study with more --trials extends it"
        if isinstance(study, Study) and (study.spec.evaluation or study.spec.ablation):
            more = f"{'evaluate' if study.spec.evaluation else 'ablate'} --again makes another"
        raise RefusedError(f"{name} is finished: hpsearch {more}")
    if study.status is not StudyStatus.RUNNING:
        _set_running(connection, study)
    return _describe_change(connection, study)


def stop(connection: Connection, name: str) -> StatusChange:
    """End a study: every running trial ends as pruned, those that nobody holds at once. Waiting ones stay for a resume.

    Raises:
        NotFoundError: there is no such study.
    """
    study = _lock(connection, name)
    if study.status not in OVER:
        studies.set_status(connection, study.study_id, StudyStatus.STOPPED)
    ended = claims.end_orphans(connection, study.study_id)
    return _describe_change(connection, study, ended)


def retry(connection: Connection, name: str, number: int | None = None) -> RetryResult:
    """Enqueue failed trials again, beyond the budget: those that no trial repeats yet, or just trial `number`.

    A study that is finished, or paused because of its failures, goes on; one that a person paused or stopped does not.

    Raises:
        NotFoundError: there is no such study or trial.
        RefusedError: the trial did not fail, or the study takes no trials any more.
        UnreadableStudyError: a newer hpsearch made the study.
    """
    _lock(connection, name)
    study = studies.find(connection, name)
    failed = _list_failed(connection, study) if number is None else [_find_failed(connection, study, number)]
    if not failed:
        return RetryResult(study, study.status, ())
    progress = studies.measure_progress(connection, study)
    if progress.closed is not None:
        raise RefusedError(
            f"{name} would not run a trial, because {progress.closed}: raise that with start-study first"
        )
    for new, old in enumerate(failed, start=progress.total):
        trial_id = optuna_tables.enqueue(connection, study.study_id, new, _read_parameters(connection, old.trial_id))
        optuna_tables.set_attributes(connection, "user", trial_id, {"retry_of": old.number})
    study_creation.extend_budget(connection, study, len(failed))
    if study.status is StudyStatus.FINISHED or (study.status is StudyStatus.PAUSED and study.reason is not None):
        _set_running(connection, study)
    pairs = tuple((new, old.number) for new, old in enumerate(failed, start=progress.total))
    return RetryResult(studies.read(connection, study.study_id), study.status, pairs)


def _lock(connection: Connection, name: str) -> StudyRow:
    """Lock the study, and return it, its status up to date where no worker looked since its last trial ended."""
    study_id = studies.find_row(connection, name).study_id
    studies.lock(connection, study_id)
    return _update_status(connection, study_id)


def _update_status(connection: Connection, study_id: int) -> StudyRow:
    """Finish or pause the study where its trials say so, and return it; of one that cannot be read nobody can tell."""
    study = studies.read_row(connection, study_id)
    if isinstance(study, Study):
        studies.update_status(connection, study)
    return studies.read_row(connection, study_id)


def _set_running(connection: Connection, study: StudyRow) -> None:
    studies.set_status(connection, study.study_id, StudyStatus.RUNNING)
    _update_status(connection, study.study_id)


def _describe_change(connection: Connection, before: StudyRow, ended: int = 0) -> StatusChange:
    attempts = connection.execute(
        text(
            "select count(*) from hpsearch.attempts join trials t using (trial_id) "
            "where t.study_id = :study_id and t.state = 'RUNNING' and ended_at is null"
        ),
        {"study_id": before.study_id},
    ).scalar_one()
    return StatusChange(studies.read_row(connection, before.study_id), before.status, attempts, ended)


def _list_failed(connection: Connection, study: Study) -> Sequence[Row[tuple[int, int]]]:
    """Return the failed trials that no other repeats."""
    return connection.execute(
        text("""
            select t.trial_id, t.number from trials t
             where t.study_id = :study_id and t.state = 'FAIL'
               and not exists (select 1 from trial_user_attributes a join trials o using (trial_id)
                                where o.study_id = :study_id and a.key = 'retry_of'
                                  and a.value_json = t.number::text)
             order by t.number
        """),
        {"study_id": study.study_id},
    ).all()


def _find_failed(connection: Connection, study: Study, number: int) -> Row[tuple[int, int]]:
    trial = connection.execute(
        text("select trial_id, number, state::text from trials where study_id = :study_id and number = :number"),
        {"study_id": study.study_id, "number": number},
    ).one_or_none()
    if trial is None:
        raise NotFoundError(f"{study.name} has no trial {number}: hpsearch results lists those it has")
    if (state := TrialState.from_optuna(trial.state)) is not TrialState.FAILED:
        ending = "was pruned" if state is TrialState.PRUNED else f"is {state or trial.state}"
        raise RefusedError(f"trial {number} of {study.name} {ending}: only a failed one can be tried again")
    return trial


def _read_parameters(connection: Connection, trial_id: int) -> dict[str, object]:
    """Return a trial's parameters. One that failed before it was sampled has what it was enqueued with, or none."""
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
