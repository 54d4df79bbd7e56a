"""Sampling and pruning through Optuna's own samplers and pruners."""

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import optuna
import pytest

from hpsearch.metrics import Direction
from hpsearch.outcomes import TrialOutcome
from hpsearch.sampling import suggest
from hpsearch.sampling.readonly_storage import ReadOnlyStorage
from hpsearch.storage import attempts
from hpsearch.storage.attempts import Attempt
from hpsearch.storage.database import Database
from hpsearch.storage.studies import Study
from hpsearch.storage.workers import WorkerIdentity
from tests.support import simulation
from tests.support.small_study import claim, metrics

Started = Callable[..., Study]
Enrol = Callable[[str], WorkerIdentity]

FLAT = {"learning_rate": {"low": 1e-4, "high": 1e-1, "log": True}, "dropout": {"low": 0.0, "high": 0.5, "step": 0.1}}


def sample(database: Database, attempt: Attempt, trials_storage: ReadOnlyStorage) -> dict[str, Any]:
    """Sample a claimed trial as a worker does."""
    database.transact(trials_storage.refresh)
    params, writes = suggest.suggest(attempt.study.spec, trials_storage, attempt.trial_id, attempt.trial_number)
    database.transact(lambda c: attempts.store_parameters(c, attempt, writes))
    return params


def complete(database: Database, attempt: Attempt, trials_storage: ReadOnlyStorage, value: float) -> None:
    """One epoch, and the end."""
    database.transact(lambda c: simulation.record(c, attempt, metrics(1, value), trials_storage))
    database.transact(lambda c: attempts.finish(c, attempt, TrialOutcome.COMPLETED, {}))


def search_through(database: Database, study: Study, worker: WorkerIdentity) -> list[dict[str, Any]]:
    """Run the whole search with a made-up objective: the larger the learning rate, the better."""
    trials_storage = ReadOnlyStorage(study.study_id, study.spec.direction)
    sampled = []
    while (attempt := claim(database, study, worker)) is not None:
        params = sample(database, attempt, trials_storage)
        sampled.append(params)
        complete(database, attempt, trials_storage, params["learning_rate"])
    return sampled


@pytest.mark.parametrize("sampler", ["tpe", "random", "qmc", "cmaes"])
def test_every_sampler_searches_to_the_end_without_repeating_itself(
    database: Database, started: Started, holder: Enrol, sampler: str
) -> None:
    """Each sampler fills the budget with distinct points of the space."""
    study = started(sampler={"name": sampler}, space=FLAT, budget={"trials": 25, "epochs": 3})
    sampled = search_through(database, study, holder("w"))
    assert len({tuple(params.items()) for params in sampled}) == 25
    assert all(1e-4 <= params["learning_rate"] <= 1e-1 for params in sampled)


def test_grid_visits_every_point_once(database: Database, started: Started, holder: Enrol) -> None:
    """A grid's trials are its points, each once."""
    space = {"learning_rate": [0.1, 0.01], "optimizer": ["sgd", "adam"], "batch_norm": [True, False]}
    study = started(sampler={"name": "grid"}, space=space, budget={"epochs": 3})
    sampled = search_through(database, study, holder("w"))
    assert len({tuple(params.items()) for params in sampled}) == len(sampled) == 8


def test_conditional_is_sampled_where_its_parent_asks_for_it(
    database: Database, started: Started, holder: Enrol
) -> None:
    """Momentum is a parameter of the trials that use the momentum optimizer, and of no other."""
    study = started(budget={"trials": 30, "epochs": 3})
    for params in search_through(database, study, holder("w")):
        assert ("momentum" in params) == (params["optimizer"] == "momentum")


def test_parameters_are_what_optuna_stores(database: Database, started: Started, holder: Enrol) -> None:
    """Plain Optuna reads back exactly the sampled parameters and values."""
    study = started(budget={"trials": 12, "epochs": 3})
    sampled = search_through(database, study, holder("w"))
    seen = optuna.load_study(study_name=study.name, storage=database.url.render_as_string(hide_password=False))
    assert [trial.params for trial in seen.trials] == sampled
    assert [trial.value for trial in seen.trials] == [params["learning_rate"] for params in sampled]
    assert [trial.intermediate_values for trial in seen.trials] == [{1: p["learning_rate"]} for p in sampled]


def test_two_workers_that_sample_at_once_draw_different_points(
    database: Database, started: Started, holder: Enrol
) -> None:
    """Trials sampled side by side from the same history differ, under every sampler."""
    for sampler in ("tpe", "random", "qmc", "cmaes"):
        study = started(study={"name": sampler}, sampler={"name": sampler}, space=FLAT)
        claimed = [claim(database, study, holder(f"{sampler}{n}")) for n in range(3)]
        points = [
            tuple(sample(database, attempt, ReadOnlyStorage(study.study_id, Direction.MAXIMIZE)).values())
            for attempt in claimed
            if attempt
        ]
        assert len(set(points)) == 3


def test_suggestion_depends_on_seed_number_and_history_only(
    database: Database, started: Started, holder: Enrol, storage: str
) -> None:
    """Another process suggests the same parameters for the same trial."""
    study = started(budget={"trials": 30, "epochs": 3})
    worker = holder("w")
    trials_storage = ReadOnlyStorage(study.study_id, Direction.MAXIMIZE)
    for _ in range(15):
        attempt = claim(database, study, worker)
        assert attempt is not None
        complete(database, attempt, trials_storage, sample(database, attempt, trials_storage)["learning_rate"])
    attempt = claim(database, study, worker)
    assert attempt is not None
    database.transact(trials_storage.refresh)
    here, _ = suggest.suggest(study.spec, trials_storage, attempt.trial_id, attempt.trial_number)
    program = f"""
from hpsearch.sampling import suggest
from hpsearch.sampling.readonly_storage import ReadOnlyStorage
from hpsearch.storage import studies
from hpsearch.storage.database import Database
database = Database({storage!r})
study = database.transact(lambda c: studies.read(c, {study.study_id}))
trials_storage = ReadOnlyStorage(study.study_id, study.spec.direction)
database.transact(trials_storage.refresh)
print(suggest.suggest(study.spec, trials_storage, {attempt.trial_id}, {attempt.trial_number})[0])
"""
    there = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert there.strip() == str(here)


@pytest.mark.parametrize("pruner", ["median", "percentile", "asha", "hyperband"])
def test_every_pruner_ends_bad_trials_and_spares_the_best(
    database: Database, started: Started, holder: Enrol, pruner: str
) -> None:
    """After good trials a bad one is pruned before its last epoch, and one better than all is not."""
    options: dict[str, dict[str, Any]] = {
        "median": {"n_startup_trials": 4},
        "percentile": {"n_startup_trials": 4, "percentile": 50.0},
    }
    study = started(pruner={"name": pruner, **options.get(pruner, {})}, space=FLAT, budget={"trials": 60, "epochs": 9})
    worker, trials_storage = holder("w"), ReadOnlyStorage(study.study_id, Direction.MAXIMIZE)

    def run(level: float) -> int:
        attempt = claim(database, study, worker)
        assert attempt is not None
        for epoch in range(1, 10):
            if database.transact(lambda c: simulation.record(c, attempt, metrics(epoch, level), trials_storage)):
                return epoch
        database.transact(lambda c: attempts.finish(c, attempt, TrialOutcome.COMPLETED, {}))
        return 9

    for n in range(20):
        run(0.5 + n / 1000)
    assert min(run(0.1) for _ in range(5)) < 9
    assert run(0.9) == 9


def test_prune_decision_survives_a_crash_before_it_is_written(
    database: Database, started: Started, holder: Enrol
) -> None:
    """Asked again about an epoch whose transaction was rolled back, ASHA still prunes."""
    study = started(pruner={"name": "asha", "reduction_factor": 2}, space=FLAT, budget={"trials": 9, "epochs": 9})
    worker, trials_storage = holder("w"), ReadOnlyStorage(study.study_id, Direction.MAXIMIZE)
    for _ in range(4):
        good = claim(database, study, worker)
        assert good is not None
        for epoch in range(1, 10):
            if database.transact(lambda c: simulation.record(c, good, metrics(epoch, 0.8), trials_storage)):
                break
    bad = claim(database, study, worker)
    assert bad is not None

    class CrashError(Exception):
        pass

    def record_and_crash(connection: Any) -> None:
        assert simulation.record(connection, bad, metrics(1, 0.1), trials_storage)
        raise CrashError

    with pytest.raises(CrashError):
        database.transact(record_and_crash)
    assert database.transact(lambda c: simulation.record(c, bad, metrics(1, 0.1), trials_storage))


def test_storage_reads_what_optuna_reads(database: Database, started: Started, holder: Enrol) -> None:
    """The trials a sampler is shown are those that Optuna's own storage would show."""
    study = started(budget={"trials": 20, "epochs": 3}, pruner={"name": "median", "n_startup_trials": 1})
    worker, trials_storage = holder("w"), ReadOnlyStorage(study.study_id, Direction.MAXIMIZE)
    for n in range(20):
        attempt = claim(database, study, worker)
        assert attempt is not None
        params = sample(database, attempt, trials_storage)
        value = float("nan") if n == 7 else params["learning_rate"]
        pruned = database.transact(lambda c: simulation.record(c, attempt, metrics(1, value), trials_storage))
        if not pruned and n != 19:
            ending = TrialOutcome.DIVERGED if n == 7 else TrialOutcome.COMPLETED
            database.transact(lambda c: attempts.finish(c, attempt, ending, {}))
    database.transact(trials_storage.refresh)
    ours = trials_storage.get_all_trials(study.study_id)
    theirs = optuna.load_study(
        study_name=study.name, storage=database.url.render_as_string(hide_password=False)
    ).get_trials()
    assert len(ours) == len(theirs) == 20
    for mine, other in zip(ours, theirs, strict=True):
        assert (mine.number, mine.state, mine.params, mine.distributions) == (
            other.number,
            other.state,
            other.params,
            other.distributions,
        )
        assert mine.values == other.values
        assert repr(mine.intermediate_values) == repr(other.intermediate_values)
        assert mine.system_attrs == other.system_attrs


def test_suggestions_that_were_never_stored_are_not_used(database: Database, started: Started, holder: Enrol) -> None:
    """A trial that was ended from outside before it was sampled is read back as it is stored."""
    study = started()
    attempt = claim(database, study, holder("w"))
    assert attempt is not None
    url = database.url.render_as_string(hide_password=False)
    optuna.load_study(study_name="small", storage=url).tell(attempt.trial_number, 0.9)
    trials_storage = ReadOnlyStorage(study.study_id, Direction.MAXIMIZE)
    database.transact(trials_storage.refresh)
    suggest.suggest(study.spec, trials_storage, attempt.trial_id, attempt.trial_number)
    assert [trial.params for trial in trials_storage.get_all_trials(study.study_id)] == [{}]


def test_sampling_that_failed_leaves_nothing_to_the_next_trial(
    database: Database, started: Started, holder: Enrol
) -> None:
    """What had been chosen when a suggestion raised is not stored with the trial that comes after it."""
    study = started()
    failed, attempt = claim(database, study, holder("w")), claim(database, study, holder("v"))
    assert failed is not None
    assert attempt is not None
    trials_storage = ReadOnlyStorage(study.study_id, Direction.MAXIMIZE)
    database.transact(trials_storage.refresh)
    trials_storage.set_trial_param(
        failed.trial_id, "no longer searched", 0.9, optuna.distributions.FloatDistribution(0, 1)
    )
    params, writes = suggest.suggest(study.spec, trials_storage, attempt.trial_id, attempt.trial_number)
    assert set(writes.parameters) == set(params)
