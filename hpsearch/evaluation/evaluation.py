"""Evaluations of a search: its best configurations, trained anew by a study of their own, and the test images, once."""

import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import count
from statistics import fmean
from types import MappingProxyType
from typing import Any

from sqlalchemy import Connection, text

from hpsearch.errors import RefusedError, UsageError
from hpsearch.settings import Setting
from hpsearch.spec import sections
from hpsearch.spec.sections import Method
from hpsearch.spec.study_spec import StudySpec
from hpsearch.storage import results, studies
from hpsearch.storage.artifacts import stores
from hpsearch.storage.database import Database
from hpsearch.storage.results import Summary, Trial
from hpsearch.storage.studies import Study

TOP = 3
"""Configurations of an evaluation that names no number."""

SEEDS = 5
"""Trainings of each, likewise."""

LARGEST = 10_000
"""Trials of an evaluation: more are a slip of the keyboard."""

LONGEST_NAME = 512
"""Characters, the width of Optuna's column."""

USED = """
    (e.result is not null or exists (select 1 from trials t where t.study_id = e.study_id and t.state = 'COMPLETE'))
"""


@dataclass(frozen=True)
class Configuration:
    """One of a search's best: the number of its best `trial`, the mean `value` of its complete ones, parameters."""

    trial: int
    value: float
    params: Mapping[str, Any]


@dataclass(frozen=True)
class Evaluation:
    """The `number`-th evaluation of a study, counted from 1.

    `study` trains it; None where that was deleted. `used`: it has let a model see the test images. `later`: complete
    trials of the evaluated study that ended after it was asked for. `result` as `tally.count` makes it; None while
    there is none.
    """

    evaluated: Study
    number: int
    study: Study | None
    configurations: tuple[Configuration, ...]
    asked: datetime
    used: bool
    later: int
    result: Mapping[str, Any] | None


def list_evaluations(connection: Connection, found: Study) -> list[Evaluation]:
    """All evaluations of a study, in order, but for those that were deleted before they had a result."""
    rows = connection.execute(
        text(f"""
            select number, study_id, configurations, asked_at, result,
                   (select count(*) from trials t where t.study_id = evaluated and t.state = 'COMPLETE'
                       and t.datetime_complete > asked_at at time zone 'utc') as later,
                   {USED} as used
              from hpsearch.evaluations e
             where evaluated = :study_id and (study_id is not null or json_typeof(result) <> 'null') order by number
        """),
        {"study_id": found.study_id},
    ).all()
    return [
        Evaluation(
            found,
            row.number,
            studies.read(connection, row.study_id) if row.study_id is not None else None,
            tuple(Configuration(**each) for each in row.configurations),
            row.asked_at,
            row.used,
            row.later,
            row.result,
        )
        for row in rows
    ]


def count_uses(connection: Connection, found: Study) -> int:
    """How many evaluations of a study have let a model see the test images, those included that were deleted since."""
    query = f"select count(*) from hpsearch.evaluations e where evaluated = :study_id and {USED}"
    return int(connection.execute(text(query), {"study_id": found.study_id}).scalar_one())


def find_evaluation(connection: Connection, trained: Study) -> Evaluation | None:
    """The evaluation that a study trains; None for a search, and where the evaluated study was deleted."""
    evaluated = connection.scalar(
        text("select evaluated from hpsearch.evaluations where study_id = :study_id"), {"study_id": trained.study_id}
    )
    if evaluated is None:
        return None
    every = list_evaluations(connection, studies.read(connection, evaluated))
    return next(each for each in every if each.study is not None and each.study.study_id == trained.study_id)


def is_over(summary: Summary) -> bool:
    """Whether all trials of an evaluation have ended."""
    counts = summary.counts
    return not counts["running"] and not counts["waiting"] and sum(counts.values()) >= summary.study.spec.budget.trials


def request_evaluation(
    database: Database, name: str, top: int | None = None, seeds: int | None = None, *, again: bool = False
) -> tuple[Evaluation, bool]:
    """The latest evaluation of a study, and whether it was made now.

    Made where there is none, or `again`: `top` configurations, as many trainings of each as `seeds`, all of them once
    before any is trained again.

    Raises:
        NotFoundError: there is no such study.
        RefusedError: it is an evaluation, is still running or has no complete trial; or, `again`, its latest
            evaluation is not over.
        UsageError: so many trials are a mistake.
        StoreError: where the study keeps its files another one cannot.
    """
    there, found = database.transact(lambda connection: _look(connection, name, again))
    if there is not None:
        return there, False
    wanted = top or TOP, seeds or SEEDS
    if wanted[0] * wanted[1] > LARGEST:
        raise UsageError(f"{wanted[0]} configurations × {wanted[1]} seeds are over {LARGEST} trials: take fewer")
    if found.artifacts is None:
        return database.transact(lambda connection: _ask(connection, name, *wanted, again, None))
    beside = Setting(found.artifacts.rpartition("/")[0], f"where {name} keeps its files")
    home = stores.create_store(beside, f"{name} evaluation")
    made = False
    try:
        asked, made = database.transact(lambda connection: _ask(connection, name, *wanted, again, home.url))
    finally:
        if not made:  # somebody else made it meanwhile, or there is nothing to evaluate
            home.clear()
    return asked, made


def _look(connection: Connection, name: str, again: bool) -> tuple[Evaluation | None, Study]:
    """The evaluation there is and that will do; None where one is to be made."""
    found = studies.find(connection, name)
    if found.spec.evaluation:
        source = find_evaluation(connection, found)
        remedy = f"name the search, {source.evaluated.name}" if source else "name a search"
        raise RefusedError(f"{name} is itself an evaluation: {remedy}")
    latest = next(reversed(list_evaluations(connection, found)), None)
    if latest is not None and not again:
        return latest, found
    if latest is not None and latest.study is not None and latest.study.status in {"running", "paused"}:
        summary = results.summarize(connection, latest.study)
        if not is_over(summary):
            raise RefusedError(f"{latest.study.name} is not over yet: wait for it, or hpsearch stop it")
    status = results.summarize(connection, found).status
    if status == "running":
        # What the test images say must have no part in the search; while that goes on, it might.
        raise RefusedError(f"{name} is still running: wait until it is finished, or hpsearch stop it first")
    return None, found


def _ask(
    connection: Connection, name: str, top: int, seeds: int, again: bool, artifacts: str | None
) -> tuple[Evaluation, bool]:
    studies.lock(connection, studies.find(connection, name).study_id)  # of two that ask at once, one makes it
    there, found = _look(connection, name, again)
    if there is not None:
        return there, False
    summary, trials = results.read(connection, name)
    best = [each for each in _ranked(found.spec, trials) if each][:top]
    if not best:
        raise RefusedError(f"{name} has no complete trial yet: an evaluation takes the best of them")
    last = connection.scalar(
        text("select max(number) from hpsearch.evaluations where evaluated = :study_id"), {"study_id": found.study_id}
    )
    assert summary.best is not None
    epochs = next(each.best_epoch for each in trials if each.number == summary.best["number"])
    spec = _spec(found, best, seeds, epochs or found.spec.budget.epochs, (last or 0) + 1)
    _make(connection, found, replace(spec, study=_named(connection, spec)), best, artifacts)
    return list_evaluations(connection, found)[-1], True


def _ranked(spec: StudySpec, trials: Sequence[Trial]) -> list[Configuration]:
    """The distinct configurations of the complete trials, the best first, the earlier one of equals."""
    sign = 1 if spec.direction == "maximize" else -1
    groups: dict[str, list[Trial]] = defaultdict(list)
    key = make_identity(spec)
    for trial in trials:
        if trial.state == "complete" and trial.value is not None:
            groups[key(trial.params)].append(trial)
    found = []
    for group in groups.values():
        best = max(group, key=lambda trial: (sign * (trial.value or 0.0), -trial.number))
        found.append(Configuration(best.number, fmean(trial.value or 0.0 for trial in group), dict(best.params)))
    return sorted(found, key=lambda each: (-sign * each.value, each.trial))


def make_identity(spec: StudySpec) -> Callable[[Mapping[str, Any]], str]:
    """What is the same for parameters that train the same model."""
    return lambda params: json.dumps(spec.hyperparameters(params), sort_keys=True)


def _spec(found: Study, best: Sequence[Configuration], seeds: int, epochs: int, number: int) -> StudySpec:
    """The evaluation's: the search's data and seed, which make the split, but nothing that ends a trial early."""
    source, trials = found.spec, len(best) * seeds
    again = f" (evaluation {number} of it)" if number > 1 else ""
    described = (
        f"How good the {len(best)} best configurations of {found.name} are on the test images{again}: each trained "
        f"{seeds} times on its training and validation images together."
    )
    budget: dict[str, object] = {
        "trials": trials,
        "epochs": epochs,
        "hours": None,
        "target": None,
        "early_stopping": None,
        "repeats": seeds,
    }
    return replace(
        source,
        study=source.study.model_copy(
            update={"description": described, "keep_models": trials, "priority": found.priority}
        ),
        budget=source.budget.model_copy(update=budget),
        sampler=Method("random", MappingProxyType({})),  # never asked: every trial is a baseline
        pruner=Method("none", MappingProxyType({})),
        baselines=tuple(MappingProxyType(dict(each.params)) for _ in range(seeds) for each in best),
        evaluation=number,
    )


def _named(connection: Connection, spec: StudySpec) -> sections.StudySection:
    """With a name that no study has."""
    for number in count(1):
        suffix = " evaluation" if number == 1 else f" evaluation {number}"
        name = spec.study.name[: LONGEST_NAME - len(suffix)] + suffix
        if studies.reserve(connection, name):
            return spec.study.model_copy(update={"name": name})
    raise AssertionError("unreachable")


def _make(
    connection: Connection, found: Study, spec: StudySpec, best: Sequence[Configuration], artifacts: str | None
) -> None:
    made = studies.make(connection, spec, artifacts)
    # The first worker must find the images that the search has learned from; see `study.record_data`.
    connection.execute(
        text("update hpsearch.studies set data_fingerprint = :fingerprint where study_id = :study_id"),
        {"study_id": made.study_id, "fingerprint": found.data_fingerprint},
    )
    connection.execute(
        text(
            "insert into hpsearch.evaluations (evaluated, number, study_id, configurations) "
            "values (:evaluated, :number, :study_id, :configurations)"
        ),
        {
            "evaluated": found.study_id,
            "number": spec.evaluation,
            "study_id": made.study_id,
            "configurations": json.dumps([vars(each) for each in best]),
        },
    )
