"""Evaluations: what they train, when they are made, and what is told of them."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import text

from hpsearch.errors import ExitCode, NotFoundError, RefusedError, UsageError
from hpsearch.evaluation import evaluation
from hpsearch.sampling import suggest
from hpsearch.settings import Setting
from hpsearch.spec import loader, study_spec
from hpsearch.spec.datasets import DataFacts
from hpsearch.storage import studies, study_control, study_creation, study_deletion
from hpsearch.storage.database import Database
from hpsearch.storage.studies import Study
from tests.support.commands import hpsearch
from tests.support.evaluated_study import (
    LABELS,
    WORKER,
    add_epochs,
    claim_trial,
    read_result,
    request_evaluation,
    train_trial,
)
from tests.support.small_study import claim, finish_trial

Started = Callable[..., Study]


def test_best_distinct_configurations_are_trained_once_a_seed(database: Database, finished_search: Any) -> None:
    """The best K by the mean of their trials, all of them before any again, for the best one's epochs."""
    # The second and the fourth trial are of one configuration: 0.9 and 0.5 on average are less than 0.8.
    finished_search([0.1, 0.8, 0.7], [0.9], [0.75, 0.3], [0.5], [0.2], rates=(0.01, 0.02, 0.03, 0.02, 0.05))
    requested = request_evaluation(database, top=3, seeds=2)
    rates = [each.params["learning_rate"] for each in requested.configurations]
    assert rates == pytest.approx([0.01, 0.03, 0.02])
    assert [each.trial for each in requested.configurations] == [0, 2, 1]
    assert [each.value for each in requested.configurations] == pytest.approx([0.8, 0.75, 0.7])
    assert requested.study is not None
    spec = requested.study.spec
    assert requested.study.name == "small evaluation"
    budget = spec.budget
    assert (budget.trials, budget.epochs, budget.hours, budget.early_stopping, budget.repeats) == (6, 2, None, None, 2)
    assert (spec.pruner.name, spec.study.keep_models, spec.evaluation) == ("none", 6, 1)
    waiting = database.transact(
        lambda c: c.scalars(
            text(
                "select value_json::json ->> 'learning_rate' from trial_system_attributes join trials using (trial_id) "
                "where study_id = :study_id and key = 'fixed_params' order by number"
            ),
            {"study_id": requested.study.study_id if requested.study else 0},
        ).all()
    )
    assert [float(rate) for rate in waiting] == pytest.approx([0.01, 0.03, 0.02] * 2)


def test_epochs_are_those_after_which_the_best_trial_was_best(database: Database, finished_search: Any) -> None:
    """Not those it was trained for."""
    finished_search([0.1, 0.2, 0.3], [0.4, 0.9, 0.8])
    requested = request_evaluation(database)
    assert requested.study is not None
    assert requested.study.spec.budget.epochs == 2
    assert requested.study.spec.budget.trials == 2 * evaluation.DEFAULT_SEEDS


def test_lowest_loss_is_best(database: Database, finished_search: Any) -> None:
    """With val_loss the ranking is turned round."""
    finished_search([0.5], [0.6], study={"name": "small", "metric": "val_loss"})
    database.transact(
        lambda c: c.execute(
            text(
                "update hpsearch.epochs e set val_loss = 0.3 from trials t "
                "where t.number = 1 and t.trial_id = e.trial_id"
            )
        )
    )
    database.transact(
        lambda c: c.execute(
            text("update trial_values v set value = 0.3 from trials t where t.number = 1 and t.trial_id = v.trial_id")
        )
    )
    assert [each.trial for each in request_evaluation(database).configurations] == [1, 0]


def test_spec_survives_the_database_and_no_file_can_say_it(database: Database, finished_search: Any) -> None:
    """The flag comes back from JSON, is part of the fingerprint, and is no section of a study file."""
    study = finished_search([0.5])
    requested = request_evaluation(database)
    assert requested.study is not None
    stored = json.loads(json.dumps(requested.study.spec.to_json()))
    assert study_spec.StudySpec.from_json(stored) == requested.study.spec
    assert study_spec.StudySpec.from_json({**stored, "evaluation": 0}).fingerprint != requested.study.fingerprint
    assert (
        study_spec.StudySpec.from_json({k: v for k, v in study.spec.to_json().items() if k != "evaluation"})
        == study.spec
    )
    with pytest.raises(UsageError, match="evaluation: unknown"):
        loader.from_dict({"study": {"name": "x"}, "space": {"dropout": [0.1, 0.2]}, "evaluation": 1})


def test_study_file_of_that_name_does_not_touch_an_evaluation(database: Database, finished_search: Any) -> None:
    """`start-study` with an evaluation's name is refused."""
    study = finished_search([0.5])
    request_evaluation(database)
    named = study.spec.to_json()["study"] | {"name": "small evaluation"}
    with pytest.raises(RefusedError, match="as the evaluation of a study"):
        study_creation.start(database, loader.from_dict({"study": named, "space": {"dropout": [0.1, 0.2]}}))


def test_names_are_free_and_fit(database: Database, started: Started, finished_search: Any) -> None:
    """A name that is taken gets a number; a long one is cut, and what is special in it stays."""
    started(study={"name": "small evaluation"})
    finished_search([0.5])
    requested = request_evaluation(database)
    assert requested.study is not None
    assert requested.study.name == "small evaluation 2"
    long = "<b>%s 'ü✓" * 64
    finished_search([0.5], study={"name": long[:512]})
    other = request_evaluation(database, long[:512])
    assert other.study is not None
    assert other.study.name == f"{long[:501]} evaluation"


def test_seeds_are_the_evaluations_own(finished_search: Any) -> None:
    """Neither the search's nor those of another evaluation; a search's are as they were."""
    seeds = {suggest.derive_training_seed(0, number, which) for number in range(100) for which in range(3)}
    assert len(seeds) == 300
    assert suggest.derive_training_seed(3, 5) == int(np.random.SeedSequence([3, 5]).generate_state(1)[0])


def test_deleted_search_leaves_its_evaluation_a_study(database: Database, finished_search: Any) -> None:
    """The rows that name it go; the study that trained its best is there, and says what it is no evaluation of."""
    study = finished_search([0.5])
    requested = request_evaluation(database)
    database.transact(lambda c: study_deletion.delete(c, study.study_id))
    assert database.transact(lambda c: c.scalar(text("select count(*) from hpsearch.evaluations"))) == 0
    assert requested.study is not None
    assert database.transact(lambda c: studies.find(c, "small evaluation")).study_id == requested.study.study_id
    with pytest.raises(RefusedError, match="small evaluation is itself an evaluation: name a search"):
        request_evaluation(database, "small evaluation")


def test_evaluation_deleted_before_a_result_is_as_never_asked(database: Database, finished_search: Any) -> None:
    """The next call makes one, with seeds of its own."""
    finished_search([0.5])
    requested = request_evaluation(database)
    assert requested.study is not None
    trainer = requested.study.study_id
    database.transact(lambda c: study_deletion.delete(c, trainer))
    assert request_evaluation(database).number == 2


def test_what_cannot_be_evaluated_is_refused(database: Database, started: Started, finished_search: Any) -> None:
    """No such study, one still running, none complete, an evaluation, and far too many trials."""
    with pytest.raises(NotFoundError):
        request_evaluation(database, "nowhere")
    started()
    with pytest.raises(RefusedError, match="small is still running: wait"):
        request_evaluation(database)
    database.transact(lambda c: study_control.stop(c, "small"))
    with pytest.raises(RefusedError, match="small has no complete trial yet"):
        request_evaluation(database)
    finished_search([0.5], study={"name": "other"})
    with pytest.raises(UsageError, match="over 10000 trials"):
        request_evaluation(database, "other", top=1_000, seeds=1_000)
    request_evaluation(database, "other")
    with pytest.raises(RefusedError, match="name the search, other"):
        request_evaluation(database, "other evaluation")


@pytest.mark.slow
def test_two_who_ask_at_once_get_one_evaluation(storage: str, database: Database, finished_search: Any) -> None:
    """Of two processes one makes it and the other finds it."""
    finished_search([0.5])
    asking = [
        subprocess.Popen(
            [sys.executable, "-m", "hpsearch.cli.main", "evaluate", "small", "--json", "--storage", storage],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        for _ in range(2)
    ]
    document = [json.loads(process.communicate(timeout=120)[0]) for process in asking]
    assert document[0] == document[1]
    assert len(database.transact(studies.list_all)) == 2


def test_data_are_those_of_the_search(database: Database, finished_search: Any) -> None:
    """The first worker's images must be the search's; what it adds about the test images holds for the others."""
    study = finished_search([0.5])
    facts = DataFacts((8, 8, 1), ("cat", "dog"), (90, 10), (18, 2), (9, 1))
    tested = replace(facts, training=(108, 12), validation=(9, 1))
    database.transact(lambda c: studies.record_data(c, study.study_id, "s", facts))
    requested = request_evaluation(database)
    assert requested.study is not None
    study_id = requested.study.study_id
    assert requested.study.spec.facts == facts
    assert database.transact(lambda c: studies.record_data(c, study_id, "xy+other", None)) == "s"
    assert database.transact(lambda c: studies.record_data(c, study_id, "abc+s", tested)) == "abc+s"
    assert database.transact(lambda c: studies.record_data(c, study_id, "xyz+s", None)) == "abc+s"
    assert database.transact(lambda c: studies.read(c, study_id)).spec.facts == tested


def test_files_are_kept_beside_the_searchs(
    database: Database, finished_search: Any, place: Setting, tmp_path: Path
) -> None:
    """An evaluation has a home of its own where the search has its own; predictions are read from there."""
    described = {
        **{"study": {"name": "apart"}, "budget": {"trials": 1, "epochs": 1}, "data": {"name": "digits"}},
        **{"space": {"dropout": {"low": 0.0, "high": 0.5}}, "pruner": {"name": "none"}},
    }
    study = study_creation.start(database, loader.from_dict(described), place).study
    attempt = claim_trial(database, study)
    add_epochs(database, attempt, [0.5])
    finish_trial(database, attempt)
    claim(database, study, WORKER)
    requested = request_evaluation(database, "apart", seeds=1)
    assert requested.study is not None
    assert requested.study.artifacts is not None
    assert requested.study.artifacts != study.artifacts
    assert requested.study.artifacts.rpartition("/")[0] == str(study.artifacts).rpartition("/")[0]
    train_trial(database, requested, tmp_path / "p.npz")
    query = "select artifacts from hpsearch.files where key like 'model/%' or key like 'predictions/%'"
    places = database.transact(lambda c: c.scalars(text(query)).all())
    assert places == [requested.study.artifacts] * 2
    assert read_result(database, requested)["models"] == 1


@pytest.mark.slow
def test_command_says_how_far_it_is_then_shows_the_result(
    storage: str, database: Database, finished_search: Any, tmp_path: Path
) -> None:
    """First the command to type, exit 0; once it is over tables on stdout, and JSON that says the same."""
    finished_search([0.5])
    call = "evaluate", "small", "--storage", storage
    first = hpsearch(*call, "--seeds", "2")
    assert (first.returncode, first.stdout) == (ExitCode.DONE, "")
    assert "made study small evaluation: 1 configuration × 2 seeds, 1 epoch each" in first.stderr
    assert "0 of 2 trials ended" in first.stderr
    assert "worker --drain --study 'small evaluation'" in first.stderr
    waiting = json.loads(hpsearch(*call, "--json").stdout)
    assert (waiting["evaluation"], waiting["status"], waiting["result"]) == ("small evaluation", "running", None)
    requested = request_evaluation(database)
    probabilities = [train_trial(database, requested, tmp_path / "p.npz") for _ in range(2)]
    shown = hpsearch(*call, "--top", "2")
    assert shown.returncode == ExitCode.DONE
    assert shown.returncode == ExitCode.DONE
    accuracies = [float((each.argmax(axis=1) == LABELS).mean()) for each in probabilities]
    assert f"{np.mean(accuracies):.4f} ± {np.std(accuracies, ddof=1):.4f}" in shown.stdout
    assert "<b>dog</b>" in shown.stdout
    assert "the test images have been used once" in shown.stderr
    assert "--again makes that" in shown.stderr
    assert hpsearch(*call, "--again", "--seeds", "1").returncode == ExitCode.DONE
    train_trial(database, request_evaluation(database), tmp_path / "p.npz")
    again = hpsearch(*call)
    assert "have been used 2 times for this study: figures after the first time" in again.stderr
    assert json.loads(hpsearch(*call, "--json").stdout)["test_set_uses"] == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["evaluate", "nowhere"], ExitCode.NOT_FOUND),
        (["evaluate", "small", "--top", "0"], ExitCode.USAGE),
        (["evaluate", "small", "--seeds", "0"], ExitCode.USAGE),
        (["evaluate", "small"], ExitCode.REFUSED),
        (["export", "nowhere", "out"], ExitCode.NOT_FOUND),
        (["export", "small", "out"], ExitCode.REFUSED),
    ],
)
def test_refusals_are_one_line(storage: str, started: Started, arguments: list[str], code: ExitCode) -> None:
    """Each with its exit code."""
    started()
    ended = hpsearch(*arguments, "--storage", storage)
    assert ended.returncode == code
    assert len(ended.stderr.strip().splitlines()) == 1
    assert ended.stdout == ""
