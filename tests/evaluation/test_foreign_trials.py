"""A trial that another program told has one value, the same for every reader.

There are trained trials, of which the second is best with 0.7 at its second epoch, and one that is held.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from hpsearch.analysis import dataframes
from hpsearch.cli import console, status_view
from hpsearch.evaluation import ablation, answers, evaluation
from hpsearch.outcomes import FOREIGN
from hpsearch.report import material, run_sections
from hpsearch.sampling.readonly_storage import ReadOnlyStorage
from hpsearch.storage import attempts, results, status, studies, study_control
from hpsearch.storage.attempts import Attempt
from hpsearch.storage.database import Connection, Database
from hpsearch.storage.studies import Study
from hpsearch.storage.tables import trial_values
from tests.support.dashboard_client import DashboardClient
from tests.support.small_study import finish_trial, metrics

INFINITY = math.inf
PARAMS = {"learning_rate": 0.01, "optimizer": "sgd"}
DISTRIBUTIONS = {
    "learning_rate": FloatDistribution(1e-4, 1e-1, log=True),
    "optimizer": CategoricalDistribution(("sgd", "momentum", "adam")),
}

Begin = Callable[..., Attempt]
Started = Callable[..., Study]
Told = tuple[str, float | None, bool]
"""State, value and whether it is foreign, of a trial from the third one on."""


@dataclass(frozen=True)
class Way:
    """A way to tell a trial; `held` are the epochs of the trial that a worker holds then."""

    tell: Callable[[optuna.Study], object]
    told: tuple[Told, ...]
    held: tuple[float, ...] = ()
    best: int = 1


def add(state: TrialState, value: float | None = None, **more: Any) -> Callable[[optuna.Study], object]:
    def add_trial(study: optuna.Study) -> None:
        study.add_trial(create_trial(state=state, value=value, params=PARAMS, distributions=DISTRIBUTIONS, **more))

    return add_trial


def add_copy(study: optuna.Study) -> None:
    """Copy the first trial, with all that hpsearch wrote beside it, as `optuna.copy_study` does."""
    copy: FrozenTrial = study.get_trials()[0]
    copy.value = 0.999
    study.add_trial(copy)


def tell(value: float | None, state: TrialState | None = None) -> Callable[[optuna.Study], object]:
    return lambda study: study.tell(2, value, state)


def optimize(study: optuna.Study) -> None:
    def objective(trial: optuna.Trial) -> float:
        trial.suggest_float("learning_rate", 1e-4, 1e-1, log=True)
        trial.suggest_categorical("optimizer", ("sgd", "momentum", "adam"))
        trial.report(0.3, 1)
        return 0.999 if trial.number == 3 else 0.2

    study.optimize(objective, n_trials=2)


RUNNING = ("running", None, False)

WAYS = {
    "add a complete one": Way(add(TrialState.COMPLETE, 0.999), (RUNNING, ("complete", 0.999, True)), best=3),
    "add a worse one": Way(add(TrialState.COMPLETE, 0.2), (RUNNING, ("complete", 0.2, True))),
    "add an infinite one": Way(add(TrialState.COMPLETE, INFINITY), (RUNNING, ("complete", None, True))),
    "add a negative infinite one": Way(add(TrialState.COMPLETE, -INFINITY), (RUNNING, ("complete", None, True))),
    "add a pruned one": Way(
        add(TrialState.PRUNED, 0.999, intermediate_values={1: 0.999}), (RUNNING, ("pruned", 0.999, True))
    ),
    "add a failed one": Way(add(TrialState.FAIL), (RUNNING, ("failed", None, True))),
    "add a copy of ours": Way(add_copy, (RUNNING, ("complete", 0.999, True)), best=3),
    "optimize beside us": Way(optimize, (RUNNING, ("complete", 0.999, True), ("complete", 0.2, True)), best=3),
    "tell a value of ours": Way(tell(0.999), (("complete", 0.4, False),), held=(0.4, 0.3)),
    "tell a worse value of ours": Way(tell(0.001), (("complete", 0.8, False),), held=(0.8, 0.3), best=2),
    "tell ours before its first epoch": Way(tell(0.999), (("complete", 0.999, True),), best=2),
    "prune ours": Way(tell(None, TrialState.PRUNED), (("pruned", 0.4, False),), held=(0.4, 0.3)),
    "fail ours": Way(tell(None, TrialState.FAIL), (("failed", None, False),), held=(0.4,)),
    "fail ours before its first epoch": Way(tell(None, TrialState.FAIL), (("failed", None, True),)),
    "tell no number": Way(tell(math.nan), (("failed", None, False),), held=(0.4,)),
    "tell an infinite one": Way(tell(INFINITY), (("complete", 0.4, False),), held=(0.4, 0.3)),
}


@pytest.fixture(params=list(WAYS.values()), ids=list(WAYS))
def way(request: pytest.FixtureRequest) -> Way:
    way: Way = request.param
    return way


@pytest.fixture
def study(database: Database, started: Started, begin: Begin, way: Way) -> Study:
    """A study of two trained trials, one that is held, and what another program told."""
    study = started(budget={"trials": 9, "epochs": 3, "target": 0.9})
    finish_trial(database, begin(study, 0.5, 0.4, 0.3))
    finish_trial(database, begin(study, 0.6, 0.7, 0.65))
    begin(study, *way.held)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    url = database.url.render_as_string(hide_password=False)
    storage = RDBStorage(url, skip_compatibility_check=True, skip_table_creation=True)
    way.tell(optuna.load_study(study_name="small", storage=storage))
    storage.engine.dispose()
    return study


def test_every_reader_has_the_same_value(
    database: Database, study: Study, way: Way, client: DashboardClient, capsys: pytest.CaptureFixture[str]
) -> None:
    """The tables, the pages, the samplers and the documents agree, and mark what nobody trained here."""
    summary, trials = database.transact(lambda c: results.read(c, "small"))
    told = tuple((trial.state, trial.value, trial.is_foreign) for trial in trials[2:])
    assert told == way.told
    by_value = {trial.number: trial.value for trial in trials if trial.state == "complete" and trial.value is not None}
    assert summary.best is not None
    assert (summary.best["number"], summary.best["value"]) == (way.best, max(by_value.values()))
    is_foreign = trials[way.best].is_foreign
    assert summary.best["is_foreign"] is is_foreign

    overview = database.transact(status.read)
    assert status.make_document(overview)["studies"][0]["best"] == summary.best
    status_view.print_overview(overview)
    assert (f"{by_value[way.best]:.4f} ({FOREIGN})" in capsys.readouterr().out) is is_foreign
    document = results.make_document(summary, trials)
    assert [trial["is_foreign"] for trial in document["trials"]] == [trial.is_foreign for trial in trials]
    console.print_results(summary, trials)
    assert capsys.readouterr().out.count(FOREIGN) == sum(trial.is_foreign for trial in trials)
    assert list(dataframes.build_trial_frame(trials)["is_foreign"]) == [trial.is_foreign for trial in trials]

    page = client.study(study)
    assert [trial["number"] for trial in page["best_trials"]] == [way.best]
    shown = {trial["number"]: trial for trial in page["trials"]}
    assert {number: shown[number]["values"] for number in by_value} == {n: [value] for n, value in by_value.items()}
    assert page["best_trials"][0]["values"] == [by_value[way.best]]
    marked = {number for number, trial in shown.items() if FOREIGN in trial["note"]["body"].lower()}
    assert marked == {trial.number for trial in trials if trial.is_foreign}

    history = ReadOnlyStorage(study.study_id, study.spec.direction)
    database.transact(history.refresh)
    sampled = {trial.number: trial.value for trial in history.get_all_trials(0, states=(TrialState.COMPLETE,))}
    assert {number: sampled[number] for number in by_value} == by_value


def test_nobody_trains_or_compares_what_was_told(database: Database, study: Study, way: Way) -> None:
    """The answer, the report, an evaluation and an ablation go by trained trials, each with its own epochs."""
    trained = 1 if any(told[2] for told in way.told) else way.best
    source = database.transact(lambda c: answers.read_answer_source(c, "small"))
    answer = answers.answer(source)
    best = answer.findings.best
    assert best is not None
    assert best.number == trained
    foreign = sum(told[2] for told in way.told)
    assert answer.findings.foreign == foreign
    assert any(FOREIGN in line for line in answer.sentences.caveats) is bool(foreign)
    assert any(f"{FOREIGN}, has val_accuracy" in line for line in answer.sentences.best) is (way.best != trained)
    reported = material.prepare_material(database.transact(lambda c: material.read_source(c, "small")))
    assert (FOREIGN in repr(run_sections.describe_endings(reported))) is bool(foreign)

    progress = database.transact(lambda c: studies.measure_progress(c, study))
    assert (progress.total, progress.closed) == (2 + len(way.told), None)
    targets = (0.7, 0.9)
    reached = database.transact(lambda c: [trial_values.has_reached(c, 1, study.spec, target) for target in targets])
    assert reached == [True, False]

    database.transact(lambda c: study_control.stop(c, "small"))
    requested, _ = evaluation.request_evaluation(database, "small", 1, 1)
    assert requested.configurations[0].trial == trained
    assert requested.study is not None
    assert requested.study.spec.budget.epochs == best.best_epoch
    assert ablation.request_ablation(database, "small")[0].design.trial == trained


def test_told_trial_takes_no_model_from_a_trained_one(database: Database, started: Started, begin: Begin) -> None:
    """Only models that there are count among the best that are kept."""
    study = started(study={"name": "small", "keep_models": 1})
    storage = RDBStorage(database.url.render_as_string(hide_password=False), skip_table_creation=True)
    add(TrialState.COMPLETE, 0.999)(optuna.load_study(study_name="small", storage=storage))
    storage.engine.dispose()
    assert database.transact(lambda c: attempts.is_among_best(c, begin(study, 0.5)))


def test_evaluation_trains_a_configuration_for_its_own_best_epoch(
    database: Database, started: Started, begin: Begin
) -> None:
    """Of repeated configurations the mean ranks, so that the best one need not have the best trial."""
    points = [{"learning_rate": 0.01}, {"learning_rate": 0.02}, {"learning_rate": 0.01}]
    study = started(baseline=points, space={"learning_rate": [0.01, 0.02]}, budget={"trials": 3, "epochs": 3})
    for values in ((0.1, 0.2, 0.9), (0.1, 0.8, 0.2), (0.5, 0.1, 0.1)):
        finish_trial(database, begin(study, *values))
    database.transact(lambda c: study_control.stop(c, "small"))
    requested, _ = evaluation.request_evaluation(database, "small", 1, 1)
    assert (requested.configurations[0].trial, requested.configurations[0].value) == (1, 0.8)
    assert requested.study is not None
    assert requested.study.spec.budget.epochs == 2


def test_epoch_of_ours_replaces_what_another_program_reported(
    database: Database, started: Started, begin: Begin
) -> None:
    """Optuna's intermediate values of a trial that is trained here are those of its epochs."""
    attempt = begin(started())
    storage = RDBStorage(database.url.render_as_string(hide_password=False), skip_table_creation=True)
    for step in (1, 2):
        storage.set_trial_intermediate_value(attempt.trial_id, step, 0.999)

    def store(connection: Connection) -> None:
        for number in (1, 2, 2):
            attempts.store_epoch(connection, attempt, metrics(number, 0.1 * number), attempts.PrunerVerdict())

    database.transact(store)
    assert storage.get_trial(attempt.trial_id).intermediate_values == {1: 0.1, 2: 0.2}
    storage.engine.dispose()
