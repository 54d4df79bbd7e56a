"""Evaluations of a search: its best configurations, trained anew by a study of their own, and the test images, once."""

import contextlib
import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import count
from statistics import fmean
from types import MappingProxyType
from typing import Any

from hpsearch.errors import RefusedError, UnreadableStudyError, UsageError
from hpsearch.evaluation.scores import EvaluationResult
from hpsearch.outcomes import StudyStatus, TrialState
from hpsearch.settings import Setting
from hpsearch.spec.sections.pruners import NoPrunerConfig
from hpsearch.spec.sections.samplers import RandomConfig
from hpsearch.spec.sections.study import StudySection
from hpsearch.spec.study_spec import StudySpec
from hpsearch.storage import results, studies, study_creation
from hpsearch.storage.artifacts import stores
from hpsearch.storage.database import Connection, Database
from hpsearch.storage.results import Summary, Trial
from hpsearch.storage.studies import Study
from hpsearch.storage.tables import evaluations
from hpsearch.storage.tables.evaluations import EvaluationRow

DEFAULT_TOP = 3
"""Configurations of an evaluation that names no number."""

DEFAULT_SEEDS = 5
"""Trainings of each, likewise."""

MAX_TRIALS = 10_000
"""Trials of an evaluation: more are taken for a typing error."""

MAX_NAME_LENGTH = 512
"""Characters, the width of Optuna's column."""


@dataclass(frozen=True)
class Configuration:
    """One of a search's best: the number of its best `trial`, the mean `value` of its complete ones, parameters."""

    trial: int
    value: float
    params: Mapping[str, Any]


@dataclass(frozen=True)
class Evaluation:
    """The `number`-th evaluation of the study `evaluated`, counted from 1.

    `study` trains it; None where that was deleted. `is_used`: a model of it has been shown the test images.
    `later_trials`: complete trials of the evaluated study that ended after the request. `result` is None while there is
    none.
    """

    evaluated: Study
    number: int
    study: Study | None
    configurations: tuple[Configuration, ...]
    requested_at: datetime
    is_used: bool
    later_trials: int
    result: EvaluationResult | None


def list_evaluations(connection: Connection, study: Study) -> list[Evaluation]:
    """Return the evaluations of a study, in order, but for those that were deleted before they had a result.

    One that a newer hpsearch made, in a form that this one does not know, is left out: see `find_latest`.
    """
    listed = []
    for row in evaluations.list_rows(connection, study.study_id):
        with contextlib.suppress(UnreadableStudyError):
            listed.append(_make_evaluation(connection, study, row))
    return listed


def find_latest(connection: Connection, study: Study) -> Evaluation | None:
    """Return the latest evaluation of a study; None where there is none.

    Raises:
        UnreadableStudyError: a newer hpsearch made it. To make another one instead would use the test images again.
    """
    row = next(reversed(evaluations.list_rows(connection, study.study_id)), None)
    return _make_evaluation(connection, study, row) if row else None


def find_evaluation(connection: Connection, study: Study) -> Evaluation | None:
    """Return the evaluation that a study trains; None for a search, and where the evaluated study was deleted.

    Raises:
        UnreadableStudyError: a newer hpsearch made it, or the evaluated study.
    """
    evaluated = evaluations.find_evaluated(connection, study.study_id)
    if evaluated is None:
        return None
    search = studies.read(connection, evaluated)
    rows = evaluations.list_rows(connection, evaluated)
    return _make_evaluation(connection, search, next(row for row in rows if row.study_id == study.study_id))


def _make_evaluation(connection: Connection, study: Study, row: EvaluationRow) -> Evaluation:
    trainer = studies.read(connection, row.study_id) if row.study_id is not None else None
    try:
        configurations = tuple(Configuration(**configuration) for configuration in row.configurations)
        result = EvaluationResult.from_json(row.result) if row.result is not None else None
    except (TypeError, ValueError):
        raise UnreadableStudyError(f"evaluation {row.number} of {study.name} was {studies.UNREADABLE}") from None
    return Evaluation(
        study, row.number, trainer, configurations, row.requested_at, row.is_used, row.later_trials, result
    )


def is_over(summary: Summary) -> bool:
    """Return whether all trials of an evaluation have ended."""
    counts = summary.counts
    unfinished = counts[TrialState.RUNNING] or counts[TrialState.WAITING]
    return not unfinished and sum(counts.values()) >= summary.study.spec.budget.trials


def request_evaluation(
    database: Database, name: str, top: int | None = None, seeds: int | None = None, *, again: bool = False
) -> tuple[Evaluation, bool]:
    """Return the latest evaluation of a study, and whether it was made now.

    One is made where there is none, or `again`: `top` configurations, as many trainings of each as `seeds`, all of them
    once before any is trained again.

    Raises:
        NotFoundError: there is no such study.
        RefusedError: it is an evaluation, is still running or has no complete trial; or, `again`, its latest
            evaluation is not over.
        UsageError: so many trials are a mistake.
        StoreError: no store can be made where the study keeps its files.
    """
    latest, study = database.transact(lambda connection: _find_latest(connection, name, again))
    if latest is not None:
        return latest, False
    size = top or DEFAULT_TOP, seeds or DEFAULT_SEEDS
    if size[0] * size[1] > MAX_TRIALS:
        raise UsageError(f"{size[0]} configurations × {size[1]} seeds are over {MAX_TRIALS} trials: take fewer")
    if study.artifacts is None:
        return database.transact(lambda connection: _request(connection, name, *size, again, None))
    parent = Setting(study.artifacts.rpartition("/")[0], f"where {name} keeps its files")
    store = stores.create_store(parent, f"{name} evaluation")
    is_new = False
    try:
        evaluation, is_new = database.transact(lambda connection: _request(connection, name, *size, again, store.url))
    finally:
        if not is_new:  # somebody else made it meanwhile, or there is nothing to evaluate
            store.clear()
    return evaluation, is_new


def _find_latest(connection: Connection, name: str, again: bool) -> tuple[Evaluation | None, Study]:
    """Return the study and its latest evaluation, None in its place where one is to be made.

    Raises:
        NotFoundError: see `request_evaluation`.
        RefusedError: see `request_evaluation`.
    """
    study = studies.find(connection, name)
    if study.spec.evaluation:
        own = find_evaluation(connection, study)
        remedy = f"name the search, {own.evaluated.name}" if own else "name a search"
        raise RefusedError(f"{name} is itself an evaluation: {remedy}")
    if study.spec.ablation:
        raise RefusedError(f"{name} is an ablation of a search: name that")
    latest = find_latest(connection, study)
    if latest is not None and not again:
        return latest, study
    if latest is not None and latest.study and latest.study.status in {StudyStatus.RUNNING, StudyStatus.PAUSED}:
        summary = results.summarize(connection, latest.study)
        if not is_over(summary):
            raise RefusedError(f"{latest.study.name} is not over yet: wait for it, or hpsearch stop it")
    if results.summarize(connection, study).status == StudyStatus.RUNNING:
        # What the test images say must have no part in the search; while that goes on, it might.
        raise RefusedError(f"{name} is still running: wait until it is finished, or hpsearch stop it first")
    return None, study


def _request(
    connection: Connection, name: str, top: int, seeds: int, again: bool, artifacts: str | None
) -> tuple[Evaluation, bool]:
    """Make an evaluation, unless another process just did; `artifacts` is the URL of its store, None in Postgres."""
    studies.lock(connection, studies.find(connection, name).study_id)
    latest, study = _find_latest(connection, name, again)
    if latest is not None:
        return latest, False
    _, trials = results.read(connection, name)
    best = _rank_configurations(study.spec, trials)[:top]
    if not best:
        raise RefusedError(f"{name} has no complete trial yet: an evaluation takes the best of them")
    number = evaluations.next_number(connection, study.study_id)
    epochs = next(trial.best_epoch for trial in trials if trial.number == best[0].trial)
    spec = _make_spec(study, best, seeds, epochs or study.spec.budget.epochs, number)
    trainer = study_creation.create(
        connection, replace(spec, study=name_study(connection, spec, "evaluation")), artifacts
    )
    described = [vars(configuration) for configuration in best]
    evaluations.insert(connection, study.study_id, number, trainer.study_id, described)
    evaluation = find_latest(connection, study)
    assert evaluation is not None
    return evaluation, True


def _rank_configurations(spec: StudySpec, trials: Sequence[Trial]) -> list[Configuration]:
    """Return the distinct configurations of the complete trials, the best first, the earlier one of equals.

    What another program told about a trial says nothing of how it would train here.
    """
    sign = spec.direction.sign
    groups: dict[str, list[tuple[float, Trial]]] = defaultdict(list)
    identify = make_identity(spec)
    for trial in trials:
        if trial.is_compared and trial.value is not None:
            groups[identify(trial.params)].append((trial.value, trial))
    configurations = []
    for group in groups.values():
        _, best = max(group, key=lambda pair: (sign * pair[0], -pair[1].number))
        configurations.append(Configuration(best.number, fmean(value for value, _ in group), dict(best.params)))
    return sorted(configurations, key=lambda configuration: (-sign * configuration.value, configuration.trial))


def make_identity(spec: StudySpec) -> Callable[[Mapping[str, Any]], str]:
    """Return a function of parameters whose value is the same for those that train the same model."""
    return lambda params: json.dumps(spec.resolve_params(params), sort_keys=True)


def _make_spec(study: Study, best: Sequence[Configuration], seeds: int, epochs: int, number: int) -> StudySpec:
    """Return the evaluation's spec: the search's data and seed, which make the split, but nothing that ends a trial."""
    source, trials = study.spec, len(best) * seeds
    again = f" (evaluation {number} of it)" if number > 1 else ""
    description = (
        f"How good the {len(best)} best configurations of {study.name} are on the test images{again}: each trained "
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
            update={"description": description, "keep_models": trials, "priority": study.priority}
        ),
        budget=source.budget.model_copy(update=budget),
        sampler=RandomConfig(),  # never asked: every trial is a baseline
        pruner=NoPrunerConfig(),
        baselines=tuple(MappingProxyType(dict(each.params)) for _ in range(seeds) for each in best),
        evaluation=number,
    )


def name_study(connection: Connection, spec: StudySpec, what: str) -> StudySection:
    """Return the spec's study section with a name that no study has: its own, `what` it is, and a number."""
    for number in count(1):
        suffix = f" {what}" if number == 1 else f" {what} {number}"
        name = spec.study.name[: MAX_NAME_LENGTH - len(suffix)] + suffix
        if study_creation.reserve_name(connection, name):
            return spec.study.model_copy(update={"name": name})
    raise AssertionError("unreachable")
