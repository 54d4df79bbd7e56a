"""Evaluations: what they train, when they are made, and what is told of them."""

import io
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from scipy import stats
from sklearn.metrics import f1_score, precision_score, recall_score
from sqlalchemy import text

from hpsearch.cli import console
from hpsearch.errors import ExitCode, NotFoundError, RefusedError, StoreError, UsageError
from hpsearch.evaluation import evaluation, results
from hpsearch.evaluation.evaluation import Evaluation
from hpsearch.evaluation.scores import EvaluationResult
from hpsearch.outcomes import TrialOutcome
from hpsearch.report import evaluation_tables
from hpsearch.sampling import suggest
from hpsearch.settings import Setting
from hpsearch.spec import loader, study_spec
from hpsearch.spec.sections import DataSection
from hpsearch.storage import studies, study_control, study_creation, study_deletion
from hpsearch.storage.database import Database
from hpsearch.storage.studies import Study
from tests.support.evaluated_study import CLASSES, IMAGES, LABELS, WORKER, add_epochs, claim_trial, train_trial
from tests.support.small_study import claim, finish_trial

Started = Callable[..., Study]


@pytest.fixture
def searched(database: Database, started: Started) -> Callable[..., Study]:
    """A search whose complete trials have these values of each of their epochs; sgd at that many hundredths."""

    def make(
        *trials: Sequence[float], rates: Sequence[float] = (0.01, 0.02, 0.03, 0.04, 0.05), **sections: Any
    ) -> Study:
        baselines = [{"optimizer": "sgd", "learning_rate": rate} for _, rate in zip(trials, rates, strict=False)]
        budget = {"trials": len(trials), "epochs": 3, "early_stopping": 2, "hours": 3.0}
        study = started(**{"budget": budget, "baseline": baselines, **sections})
        for values in trials:
            attempt = claim_trial(database, study)
            add_epochs(database, attempt, values)
            finish_trial(database, attempt)
        assert claim(database, study, WORKER) is None  # and so it is finished
        return study

    return make


def ask(database: Database, name: str = "small", **options: Any) -> Evaluation:
    return evaluation.request_evaluation(database, name, **options)[0]


def result(database: Database, requested: Evaluation) -> Any:
    """The result as `evaluate --json` prints it."""
    return results.make_document(results.read_status(database, requested))["result"]


def hpsearch(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "hpsearch.cli.main", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_best_distinct_configurations_are_trained_once_a_seed(database: Database, searched: Any) -> None:
    """The best K by the mean of their trials, all of them before any again, for the best trial's best epoch."""
    # The second and the fourth trial are of one configuration: 0.9 and 0.5 on average are less than 0.8.
    searched([0.1, 0.8, 0.7], [0.9], [0.75, 0.3], [0.5], [0.2], rates=(0.01, 0.02, 0.03, 0.02, 0.05))
    requested = ask(database, top=3, seeds=2)
    rates = [each.params["learning_rate"] for each in requested.configurations]
    assert rates == pytest.approx([0.01, 0.03, 0.02])
    assert [each.trial for each in requested.configurations] == [0, 2, 1]
    assert [each.value for each in requested.configurations] == pytest.approx([0.8, 0.75, 0.7])
    assert requested.study is not None
    spec = requested.study.spec
    assert requested.study.name == "small evaluation"
    budget = spec.budget
    assert (budget.trials, budget.epochs, budget.hours, budget.early_stopping, budget.repeats) == (6, 1, None, None, 2)
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


def test_epochs_are_those_after_which_the_best_trial_was_best(database: Database, searched: Any) -> None:
    """Not those it was trained for."""
    searched([0.1, 0.2, 0.3], [0.4, 0.9, 0.8])
    requested = ask(database)
    assert requested.study is not None
    assert requested.study.spec.budget.epochs == 2
    assert requested.study.spec.budget.trials == 2 * evaluation.DEFAULT_SEEDS


def test_lowest_loss_is_best(database: Database, searched: Any) -> None:
    """With val_loss the ranking is turned round."""
    searched([0.5], [0.6], study={"name": "small", "metric": "val_loss"})
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
    assert [each.trial for each in ask(database).configurations] == [1, 0]


def test_spec_survives_the_database_and_no_file_can_say_it(database: Database, searched: Any) -> None:
    """The flag comes back from JSON, is part of the fingerprint, and is no section of a study file."""
    study = searched([0.5])
    requested = ask(database)
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


def test_study_file_of_that_name_does_not_touch_an_evaluation(database: Database, searched: Any) -> None:
    """`start-study` with an evaluation's name is refused."""
    study = searched([0.5])
    ask(database)
    named = study.spec.to_json()["study"] | {"name": "small evaluation"}
    with pytest.raises(RefusedError, match="as the evaluation of a study"):
        study_creation.start(database, loader.from_dict({"study": named, "space": {"dropout": [0.1, 0.2]}}))


def test_names_are_free_and_fit(database: Database, started: Started, searched: Any) -> None:
    """A name that is taken gets a number; a long one is cut, and what is special in it stays."""
    started(study={"name": "small evaluation"})
    searched([0.5])
    requested = ask(database)
    assert requested.study is not None
    assert requested.study.name == "small evaluation 2"
    long = "<b>%s 'ü✓" * 64
    searched([0.5], study={"name": long[:512]})
    other = ask(database, long[:512])
    assert other.study is not None
    assert other.study.name == f"{long[:501]} evaluation"


def test_seeds_are_the_evaluations_own(searched: Any) -> None:
    """Neither the search's nor those of another evaluation; a search's are as they were."""
    seeds = {suggest.derive_training_seed(0, number, which) for number in range(100) for which in range(3)}
    assert len(seeds) == 300
    assert suggest.derive_training_seed(3, 5) == int(np.random.SeedSequence([3, 5]).generate_state(1)[0])


def test_result_is_what_numpy_makes_of_the_predictions(database: Database, searched: Any, tmp_path: Path) -> None:
    """Accuracies, intervals, figures of each class, confusion matrices and ensembles, recomputed otherwise."""
    searched([0.5], [0.6])
    requested = ask(database, seeds=3)
    probabilities = [train_trial(database, requested, tmp_path / "p.npz") for _ in range(6)]
    document = result(database, requested)
    assert (document["images"], document["models"], document["classes"]) == (IMAGES, 6, list(CLASSES))
    for number, configuration in enumerate(document["configurations"]):
        mine = probabilities[number::2]
        accuracies = [float((each.argmax(axis=1) == LABELS).mean()) for each in mine]
        assert [each["accuracy"] for each in configuration["models"]] == accuracies
        assert [each["trial"] for each in configuration["models"]] == [number, number + 2, number + 4]
        spread = configuration["accuracy"]
        low, high = stats.t.interval(0.95, 2, np.mean(accuracies), stats.sem(accuracies))
        assert (spread["mean"], spread["std"]) == pytest.approx((np.mean(accuracies), np.std(accuracies, ddof=1)))
        assert (spread["low"], spread["high"]) == pytest.approx((max(low, 0.0), min(high, 1.0)))
        for index, each in enumerate(configuration["classes"]):
            for figure, of in (("precision", precision_score), ("recall", recall_score), ("f1", f1_score)):
                values = [of(LABELS, p.argmax(axis=1), labels=[index], average="macro") for p in mine]
                assert each[figure]["mean"] == pytest.approx(np.mean(values))
            assert (each["name"], each["images"]) == (CLASSES[index], 20)
        assert configuration["confusion"] == [
            [sum(int(((p.argmax(axis=1) == j) & (i == LABELS)).sum()) for p in mine) for j in range(3)]
            for i in range(3)
        ]
        check_ensemble(configuration["ensemble"], mine)
    check_ensemble(document["ensemble"], probabilities)


def check_ensemble(ensemble: Any, models: Sequence[np.ndarray]) -> None:
    guesses = sum(models).argmax(axis=1)  # type: ignore[union-attr]
    right, z = int((guesses == LABELS).sum()), stats.norm.ppf(0.975)
    share = right / IMAGES
    assert ensemble["accuracy"] == share
    middle, scale = share + z**2 / (2 * IMAGES), 1 + z**2 / IMAGES
    half = z * np.sqrt(share * (1 - share) / IMAGES + z**2 / (4 * IMAGES**2))
    assert (ensemble["low"], ensemble["high"]) == pytest.approx(((middle - half) / scale, (middle + half) / scale))
    assert np.trace(ensemble["confusion"]) == right


def test_what_failed_is_left_out_and_said(database: Database, searched: Any, tmp_path: Path) -> None:
    """Figures are over the trials that completed; a retry that completes later is counted in."""
    searched([0.5], [0.6])
    requested = ask(database, top=1, seeds=3)
    assert requested.study is not None
    for ending in (TrialOutcome.DIVERGED, TrialOutcome.ERROR):
        attempt = claim_trial(database, requested.study)
        add_epochs(database, attempt, [])
        finish_trial(database, attempt, ending)
    train_trial(database, requested, tmp_path / "p.npz")
    (only,) = result(database, requested)["configurations"]
    assert only["missing"] == [{"trial": 0, "outcome": "diverged"}, {"trial": 1, "outcome": "error"}]
    assert (only["accuracy"]["models"], only["accuracy"]["std"], only["accuracy"]["low"]) == (1, None, None)
    shown = hpsearch("evaluate", "small", "--storage", database.url.render_as_string(hide_password=False))
    assert "configuration 1 is without trial 0 (diverged), trial 1 (error)" in shown.stderr

    database.transact(lambda c: study_control.retry(c, "small evaluation"))
    assert result(database, ask(database)) is None  # it is being trained again
    train_trial(database, requested, tmp_path / "p.npz")
    (only,) = result(database, ask(database))["configurations"]
    assert only["accuracy"]["models"] == 2
    assert only["missing"] == [{"trial": 0, "outcome": "diverged"}]  # trial 3 made up for trial 1
    with pytest.raises(RefusedError, match="is finished: hpsearch evaluate --again makes another"):
        database.transact(lambda c: study_control.resume(c, "small evaluation"))


def test_evaluation_without_a_model_is_refused_and_may_be_made_again(database: Database, searched: Any) -> None:
    """Where every trial failed there is nothing to show; the test images were not used."""
    searched([0.5])
    requested = ask(database, top=1, seeds=1)
    assert requested.study is not None
    attempt = claim_trial(database, requested.study)
    finish_trial(database, attempt, TrialOutcome.ERROR)
    with pytest.raises(RefusedError, match=r"\(1 error\)"):
        results.read_status(database, requested)
    again = ask(database, again=True)
    assert again.number == 2
    assert results.read_status(database, again).uses == 0


def test_second_call_shows_what_is_stored(database: Database, searched: Any, tmp_path: Path) -> None:
    """It makes no study and counts nothing anew: the result stands also when the predictions are gone."""
    searched([0.5])
    assert evaluation.request_evaluation(database, "small", 1, 2)[1]
    requested, is_new = evaluation.request_evaluation(database, "small", 3, 4)
    assert (is_new, len(requested.configurations)) == (False, 1)
    assert result(database, requested) is None
    for _ in range(2):
        train_trial(database, requested, tmp_path / "p.npz")
    first = result(database, requested)
    database.transact(lambda c: c.execute(text("delete from hpsearch.files")))
    assert result(database, ask(database)) == first
    assert len(database.transact(studies.list_all)) == 2


def test_again_is_counted(database: Database, searched: Any, tmp_path: Path) -> None:
    """Each evaluation whose models saw the test images is a use of them, also after its study was deleted."""
    study = searched([0.5])
    first = ask(database, seeds=1)
    with pytest.raises(RefusedError, match="small evaluation is not over yet"):
        ask(database, again=True)
    train_trial(database, first, tmp_path / "p.npz")
    kept = result(database, first)
    second = ask(database, seeds=1, again=True)
    assert second.study is not None
    assert (second.number, second.study.name) == (2, "small evaluation 2")
    assert results.read_status(database, second).uses == 1
    train_trial(database, second, tmp_path / "p.npz")
    assert results.read_status(database, second).uses == 2

    assert first.study is not None
    for trainer in (first.study, second.study):
        database.transact(lambda c: study_deletion.delete(c, trainer.study_id))
    left = database.transact(lambda c: evaluation.list_evaluations(c, study))
    assert [(each.number, each.study, each.is_used) for each in left] == [(1, None, True), (2, None, True)]
    assert left[0].result is not None
    assert left[0].result.to_json() == kept
    third = ask(database, seeds=1, again=True)
    assert third.number == 3
    assert results.read_status(database, third).uses == 2


def test_deleted_search_leaves_its_evaluation_a_study(database: Database, searched: Any) -> None:
    """The rows that name it go; the study that trained its best is there, and says what it is no evaluation of."""
    study = searched([0.5])
    requested = ask(database)
    database.transact(lambda c: study_deletion.delete(c, study.study_id))
    assert database.transact(lambda c: c.scalar(text("select count(*) from hpsearch.evaluations"))) == 0
    assert requested.study is not None
    assert database.transact(lambda c: studies.find(c, "small evaluation")).study_id == requested.study.study_id
    with pytest.raises(RefusedError, match="small evaluation is itself an evaluation: name a search"):
        ask(database, "small evaluation")


def test_evaluation_deleted_before_a_result_is_as_never_asked(database: Database, searched: Any) -> None:
    """The next call makes one, with seeds of its own."""
    searched([0.5])
    requested = ask(database)
    assert requested.study is not None
    trainer = requested.study.study_id
    database.transact(lambda c: study_deletion.delete(c, trainer))
    assert ask(database).number == 2


def test_use_is_remembered_without_a_result(database: Database, searched: Any, tmp_path: Path) -> None:
    """Whoever deletes an evaluation halfway may have seen what its first models came to."""
    searched([0.5])
    requested = ask(database, seeds=2)
    assert requested.study is not None
    trainer = requested.study.study_id
    train_trial(database, requested, tmp_path / "p.npz")
    database.transact(lambda c: study_deletion.delete(c, trainer))
    second = ask(database, seeds=1)
    assert (second.number, results.read_status(database, second).uses) == (2, 1)
    train_trial(database, second, tmp_path / "p.npz")
    assert results.read_status(database, second).uses == 2


def test_search_that_went_on_is_told(database: Database, searched: Any, tmp_path: Path) -> None:
    """An evaluation does not know the trials that an extended search has completed since."""
    study = searched([0.5])
    requested = ask(database, seeds=1)
    train_trial(database, requested, tmp_path / "p.npz")
    assert not any(
        "gone on" in line for line in evaluation_tables.list_remarks(results.read_status(database, requested))
    )
    budget = study.spec.budget.model_copy(update={"trials": 2})
    study_creation.start(database, replace(study.spec, budget=budget))
    attempt = claim_trial(database, study)
    add_epochs(database, attempt, [0.9])
    finish_trial(database, attempt)
    (line,) = (
        line
        for line in evaluation_tables.list_remarks(results.read_status(database, ask(database)))
        if "gone on" in line
    )
    assert "its 1 later complete trial had no part" in line


def test_what_cannot_be_evaluated_is_refused(database: Database, started: Started, searched: Any) -> None:
    """No such study, one still running, none complete, an evaluation, and far too many trials."""
    with pytest.raises(NotFoundError):
        ask(database, "nowhere")
    started()
    with pytest.raises(RefusedError, match="small is still running: wait"):
        ask(database)
    database.transact(lambda c: study_control.stop(c, "small"))
    with pytest.raises(RefusedError, match="small has no complete trial yet"):
        ask(database)
    searched([0.5], study={"name": "other"})
    with pytest.raises(UsageError, match="over 10000 trials"):
        ask(database, "other", top=1_000, seeds=1_000)
    ask(database, "other")
    with pytest.raises(RefusedError, match="name the search, other"):
        ask(database, "other evaluation")


def test_two_who_ask_at_once_get_one_evaluation(storage: str, database: Database, searched: Any) -> None:
    """Of two processes one makes it and the other finds it."""
    searched([0.5])
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


def test_data_are_those_of_the_search(database: Database, searched: Any) -> None:
    """The first worker's images must be the search's; what it adds about the test images holds for the others."""
    study = searched([0.5])
    database.transact(lambda c: studies.record_data_fingerprint(c, study.study_id, "s"))
    requested = ask(database)
    assert requested.study is not None
    study_id = requested.study.study_id
    assert database.transact(lambda c: studies.record_data_fingerprint(c, study_id, "xy+other")) == "s"
    assert database.transact(lambda c: studies.record_data_fingerprint(c, study_id, "abc+s")) == "abc+s"
    assert database.transact(lambda c: studies.record_data_fingerprint(c, study_id, "xyz+s")) == "abc+s"


def test_files_are_kept_beside_the_searchs(database: Database, searched: Any, place: Setting, tmp_path: Path) -> None:
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
    requested = ask(database, "apart", seeds=1)
    assert requested.study is not None
    assert requested.study.artifacts is not None
    assert requested.study.artifacts != study.artifacts
    assert requested.study.artifacts.rpartition("/")[0] == str(study.artifacts).rpartition("/")[0]
    train_trial(database, requested, tmp_path / "p.npz")
    query = "select artifacts from hpsearch.files where key like 'model/%' or key like 'predictions/%'"
    places = database.transact(lambda c: c.scalars(text(query)).all())
    assert places == [requested.study.artifacts] * 2
    assert result(database, requested)["models"] == 1


def test_command_says_how_far_it_is_then_shows_the_result(
    storage: str, database: Database, searched: Any, tmp_path: Path
) -> None:
    """First the command to type, exit 0; once it is over tables on stdout, and JSON that says the same."""
    searched([0.5])
    call = "evaluate", "small", "--storage", storage
    first = hpsearch(*call, "--seeds", "2")
    assert (first.returncode, first.stdout) == (ExitCode.DONE, "")
    assert "made study small evaluation: 1 configuration × 2 seeds, 1 epoch each" in first.stderr
    assert "0 of 2 trials ended" in first.stderr
    assert "worker --drain --study 'small evaluation'" in first.stderr
    waiting = json.loads(hpsearch(*call, "--json").stdout)
    assert (waiting["evaluation"], waiting["status"], waiting["result"]) == ("small evaluation", "running", None)
    requested = ask(database)
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
    train_trial(database, ask(database), tmp_path / "p.npz")
    again = hpsearch(*call)
    assert "have been used 2 times for this study: figures after the first time" in again.stderr
    assert json.loads(hpsearch(*call, "--json").stdout)["test_set_uses"] == 2


def test_tables_fit_a_terminal(database: Database, searched: Any, tmp_path: Path) -> None:
    """Nothing is cut off at 80 columns, also with the long names of CIFAR-10's classes and large counts."""
    searched([0.5], [0.6])
    requested = ask(database, seeds=2)
    for _ in range(4):
        train_trial(database, requested, tmp_path / "p.npz")
    standing = results.read_status(database, requested)
    classes = DataSection(name="cifar10").classes
    assert standing.evaluation.result is not None
    counts = (np.eye(10, dtype=int) * 949 + 5).tolist()
    named = standing.evaluation.result.to_json() | {"classes": classes}
    named["ensemble"] |= {"confusion": counts, "accuracy": 0.5, "low": 0.4, "high": 0.6}
    named["configurations"][0]["classes"][0]["name"] = max(classes, key=len)
    widened = EvaluationResult.from_json(named)
    tables = evaluation_tables.make_tables(replace(standing.evaluation, result=widened))
    with io.StringIO() as file:
        out = Console(file=file, width=80)
        for table in [*tables, evaluation_tables.make_confusion_table(widened)]:
            out.print(console.make_table(table.columns, table.rows))
        printed = file.getvalue()
    assert "…" not in printed
    assert all(f" {number} {name} " in printed for number, name in enumerate(classes))
    assert "learning_rate 0.02" in printed


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


def test_unreachable_home_is_no_result(database: Database, searched: Any, tmp_path: Path) -> None:
    """Predictions that cannot be read from here are no reason to call a trial failed."""
    root = tmp_path / "root"
    root.mkdir()
    searched([0.5])
    requested = ask(database, seeds=1)
    train_trial(database, requested, tmp_path / "p.npz")
    database.transact(
        lambda c: c.execute(
            text("update hpsearch.files set content = null, artifacts = :home where key like 'predictions/%'"),
            {"home": (root / "gone").as_uri()},
        )
    )
    with pytest.raises(StoreError, match="is not there"):
        results.read_status(database, requested)
    assert database.transact(lambda c: c.scalar(text("select result from hpsearch.evaluations"))) is None
