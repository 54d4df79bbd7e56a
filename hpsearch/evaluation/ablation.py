"""Ablations of a search: the neighbours of its best configuration, trained by a study of their own."""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from statistics import median
from types import MappingProxyType
from typing import Any

from hpsearch.analysis import findings, importance
from hpsearch.analysis.ablations import design as ablation_design
from hpsearch.analysis.ablations import table as ablation_table
from hpsearch.analysis.ablations.design import AblationDesign, Levels, Predict
from hpsearch.analysis.ablations.table import AblationTable
from hpsearch.analysis.anova import stages
from hpsearch.analysis.anova.axes import find_cells
from hpsearch.errors import NotFoundError, RefusedError, UnreadableStudyError, UsageError
from hpsearch.evaluation import ablation_sentences
from hpsearch.evaluation.evaluation import MAX_TRIALS, is_over, name_study
from hpsearch.evaluation.named_levels import parse_levels
from hpsearch.formatting import format_count, format_duration
from hpsearch.outcomes import StudyStatus
from hpsearch.settings import Setting
from hpsearch.spec.sections.pruners import NoPrunerConfig
from hpsearch.spec.sections.samplers import RandomConfig
from hpsearch.spec.study_spec import StudySpec
from hpsearch.storage import ablations, results, status, studies, study_creation
from hpsearch.storage.ablations import AblationRow
from hpsearch.storage.artifacts import stores
from hpsearch.storage.database import Connection, Database
from hpsearch.storage.results import Summary, Trial
from hpsearch.storage.studies import Study

DEFAULT_SEEDS = 3
"""Trainings of each level of an ablation that names no number."""


@dataclass(frozen=True)
class AblationRequest:
    """What somebody asks for; None and no `levels` (`NAME=VALUE,VALUE` each) are the defaults."""

    trial: int | None = None
    seeds: int | None = None
    levels: tuple[str, ...] = ()


@dataclass(frozen=True)
class AblationPrice:
    """What an ablation takes: at most so many trials and epochs.

    `seconds` is how long the live workers need, None where there is none or no epoch was timed.
    """

    trials: int
    epochs: int
    seconds: float | None

    def describe(self) -> str:
        """Return `57 trials, 1,710 epochs, about 3 h 10 min on the workers here`."""
        took = f", about {format_duration(self.seconds)} on the workers here" if self.seconds is not None else ""
        return f"{format_count(self.trials, 'trial')}, {format_count(self.epochs, 'epoch')}{took}"


@dataclass(frozen=True)
class Ablation:
    """The `number`-th ablation of the study `ablated`, counted from 1, which `summary.study` trains."""

    ablated: Study
    number: int
    design: AblationDesign
    requested_at: datetime
    summary: Summary

    @property
    def is_over(self) -> bool:
        """Whether all its trials have ended."""
        return is_over(self.summary)


@dataclass(frozen=True)
class AblationResult:
    """An ablation, what its trials say, and how many of them were computed in each precision."""

    ablation: Ablation
    table: AblationTable
    precisions: Mapping[str, int]

    def summarize(self) -> tuple[str, ...]:
        """Return what was found, a sentence each."""
        return tuple(ablation_sentences.summarize(self.table, self.ablation.ablated.spec.study.metric))


def find_ablation(connection: Connection, study: Study) -> Ablation | None:
    """Return the latest ablation of a study; None where there is none, or a newer hpsearch made it."""
    with contextlib.suppress(UnreadableStudyError):
        return _find_ablation(connection, study)
    return None


def _find_ablation(connection: Connection, study: Study) -> Ablation | None:
    """Return the latest ablation of a study; None where there is none.

    Raises:
        UnreadableStudyError: a newer hpsearch made it.
    """
    row = ablations.find_latest(connection, study.study_id)
    return _describe(connection, study, row) if row else None


def find_result(connection: Connection, study: Study) -> AblationResult | None:
    """Return the result of a study's latest ablation; None while there is none, see `read_result`."""
    ablation = find_ablation(connection, study)
    return read_result(connection, ablation) if ablation else None


def read_result(connection: Connection, ablation: Ablation) -> AblationResult | None:
    """Return the result of an ablation; None while it is still being trained.

    One that was stopped has the result of what was trained until then.
    """
    if ablation.summary.status is not StudyStatus.STOPPED and not ablation.is_over:
        return None
    _, trials = results.read(connection, ablation.summary.study.name)
    table = ablation_table.build_table(ablation.ablated.spec, ablation.design, trials)
    return AblationResult(ablation, table, results.count_precisions(trials))


def price_ablation(
    connection: Connection, summary: Summary, trials: Sequence[Trial], request: AblationRequest | None = None
) -> AblationPrice:
    """Return what an ablation of a study would take, without making one; a search that goes on has a price too.

    Raises:
        NotFoundError: there is no such trial.
        RefusedError: it cannot be ablated, or has no complete trial yet.
        UsageError: the levels are none of the study's.
    """
    _require_search(connection, summary.study)
    design = _design(summary, trials, request or AblationRequest(), None)
    return _price(connection, summary.study, trials, design)


def price_design(connection: Connection, ablation: Ablation) -> AblationPrice:
    """Return what an ablation takes that is there already, as a whole."""
    _, trials = results.read(connection, ablation.ablated.name)
    return _price(connection, ablation.ablated, trials, ablation.design)


def request_ablation(
    database: Database, name: str, request: AblationRequest | None = None, *, again: bool = False
) -> tuple[Ablation, bool]:
    """Return the latest ablation of a study, and whether it was made now: where there is none, or `again`.

    Raises:
        NotFoundError: there is no such study or trial.
        RefusedError: it is an evaluation or ablation, is still running or has nothing to ablate; or, `again`, its
            latest ablation is not over.
        StoreError: no store can be made where the study keeps its files.
        UsageError: the levels are none of the study's, or so many trials are a mistake.
    """
    latest, study = database.transact(partial(_find_latest, name=name, again=again))
    if latest is not None:
        return latest, False
    summary, trials = database.transact(partial(results.read, name=name))
    request = request or AblationRequest()
    _design(summary, trials, request, None)  # refuses what cannot be, before the model takes its seconds
    design = _design(summary, trials, request, make_predict(study.spec, trials))
    if study.artifacts is None:
        return database.transact(partial(_create, name=name, design=design, again=again, artifacts=None))
    parent = Setting(study.artifacts.rpartition("/")[0], f"where {name} keeps its files")
    store = stores.create_store(parent, f"{name} ablation")
    is_new = False
    try:
        ablation, is_new = database.transact(
            partial(_create, name=name, design=design, again=again, artifacts=store.url)
        )
    finally:
        if not is_new:  # somebody else made it meanwhile
            store.clear()
    return ablation, is_new


def make_predict(spec: StudySpec, trials: Sequence[Trial]) -> Predict | None:
    """Return what the importance's model of a search expects of configurations; None where it has too few trials."""
    stage = stages.choose_stage(spec, trials)
    if len(stage.trials) < importance.MIN_TRIALS or spec.listed:
        return None
    posterior = importance.fit_stage(spec, stage)
    return lambda params: posterior.predict(find_cells(posterior.axes, list(params))).mean(axis=1).tolist()


def make_document(ablation: Ablation, result: AblationResult | None) -> dict[str, Any]:
    """Return what `hpsearch ablate --json` prints."""
    described: dict[str, Any] = results.keep_finite(
        {
            "study": ablation.ablated.name,
            "ablation": ablation.summary.study.name,
            "number": ablation.number,
            "status": ablation.summary.status,
            "counts": ablation.summary.counts,
            "requested_at": ablation.requested_at.isoformat(timespec="seconds"),
            "metric": ablation.ablated.spec.study.metric,
            "direction": ablation.ablated.spec.direction,
            "trial": ablation.design.trial,
            "seeds": ablation.design.seeds,
            "result": result.table.to_json() if result else None,
        }
    )
    return described


def describe_other_request(ablation: Ablation, request: AblationRequest) -> list[str]:
    """Return a line where another ablation than the existing one was asked for."""
    design = ablation.design
    wanted = (design.trial if request.trial is None else request.trial, request.seeds or design.seeds)
    if wanted == (design.trial, design.seeds) and (not request.levels or _has_levels(ablation, request.levels)):
        return []
    return ["this is the ablation there is, not one of that --trial, --seeds and --levels: --again makes that"]


def _has_levels(ablation: Ablation, named: Sequence[str]) -> bool:
    """Return whether an ablation was made for these levels."""
    design, best = ablation.design, ablation.design.configurations[0]
    levels = parse_levels(ablation.ablated.spec, best, design.trial, named)
    asked = {(name, value) for name, values in levels.items() for value in values if value != best[name]}
    return design.base is None and asked == {(level.name, level.value) for level in design.levels}


def _describe(connection: Connection, study: Study, row: AblationRow) -> Ablation:
    summary = results.summarize(connection, studies.read(connection, row.study_id))
    design = ablation_design.read_design(study, row)
    return Ablation(study, row.number, design, row.requested_at, summary)


def _require_search(connection: Connection, study: Study) -> None:
    """Refuse a study that was made of another one, and one that searches nothing."""
    if study.spec.evaluation or study.spec.ablation:
        row = ablations.find(connection, study.study_id)
        remedy = f"name the search, {studies.read_row(connection, row.ablated).name}" if row else "name a search"
        what = "an evaluation" if study.spec.evaluation else "an ablation"
        raise RefusedError(f"{study.name} is itself {what}: {remedy}")
    if not study.spec.space:
        raise RefusedError(f"{study.name} searches nothing, so there is nothing to ablate")


def _find_latest(connection: Connection, name: str, again: bool) -> tuple[Ablation | None, Study]:
    """Return the study and its latest ablation, None in its place where one is to be made."""
    study = studies.find(connection, name)
    _require_search(connection, study)
    latest = _find_ablation(connection, study)
    if latest is not None and not again:
        return latest, study
    if latest is not None and not latest.is_over and latest.summary.status is not StudyStatus.STOPPED:
        raise RefusedError(f"{latest.summary.study.name} is not over yet: wait for it, or hpsearch stop it")
    if results.summarize(connection, study).status is StudyStatus.RUNNING:
        raise RefusedError(f"{name} is still running: wait until it is finished, or hpsearch stop it first")
    return None, study


def _design(
    summary: Summary, trials: Sequence[Trial], request: AblationRequest, predict: Predict | None
) -> AblationDesign:
    study, spec = summary.study, summary.study.spec
    trial = _choose_trial(summary, trials, request.trial)
    best = {name: trial.params[name] for name in spec.space if name in trial.params}
    levels: Levels | None = parse_levels(spec, best, trial.number, request.levels) if request.levels else None
    seeds = request.seeds or DEFAULT_SEEDS
    if seeds > MAX_TRIALS:
        raise UsageError(f"{seeds} seeds of each level are over {MAX_TRIALS} trials: take fewer")
    design = ablation_design.make_design(spec, trial.number, best, seeds, levels, predict)
    if not design.levels:
        raise RefusedError(f"trial {trial.number} of {study.name} has no other level to compare with")
    if design.round_size * seeds > MAX_TRIALS:
        raise UsageError(f"{seeds} seeds of each level are over {MAX_TRIALS} trials: take fewer")
    return design


def _choose_trial(summary: Summary, trials: Sequence[Trial], number: int | None) -> Trial:
    name = summary.study.name
    if number is None:
        ranked = findings.rank_trials(summary.study.spec, trials)
        if not ranked:
            raise RefusedError(
                f"{name} has no complete trial yet: an ablation takes the best, or hpsearch ablate --trial"
            )
        number = ranked[0].number
    trial = next((trial for trial in trials if trial.number == number), None)
    if trial is None:
        raise NotFoundError(f"{name} has no trial {number}: hpsearch results lists those it has")
    spec = summary.study.spec
    if set(trial.params) < {each for each in spec.space if spec.is_active(each, trial.params)} or not trial.params:
        raise RefusedError(f"trial {number} of {name} has no parameters yet: take another")
    return trial


def _price(connection: Connection, study: Study, trials: Sequence[Trial], design: AblationDesign) -> AblationPrice:
    count = len(design.schedule)
    epochs = count * study.spec.budget.epochs
    timed = [epoch.seconds for trial in trials for epoch in trial.epochs[1:]]
    slots = status.count_slots(connection)
    return AblationPrice(count, epochs, epochs * median(timed) / slots if timed and slots else None)


def _create(
    connection: Connection, name: str, design: AblationDesign, again: bool, artifacts: str | None
) -> tuple[Ablation, bool]:
    """Make an ablation, unless another process just did; `artifacts` is the URL of its store, None in Postgres."""
    studies.lock(connection, studies.find(connection, name).study_id)
    latest, study = _find_latest(connection, name, again)
    if latest is not None:
        return latest, False
    last = ablations.find_latest(connection, study.study_id)
    number = last.number + 1 if last else 1
    spec = _make_spec(study, design, number)
    trainer = study_creation.create(
        connection, replace(spec, study=name_study(connection, spec, "ablation")), artifacts
    )
    ablations.insert(connection, study, number, trainer.study_id, design.to_json())
    ablation = _find_ablation(connection, study)
    assert ablation is not None
    return ablation, True


def _make_spec(study: Study, design: AblationDesign, number: int) -> StudySpec:
    """Return the ablation's spec: the search's data and split, every trial listed, and nothing that ends one early."""
    source, trials = study.spec, len(design.schedule)
    again = f" (ablation {number} of it)" if number > 1 else ""
    description = (
        f"What each hyperparameter does around trial {design.trial} of {study.name}{again}: its configuration and "
        f"those that differ from it in one, each trained with {design.seeds} seeds."
    )
    budget: Mapping[str, Any] = {
        "trials": trials,
        "hours": None,
        "target": None,
        "early_stopping": None,
        "repeats": design.seeds,
    }
    section = {"description": description, "keep_models": 0, "priority": study.priority}
    return replace(
        source,
        study=source.study.model_copy(update=section),
        budget=source.budget.model_copy(update=budget),
        sampler=RandomConfig(),  # never asked: every trial is a baseline
        pruner=NoPrunerConfig(),
        baselines=tuple(MappingProxyType(dict(design.configurations[place])) for place in design.schedule),
        ablation=number,
    )
