"""An evaluation's result as tables and remarks of plain text, for the report and the terminal."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hpsearch.evaluation.evaluation import Evaluation
from hpsearch.evaluation.results import EvaluationStatus
from hpsearch.evaluation.scores import ClassSpread, ConfigurationResult, EvaluationResult, Score, Spread
from hpsearch.formatting import format_count, format_params

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
            *(_accuracy_row(number, each) for number, each in enumerate(result.configurations, start=1)),
            ("all", str(result.models), "", "", f"{result.ensemble.accuracy:.4f}", _format_interval(result.ensemble)),
        ),
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
    return CaptionedTable(
        f"each class, with configuration {number}",
        ("class", "images", "precision", "recall", "F1"),
        tuple(
            (spread.name, str(spread.images), *map(_format_spread, (spread.precision, spread.recall, spread.f1)))
            for spread in classes
        ),
    )


def make_confusion_table(result: EvaluationResult) -> CaptionedTable:
    """Make the confusion matrix of the ensemble of all models; fits a terminal as `make_tables` does."""
    headings, names = _label_classes(result.classes)
    return CaptionedTable(
        "confusion matrix of the ensemble of all: a row for each true class, a column for each predicted class",
        ("class", *headings),
        tuple((name, *map(str, row)) for name, row in zip(names, result.ensemble.confusion, strict=True)),
    )


def list_remarks(status: EvaluationStatus) -> Iterator[str]:
    """Return what is to be known beside the tables of a result, a line each."""
    result = status.evaluation.result
    assert result is not None
    yield (
        "test accuracy is the mean ± standard deviation over seeds, with the mean's 95% interval; an ensemble's "
        "interval (Wilson's) is for the number of images"
    )
    for number, configuration in enumerate(result.configurations, start=1):
        if configuration.missing:
            missing = ", ".join(f"trial {trial.trial} ({trial.outcome})" for trial in configuration.missing)
            yield f"configuration {number} is without {missing}"
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


def _accuracy_row(number: int, configuration: ConfigurationResult) -> tuple[str, ...]:
    spread, ensemble = configuration.accuracy, configuration.ensemble
    if spread is None or ensemble is None:
        return (str(number), "0", "", "", "", "")
    return (
        str(number),
        str(spread.models),
        _format_spread(spread),
        _format_interval(spread),
        f"{ensemble.accuracy:.4f}",
        _format_interval(ensemble),
    )


def _label_classes(classes: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
    """Return the labels of columns and rows: the names where they are short, else numbers, beside the names in rows."""
    if max(map(len, classes)) <= MAX_HEADING:
        return classes, classes
    numbers = [str(number) for number in range(len(classes))]
    return numbers, [f"{number} {name}" for number, name in zip(numbers, classes, strict=True)]


def _format_spread(spread: Spread) -> str:
    deviation = f" ± {spread.std:.4f}" if spread.std is not None else ""
    return f"{spread.mean:.4f}{deviation}"


def _format_interval(figures: Spread | Score) -> str:
    """Return `0.8000–0.9000`; nothing where there is no interval."""
    return "" if figures.low is None or figures.high is None else f"{figures.low:.4f}–{figures.high:.4f}"
