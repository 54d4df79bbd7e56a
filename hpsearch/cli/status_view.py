"""The studies and the workers on a terminal, once or again and again."""

import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING, NoReturn

from hpsearch.cli.console import make_console, make_table, print_tables, say
from hpsearch.formatting import format_duration, format_params

if TYPE_CHECKING:
    from rich.table import Table

    from hpsearch.storage.status import Overview, StudySpeed, WorkerStatus

WATCH_SECONDS = 2.0
"""Between two refreshes of `status --watch`."""


def print_overview(overview: "Overview") -> None:
    """The studies and the workers, in a table each."""
    if not overview.studies:
        say("no study yet: hpsearch start-study makes the first one")
    print_tables(make_tables(overview))


def watch(read: "Callable[[], Overview]") -> NoReturn:
    """Show what `read` returns again and again: in place on a terminal, a block below the other into a pipe."""
    from rich.console import Group
    from rich.live import Live

    out = make_console(stderr=False)
    if not out.is_terminal:
        for overview in _every_so_often(read):
            sys.stdout.write(f"{overview.now:%Y-%m-%d %H:%M:%S} UTC\n")
            print_overview(overview)
            sys.stdout.flush()
    with Live(console=out, auto_refresh=False) as live:
        for overview in _every_so_often(read):
            live.update(Group(*make_tables(overview)), refresh=True)
    raise AssertionError("unreachable")


def _every_so_often(read: "Callable[[], Overview]") -> "Iterator[Overview]":
    """What `read` returns, for ever; while the database is away a line says so."""
    from hpsearch.errors import UnreachableError

    while True:
        try:
            yield read()
        except UnreachableError as error:
            say(f"{error}; waiting for it")
        time.sleep(WATCH_SECONDS)


def make_tables(overview: "Overview") -> "list[Table]":
    """The studies, the best trial of each, and the workers."""
    studies = [_study_row(each, overview.now) for each in overview.studies]
    best = [_best_row(each) for each in overview.studies if each.summary.best]
    workers = [_worker_row(each) for each in overview.workers]
    made = []
    if studies:
        made.append(make_table(("study", "status", "trials", "of them", "trials/h", "ends in", "best"), studies))
    if best:
        made.append(make_table(("study", "best trial", "with"), best))
    if workers:
        made.append(make_table(("worker", "host", "device", "trial", "epoch", "last seen"), workers))
    return made


def _study_row(progress: "StudySpeed", now: datetime) -> tuple[str, ...]:
    summary, end = progress.summary, progress.estimated_end
    study, best = summary.study, summary.best
    return (
        study.name,
        summary.status + (f": {study.reason}" if study.reason else ""),
        f"{sum(summary.counts.values())}/{study.spec.budget.trials}",
        ", ".join(f"{count} {state}" for state, count in summary.counts.items() if count),
        f"{progress.trials_per_hour:.1f}" if progress.trials_per_hour is not None else "",
        format_duration((end - now).total_seconds()) if end else "",
        f"{best['value']:.4f}" if best else "",
    )


def _best_row(progress: "StudySpeed") -> tuple[str, ...]:
    study, best = progress.summary.study, progress.summary.best
    assert best is not None
    return study.name, str(best["number"]), format_params(best["params"])


def _worker_row(worker: "WorkerStatus") -> tuple[str, ...]:
    trial = f"{worker.study} {worker.trial}" if worker.trial is not None else ""
    if worker.gone:
        trial = f"gone, with {trial}" if trial else "gone"
    return (
        worker.worker,
        worker.host,
        worker.device,
        trial or "waiting",
        f"{worker.epoch}/{worker.epochs}" if worker.trial is not None else "",
        f"{format_duration(worker.seen_seconds_ago)} ago",
    )
