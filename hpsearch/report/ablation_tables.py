"""An ablation's result as tables and sentences of plain text, for the report and the terminal."""

from collections.abc import Iterator, Mapping

from hpsearch.analysis.ablations.table import RACED_SEEDS, AblationLevel, AblationTable
from hpsearch.evaluation.ablation import AblationResult
from hpsearch.evaluation.ablation_sentences import describe_difference, format_level, format_mean, name_step
from hpsearch.formatting import format_count, format_params, join_words
from hpsearch.outcomes import TrialState
from hpsearch.report.evaluation_tables import CaptionedTable
from hpsearch.report.mixed_precision import describe_mixed_precision
from hpsearch.spec.rows import Value


def make_tables(result: AblationResult) -> Iterator[CaptionedTable]:
    """Make the tables of a result: the levels, and the path where there is one."""
    spec, table = result.ablation.ablated.spec, result.table
    metric, best = spec.study.metric, table.mean
    yield CaptionedTable(
        f"around trial {table.trial}'s configuration ({format_params(table.params)})",
        ("level", "seeds", metric, f"against trial {table.trial}", "", "s/epoch"),
        (
            (
                f"trial {table.trial}",
                str(table.seeds),
                format_mean(best, table.at_chance, metric),
                "",
                "",
                _format_seconds(table.seconds),
            ),
            *(_make_row(level, table, metric) for level in table.levels),
        ),
    )
    if table.path:
        yield CaptionedTable(
            f"from the base configuration to trial {table.trial}, one change at a time",
            ("change", "seeds", metric, "against the line above"),
            tuple(
                (
                    name_step(step),
                    str(step.seeds),
                    format_mean(step.mean, step.at_chance, metric),
                    describe_difference(step.difference, table.direction, metric) if step.difference else "",
                )
                for step in table.path
            ),
        )


def list_remarks(result: AblationResult) -> Iterator[str]:
    """Return what was found, then what is to be known beside the tables, a line each."""
    table = result.table
    yield from result.summarize()
    yield "in brackets 95% intervals, which hold for all levels (or steps) at once; all values are of validation images"
    counts = [
        (f"trial {table.trial}", table.at_chance, table.seeds),
        *((format_level(level), level.at_chance, level.seeds) for level in table.levels),
        *((name_step(step), step.at_chance, step.seeds) for step in table.path),
    ]
    unlearned = {name: f"{name} ({at_chance} of {seeds})" for name, at_chance, seeds in counts if at_chance}
    if unlearned:
        names = join_words(list(unlearned.values()))
        yield (
            f"no better than guessing, and counted as the best that one guesses: {names}; differences from that are at "
            "least so large"
        )
    if mixed := describe_mixed_precision(result.precisions):
        yield mixed
    if any(level.seeds == RACED_SEEDS < result.ablation.design.seeds for level in table.levels):
        yield f"a level that is worse beyond doubt after {RACED_SEEDS} seeds is not trained again"
    if not result.ablation.is_over:
        yield "it was stopped: these are the trials until then"
    if failed := result.ablation.summary.counts[TrialState.FAILED]:
        yield f"without {format_count(failed, 'trial')} that failed: hpsearch retry tries them again"


def _make_row(level: AblationLevel, table: AblationTable, metric: str) -> tuple[str, ...]:
    difference = level.difference
    return (
        format_level(level) + _format_brought(level.name, level.params, table.params),
        str(level.seeds),
        format_mean(level.mean, level.at_chance, metric),
        describe_difference(difference, table.direction, metric) if difference else "",
        level.verdict or "too few trainings",
        _format_seconds(level.seconds),
    )


def _format_brought(name: str, params: Mapping[str, Value], others: Mapping[str, Value]) -> str:
    """Return what a choice is searched with that the best has not, in brackets."""
    brought = {each: value for each, value in params.items() if each != name and each not in others}
    return f" ({format_params(brought)})" if brought else ""


def _format_seconds(seconds: float | None) -> str:
    return f"{seconds:.3g}" if seconds is not None else ""
