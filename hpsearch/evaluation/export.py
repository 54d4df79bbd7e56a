"""A study's models in a directory, as files that load wherever Keras is, with a README that says what they are."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from hpsearch.analysis import statistics
from hpsearch.errors import RefusedError, UsageError
from hpsearch.evaluation import evaluation, model_card, results
from hpsearch.evaluation.evaluation import Evaluation
from hpsearch.evaluation.model_card import ModelCard, ModelCardEntry
from hpsearch.metrics import METRICS
from hpsearch.spec.sections import DATASETS
from hpsearch.storage import studies
from hpsearch.storage.artifacts import study_artifacts, table
from hpsearch.storage.database import Database
from hpsearch.storage.results import Summary, Trial
from hpsearch.storage.results import read as read_results
from hpsearch.storage.studies import Study


@dataclass(frozen=True)
class ExportedModels:
    """What was written where; `tested`: the models are those of an evaluation."""

    directory: Path
    study: Study
    models: int
    tested: bool


def export(database: Database, name: str, directory: Path) -> ExportedModels:
    """Write the models of a study's latest evaluation, else the best ones that its search has kept.

    All that belongs in the directory is there in the end, or nothing is.

    Raises:
        NotFoundError: there is no such study.
        RefusedError: it has no model, or one is gone from where it was kept; it is an evaluation without a result.
        StoreError: the models cannot be read from here.
        UsageError: the directory has something in it, or cannot be written.
    """
    directory = directory.absolute()
    _check(directory)
    tested = _tested(database, name)
    trained = name if tested is None else _trained(tested).name
    summary, trials = database.transact(lambda connection: read_results(connection, trained))
    if tested is None and summary.study.spec.evaluation:  # what it measured is not of validation images
        raise RefusedError(f"{name} is an evaluation without a result: its search was deleted, or it is not over yet")
    keys = database.transact(lambda connection: table.list_keys(connection, summary.study.study_id, "model"))
    kept = [trial for trial in trials if trial.state == "complete" and trial.number in keys]
    if not kept:
        raise RefusedError(f"{trained} has no model to export: its best complete trials would have one each")
    told = _of_evaluation(tested, summary, kept) if tested else _of_search(summary, kept)
    if not told.models:
        raise RefusedError(f"{trained} has no model to export: none that has predictions beside it")
    try:
        _write(database, keys, told, directory)
    except OSError as error:
        raise UsageError(f"{directory} cannot be written ({error.strerror or error}): name another directory") from None
    return ExportedModels(directory, summary.study, len(told.models), tested is not None)


def _check(directory: Path) -> None:
    remedy = "name a directory that is not there yet, or is empty"
    try:
        if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
            raise UsageError(f"{directory} is in the way: {remedy}")
        if not directory.parent.is_dir():
            raise UsageError(f"{directory.parent} is no directory: {remedy}, in one that is")
    except OSError as error:
        raise UsageError(f"{directory} cannot be used ({error.strerror or error}): {remedy}") from None


def _tested(database: Database, name: str) -> Evaluation | None:
    """The latest evaluation whose models are there and whose result is known: of that name, or of that study."""

    def latest(connection: Any) -> list[Evaluation]:
        found = studies.find(connection, name)
        named = evaluation.find_evaluation(connection, found)
        return [named] if named else evaluation.list_evaluations(connection, found)

    for asked in reversed(database.transact(latest)):
        if asked.study is None:
            continue
        try:
            standing = results.read_status(database, asked)
        except RefusedError:  # it is over without a single model
            continue
        if standing.evaluation.result is not None:
            return standing.evaluation
    return None


def _trained(tested: Evaluation) -> Study:
    assert tested.study is not None
    return tested.study


def _of_evaluation(tested: Evaluation, summary: Summary, kept: list[Trial]) -> ModelCard:
    assert tested.result is not None
    result, by_number = tested.result, {trial.number: trial for trial in kept}
    models = [
        _model(by_number[each["trial"]], each["accuracy"], each["low"], each["high"])
        for configuration in result["configurations"]
        for each in configuration["models"]
        if each["trial"] in by_number
    ]
    return ModelCard(summary.study, tested, tuple(models), result["images"], tuple(result["classes"]))


def _of_search(summary: Summary, kept: list[Trial]) -> ModelCard:
    found = summary.study
    images = found.spec.data.validation
    sign = 1 if METRICS[found.spec.study.metric] == "maximize" else -1
    models = []
    for trial in sorted(kept, key=lambda each: (-sign * (each.value or 0.0), each.number)):
        accuracy = next(each.val_accuracy for each in trial.epochs if each.epoch == trial.best_epoch)
        interval = statistics.compute_wilson_interval(round(accuracy * images), images)
        models.append(_model(trial, accuracy, *interval))
    return ModelCard(found, None, tuple(models), images, DATASETS[found.spec.data.name].classes)


def _model(trial: Trial, accuracy: float, low: float, high: float) -> ModelCardEntry:
    versions: Mapping[str, Any] = trial.made_by.get("versions", {})
    return ModelCardEntry(f"trial-{trial.number}.keras", trial.number, accuracy, low, high, trial.params, versions)


def _write(database: Database, keys: Mapping[int, str], told: ModelCard, directory: Path) -> None:
    # One that is there stays what it is: it may be a mount point, or where the caller's shell is.
    there = directory.exists()
    draft = Path(mkdtemp(prefix=".hpsearch-export-", dir=directory if there else directory.parent))
    try:
        for model in told.models:
            if not study_artifacts.read_artifact(database, keys[model.trial], draft / model.file):
                raise RefusedError(
                    f"the model of trial {model.trial} of {told.study.name} is gone from where it was kept: "
                    "nothing was exported"
                )
        (draft / "README.md").write_text(model_card.render(told), encoding="utf-8")
        if there:
            _move(draft, directory)
        else:
            draft.chmod(0o755)
            draft.rename(directory)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise


def _move(draft: Path, directory: Path) -> None:
    """All files of `draft` up into `directory`, which it is in, or none."""
    moved: list[Path] = []
    try:
        for file in sorted(draft.iterdir()):
            moved.append(file.rename(directory / file.name))
        draft.rmdir()
    except BaseException:
        for file in moved:
            file.unlink(missing_ok=True)
        raise
