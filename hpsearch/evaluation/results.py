"""The result of an evaluation: computed from the stored predictions when all of its trials have ended, and stored."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hpsearch import scratch
from hpsearch.errors import RefusedError
from hpsearch.evaluation import scores
from hpsearch.evaluation.evaluation import Configuration, Evaluation, is_over, list_evaluations, make_identity
from hpsearch.evaluation.metric_scores import MetricScores, score_metric
from hpsearch.evaluation.scores import ConfigurationResult, EvaluationResult, MissingTrial, ModelScore
from hpsearch.evaluation.spreads import compute_spread
from hpsearch.formatting import ACCURACY
from hpsearch.outcomes import TrialState
from hpsearch.storage import results
from hpsearch.storage.artifacts import study_artifacts, table
from hpsearch.storage.database import Connection, Database
from hpsearch.storage.results import Summary, Trial
from hpsearch.storage.tables import evaluations
from hpsearch.training.files import predictions
from hpsearch.training.files.predictions import Predictions


@dataclass(frozen=True)
class EvaluationStatus:
    """An evaluation, how far it is, and how many evaluations of that study have used the test images so far.

    `summary` is None where the study that trained it was deleted.
    """

    evaluation: Evaluation
    summary: Summary | None
    uses: int


def read_status(database: Database, evaluation: Evaluation) -> EvaluationStatus:
    """Return how far an evaluation is; where it is over, compute and store its result.

    Raises:
        RefusedError: it is over, and no trial of it is complete.
        StoreError: the predictions cannot be read from here.
    """
    summary = None
    if evaluation.study is not None:
        name = evaluation.study.name
        summary, trials = database.transact(lambda connection: results.read(connection, name))
        if not is_over(summary):
            evaluation = replace(evaluation, result=None)
        elif evaluation.result is None or evaluation.result.trials != len(trials):
            # A retry of failed trials goes on where a result was computed already.
            result = compute_result(database, evaluation, trials)
            _store(database, evaluation, result)
            evaluation = replace(evaluation, result=result)
    study_id = evaluation.evaluated.study_id
    uses = database.transact(lambda connection: evaluations.count_uses(connection, study_id))
    return EvaluationStatus(evaluation, summary, uses)


def read_statuses(connection: Connection, summary: Summary) -> list[EvaluationStatus]:
    """Return how far each evaluation of a study is, in order; no result is computed."""
    study = summary.study
    uses = evaluations.count_uses(connection, study.study_id)
    return [
        EvaluationStatus(
            evaluation, results.summarize(connection, evaluation.study) if evaluation.study else None, uses
        )
        for evaluation in list_evaluations(connection, study)
    ]


def make_document(status: EvaluationStatus) -> dict[str, Any]:
    """Return what `hpsearch evaluate --json` prints."""
    evaluation, summary = status.evaluation, status.summary
    return {
        "study": evaluation.evaluated.name,
        "evaluation": evaluation.study.name if evaluation.study else None,
        "number": evaluation.number,
        "status": summary.status if summary else None,
        "counts": summary.counts if summary else None,
        "asked_at": evaluation.requested_at.isoformat(timespec="seconds"),
        "test_set_uses": status.uses,
        "configurations": [vars(configuration) for configuration in evaluation.configurations],
        "result": evaluation.result.to_json() if evaluation.result else None,
    }


def compute_result(database: Database, evaluation: Evaluation, trials: Sequence[Trial]) -> EvaluationResult:
    """Compute the figures of an evaluation that is over, from its complete trials.

    Raises:
        RefusedError: there is none.
        StoreError: the predictions cannot be read from here.
    """
    assert evaluation.study is not None
    by_trial = _load_predictions(database, evaluation.study.study_id, trials)
    if not by_trial:
        endings = ", ".join(f"{count} {ending}" for ending, count in Counter(map(_name_ending, trials)).items())
        raise RefusedError(
            f"no trial of {evaluation.study.name} has come as far as the test images ({endings}): see hpsearch "
            "results; --again makes another evaluation"
        )
    first = next(iter(by_trial.values()))
    identify = make_identity(evaluation.study.spec)
    repeats: dict[str, list[Trial]] = {identify(each.params): [] for each in evaluation.configurations}
    for trial in trials:
        repeats.setdefault(identify(trial.params), []).append(trial)
    return EvaluationResult(
        trials=len(trials),
        models=len(by_trial),
        epochs=evaluation.study.spec.budget.epochs,
        images=len(first.labels),
        classes=tuple(first.classes),
        configurations=tuple(
            _score_configuration(configuration, repeats[identify(configuration.params)], by_trial)
            for configuration in evaluation.configurations
        ),
        ensemble=scores.score_ensemble(list(by_trial.values())),
        metric=_score_metric(evaluation, repeats, by_trial),
        precisions=results.count_precisions(trial for trial in trials if trial.number in by_trial),
    )


def _score_metric(
    evaluation: Evaluation, repeats: Mapping[str, Sequence[Trial]], by_trial: Mapping[int, Predictions]
) -> MetricScores | None:
    """Score the study's metric; None where that is the accuracy, which every result has."""
    spec = evaluation.evaluated.spec
    if spec.study.metric == ACCURACY:
        return None
    identify = make_identity(spec)
    groups = (repeats[identify(configuration.params)] for configuration in evaluation.configurations)
    models = [[by_trial[trial.number] for trial in group if trial.number in by_trial] for group in groups]
    return score_metric(spec.study.metric, models)


def _load_predictions(database: Database, study_id: int, trials: Sequence[Trial]) -> dict[int, Predictions]:
    """Return the predictions of the complete trials that have some, by the trial's number."""
    keys = database.transact(lambda connection: table.list_keys(connection, study_id, "predictions"))
    by_trial = {}
    with scratch.make_directory("predictions") as directory:
        path = directory / "predictions.npz"
        for trial in trials:
            key = keys.get(trial.number)
            complete = trial.state == TrialState.COMPLETE
            if complete and key is not None and study_artifacts.read_artifact(database, key, path):
                loaded = predictions.load(path)
                if loaded is not None:
                    by_trial[trial.number] = loaded
    return by_trial


def _score_configuration(
    configuration: Configuration, trials: Sequence[Trial], by_trial: Mapping[int, Predictions]
) -> ConfigurationResult:
    models = {trial.number: by_trial[trial.number] for trial in trials if trial.number in by_trial}
    singles = [scores.score_model(model) for model in models.values()]
    present = models.keys() | _list_repeated(trials, by_trial)
    return ConfigurationResult(
        trial=configuration.trial,
        value=configuration.value,
        params=configuration.params,
        models=tuple(
            ModelScore(number, single.accuracy, single.low, single.high)
            for number, single in zip(models, singles, strict=True)
        ),
        missing=tuple(
            MissingTrial(trial.number, _name_ending(trial)) for trial in trials if trial.number not in present
        ),
        accuracy=compute_spread([single.accuracy for single in singles]) if singles else None,
        classes=scores.compute_class_spreads(singles) if singles else None,
        confusion=scores.pool_confusion(singles) if singles else None,
        ensemble=scores.score_ensemble(list(models.values())) if models else None,
    )


def _list_repeated(trials: Sequence[Trial], by_trial: Mapping[int, Predictions]) -> set[int]:
    """Return the numbers of the failed trials whose repetition, or the repetition of that, has predictions."""
    repeated: set[int] = set()
    for trial in sorted(trials, key=lambda trial: -trial.number):  # a repetition is the later one
        if trial.retry_of is not None and (trial.number in by_trial or trial.number in repeated):
            repeated.add(trial.retry_of)
    return repeated


def _name_ending(trial: Trial) -> str:
    return "without predictions" if trial.state == TrialState.COMPLETE else trial.outcome or trial.state


def _store(database: Database, evaluation: Evaluation, result: EvaluationResult) -> None:
    study_id, described = evaluation.evaluated.study_id, result.to_json()
    database.transact(lambda connection: evaluations.store_result(connection, study_id, evaluation.number, described))
