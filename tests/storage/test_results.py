"""Results: the contract of `hpsearch results --json`."""

import json
from collections.abc import Callable
from typing import Any

import optuna
import pytest
from sqlalchemy import text

from hpsearch.metrics import Direction
from hpsearch.outcomes import TrialOutcome
from hpsearch.sampling import suggest
from hpsearch.sampling.readonly_storage import ReadOnlyStorage
from hpsearch.storage import attempts, results
from hpsearch.storage.database import Database
from hpsearch.storage.studies import Study
from hpsearch.storage.workers import WorkerIdentity
from tests.support import simulation
from tests.support.small_study import claim, metrics

Started = Callable[..., Study]
Enrol = Callable[[str], WorkerIdentity]

STUDY_KEYS = ["name", "status", "metric", "direction", "fingerprint", "fixed", "counts", "best"]
TRIAL_KEYS = [
    "number",
    "state",
    "outcome",
    "value",
    "params",
    "attempts",
    "worker",
    "seconds",
    "weights",
    "epochs",
    "is_foreign",
]
EPOCH_KEYS = [
    *("epoch", "train_loss", "train_accuracy", "val_loss", "val_accuracy", "learning_rate", "seconds", "val_metric"),
]


def document(database: Database, name: str) -> dict[str, Any]:
    """What the command would print, through JSON."""
    summary, trials = database.transact(lambda c: results.read(c, name))
    read: dict[str, Any] = json.loads(json.dumps(results.make_document(summary, trials), allow_nan=False))
    return read


def test_document_has_the_contracts_keys_in_order(database: Database, started: Started, holder: Enrol) -> None:
    """Study, trials and epochs carry exactly the promised keys."""
    study = started()
    attempt = claim(database, study, holder("w"))
    assert attempt is not None
    history = ReadOnlyStorage(study.study_id, Direction.MAXIMIZE)
    database.transact(lambda c: simulation.record(c, attempt, metrics(1), history))
    described = document(database, "small")
    assert list(described) == ["study", "trials"]
    assert list(described["study"]) == STUDY_KEYS
    assert list(described["trials"][0]) == TRIAL_KEYS
    assert list(described["trials"][0]["epochs"][0]) == EPOCH_KEYS


def test_every_kind_of_trial_is_told_as_it_is(database: Database, started: Started, holder: Enrol) -> None:
    """Trials of every state, diverged ones and ones at chance, with the best epoch's values unrounded."""
    study = started(
        budget={"trials": 7, "epochs": 3},
        baseline=[{"optimizer": "sgd", "learning_rate": value} for value in (0.1, 0.01, 0.001, 0.002, 0.003, 0.004)],
    )
    worker, history = holder("w"), ReadOnlyStorage(study.study_id, Direction.MAXIMIZE)
    claimed = [claim(database, study, worker) for _ in range(5)]
    for attempt, ending, values in zip(
        claimed,
        (TrialOutcome.COMPLETED, TrialOutcome.DIVERGED, TrialOutcome.AT_CHANCE, TrialOutcome.ERROR),
        ((0.1234567890123456, 0.3, 0.2), (float("nan"),), (0.09, 0.1), ()),
        strict=False,
    ):
        assert attempt is not None
        database.transact(history.refresh)
        _, writes = suggest.suggest(study.spec, history, attempt.trial_id, attempt.trial_number)
        database.transact(lambda c: attempts.store_parameters(c, attempt, writes))
        for epoch, value in enumerate(values, start=1):
            database.transact(lambda c: simulation.record(c, attempt, metrics(epoch, value), history))
        database.transact(lambda c: attempts.finish(c, attempt, ending, {"weights": 7}))
    described = document(database, "small")
    assert described["study"]["counts"] == {"complete": 1, "pruned": 2, "failed": 1, "running": 1, "waiting": 1}
    assert described["study"]["best"] == {
        "number": 0,
        "value": 0.3,
        "params": {"learning_rate": 0.1, "optimizer": "sgd"},
        "is_foreign": False,
    }
    states = [(trial["state"], trial["outcome"], trial["value"]) for trial in described["trials"]]
    assert states == [
        ("complete", "completed", 0.3),
        ("pruned", "diverged", None),
        ("pruned", "at_chance", 0.1),
        ("failed", "error", None),
        ("running", None, None),
        ("waiting", None, None),
    ]
    assert described["trials"][0]["epochs"][0]["val_accuracy"] == 0.1234567890123456
    assert described["trials"][1]["epochs"][0]["val_accuracy"] is None
    assert described["trials"][5]["params"] == {"learning_rate": 0.004, "optimizer": "sgd"}
    assert described["trials"][0]["worker"] == "w"
    assert described["trials"][5]["worker"] is None
    assert described["trials"][0]["weights"] == 7


def test_parameters_are_read_as_optuna_reads_them(database: Database, started: Started, holder: Enrol) -> None:
    """Numbers, whole numbers, texts and truths of every kind of dimension are what Optuna's own storage says."""
    space = {
        "learning_rate": {"low": 1e-4, "high": 1e-1, "log": True},
        "dropout": {"low": 0.0, "high": 0.6, "step": 0.2},
        "dense_units": {"low": 64, "high": 512, "log": True},
        "filters": {"low": 16, "high": 64, "step": 16},
        "batch_size": [32, 64],
        "optimizer": ["sgd", "momentum"],
        "batch_norm": [True, False],
    }
    study, history = started(space=space), ReadOnlyStorage(1, Direction.MAXIMIZE)
    for name in "abc":
        attempt = claim(database, study, holder(name))
        assert attempt is not None
        database.transact(history.refresh)
        _, writes = suggest.suggest(study.spec, history, attempt.trial_id, attempt.trial_number)
        database.transact(lambda c: attempts.store_parameters(c, attempt, writes))
    _, trials = database.transact(lambda c: results.read(c, "small"))
    storage = database.url.render_as_string(hide_password=False)
    theirs = optuna.load_study(study_name="small", storage=storage).get_trials()
    assert [repr(dict(trial.params)) for trial in trials] == [repr(trial.params) for trial in theirs]


def test_fixed_is_the_rest_of_the_table(database: Database, started: Started) -> None:
    """`fixed` holds every hyperparameter that is not searched, given or default."""
    started(fixed={"batch_size": 64})
    fixed = document(database, "small")["study"]["fixed"]
    assert fixed["batch_size"] == 64
    assert fixed["activation"] == "relu"
    assert not {"learning_rate", "optimizer", "momentum"} & set(fixed)


def test_empty_study_has_no_best(database: Database, started: Started) -> None:
    """A study without trials is told with zeros and nulls."""
    started()
    described = document(database, "small")
    assert described["study"]["best"] is None
    assert described["trials"] == []
    assert described["study"]["status"] == "running"


def test_used_up_study_is_finished_though_nobody_said_so(database: Database, started: Started, holder: Enrol) -> None:
    """Where the last worker vanished right after its last trial, the study is shown as finished."""
    study = started(budget={"trials": 1, "epochs": 3})
    attempt = claim(database, study, holder("w"))
    assert attempt is not None
    database.transact(lambda c: attempts.finish(c, attempt, TrialOutcome.COMPLETED, {}))
    assert document(database, "small")["study"]["status"] == "finished"


@pytest.mark.usefixtures("server_long_up")
@pytest.mark.parametrize("adopted", [False, True])
def test_an_attempt_whose_worker_is_gone_lasts_no_longer_than_its_lease(
    database: Database, started: Started, holder: Enrol, adopted: bool
) -> None:
    """A trial that waits for days to be adopted was not held for days."""
    study = started()
    assert claim(database, study, holder("a")) is not None
    two_days_ago = "clock_timestamp() - interval '2 days'"
    moved = f"update hpsearch.attempts set opened_at = {two_days_ago}, held_until = {two_days_ago} + interval '90 s'"
    database.transact(lambda c: c.execute(text(moved)))
    if adopted:
        assert (adopting := claim(database, study, holder("b"))) is not None
        assert adopting.number == 2
    attempt, *_ = database.transact(lambda c: results.read_attempts(c, study))[0]
    assert (attempt.ended is not None) == adopted
    assert attempt.seconds == pytest.approx(90)
