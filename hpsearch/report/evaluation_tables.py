"""An evaluation's result as tables and remarks of plain text, for the report and the terminal."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hpsearch.evaluation.evaluation import Evaluation
from hpsearch.evaluation.metric_scores import DRAWS, MIN_IMAGES, MetricScores, MetricValue
from hpsearch.evaluation.results import EvaluationStatus
from hpsearch.evaluation.scores import ClassSpread, EvaluationResult, Score
from hpsearch.evaluation.spreads import Spread
from hpsearch.formatting import format_count, format_params
from hpsearch.metrics import METRICS
from hpsearch.outcomes import MAX_CONFUSED_CLASSES, find_confused_classes
from hpsearch.report.mixed_precision import describe_mixed_precision

MAX_CLASSES = 40
"""Rows of the table of classes."""
SHOWN_COLUMNS = 10
"""Classes of a confusion matrix that is printed."""
MAX_HEADING = 4
"""Characters of a class name that heads a column of counts; the columns of longer ones are numbered."""


@dataclass(frozen=True)
class CaptionedTable:
    """A table with a caption."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def make_tables(evaluation: Evaluation) -> Iterator[CaptionedTable]:
    """Make the tables of a result: the configurations, and the classes with the best of them.

    Each fits a terminal of 80 columns; only parameters and the names of classes may be longer.
    """
    assert evaluation.result is not None
    result = evaluation.result
    yield _tabulate_accuracies(result)
    if result.metric:
        yield _tabulate_metric(result.metric, result.models)
    yield _tabulate_configurations(result, evaluation.evaluated.spec.study.metric)
    for number, configuration in enumerate(result.configurations, start=1):
        if configuration.classes:
            yield _tabulate_classes(number, configuration.classes)
            break


def _tabulate_accuracies(result: EvaluationResult) -> CaptionedTable:
    return CaptionedTable(
        f"{result.images:,} test images; {format_count(result.models, 'model')} trained for "
        f"{format_count(result.epochs, 'epoch')} on training and validation images",
        ("no.", "models", "test accuracy", "95% interval", "ensemble", "95% interval"),
        (
            *(_make_row(n, each.accuracy, each.ensemble) for n, each in enumerate(result.configurations, start=1)),
            _make_row("all", None, result.ensemble, result.models),
        ),
    )


def _tabulate_metric(metric: MetricScores, models: int) -> CaptionedTable:
    rows = zip(metric.spreads, metric.ensembles, strict=True)
    return CaptionedTable(
        f"{METRICS[metric.name].test_title}, the study's metric, of the same models",
        ("no.", "models", METRICS[metric.name].quantity, "95% interval", "ensemble", "95% interval"),
        (
            *(_make_row(number, spread, ensemble) for number, (spread, ensemble) in enumerate(rows, start=1)),
            _make_row("all", None, metric.ensemble, models),
        ),
    )


def _make_row(
    label: int | str, spread: Spread | None, ensemble: Score | MetricValue | None, models: int = 0
) -> tuple[str, ...]:
    value = ensemble.accuracy if isinstance(ensemble, Score) else ensemble.value if ensemble else None
    return (
        str(label),
        str(spread.models if spread else models),
        _format_spread(spread) if spread else "",
        _format_interval(spread) if spread else "",
        f"{value:.4f}" if value is not None else "",
        _format_interval(ensemble) if ensemble else "",
    )


def _tabulate_configurations(result: EvaluationResult, metric: str) -> CaptionedTable:
    return CaptionedTable(
        "the configurations, and their values in the search",
        ("no.", metric, "parameters"),
        tuple(
            (str(number), f"{configuration.value:.4f}", format_params(configuration.params))
            for number, configuration in enumerate(result.configurations, start=1)
        ),
    )


def _tabulate_classes(number: int, classes: Sequence[ClassSpread]) -> CaptionedTable:
    caption = f"each class, with configuration {number}"
    if len(classes) > MAX_CLASSES:
        worst = sorted(classes, key=lambda spread: spread.f1.mean)[:MAX_CLASSES]
        caption = f"the {MAX_CLASSES} of {len(classes):,} classes with the lowest F1, with configuration {number}"
        classes = worst
    return CaptionedTable(
        caption,
        ("class", "images", "precision", "recall", "F1"),
        tuple(
            (spread.name, str(spread.images), *map(_format_spread, (spread.precision, spread.recall, spread.f1)))
            for spread in classes
        ),
    )


def make_confusion_table(result: EvaluationResult) -> CaptionedTable | None:
    """Make the confusion matrix of the ensemble of all models, which fits a terminal as `make_tables` does.

    None where there are too many classes for one.
    """
    matrix = result.ensemble.confusion
    if not matrix:
        return None
    shown = find_confused_classes([matrix], SHOWN_COLUMNS)
    headings, names = _label_classes([result.classes[label] for label in shown])
    caption = "confusion matrix of the ensemble of all: a row for each true class, a column for each predicted class"
    if len(shown) < len(matrix):
        caption += f"; the {len(shown)} of {len(matrix)} classes with the most errors"
    return CaptionedTable(
        caption,
        ("class", *headings),
        tuple(
            (name, *(str(matrix[label][other]) for other in shown)) for name, label in zip(names, shown, strict=True)
        ),
    )


def list_remarks(status: EvaluationStatus) -> Iterator[str]:
    """Return what is to be known beside the tables of a result, a line each."""
    result = status.evaluation.result
    assert result is not None
    yield (
        "test accuracy is the mean ± standard deviation over seeds, with the mean's 95% interval; an ensemble's "
        "interval (Wilson's) is for the number of images"
    )
    if result.metric and not METRICS[result.metric.name].is_proportion:
        yield (
            f"an ensemble's interval of the {METRICS[result.metric.name].quantity} is from {DRAWS:,} resamples of the "
            f"test images; there is none where a class has fewer than {MIN_IMAGES}, or hardly an image is wrong"
        )
    for number, configuration in enumerate(result.configurations, start=1):
        if configuration.missing:
            missing = ", ".join(f"trial {trial.trial} ({trial.outcome})" for trial in configuration.missing)
            yield f"configuration {number} is without {missing}"
    if mixed := describe_mixed_precision(result.precisions):
        yield mixed
    if not result.ensemble.confusion:
        yield f"there are {len(result.classes):,} classes: confusion matrices are of up to {MAX_CONFUSED_CLASSES}"
    if later := status.evaluation.later_trials:
        yield (
            f"the search has gone on since: its {format_count(later, 'later complete trial')} had no part in the "
            "choice of these configurations"
        )
    if status.uses > 1:
        yield (
            f"the test images have been used {status.uses} times for this study: figures after the first time are no "
            "longer a first look"
        )
    else:
        yield "the test images have been used once for this study"


def describe_difference(evaluation: Evaluation, top: int | None, seeds: int | None) -> Iterator[str]:
    """Return a line where another evaluation than the existing one was asked for."""
    configurations = len(evaluation.configurations)
    repeats = evaluation.study.spec.budget.repeats if evaluation.study else seeds
    if (top or configurations, seeds or repeats) != (configurations, repeats):
        yield "this is the evaluation there is, not one of that --top and --seeds: --again makes that"


def _label_classes(classes: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
    """Return the labels of columns and rows: the names where they are short, else numbers, beside the names in rows."""
    if max(map(len, classes)) <= MAX_HEADING:
        return classes, classes
    numbers = [str(number) for number in range(len(classes))]
    return numbers, [f"{number} {name}" for number, name in zip(numbers, classes, strict=True)]


def _format_spread(spread: Spread) -> str:
    deviation = f" ± {spread.std:.4f}" if spread.std is not None else ""
    return f"{spread.mean:.4f}{deviation}"


def _format_interval(figures: Spread | Score | MetricValue) -> str:
    """Return `0.8000–0.9000`; nothing where there is no interval."""
    return "" if figures.low is None or figures.high is None else f"{figures.low:.4f}–{figures.high:.4f}"
