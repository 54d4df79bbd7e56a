"""What an evaluation came to: counted from the stored predictions when all of its trials have ended, and kept."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sqlalchemy import Connection, text

from hpsearch.errors import RefusedError
from hpsearch.evaluation import evaluation, scores
from hpsearch.evaluation.evaluation import Configuration, Evaluation
from hpsearch.storage import results
from hpsearch.storage.artifacts import study_artifacts, table
from hpsearch.storage.database import Database
from hpsearch.storage.results import Summary, Trial
from hpsearch.training import predictions
from hpsearch.training.predictions import Predictions


@dataclass(frozen=True)
class EvaluationStatus:
    """An evaluation, how far it is, and how many evaluations of that study have used the test images so far.

    `summary` is None where the study that trained it was deleted.
    """

    evaluation: Evaluation
    summary: Summary | None
    uses: int


def read_status(database: Database, asked: Evaluation) -> EvaluationStatus:
    """How far an evaluation is; its result is counted and kept where it is over now.

    Raises:
        RefusedError: it is over, and no trial of it is complete.
        StoreError: the predictions cannot be read from here.
    """
    if asked.study is None:
        return _standing(database, asked)
    trained = asked.study.name
    summary, trials = database.transact(lambda connection: results.read(connection, trained))
    # A retry of failed trials goes on where the result was already counted.
    counted = asked.result is not None and asked.result["trials"] == len(trials)
    if not evaluation.is_over(summary):
        asked = replace(asked, result=None)
    elif not counted:
        asked = replace(asked, result=_keep(database, asked, compute_result(database, asked, trials)))
    return _standing(database, asked, summary)


def _standing(database: Database, asked: Evaluation, summary: Summary | None = None) -> EvaluationStatus:
    uses = database.transact(lambda connection: evaluation.count_uses(connection, asked.evaluated))
    return EvaluationStatus(asked, summary, uses)


def make_document(found: EvaluationStatus) -> dict[str, Any]:
    """What `hpsearch evaluate --json` prints."""
    asked, summary = found.evaluation, found.summary
    return {
        "study": asked.evaluated.name,
        "evaluation": asked.study.name if asked.study else None,
        "number": asked.number,
        "status": summary.status if summary else None,
        "counts": summary.counts if summary else None,
        "asked_at": asked.asked.isoformat(timespec="seconds"),
        "test_set_uses": found.uses,
        "configurations": [vars(each) for each in asked.configurations],
        "result": asked.result,
    }


def compute_result(database: Database, asked: Evaluation, trials: Sequence[Trial]) -> dict[str, Any]:
    """The result of an evaluation that is over: figures over its complete trials.

    Raises:
        RefusedError: there is none.
        StoreError: the predictions cannot be read from here.
    """
    assert asked.study is not None
    predicted = _predictions(database, asked, trials)
    if not predicted:
        endings = ", ".join(f"{n} {how}" for how, n in Counter(map(_ending, trials)).items())
        raise RefusedError(
            f"no trial of {asked.study.name} has come as far as the test images ({endings}): see hpsearch results; "
            "--again makes another evaluation"
        )
    first = next(iter(predicted.values()))
    key = evaluation.make_identity(asked.study.spec)
    of: dict[str, list[Trial]] = {key(each.params): [] for each in asked.configurations}
    for trial in trials:
        of.setdefault(key(trial.params), []).append(trial)
    return {
        "trials": len(trials),
        "models": len(predicted),
        "epochs": asked.study.spec.budget.epochs,
        "images": len(first.labels),
        "classes": list(first.classes),
        "configurations": [_configuration(each, of[key(each.params)], predicted) for each in asked.configurations],
        "ensemble": asdict(scores.score_ensemble(list(predicted.values()))),
    }


def _predictions(database: Database, asked: Evaluation, trials: Sequence[Trial]) -> dict[int, Predictions]:
    """By the number of the trial, of those that are complete and have them."""
    study_id = asked.study.study_id if asked.study else 0
    keys = database.transact(lambda connection: table.list_keys(connection, study_id, "predictions"))
    found = {}
    with TemporaryDirectory(prefix="hpsearch-") as directory:
        path = Path(directory) / "predictions.npz"
        for trial in trials:
            key = keys.get(trial.number)
            if trial.state == "complete" and key is not None and study_artifacts.read_artifact(database, key, path):
                loaded = predictions.load(path)
                if loaded is not None:
                    found[trial.number] = loaded
    return found


def _configuration(
    asked: Configuration, trials: Sequence[Trial], predicted: Mapping[int, Predictions]
) -> dict[str, Any]:
    models = [predicted[trial.number] for trial in trials if trial.number in predicted]
    singles = [scores.score_model(each) for each in models]
    mended = _mended(trials, predicted)
    missing = [trial for trial in trials if trial.number not in predicted and trial.number not in mended]
    numbers = [trial.number for trial in trials if trial.number in predicted]
    return {
        **vars(asked),
        "models": [
            {"trial": number, "accuracy": each.accuracy, "low": each.low, "high": each.high}
            for number, each in zip(numbers, singles, strict=True)
        ],
        "missing": [{"trial": trial.number, "outcome": _ending(trial)} for trial in missing],
        "accuracy": asdict(scores.compute_spread([each.accuracy for each in singles])) if singles else None,
        "classes": [asdict(each) for each in scores.compute_class_spreads(singles)] if singles else None,
        "confusion": scores.pool_confusion(singles) if singles else None,
        "ensemble": asdict(scores.score_ensemble(models)) if models else None,
    }


def _mended(trials: Sequence[Trial], predicted: Mapping[int, Predictions]) -> set[int]:
    """The failed trials that a repetition, or one of that, made up for."""
    mended: set[int] = set()
    for trial in sorted(trials, key=lambda each: -each.number):  # a repetition is the later one
        if trial.retry_of is not None and (trial.number in predicted or trial.number in mended):
            mended.add(trial.retry_of)
    return mended


def _ending(trial: Trial) -> str:
    return "without predictions" if trial.state == "complete" else trial.outcome or trial.state


def _keep(database: Database, asked: Evaluation, result: Mapping[str, Any]) -> Mapping[str, Any]:
    """Store the result; as it is read back, so that it is the same now and later."""
    kept = json.dumps(result, allow_nan=False)

    def write(connection: Connection) -> None:
        connection.execute(
            text("update hpsearch.evaluations set result = :result where evaluated = :evaluated and number = :number"),
            {"result": kept, "evaluated": asked.evaluated.study_id, "number": asked.number},
        )

    database.transact(write)
    read: Mapping[str, Any] = json.loads(kept)
    return read
