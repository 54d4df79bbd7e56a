"""An evaluation as lines and tables of text."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hpsearch.evaluation.results import EvaluationStatus
from hpsearch.formatting import format_params

SHORT = 4
"""Characters of a name that heads a column of counts."""


@dataclass(frozen=True)
class CaptionedTable:
    """A table with a line above it."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def make_tables(standing: EvaluationStatus) -> Iterator[CaptionedTable]:
    """The result of an evaluation that has one: configurations, the classes of the best one, the confusion matrix.

    Each fits a terminal of 80 columns; only parameters and the names of classes may be longer.
    """
    asked, result = standing.evaluation, standing.evaluation.result
    assert result is not None
    metric = asked.evaluated.spec.study.metric
    yield CaptionedTable(
        f"{result['images']:,} test images; {_many(result['models'], 'model')} trained for "
        f"{_many(result['epochs'], 'epoch')} on training and validation images",
        ("no.", "models", "test accuracy", "95% interval", "ensemble", "95% interval"),
        (*(_row(n, each) for n, each in enumerate(result["configurations"], start=1)), _all(result)),
    )
    yield CaptionedTable(
        "the configurations, and what they came to in the search",
        ("no.", metric, "parameters"),
        tuple(
            (str(n), f"{each['value']:.4f}", format_params(each["params"]))
            for n, each in enumerate(result["configurations"], start=1)
        ),
    )
    best = next((each for each in result["configurations"] if each["classes"]), None)
    if best is not None:
        number = result["configurations"].index(best) + 1
        yield CaptionedTable(
            f"each class, with configuration {number}",
            ("class", "images", "precision", "recall", "F1"),
            tuple(_class(each) for each in best["classes"]),
        )
    heads, rows = _labels(result["classes"])
    yield CaptionedTable(
        "confusion matrix of the ensemble of all: a row for each true class, a column for what it was taken for",
        ("class", *heads),
        tuple((name, *map(str, row)) for name, row in zip(rows, result["ensemble"]["confusion"], strict=True)),
    )


def list_remarks(standing: EvaluationStatus) -> Iterator[str]:
    """What is to be known beside the tables of a result."""
    result = standing.evaluation.result
    assert result is not None
    yield (
        "test accuracy is the mean ± standard deviation over seeds, with the mean's 95% interval; an ensemble's "
        "interval (Wilson's) is for the number of images"
    )
    for number, each in enumerate(result["configurations"], start=1):
        if each["missing"]:
            gone = ", ".join(f"trial {trial['trial']} ({trial['outcome']})" for trial in each["missing"])
            yield f"configuration {number} is without {gone}"
    if later := standing.evaluation.later:
        yield (
            f"the search has gone on since: its {_many(later, 'later complete trial')} had no part in the choice of "
            "these configurations"
        )
    if standing.uses > 1:
        yield (
            f"the test images have been used {standing.uses} times for this study: figures after the first time are no "
            "longer a first look"
        )
    else:
        yield "the test images have been used once for this study"


def _row(number: int, each: Mapping[str, Any]) -> tuple[str, ...]:
    if each["accuracy"] is None:
        return (str(number), "0", "", "", "", "")
    spread, together = each["accuracy"], each["ensemble"]
    return (
        str(number),
        str(spread["models"]),
        _spread(spread),
        _interval(spread) if spread["low"] is not None else "",
        f"{together['accuracy']:.4f}",
        _interval(together),
    )


def _all(result: Mapping[str, Any]) -> tuple[str, ...]:
    together = result["ensemble"]
    return (
        "all",
        str(result["models"]),
        "",
        "",
        f"{together['accuracy']:.4f}",
        _interval(together),
    )


def _labels(classes: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
    """Of the columns and of the rows: the names where they are short, else numbers with the names beside the rows."""
    if max(map(len, classes)) <= SHORT:
        return classes, classes
    heads = [str(number) for number in range(len(classes))]
    return heads, [f"{head} {name}" for head, name in zip(heads, classes, strict=True)]


def _class(each: Mapping[str, Any]) -> tuple[str, ...]:
    return (each["name"], str(each["images"]), *(_spread(each[name]) for name in ("precision", "recall", "f1")))


def _spread(spread: Mapping[str, Any]) -> str:
    deviation = f" ± {spread['std']:.4f}" if spread["std"] is not None else ""
    return f"{spread['mean']:.4f}{deviation}"


def _interval(figures: Mapping[str, Any]) -> str:
    return f"{figures['low']:.4f}–{figures['high']:.4f}"


def _many(count: int, noun: str) -> str:
    return f"{count} {noun}" + ("" if count == 1 else "s")


def describe_difference(standing: EvaluationStatus, top: int | None, seeds: int | None) -> Iterator[str]:
    """A line where another evaluation than the one that is there was asked for."""
    asked = standing.evaluation
    configurations = len(asked.configurations)
    repeats = asked.study.spec.budget.repeats if asked.study else seeds
    if (top or configurations, seeds or repeats) != (configurations, repeats):
        yield "this is the evaluation there is, not one of that --top and --seeds: --again makes that"
