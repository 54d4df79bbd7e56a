"""Writing to the terminal; only modules of `hpsearch.cli` print.

Machine output and the tables a command was asked for go to stdout, everything else to stderr.
"""

import contextlib
import csv
import json
import shlex
import shutil
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpsearch.cli import tables
from hpsearch.cli.tables import FittedTable
from hpsearch.errors import shorten
from hpsearch.formatting import format_count, format_params, make_printable
from hpsearch.outcomes import FOREIGN, TrialState

if TYPE_CHECKING:
    from rich.console import Console

    from hpsearch.storage.results import Summary, Trial

TRIAL_COLUMNS = ("number", "state", "outcome", "value", "is_foreign", "attempts", "worker", "seconds", "weights")
"""The columns of the CSV that every study has."""

LARGEST_MESSAGE = 40
"""Lines about what went wrong, or some thousand faults of a study file would push the first ones off the screen."""

PATIENCE_SECONDS = 2.0
"""After which a command says what it is doing."""


def print_line(line: str) -> None:
    """Print a line to the user, on stderr."""
    sys.stderr.write(make_printable(line) + "\n")
    sys.stderr.flush()


def print_error(message: str) -> None:
    """Print what went wrong, on stderr: a line for each of its lines, of at most 300 characters, and not too many."""
    lines = [shorten(line) for line in message.splitlines()]
    if len(lines) > LARGEST_MESSAGE:
        lines[LARGEST_MESSAGE - 1 :] = [f"and {len(lines) - LARGEST_MESSAGE + 1:,} more"]
    for line in lines:
        print_line(line if line.startswith(" ") else f"hpsearch: {line}")


def print_answer_line(line: str) -> None:
    """Print a line of what a command was asked for, on stdout."""
    sys.stdout.write(make_printable(line) + "\n")
    sys.stdout.flush()  # in a log of both streams it keeps its place


@contextlib.contextmanager
def explain_wait(line: str) -> Iterator[None]:
    """Print `line`, what the block does, on a terminal where it takes longer than one waits without asking oneself.

    What a program reads does not depend on how busy the host is.
    """
    if not sys.stderr.isatty():
        yield
        return
    timer = threading.Timer(PATIENCE_SECONDS, print_line, [line])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def name_program() -> str:
    """Return how this command was called, for the next one to be called so too."""
    called = Path(sys.argv[0])
    on_path = shutil.which("hpsearch")
    if called.name != "hpsearch" or (on_path and called.resolve() == Path(on_path).resolve()):
        return "hpsearch"
    return shlex.quote(str(called))


def confirm(question: str) -> bool:
    """Ask on stderr for a yes; anything else is a no."""
    sys.stderr.write(f"{make_printable(question)} [y/N] ")  # not by typer.confirm, which puts a space on stdout
    sys.stderr.flush()
    try:
        return sys.stdin.readline().strip().lower() in {"y", "yes"}
    except OSError:  # of a terminal that is gone
        return False


def make_console(*, stderr: bool) -> "Console":
    """Return Rich's console on stderr or stdout."""
    from rich.console import Console

    return Console(stderr=stderr, highlight=False)


def print_json(document: Any) -> None:
    """Print a JSON document on stdout."""
    text = json.dumps(document, indent=2, allow_nan=False)
    sys.stdout.write(text.replace("\x7f", "\\u007f") + "\n")


def print_script(text: str) -> None:
    """Print a script on stdout, as it is."""
    sys.stdout.write(text)


def print_csv(document: dict[str, Any]) -> None:
    """Print what `results --json` prints as CSV on stdout, a row a trial."""
    trials = document["trials"]
    params = list(dict.fromkeys(name for trial in trials for name in trial["params"]))
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow([*TRIAL_COLUMNS, "epochs", *map(make_printable, params)])
    for trial in trials:
        cells = [trial[key] for key in TRIAL_COLUMNS]
        row = [*cells, len(trial["epochs"]), *(trial["params"].get(name) for name in params)]
        writer.writerow([make_printable(cell) if isinstance(cell, str) else cell for cell in row])


def print_table(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
    """Print a table on stdout."""
    print_tables([FittedTable(columns, rows)])


def print_list(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table on stdout that may have thousands of rows."""
    sys.stdout.write("\n" + "\n".join(tables.list_rows(columns, rows)) + "\n\n")


def print_tables(printed: "Iterable[FittedTable]") -> None:
    """Print tables on stdout."""
    out = make_console(stderr=False)
    if not out.is_terminal:
        out.width = tables.UNBOUNDED  # a pipe has no width to fit into
    for table in printed:
        out.print(table, soft_wrap=False)


def print_results(summary: "Summary", trials: "list[Trial]") -> None:
    """Print every trial of a study in a table on stdout, and below it why those that failed did."""
    spec = summary.study.spec
    values = f"{spec.study.metric} on the test images" if spec.evaluation else f"the best epoch's {spec.study.metric}"
    print_line(f"{summary.study.name} is {summary.status}; values are {values}")
    rows = [
        (
            str(trial.number),
            (trial.outcome or trial.state) + (f", {FOREIGN}" if trial.is_foreign else ""),
            f"{trial.value:.4f}" if trial.value is not None else "",
            str(len(trial.epochs)),
            f"{trial.seconds:.1f}" if trial.seconds is not None else "",
            format_params(trial.params) + (f" (repeats trial {trial.retry_of})" if trial.retry_of is not None else ""),
        )
        for trial in trials
    ]
    print_list(("trial", "outcome", "value", "epochs", "seconds", "parameters"), rows)
    for trial in trials:
        if trial.state == TrialState.FAILED:
            for line in _describe_failure(trial):
                print_answer_line(line)


def _describe_failure(trial: "Trial") -> Iterator[str]:
    yield f"trial {trial.number} failed: {trial.detail or trial.outcome or 'it was ended by another program'}"
    if len(trial.history) > 1:
        for attempt in trial.history:
            epochs, end = format_count(attempt.epochs, "epoch"), attempt.why or "still open"
            place = ", ".join(filter(None, (attempt.host, attempt.device, attempt.job)))
            yield (f"  attempt {attempt.number} on {place}: {end} after {epochs}, {attempt.seconds:.1f} s")
