"""Export: which models, where, and whole or not at all."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from hpsearch.errors import NotFoundError, RefusedError, UsageError
from hpsearch.evaluation import evaluation, results
from hpsearch.evaluation.evaluation import Evaluation
from hpsearch.evaluation.export import ExportedModels, export
from hpsearch.settings import Setting
from hpsearch.spec import loader
from hpsearch.storage import studies, study_creation, study_deletion
from hpsearch.storage.artifacts.study_artifacts import StudyArtifacts
from hpsearch.storage.database import Database
from hpsearch.storage.studies import Study
from tests.support.evaluated_study import add_epochs, claim_trial, train_trial, write_model

VALUES = (0.5, 0.9, 0.7)
DESCRIBED: dict[str, Any] = {
    "study": {"name": "<i>small</i>", "keep_models": 2},
    "budget": {"trials": 3, "epochs": 1},
    "data": {"name": "digits"},
    "space": {"dropout": {"low": 0.0, "high": 0.5}},
    "pruner": {"name": "none"},
}
NAME = "<i>small</i>"


@pytest.fixture
def searched(database: Database, tmp_path: Path) -> Callable[..., Study]:
    """A finished search whose best two trials, 1 and 2, have kept a model that says which it is."""

    def make(place: Setting | None = None, metric: str = "val_accuracy") -> Study:
        spec = loader.from_dict(DESCRIBED, [f"study.metric={metric}"])
        study = study_creation.start(database, spec, place).study
        kept = StudyArtifacts(database, study.artifacts)
        kept.open()
        for number, value in enumerate(VALUES):
            attempt = claim_trial(database, study)
            add_epochs(database, attempt, [value])
            write_model(tmp_path / "model", f"model {number}")
            kept.finish(attempt, {}, tmp_path / "model")
        database.transact(lambda c: studies.update_status(c, studies.read(c, study.study_id)))
        return study

    return make


def evaluated(database: Database, tmp_path: Path, models: int = 2, **options: Any) -> Evaluation:
    """An evaluation of the best configuration with two seeds, of which so many are trained."""
    requested, _ = evaluation.request_evaluation(database, NAME, 1, 2, **options)
    for _ in range(models):
        train_trial(database, requested, tmp_path / "p.npz")
    return requested


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def written(exported: ExportedModels) -> str:
    return (exported.directory / "README.md").read_text()


def test_search_gives_its_kept_models_the_best_first(
    database: Database, searched: Any, place: Setting, tmp_path: Path
) -> None:
    """Wherever they are kept; with Wilson's intervals for the validation images, and a name that is only text."""
    searched(place)
    exported = export(database, NAME, tmp_path / "out")
    readme = written(exported)
    assert set(contents(tmp_path / "out")) == {"README.md", "trial-1.keras", "trial-2.keras"}
    for number in (1, 2):
        with zipfile.ZipFile(tmp_path / "out" / f"trial-{number}.keras") as model:
            assert json.loads(model.read("config.json"))["class_name"] == f"model {number}"
            assert model.read("model.weights.h5") == b"weights"
    assert "loaded in Keras 3.6.0, 3.10.0, 3.14.0 and 3.15.1" in readme
    assert (exported.models, exported.tested) == (2, False)
    assert "search \\<i\\>small\\</i\\>, made" in readme
    assert "**300 validation images**" in readme
    # 270 of 300: (0.9 + z²/600 ± z sqrt(0.09/300 + z²/360000)) / (1 + z²/300) with z = 1.96
    assert "| `trial-1.keras` | 0.9000 | 0.8608 to 0.9291 |" in readme
    assert readme.index("| `trial-1.keras`") < readme.index("| `trial-2.keras`")


def test_evaluated_study_gives_its_evaluations_models(database: Database, searched: Any, tmp_path: Path) -> None:
    """The latest that is over, by the name of the search or its own; one still in training gives nothing yet."""
    searched()
    first = evaluated(database, tmp_path, models=1)
    assert not export(database, NAME, tmp_path / "early").tested
    train_trial(database, first, tmp_path / "p.npz")
    exported = export(database, NAME, tmp_path / "out")
    assert (exported.tested, exported.models, exported.study.name) == (True, 2, f"{NAME} evaluation")
    assert "**60 test images**" in written(exported)
    assert "evaluation 2 of that search" not in written(exported)

    second = evaluated(database, tmp_path, again=True)
    assert results.read_status(database, second).uses == 2
    later = export(database, NAME, tmp_path / "later")
    assert later.study.name == f"{NAME} evaluation 2"
    assert "It is evaluation 2 of that search" in written(later)
    assert export(database, f"{NAME} evaluation", tmp_path / "named").study.name == f"{NAME} evaluation"


def test_readme_has_the_studys_own_metric(database: Database, searched: Any, tmp_path: Path) -> None:
    """Before the accuracy, by file in a search, by configuration in an evaluation, which has it of models together."""
    searched(metric="val_f1")
    readme = written(export(database, NAME, tmp_path / "search"))
    assert "by whose macro F1 the search chose" in readme
    assert "| file | validation macro F1 | validation accuracy | 95% interval |" in readme
    assert "| `trial-1.keras` | 0.9000 | 0.9000 | 0.8608 to 0.9291 |" in readme
    evaluated(database, tmp_path)
    exported = export(database, NAME, tmp_path / "evaluation")
    (requested,) = database.transact(lambda c: evaluation.list_evaluations(c, studies.find(c, NAME)))
    assert requested.result is not None
    assert requested.result.metric is not None
    (spread,) = requested.result.metric.spreads
    assert spread is not None
    readme = written(exported)
    assert f"test macro F1 {spread.mean:.4f} ± {spread.std:.4f} (mean ± standard deviation over seeds)" in readme
    assert f", macro F1 {requested.result.metric.ensemble.value:.4f}." in readme
    assert "| file | test accuracy | 95% interval |" in readme


def test_evaluation_without_a_result_is_not_taken_for_a_search(
    database: Database, searched: Any, tmp_path: Path
) -> None:
    """Its values are of test images: halfway, and when its search was deleted, its models are refused."""
    study = searched()
    requested = evaluated(database, tmp_path, models=1)
    with pytest.raises(RefusedError, match="is an evaluation without a result"):
        export(database, f"{NAME} evaluation", tmp_path / "halfway")
    train_trial(database, requested, tmp_path / "p.npz")
    database.transact(lambda c: study_deletion.delete(c, study.study_id))
    with pytest.raises(RefusedError, match="its search was deleted"):
        export(database, f"{NAME} evaluation", tmp_path / "orphan")
    assert not (tmp_path / "halfway").exists()


def test_readme_names_the_files_there_are(database: Database, searched: Any, tmp_path: Path) -> None:
    """A model that could not be stored is in the accuracy, but is no file to load."""
    searched()
    evaluated(database, tmp_path)
    database.transact(
        lambda c: c.execute(
            text(
                "delete from hpsearch.files f using trials t join studies s using (study_id) where t.number = 0 "
                "and f.trial_id = t.trial_id and s.study_name like '%evaluation' and f.key like 'model/%'"
            )
        )
    )
    exported = export(database, NAME, tmp_path / "out")
    assert exported.models == 1
    assert "trial-1.keras" in written(exported)
    assert "trial-0.keras" not in written(exported)


def test_directory_that_holds_something_is_left_alone(database: Database, searched: Any, tmp_path: Path) -> None:
    """An empty one will do, and one whose parent is there; a file, a full one, or nowhere will not."""
    searched()
    (tmp_path / "empty").mkdir()
    before = (tmp_path / "empty").stat().st_ino
    assert export(database, NAME, tmp_path / "empty").models == 2
    # Where somebody's shell is, or a mount point, is not put another directory.
    assert (tmp_path / "empty").stat().st_ino == before
    assert set(contents(tmp_path / "empty")) == {"README.md", "trial-1.keras", "trial-2.keras"}
    (tmp_path / "file").write_text("mine")
    for where, reason in (
        (tmp_path / "empty", "exists and is not an empty directory"),
        (tmp_path / "file", "exists and is not an empty directory"),
        (tmp_path / "file" / "out", "is not a directory|Not a directory"),
        (tmp_path / "no" / "out", "is not a directory"),
    ):
        with pytest.raises(UsageError, match=reason):
            export(database, NAME, where)
    assert (tmp_path / "file").read_text() == "mine"


def test_export_that_fails_leaves_nothing(database: Database, searched: Any, tmp_path: Path) -> None:
    """With a model gone from where it was kept there is no directory, nor a part of one."""
    (tmp_path / "root").mkdir()
    study = searched(Setting(str(tmp_path / "root"), "HPSEARCH_ARTIFACTS"))
    home = next((tmp_path / "root").iterdir())
    for model in home.glob("model-*"):
        model.unlink()
    (tmp_path / "here").mkdir()
    for directory in (tmp_path / "here" / "out", tmp_path / "here"):
        with pytest.raises(RefusedError, match="is gone from where it was kept: nothing was exported"):
            export(database, NAME, directory)
        assert list((tmp_path / "here").iterdir()) == []
    database.transact(lambda c: c.execute(text("delete from hpsearch.files")))
    with pytest.raises(RefusedError, match="has no model to export"):
        export(database, study.name, tmp_path / "here" / "out")
    with pytest.raises(NotFoundError):
        export(database, "nowhere", tmp_path / "here" / "out")


@pytest.mark.tensorflow
def test_damaged_model_is_not_exported(database: Database, searched: Any, tmp_path: Path) -> None:
    """It is named, whether it is no model's file or one that TensorFlow cannot load, and no directory is left."""
    (tmp_path / "root").mkdir()
    study = searched(Setting(str(tmp_path / "root"), "HPSEARCH_ARTIFACTS"))
    with pytest.raises(RefusedError, match=r"no SavedModel can be made \(trial-1.keras: .*\): nothing was exported"):
        export(database, study.name, tmp_path / "out", serving=True)
    for model in next((tmp_path / "root").iterdir()).glob("model-*"):
        model.write_bytes(model.read_bytes()[:100])
    with pytest.raises(RefusedError, match=r"the model of trial 1 of .* is damaged \(.*\): nothing was exported"):
        export(database, study.name, tmp_path / "out")
    assert not (tmp_path / "out").exists()
