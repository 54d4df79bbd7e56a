"""The studies and the workers on a terminal, once or again and again."""

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, NoReturn

from hpsearch.cli.console import make_console, print_line, print_tables
from hpsearch.cli.tables import FittedTable
from hpsearch.formatting import format_duration, format_params
from hpsearch.outcomes import FOREIGN

if TYPE_CHECKING:
    from hpsearch.storage.status import Overview, StudySpeed, WorkerStatus

WATCH_SECONDS = 2.0
"""Between two refreshes of `status --watch`."""


def print_overview(overview: "Overview") -> None:
    """Print the studies, their best trials and the workers, in a table each."""
    if not overview.studies and not overview.unreadable:
        print_line("no study yet: hpsearch start-study makes the first one")
    print_tables(make_tables(overview))


def watch(read: "Callable[[], Overview]") -> NoReturn:
    """Show what `read` returns again and again: in place on a terminal, a block below the other into a pipe."""
    from rich.console import Group
    from rich.live import Live

    out = make_console(stderr=False)
    if not out.is_terminal:
        for overview in _poll(read):
            sys.stdout.write(f"{overview.now:%Y-%m-%d %H:%M:%S} UTC\n")
            print_overview(overview)
            sys.stdout.flush()
    with Live(console=out, auto_refresh=False) as live:
        for overview in _poll(read):
            live.update(Group(*make_tables(overview)), refresh=True)
    raise AssertionError("unreachable")


def _poll(read: "Callable[[], Overview]") -> "Iterator[Overview]":
    """Yield what `read` returns, for ever; while the database is unreachable a line says so."""
    from hpsearch.errors import UnreachableError

    while True:
        try:
            yield read()
        except UnreachableError as error:
            print_line(f"{error}; waiting for it")
        time.sleep(WATCH_SECONDS)


def make_tables(overview: "Overview") -> list[FittedTable]:
    """Build the tables of the studies, of the best trial of each, and of the workers."""
    studies = [_study_row(study, overview.now) for study in overview.studies]
    studies += [(study.name, f"{study.status}, {study.obstacle}", *[""] * 5) for study in overview.unreadable]
    best = [_best_row(study) for study in overview.studies if study.summary.best]
    workers = [_worker_row(worker) for worker in overview.workers]
    tables = []
    if studies:
        tables.append(FittedTable(("study", "status", "trials", "of them", "trials/h", "ends in", "best"), studies))
    if best:
        tables.append(FittedTable(("study", "best trial", "with"), best))
    if workers:
        columns: tuple[str, ...] = ("worker", "host", "device", "job", "trial", "epoch", "last seen")
        if not any(worker.job for worker in overview.workers):
            columns, workers = columns[:3] + columns[4:], [row[:3] + row[4:] for row in workers]
        tables.append(FittedTable(columns, workers))
    return tables


def _study_row(speed: "StudySpeed", now: datetime) -> tuple[str, ...]:
    summary, end = speed.summary, speed.estimated_end
    study, best = summary.study, summary.best
    return (
        study.name,
        summary.status + (f": {study.reason}" if study.reason else ""),
        f"{sum(summary.counts.values())}/{study.spec.budget.trials}",
        summary.describe_counts(),
        f"{speed.trials_per_hour:.1f}" if speed.trials_per_hour is not None else "",
        format_duration((end - now).total_seconds()) if end else "",
        f"{best['value']:.4f}{_mark(best)}" if best else "",
    )


def _best_row(speed: "StudySpeed") -> tuple[str, ...]:
    study, best = speed.summary.study, speed.summary.best
    assert best is not None
    return study.name, f"{best['number']}{_mark(best)}", format_params(best["params"])


def _mark(best: Mapping[str, Any]) -> str:
    """Return the mark of a best trial that nobody trained here."""
    return f" ({FOREIGN})" if best["is_foreign"] else ""


def _format_epochs(worker: "WorkerStatus") -> str:
    if worker.trial is None:
        return ""
    return f"{worker.epoch}/{worker.epochs}" if worker.epochs is not None else f"{worker.epoch}"


def _worker_row(worker: "WorkerStatus") -> tuple[str, ...]:
    trial = f"{worker.study} {worker.trial}" if worker.trial is not None else ""
    if worker.gone:
        trial = f"gone, with {trial}" if trial else "gone"
    return (
        worker.worker,
        worker.host,
        worker.device,
        worker.job or "",
        trial or "waiting",
        _format_epochs(worker),
        f"{format_duration(worker.seen_seconds_ago)} ago",
    )
