"""Ablations: what they train, when they are made, and what is told of them."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sqlalchemy import text

from hpsearch.analysis.ablations.table import Verdict
from hpsearch.errors import ExitCode, NotFoundError, RefusedError, UsageError
from hpsearch.evaluation import ablation, evaluation
from hpsearch.outcomes import StudyStatus, TrialOutcome
from hpsearch.report.ablation_tables import list_remarks
from hpsearch.sampling import suggest
from hpsearch.spec.study_spec import StudySpec
from hpsearch.storage import attempts, results, studies, study_control, study_creation, study_deletion
from hpsearch.storage.database import Database
from hpsearch.storage.studies import Study
from tests.support.ablated_study import claim_raced, request_ablation, train_all, train_trial
from tests.support.commands import hpsearch, one_line
from tests.support.evaluated_study import WORKER, add_epochs
from tests.support.small_study import claim, finish_trial

Started = Callable[..., Study]
NOISE = np.random.default_rng(0).normal(0, 0.004, 200)


def value(params: Any, number: int) -> float | None:
    """Sgd is far below, momentum hardly above adam, and a high learning rate at chance."""
    if params["learning_rate"] > 0.03:
        return None
    return {"sgd": 0.5, "adam": 0.701, "momentum": 0.7}[params["optimizer"]] + float(NOISE[number])


def finish(database: Database, finished_search: Any) -> Study:
    """Return a search whose best trial is of sgd at a learning rate of 0.002."""
    study: Study = finished_search([0.1, 0.8], [0.7], rates=(0.002, 0.05))
    return study


def test_neighbours_of_the_best_are_trained(database: Database, finished_search: Any) -> None:
    """The study lists every configuration once a seed, for all epochs, and nothing ends a trial early."""
    finish(database, finished_search)
    requested = request_ablation(database)
    spec = requested.summary.study.spec
    assert requested.summary.study.name == "small ablation"
    assert requested.design.trial == 0
    assert spec.budget.trials == len(spec.baselines) == 3 * requested.design.round_size
    assert (spec.budget.epochs, spec.budget.hours, spec.budget.early_stopping) == (3, None, None)
    assert (spec.pruner.name, spec.study.keep_models, spec.ablation, spec.evaluation) == ("none", 0, 1, 0)
    assert {level.name for level in requested.design.levels} == {"learning_rate", "optimizer"}


def test_all_configurations_have_the_same_seeds(database: Database, finished_search: Any) -> None:
    """Those of a round are trained with one seed, which no other round and no trial of the search has."""
    finish(database, finished_search)
    requested = request_ablation(database)
    spec, design = requested.summary.study.spec, requested.design
    seeds = [suggest.choose_training_seed(spec, number) for number in range(spec.budget.trials)]
    rounds = [seeds[start : start + design.round_size] for start in range(0, len(seeds), design.round_size)]
    assert [len(set(part[2:])) for part in rounds] == [1, 1, 1]
    assert len({part[2] for part in rounds}) == 3
    best = [seed for seed, place in zip(seeds, design.schedule, strict=True) if place == 0]
    assert len(set(best)) == 6
    assert {part[2] for part in rounds} <= set(best)
    searched = [suggest.derive_training_seed(spec.study.seed, number) for number in range(100)]
    assert not set(seeds) & set(searched)


def test_result_is_a_table_with_verdicts(database: Database, finished_search: Any) -> None:
    """Once all have ended: each level against the best, with an interval, and whether one is better."""
    study = finish(database, finished_search)
    requested = request_ablation(database)
    train_trial(database, requested, value)
    assert database.transact(lambda c: ablation.find_result(c, study)) is None
    train_all(database, requested, value)
    result = database.transact(lambda c: ablation.find_result(c, study))
    assert result is not None
    verdicts = {(level.name, level.value): level.verdict for level in result.table.levels}
    assert verdicts["optimizer", "adam"] == verdicts["optimizer", "momentum"] == Verdict.BETTER
    assert result.table.better is not None
    assert result.table.better.value in {"adam", "momentum"}
    high = next(level for level in result.table.levels if isinstance(level.value, float) and level.value > 0.03)
    assert (high.verdict, high.at_chance) == (Verdict.WORSE, high.seeds)
    for level in result.table.levels:
        assert level.difference is not None
        assert level.difference.low < level.difference.amount < level.difference.high
    assert requested.ablated.study_id == study.study_id
    reread = ablation.request_ablation(database, "small")
    assert (reread[1], reread[0].is_over) == (False, True)
    document = ablation.make_document(reread[0], result)
    assert json.loads(json.dumps(document, allow_nan=False))["result"]["levels"][0]["difference"]["low"] is not None


def test_levels_beyond_doubt_get_no_third_seed(database: Database, finished_search: Any) -> None:
    """Their waiting trials end as pruned before the next claim; the study is finished with all its trials ended."""
    finish(database, finished_search)
    requested = request_ablation(database)
    design = requested.design
    trained = train_all(database, requested, lambda params, number: None if params["learning_rate"] > 0.03 else 0.5)
    dropped = set(range(len(design.schedule))) - set(trained)
    assert dropped
    kept = {design.base, *(step.configuration for step in design.path)}
    assert min(dropped) >= 2 * design.round_size
    assert not {design.schedule[number] for number in dropped} & kept
    summary, trials = database.transact(lambda c: results.read(c, "small ablation"))
    assert summary.study.status is StudyStatus.FINISHED
    assert sum(summary.counts.values()) == summary.study.spec.budget.trials
    assert {trials[number].detail for number in dropped} == {"beyond doubt after two seeds"}
    assert all(trials[number].began and trials[number].ended for number in dropped)


def test_backlog_counts_settled_levels_until_the_next_claim(database: Database, finished_search: Any) -> None:
    """The view `hpsearch.backlog` may show waiting trials that the next claim ends, and never too few."""
    finish(database, finished_search)
    requested, shown = request_ablation(database), []
    query = text("select free from hpsearch.backlog where name = 'small ablation'")
    while train_trial(database, requested, lambda params, _: None if params["learning_rate"] > 0.03 else 0.5):
        shown.append(database.transact(lambda c: c.scalar(query)))
    excess = [free - left for left, free in enumerate(reversed(shown))]
    assert min(excess) == excess[0] == 0
    assert max(excess) > 0


def test_nothing_is_dropped_before_the_second_seed_is_complete(database: Database, finished_search: Any) -> None:
    """Also where another worker is at its last trial while this one begins with the third."""
    finish(database, finished_search)
    requested = request_ablation(database)
    study, first = requested.summary.study, 2 * requested.design.round_size
    for _ in range(first - 1):
        train_trial(database, requested, value)
    assert claim(database, study, WORKER) is not None
    later = train_trial(database, requested, value)
    assert later is not None
    assert later.trial_number == first
    waiting = database.transact(lambda c: results.read(c, study.name))[0].counts["waiting"]
    assert waiting == len(requested.design.schedule) - first - 1


def test_stopped_ablation_shows_what_there_is(database: Database, finished_search: Any) -> None:
    """With all levels trained alike; a resume goes on."""
    study = finish(database, finished_search)
    requested = request_ablation(database)
    for _ in range(2 * requested.design.round_size):
        train_trial(database, requested, value)
    database.transact(lambda c: study_control.stop(c, "small ablation"))
    result = database.transact(lambda c: ablation.find_result(c, study))
    assert result is not None
    assert {level.seeds for level in result.table.levels} == {2}
    database.transact(lambda c: study_control.resume(c, "small ablation"))
    assert database.transact(lambda c: ablation.find_result(c, study)) is None


def test_trainings_of_different_precisions_are_told(database: Database, finished_search: Any) -> None:
    """What one host computed in bfloat16 and another in float32 is compared, and a line says so."""
    study = finish(database, finished_search)
    requested = request_ablation(database)
    for precision in ("float32", "mixed_bfloat16", "float32"):
        attempt = claim_raced(database, requested.summary.study)
        assert attempt is not None
        add_epochs(database, attempt, [0.6, 0.7])
        database.transact(lambda c: attempts.describe(c, attempt, 10, {"precision": precision}))
        finish_trial(database, attempt, TrialOutcome.COMPLETED)
    database.transact(lambda c: study_control.stop(c, "small ablation"))
    result = database.transact(lambda c: ablation.find_result(c, study))
    assert result is not None
    assert any("2 trials in float32 and 1 trial in mixed_bfloat16" in line for line in list_remarks(result))
    assert not any("precision" in line for line in list_remarks(replace(result, precisions={"float32": 3})))


def test_failed_trial_counts_once_it_is_tried_again(database: Database, finished_search: Any) -> None:
    """The repetition stands for the one that it repeats."""
    study = finish(database, finished_search)
    requested = request_ablation(database, "small", "optimizer=adam", seeds=2)
    first = claim_raced(database, requested.summary.study)
    assert first is not None
    finish_trial(database, first, TrialOutcome.ERROR)
    train_all(database, requested, value)
    before = database.transact(lambda c: ablation.find_result(c, study))
    assert before is not None
    assert before.table.seeds == 3
    database.transact(lambda c: study_control.retry(c, "small ablation"))
    study_now = database.transact(lambda c: studies.find(c, "small ablation"))
    attempt = claim_raced(database, study_now)
    assert attempt is not None
    add_epochs(database, attempt, [0.7, 0.7])
    finish_trial(database, attempt)
    after = database.transact(lambda c: ablation.find_result(c, study))
    assert after is not None
    assert after.table.seeds == 4


def test_named_trial_and_again(database: Database, finished_search: Any) -> None:
    """Any trial can be ablated; another ablation needs --again, and has other seeds."""
    finish(database, finished_search)
    first = request_ablation(database, "small", "optimizer=adam", trial=1, seeds=2)
    assert first.design.trial == 1
    assert first.design.configurations[0]["learning_rate"] == pytest.approx(0.05)
    assert request_ablation(database, trial=0).design.trial == 1
    with pytest.raises(RefusedError, match="small ablation is not over yet"):
        request_ablation(database, again=True)
    database.transact(lambda c: study_control.stop(c, "small ablation"))
    second = request_ablation(database, again=True)
    assert (second.number, second.summary.study.name, second.design.trial) == (2, "small ablation 2", 0)
    seeds = [suggest.choose_training_seed(each.summary.study.spec, 0) for each in (first, second)]
    assert seeds[0] != seeds[1]


@pytest.mark.parametrize(
    ("levels", "fault"),
    [
        (["dropout=0"], "--levels dropout: is not searched"),
        (["optimiser=adam"], "--levels optimiser: unknown: did you mean optimizer?"),
        (["optimizer=rmsprop"], "--levels optimizer: 'rmsprop' is outside the space: ['sgd', 'momentum', 'adam']"),
        (["learning_rate=5"], "--levels learning_rate: 5.0 is outside the space: 0.0001 to 0.1"),
        (["learning_rate=x"], "--levels learning_rate: 'x' is not a number"),
        (["momentum=0.9"], "--levels momentum: is not active in trial 0"),
        (["optimizer"], "--levels optimizer: write NAME=VALUE"),
        (["optimizer=adam,"], "--levels optimizer=adam,: write NAME=VALUE"),
        (["learning_rate=0.1\nx=2"], "--levels learning_rate: "),
        (["learning_rate=0.1 # x"], "--levels learning_rate: 0.1 # x is no value"),
        (["learning_rate=" + "9" * 5000], "--levels learning_rate: "),
        (["learning_rate=" + "[" * 3000], "--levels learning_rate: "),
    ],
)
def test_levels_outside_the_space_are_refused(
    database: Database, finished_search: Any, levels: list[str], fault: str
) -> None:
    """In one line that says what would do."""
    finish(database, finished_search)
    with pytest.raises(UsageError) as refused:
        request_ablation(database, "small", *levels)
    assert str(refused.value).startswith(fault)
    assert "\n" not in str(refused.value)


def test_what_cannot_be_ablated_is_refused(database: Database, started: Started, finished_search: Any) -> None:
    """A running search, one without a complete trial, an ablation, an evaluation, a missing trial."""
    started(study={"name": "running"})
    with pytest.raises(RefusedError, match="running is still running"):
        request_ablation(database, "running")
    database.transact(lambda c: study_control.stop(c, "running"))
    with pytest.raises(RefusedError, match="running has no complete trial yet"):
        request_ablation(database, "running")
    finish(database, finished_search)
    with pytest.raises(NotFoundError, match="small has no trial 7"):
        request_ablation(database, trial=7)
    with pytest.raises(RefusedError, match="has no other level"):
        request_ablation(database, "small", "optimizer=sgd")
    request_ablation(database)
    with pytest.raises(RefusedError, match="small ablation is itself an ablation: name the search, small"):
        request_ablation(database, "small ablation")
    with pytest.raises(RefusedError, match="small ablation is an ablation of a search"):
        evaluation.request_evaluation(database, "small ablation")
    stored = database.transact(lambda c: studies.find(c, "small ablation")).spec.to_json()
    spec = StudySpec.from_json({**stored, "ablation": 0})
    with pytest.raises(RefusedError, match="ablation of a study"):
        study_creation.start(database, spec)


def test_price_is_known_before(database: Database, finished_search: Any, holder: Any) -> None:
    """Trials and epochs as the request then makes them, and the hours where a worker is there."""
    study = finish(database, finished_search)
    price = database.transact(lambda c: ablation.price_ablation(c, *results.read(c, "small")))
    assert price.seconds is None
    holder("somebody")
    timed = database.transact(lambda c: ablation.price_ablation(c, *results.read(c, "small")))
    assert timed.seconds == price.epochs * 2.0
    assert database.transact(lambda c: ablation.find_ablation(c, study)) is None
    requested = request_ablation(database)
    assert price.trials == requested.summary.study.spec.budget.trials
    assert price.epochs == price.trials * 3


def test_deleted_ablation_is_forgotten(database: Database, finished_search: Any) -> None:
    """Then another can be made; where the search was deleted, the ablation is left as a study."""
    study = finish(database, finished_search)
    requested = request_ablation(database)
    database.transact(lambda c: study_deletion.delete(c, requested.summary.study.study_id))
    assert database.transact(lambda c: ablation.find_ablation(c, study)) is None
    again = request_ablation(database)
    database.transact(lambda c: study_deletion.delete(c, study.study_id))
    assert train_trial(database, again, value) is not None
    assert database.transact(lambda c: c.scalar(text("select count(*) from hpsearch.ablations"))) == 0


def test_command_tells_state_result_and_faults(database: Database, finished_search: Any, storage: str) -> None:
    """What is made and what it takes, then the table; a fault is one line."""
    finish(database, finished_search)
    made = hpsearch("ablate", "small", "--levels", "optimizer=adam,momentum", "--storage", storage)
    assert made.returncode == ExitCode.DONE, made.stderr
    assert "made study small ablation: 2 levels around trial 0" in made.stderr
    assert "at most 12 trials, 36 epochs" in made.stderr
    assert "hpsearch worker --drain --study 'small ablation'" in made.stderr
    requested = request_ablation(database)
    train_all(database, requested, value)
    shown = hpsearch("ablate", "small", "--levels", "optimizer=adam,momentum", "--storage", storage)
    assert "optimizer adam" in shown.stdout
    assert "points better" in shown.stdout
    assert "--again" not in shown.stderr
    document = json.loads(hpsearch("ablate", "small", "--json", "--storage", storage).stdout)
    assert document["result"]["better"]["verdict"] == "better"
    other = hpsearch("ablate", "small", "--seeds", "5", "--storage", storage)
    assert "--again makes that" in other.stderr
    fault = one_line(hpsearch("ablate", "small", "--again", "--levels", "x=1", "--storage", storage), ExitCode.USAGE)
    assert "--levels x: unknown" in fault


@pytest.mark.parametrize("seeds", [10**6, 10**11])
def test_so_many_seeds_are_a_mistake(database: Database, finished_search: Any, seeds: int) -> None:
    """What no database could hold is refused before anything is made of it."""
    finish(database, finished_search)
    with pytest.raises(UsageError, match="take fewer"):
        request_ablation(database, seeds=seeds)
