"""The search benchmark's table, in Markdown."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from statistics import median

from search_results import Measure, Run, Span, measure, share_at_chance, time_to
from search_sides import TITLES, VARIANTS, Task


def table(task: Task, sides: Mapping[str, Sequence[Run]], by: float | None) -> str:
    """Format a row for each side that has runs; empty where plain Optuna, which sets the targets, has none.

    `by` is after how many CPU seconds the sides are compared; None: what Optuna's median run took.
    """
    optuna = sides.get("optuna", ())
    measured = measure(optuna)
    if measured is None:
        return "no complete run of optuna, which sets the targets"
    measured = measured if by is None else replace(measured, cpu=by)
    low, high = (f"{100 * target:.1f}%" for target in measured.targets)
    head: tuple[str, ...] = ("side", "n", f"CPU-s to {low}", "of Optuna's", f"CPU-s to {high}", "of Optuna's")
    head += (f"best by {measured.cpu:.0f} CPU-s", "trials", "epochs", "at chance")
    first = [time_to(target, optuna) for target in measured.targets]
    rows = [_row(task, measured, first, side, sides[side]) for side in TITLES if sides.get(side)]
    lines = [head, ("---",) + ("---:",) * (len(head) - 1), *rows]
    return "\n".join(["\n".join(f"| {' | '.join(line)} |" for line in lines), "", *_notes(measured, sides)])


def _row(task: Task, measured: Measure, first: Sequence[Span], side: str, runs: Sequence[Run]) -> tuple[str, ...]:
    spans = [time_to(target, runs) for target in measured.targets]
    reached = [
        cell for span, reference in zip(spans, first, strict=True) for cell in (_time(span), _ratio(span, reference))
    ]
    epochs = [run.until(measured.cpu) for run in runs]
    best = _spread([100 * run.best(measured.cpu) for run in runs], "{:.1f}")
    short = side != "optuna" and any(run.cpu < 0.98 * measured.cpu for run in runs)
    counts = [_spread([len({epoch.trial for epoch in each}) for each in epochs], "{:.0f}")]
    counts += [_spread([len(each) for each in epochs], "{:.0f}")]
    chance = f"{100 * median(share_at_chance(task, each) for each in epochs):.0f}%"
    return (TITLES[side], str(len(runs)), *reached, ("≥ " if short else "") + best, *counts, chance)


def _spread(values: Sequence[float], form: str) -> str:
    low, middle, high = (form.format(pick(values)) for pick in _PICKS)
    return middle if len(values) == 1 else f"{middle} ({low}–{high})"


_PICKS: tuple[Callable[[Sequence[float]], float], ...] = (min, median, max)


def _time(span: Span) -> str:
    if span.low == span.high:
        middle = f"{span.low:.0f}"
    else:
        middle = f"> {span.low:.0f}" if math.isinf(span.high) else f"{span.low:.0f} to {span.high:.0f}"
    if span.least == span.most:
        return middle
    never = f", {span.censored} never" if span.censored else ""
    return f"{middle} ({span.least:.0f}–{span.most:.0f}{never})"


def _ratio(span: Span, reference: Span) -> str:
    """The quotient of two medians, each of which may be known only to be larger than a figure."""
    exact, known = span.low == span.high, reference.low == reference.high
    if known:
        return f"{'' if exact else '> '}{span.low / reference.low:.2f}"
    return f"< {span.high / reference.low:.2f}" if math.isfinite(span.high) else "?"


def _notes(measured: Measure, sides: Mapping[str, Sequence[Run]]) -> list[str]:
    """How to read it, and what the runs were made with."""
    notes = [
        "Median over seeds (range). CPU-s: user and system seconds of the whole process tree, imports and database",
        "included. Targets: the median of the best values that Optuna's runs found, and the best of them.",
        f"Trials, epochs and those at chance are of the first {measured.cpu:.0f} CPU-s.",
        "",
    ]
    notes += sorted({f"machine: {run.origin.machine}" for runs in sides.values() for run in runs})
    return notes + [line for side, runs in sides.items() if runs for line in _origin(side, runs)]


def _origin(side: str, runs: Sequence[Run]) -> list[str]:
    """What the runs of a side were made with; more than one line of a kind says that they should be made again."""
    origins = [run.origin for run in runs]
    commits = ", ".join(sorted({origin.commit for origin in origins}))
    lines = [f"{side}: seeds {', '.join(str(origin.seed) for origin in origins)}; commit {commits}"]
    lines += sorted({f"  {_list_versions(origin.versions)}" for origin in origins})
    if side in VARIANTS:
        lines += sorted({f"  {json.dumps(origin.configuration, sort_keys=True)}" for origin in origins})
    return lines


def _list_versions(versions: Mapping[str, str]) -> str:
    return ", ".join(f"{package} {version}" for package, version in sorted(versions.items()))
