"""Export of a study's models to a directory, as files that load wherever Keras is, with a README."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp

from hpsearch.analysis import findings, statistics
from hpsearch.errors import RefusedError, UsageError
from hpsearch.evaluation import model_card, saved_models
from hpsearch.evaluation.evaluation import Evaluation, find_evaluation, list_evaluations
from hpsearch.evaluation.model_card import ModelCard, ModelCardEntry, Needs
from hpsearch.evaluation.results import read_status
from hpsearch.formatting import ACCURACY
from hpsearch.outcomes import TrialState
from hpsearch.spec.code import archive
from hpsearch.spec.code.archive import DamagedCodeError
from hpsearch.storage import results, studies
from hpsearch.storage.artifacts import study_artifacts, table
from hpsearch.storage.database import Connection, Database
from hpsearch.storage.results import Summary, Trial
from hpsearch.storage.studies import Study
from hpsearch.storage.tables import code as code_table
from hpsearch.training.files.portable_model import DamagedModelError, Portability, make_portable, merge
from hpsearch.training.user.custom_objects import CustomObject, contains_lambda, find_root, list_custom_objects


@dataclass(frozen=True)
class ExportedModels:
    """What was written where; `tested`: the models are those of an evaluation."""

    directory: Path
    study: Study
    models: int
    tested: bool


def export(database: Database, name: str, directory: Path, *, serving: bool = False) -> ExportedModels:
    """Write the models of a study's latest evaluation, else the best ones that its search has kept.

    The directory is written completely or, on an error, left as it was. With `serving`, also as TensorFlow SavedModels.

    Raises:
        NotFoundError: there is no such study.
        RefusedError: it has no model, or one is gone from where it was kept; it is an evaluation without a result.
        StoreError: the models cannot be read from here.
        UsageError: the directory has something in it, or cannot be written; code of the study's own would have to run.
    """
    directory = directory.absolute()
    _check(directory)
    evaluation = _find_tested(database, name)
    trained = evaluation.study.name if evaluation and evaluation.study else name
    summary, trials = database.transact(lambda connection: results.read(connection, trained))
    if evaluation is None and summary.study.spec.evaluation:  # its values are of test images, not of validation images
        raise RefusedError(f"{name} is an evaluation without a result: its search was deleted, or it is not over yet")
    keys = database.transact(lambda connection: table.list_keys(connection, summary.study.study_id, "model"))
    kept = [trial for trial in trials if trial.state == TrialState.COMPLETE and trial.number in keys]
    if not kept:
        raise RefusedError(f"{trained} has no model to export: its best complete trials would have one each")
    card = _describe_evaluation(evaluation, summary, kept) if evaluation else _describe_search(summary, kept)
    if not card.models:
        raise RefusedError(f"{trained} has no model to export: none that has predictions beside it")
    try:
        _write(database, keys, card, directory, serving)
    except OSError as error:
        raise UsageError(f"{directory} cannot be written ({error.strerror or error}): name another directory") from None
    return ExportedModels(directory, summary.study, len(card.models), evaluation is not None)


def _check(directory: Path) -> None:
    """Raise `UsageError` unless `directory` is empty, or can be made."""
    remedy = "name a directory that is not there yet, or is empty"
    try:
        if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
            raise UsageError(f"{directory} exists and is not an empty directory: {remedy}")
        if not directory.parent.is_dir():
            raise UsageError(f"{directory.parent} is not a directory: {remedy}, in one that is")
    except OSError as error:
        raise UsageError(f"{directory} cannot be used ({error.strerror or error}): {remedy}") from None


def _find_tested(database: Database, name: str) -> Evaluation | None:
    """Return the evaluation `name`, or the latest one of the study `name`, whose models and result there are."""

    def candidates(connection: Connection) -> list[Evaluation]:
        study = studies.find(connection, name)
        own = find_evaluation(connection, study)
        return [own] if own else list_evaluations(connection, study)

    for evaluation in reversed(database.transact(candidates)):
        if evaluation.study is None:
            continue
        try:
            status = read_status(database, evaluation)
        except RefusedError:  # it is over without a single model
            continue
        if status.evaluation.result is not None:
            return status.evaluation
    return None


def _describe_evaluation(evaluation: Evaluation, summary: Summary, kept: list[Trial]) -> ModelCard:
    assert evaluation.result is not None
    result, by_number = evaluation.result, {trial.number: trial for trial in kept}
    entries = [
        _make_entry(by_number[model.trial], None, model.accuracy, model.low, model.high)
        for configuration in result.configurations
        for model in configuration.models
        if model.trial in by_number
    ]
    return ModelCard(summary.study, evaluation, tuple(entries), result.images, result.classes)


def _describe_search(summary: Summary, kept: list[Trial]) -> ModelCard:
    study = summary.study
    images = study.spec.validation_images
    entries = []
    for trial in findings.rank_trials(study.spec, kept):
        accuracy = next(epoch.val_accuracy for epoch in trial.epochs if epoch.epoch == trial.best_epoch)
        interval = statistics.compute_wilson_interval(round(accuracy * images), images)
        value = None if study.spec.study.metric == ACCURACY else trial.value
        entries.append(_make_entry(trial, value, accuracy, *interval))
    return ModelCard(study, None, tuple(entries), images, study.spec.classes)


def _make_entry(trial: Trial, value: float | None, accuracy: float, low: float, high: float) -> ModelCardEntry:
    versions: Mapping[str, str] = trial.made_by.get("versions", {})
    file = f"trial-{trial.number}.keras"
    return ModelCardEntry(file, trial.number, value, accuracy, low, high, trial.params, versions)


def _write(database: Database, keys: Mapping[int, str], card: ModelCard, directory: Path, serving: bool) -> None:
    # An existing directory is kept: it may be a mount point, or where the caller's shell is.
    existed = directory.exists()
    draft = Path(mkdtemp(prefix=".hpsearch-export-", dir=directory if existed else directory.parent))
    try:
        for model in card.models:
            if not study_artifacts.read_artifact(database, keys[model.trial], draft / model.file):
                raise RefusedError(
                    f"the model of trial {model.trial} of {card.study.name} is gone from where it was kept: "
                    "nothing was exported"
                )
        portability = merge(_make_portable(draft / model.file, model, card) for model in card.models)
        custom = _add_code(database, card, draft)
        roots = sorted({str(root) for part in custom if (root := find_root(part.module, draft)) is not None})
        is_own = card.study.spec.model.build is not None
        has_lambdas = is_own and any(contains_lambda(draft / model.file) for model in card.models)
        needs = Needs(portability, tuple(custom), tuple(roots), has_lambdas, serving)
        if serving:
            saved_models.make_saved_models(draft, needs)
        (draft / "README.md").write_text(model_card.render(card, needs), encoding="utf-8")
        if existed:
            _move(draft, directory)
        else:
            draft.chmod(0o755)
            draft.rename(directory)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise


def _make_portable(file: Path, model: ModelCardEntry, card: ModelCard) -> Portability:
    try:
        return make_portable(file)
    except DamagedModelError as error:
        raise RefusedError(
            f"the model of trial {model.trial} of {card.study.name} is damaged ({error}): nothing was exported"
        ) from None


def _add_code(database: Database, card: ModelCard, draft: Path) -> list[CustomObject]:
    """Write the study's own files to `draft` where its models need them; return what they need of these."""
    code = card.study.spec.code
    if code is None:
        return []
    custom = sorted(
        {part for model in card.models for part in list_custom_objects(draft / model.file)},
        key=lambda part: (part.module, part.name),
    )
    if not custom:
        return []
    packed = database.execute(lambda connection: code_table.fetch(connection, code.sha256))
    if packed is None:
        raise RefusedError(f"the code of {card.study.name} is gone from the database: nothing was exported")
    try:
        archive.unpack(packed, code, draft)
    except DamagedCodeError as error:
        raise RefusedError(f"{error}: nothing was exported") from None
    for directory in (path for path in draft.rglob("*") if path.is_dir()):
        directory.chmod(0o755)
    return custom


def _move(draft: Path, directory: Path) -> None:
    """Move all files of `draft` up into `directory`, which it is in; on an error, none."""
    moved: list[Path] = []
    try:
        for file in sorted(draft.iterdir()):
            moved.append(file.rename(directory / file.name))
        draft.rmdir()
    except BaseException:
        for file in moved:
            if file.is_dir():
                shutil.rmtree(file, ignore_errors=True)
            else:
                file.unlink(missing_ok=True)
        raise
