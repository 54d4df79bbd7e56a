"""What the commands print: with `cli.py` and `checklist.py`, which alone import it, the only place that does.

Machine output and the tables a command was asked for go to stdout, everything else to stderr.
"""

import csv
import json
import shlex
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from hpsearch.control import Retried, Turned
    from hpsearch.export import Exported
    from hpsearch.overview import Overview, Progress, Worker
    from hpsearch.quickstart import Answer
    from hpsearch.removal import Contents
    from hpsearch.results import Summary, Trial
    from hpsearch.study import Started, Study
    from hpsearch.tally import Standing

WATCH_SECONDS = 2.0
"""Between two refreshes of `status --watch`."""

PLAIN = ("number", "state", "outcome", "value", "attempts", "worker", "seconds", "weights")
"""The columns of the CSV that every study has."""


def say(line: str) -> None:
    """A line to the user, on stderr."""
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def program() -> str:
    """How this command was called, for the next one to be called so too."""
    called = Path(sys.argv[0])
    on_path = shutil.which("hpsearch")
    if called.name != "hpsearch" or (on_path and called.resolve() == Path(on_path).resolve()):
        return "hpsearch"
    return shlex.quote(str(called))


def ask(question: str) -> bool:
    """Ask on stderr for a yes; anything else is a no."""
    sys.stderr.write(f"{question} [y/N] ")  # not by typer.confirm, which puts a space on stdout
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


def console(*, stderr: bool) -> "Console":
    """Rich's console on one of the two streams."""
    from rich.console import Console

    return Console(stderr=stderr, highlight=False)


def print_json(document: Any) -> None:
    """A JSON document on stdout."""
    json.dump(document, sys.stdout, indent=2, allow_nan=False)
    sys.stdout.write("\n")


def print_csv(document: dict[str, Any]) -> None:
    """A row a trial on stdout, of what `results --json` prints."""
    trials = document["trials"]
    params = list(dict.fromkeys(name for trial in trials for name in trial["params"]))
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow([*PLAIN, "epochs", *params])
    for trial in trials:
        cells = [trial[key] for key in PLAIN]
        writer.writerow([*cells, len(trial["epochs"]), *(trial["params"].get(name) for name in params)])


def print_table(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
    """A table on stdout."""
    print_tables([table(columns, rows)])


def print_answer(answer: "Answer") -> None:
    """The quickstart's answer on stdout: the best trial, and a bar for each hyperparameter."""
    sys.stdout.write(f"\n{answer.headline}\n")
    bars = [
        (each.name, f"{each.share:.2f}", f"{each.low:.2f} to {each.high:.2f}", "█" * round(30 * each.share))
        for each in answer.importance
    ]
    print_table(("hyperparameter", "importance", "range", ""), bars)
    sys.stdout.writelines(f"{line}\n" for line in answer.caution)
    sys.stdout.flush()


def print_tables(tables: "Iterable[Table]") -> None:
    """Tables on stdout."""
    out = console(stderr=False)
    if not out.is_terminal:
        out.width = 10_000  # a pipe has no width to fit into
    for each in tables:
        out.print(each, soft_wrap=False)


def table(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> "Table":
    """A table whose cells are shown as they are, whatever brackets are in them."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    made = Table(*columns, box=box.SIMPLE_HEAD, pad_edge=False)
    for row in rows:
        made.add_row(*(Text(cell) for cell in row))
    return made


def tell_started(started: "Started", storage: str | None) -> None:
    """What start-study did, and what to type next."""
    study = started.study
    budget = study.spec.budget
    if started.made:
        say(
            f"made study {study.name}: {budget.trials} trials of up to {budget.epochs} epochs on {study.spec.data.name}"
        )
        searched = ", ".join(study.spec.searched) or "nothing: the base model"
        say(f"  searching {searched}; metric {study.spec.study.metric}")
    else:
        say(f"study {study.name} is in the database already, with the same search; it is {_state(study)}")
        for line in started.changes or ("budget and priority are as they were",):
            say(f"  {line}")
        for line in started.kept:
            say(f"  not taken over: {line}")
    if study.artifacts is not None:
        say(f"  checkpoints and models in {study.artifacts}")
    option = " --storage URL" if storage else ""
    say("next:")
    if study.status == "paused":
        say(f"  {program()} resume {shlex.quote(study.name)}{option}    to let it go on")
    say(f"  {program()} worker{option}       on each GPU host (--gpu 0), or here")
    say(f"  {program()} dashboard{option}    to watch it")


def tell_paused(turned: "Turned") -> None:
    """That a study is paused, and what its running trials do."""
    name = turned.study.name
    if turned.before == "paused":
        say(f"{name} is {_state(turned.study, 'paused already')}")
        return
    say(f"{name} is {_state(turned.study)}")
    if turned.held:
        say(f"  {_trials(turned.held)} in workers' hands: saved and released within {_renewal()}")
    say(f"  {program()} resume {shlex.quote(name)} lets it go on")


def tell_resumed(turned: "Turned") -> None:
    """That a study goes on."""
    name = turned.study.name
    if turned.before == "running":
        say(f"{name} is running already")
    elif turned.study.status == "finished":
        reason = f": {turned.study.reason}" if turned.study.reason else ""
        say(
            f"{name} has nothing left to do, it is finished{reason}; hpsearch start-study with more --trials extends it"
        )
    else:
        say(f"{name} was {turned.before} and is running again")


def tell_stopped(turned: "Turned") -> None:
    """That a study is stopped, and what becomes of its running trials."""
    name = turned.study.name
    if turned.before == "finished":
        say(f"{name} is finished: nothing of it runs")
        return
    say(f"{name} is stopped" + (" already" if turned.before == "stopped" else ""))
    if turned.ended:
        say(f"  {_trials(turned.ended)} in nobody's hands: ended as pruned")
    if turned.held:
        say(f"  {_trials(turned.held)} in workers' hands: ended as pruned within {_renewal()}")
    if turned.before != "stopped":
        say(f"  {program()} resume {shlex.quote(name)} lets it go on with what is left of its budget")


def tell_retried(retried: "Retried") -> None:
    """Which trials were enqueued."""
    study = retried.study
    if not retried.trials:
        say(f"{study.name} has no failed trial that was not tried again already (--trial N tries one once more)")
        return
    for new, old in retried.trials:
        say(f"trial {new} repeats trial {old}")
    say(f"{study.name} has {_trials(study.spec.budget.trials)} now; it is {_state(study)}")
    if study.status in {"paused", "stopped"}:
        say(f"  {program()} resume {shlex.quote(study.name)} lets it go on")


def deletion(contents: "Contents") -> str:
    """The question before a study is deleted."""
    running = f", {contents.running} of them running," if contents.running else ""
    files = _count(contents.files, "file")
    return f"delete {contents.study.name} with its {_trials(contents.trials)}{running} and {files}?"


def _state(study: "Study", shown: str | None = None) -> str:
    return (shown or study.status) + (f": {study.reason}" if study.reason else "")


def _trials(count: int) -> str:
    return _count(count, "trial")


def _count(count: int, noun: str) -> str:
    return f"{count} {noun}" + ("" if count == 1 else "s")


def _renewal() -> str:
    from hpsearch.lease import RENEW_SECONDS

    return f"{RENEW_SECONDS:g} s"


def print_results(summary: "Summary", trials: "list[Trial]") -> None:
    """Every trial of a study in a table, and below it why those that failed did."""
    from hpsearch.label import shown

    spec = summary.study.spec
    what = f"{spec.study.metric} on the test images" if spec.evaluation else f"the best epoch's {spec.study.metric}"
    say(f"{summary.study.name} is {summary.status}; values are {what}")
    rows = [
        (
            str(each.number),
            each.outcome or each.state,
            f"{each.value:.4f}" if each.value is not None else "",
            str(len(each.epochs)),
            f"{each.seconds:.1f}" if each.seconds is not None else "",
            shown(each.params) + (f" (repeats trial {each.retry_of})" if each.retry_of is not None else ""),
        )
        for each in trials
    ]
    print_table(("trial", "outcome", "value", "epochs", "seconds", "parameters"), rows)
    for each in trials:
        if each.state == "failed":
            sys.stdout.writelines(f"{line}\n" for line in _failure(each))


def _failure(trial: "Trial") -> Iterator[str]:
    yield f"trial {trial.number} failed: {trial.detail or trial.outcome or 'it was ended by another program'}"
    if len(trial.history) > 1:
        for each in trial.history:
            epochs = _count(each.epochs, "epoch")
            why = each.why or "still open"
            yield f"  attempt {each.number} on {each.host}, {each.device}: {why} after {epochs}, {each.seconds:.1f} s"


def tell_asked(standing: "Standing", made: bool) -> None:
    """What an evaluation trains, or that it is the one there was."""
    asked = standing.evaluation
    if not made or asked.study is None:
        return
    budget, configurations = asked.study.spec.budget, len(asked.configurations)
    say(
        f"made study {asked.study.name}: {_count(configurations, 'configuration')} × {_count(budget.repeats, 'seed')}, "
        f"{_count(budget.epochs, 'epoch')} each, on training and validation images together"
    )


def print_evaluation(standing: "Standing", storage: str | None) -> None:
    """The result of an evaluation on stdout; while there is none, how far it is and what to type next."""
    from hpsearch import scoreboard

    asked = standing.evaluation
    if asked.result is None:
        _tell_untested(standing, storage)
        return
    for board in scoreboard.boards(standing):
        sys.stdout.write(f"{board.title}\n")
        print_table(board.columns, board.rows)
        sys.stdout.flush()
    for line in scoreboard.remarks(standing):
        say(line)


def _tell_untested(standing: "Standing", storage: str | None) -> None:
    asked, summary = standing.evaluation, standing.summary
    assert asked.study is not None
    assert summary is not None
    counts, name, option = summary.counts, shlex.quote(asked.study.name), " --storage URL" if storage else ""
    ended = sum(counts[state] for state in ("complete", "pruned", "failed"))
    say(f"{asked.study.name} is {_state(summary.study)}: {ended} of {_trials(asked.study.spec.budget.trials)} ended")
    say("next:")
    if summary.status in {"paused", "stopped"}:
        say(f"  {program()} resume {name}{option}    to let it go on")
    say(f"  {program()} worker --drain --study {name}{option}    on each GPU host (--gpu 0), or here")
    say(f"  {program()} evaluate {shlex.quote(asked.evaluated.name)}{option}    to see the result")


def tell_exported(exported: "Exported") -> None:
    """What was written where."""
    say(f"{_count(exported.models, 'model')} of {exported.study.name} and a README.md are in {exported.directory}")
    if not exported.tested:
        say("  their accuracies are on validation images; hpsearch evaluate measures them on test images")


def tell_report(page: Path) -> None:
    """Where a report is."""
    say(f"the report is {page}, for a browser; beside it is the same as Markdown")


def print_overview(overview: "Overview") -> None:
    """The studies and the workers, in a table each."""
    if not overview.studies:
        say("no study yet: hpsearch start-study makes the first one")
    print_tables(_tables(overview))


def watch(read: "Callable[[], Overview]") -> NoReturn:
    """Show what `read` returns again and again: in place on a terminal, a block below the other into a pipe."""
    from rich.console import Group
    from rich.live import Live

    out = console(stderr=False)
    if not out.is_terminal:
        for overview in _every_so_often(read):
            sys.stdout.write(f"{overview.now:%Y-%m-%d %H:%M:%S} UTC\n")
            print_overview(overview)
            sys.stdout.flush()
    with Live(console=out, auto_refresh=False) as live:
        for overview in _every_so_often(read):
            live.update(Group(*_tables(overview)), refresh=True)
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


def _tables(overview: "Overview") -> "list[Table]":
    studies = [_study_row(each, overview.now) for each in overview.studies]
    workers = [_worker_row(each) for each in overview.workers]
    made = []
    if studies:
        made.append(table(("study", "status", "trials", "of them", "trials/h", "ends in", "best", "with"), studies))
    if workers:
        made.append(table(("worker", "host", "device", "trial", "epoch", "last seen"), workers))
    return made


def _study_row(progress: "Progress", now: datetime) -> tuple[str, ...]:
    from hpsearch.label import shown

    summary, end = progress.summary, progress.estimated_end
    study, best = summary.study, summary.best
    return (
        study.name,
        summary.status + (f": {study.reason}" if study.reason else ""),
        f"{sum(summary.counts.values())}/{study.spec.budget.trials}",
        ", ".join(f"{count} {state}" for state, count in summary.counts.items() if count),
        f"{progress.trials_per_hour:.1f}" if progress.trials_per_hour is not None else "",
        span((end - now).total_seconds()) if end else "",
        f"{best['value']:.4f}" if best else "",
        f"trial {best['number']}: {shown(best['params'])}" if best else "",
    )


def _worker_row(worker: "Worker") -> tuple[str, ...]:
    trial = f"{worker.study} {worker.trial}" if worker.trial is not None else ""
    if worker.gone:
        trial = f"gone, with {trial}" if trial else "gone"
    return (
        worker.worker,
        worker.host,
        worker.device,
        trial or "waiting",
        f"{worker.epoch}/{worker.epochs}" if worker.trial is not None else "",
        f"{span(worker.seen_seconds_ago)} ago",
    )


def span(seconds: float) -> str:
    """`45 s`, `12 min`, `3 h 05 min`, `2 d 4 h`."""
    minutes = round(seconds / 60)
    if seconds < 100:
        return f"{max(0, seconds):.0f} s"
    if minutes < 100:
        return f"{minutes} min"
    hours = round(minutes / 60)
    return f"{minutes // 60} h {minutes % 60:02} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"
