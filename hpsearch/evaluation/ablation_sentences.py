"""An ablation's result in sentences, for the terminal, the report and the dashboard."""

from collections.abc import Iterator

from hpsearch.analysis.ablations.seed_noise import Interval
from hpsearch.analysis.ablations.table import AblationLevel, AblationTable, PathStep, Verdict
from hpsearch.formatting import (
    format_count,
    format_difference,
    format_gain,
    format_metric,
    format_params,
    format_value,
    join_words,
)
from hpsearch.metrics import METRICS, Direction


def summarize(table: AblationTable, metric: str) -> Iterator[str]:
    """Yield what was found, a sentence each: whether another configuration is better, the levels, and the path."""
    better = table.better
    if better is not None and better.difference is not None:
        difference = describe_difference(better.difference, table.direction, metric)
        yield f"{format_level(better)} is {difference} than trial {table.trial}, with {format_params(better.params)}"
    counts = [(verdict, [level for level in table.levels if level.verdict is verdict]) for verdict in Verdict]
    told = [f"{format_count(len(levels), 'level')} {verdict}" for verdict, levels in counts if levels]
    if told:
        yield f"around trial {table.trial}, one change at a time: {join_words(told)}"
    open_levels = [format_level(level) for level in table.levels if level.verdict is Verdict.OPEN]
    if open_levels:
        yield f"not distinguishable from trial {table.trial}: {join_words(open_levels)}"
    if path := describe_path(table, metric):
        yield path


def describe_path(table: AblationTable, metric: str) -> str:
    """Say what each change on the path brings: `batch_norm on +9.1, optimizer adam +4.0 ...`; empty without a path."""
    steps = [(step, step.difference) for step in table.path[1:] if step.difference]
    if not steps or table.path[0].mean is None:
        return ""
    gains = [
        f"{name_step(step)} {format_gain(difference.amount, metric)}"
        + ("" if difference.is_settled else " (not settled)")
        for step, difference in steps
    ]
    start = format_mean(table.path[0].mean, table.path[0].at_chance, metric)
    return f"from the base configuration's {start}: {', '.join(gains)}"


def format_mean(mean: float | None, at_chance: int, metric: str) -> str:
    """Return `71.2%`; where trainings learned nothing, which count as the best that one guesses, `at most 15.2%`."""
    if mean is None:
        return ""
    bound = "at most" if METRICS[metric].direction is Direction.MAXIMIZE else "at least"
    return f"{f'{bound} ' if at_chance else ''}{format_metric(mean, None, metric)}"


def describe_difference(difference: Interval, direction: Direction, metric: str) -> str:
    """Return `2.1 points worse (0.4 to 3.8)`."""
    if direction is Direction.MINIMIZE:
        return format_difference(difference.amount, difference.low, difference.high, metric)
    return format_difference(-difference.amount, -difference.high, -difference.low, metric)


def format_level(level: AblationLevel) -> str:
    """Return `optimizer adam`."""
    return f"{level.name} {format_value(level.value)}"


def name_step(step: PathStep) -> str:
    """Return `optimizer adam`; for the first one, what the base is."""
    if step.name is None:
        return f"the base ({format_params(step.params)})"
    return f"{step.name} {format_value(step.value)}"
