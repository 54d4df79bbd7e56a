"""What the commands print: with the other modules of `hpsearch.cli`, the only place that does.

Machine output and the tables a command was asked for go to stdout, everything else to stderr.
"""

import csv
import json
import shlex
import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpsearch.formatting import format_count, format_params

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from hpsearch.cli.quickstart import QuickstartAnswer
    from hpsearch.storage.results import Summary, Trial

PLAIN = ("number", "state", "outcome", "value", "attempts", "worker", "seconds", "weights")
"""The columns of the CSV that every study has."""

WHOLE = 20
"""Characters of a cell that is not broken into lines where the terminal is narrow: a figure, a date, a host."""


def say(line: str) -> None:
    """A line to the user, on stderr."""
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def name_program() -> str:
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


def make_console(*, stderr: bool) -> "Console":
    """Rich's console on one of the two streams."""
    from rich.console import Console

    return Console(stderr=stderr, highlight=False)


def print_json(document: Any) -> None:
    """A JSON document on stdout."""
    sys.stdout.write(json.dumps(document, indent=2, allow_nan=False) + "\n")


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
    print_tables([make_table(columns, rows)])


def print_list(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table on stdout that may be thousands of rows long; on a terminal its last column is wrapped.

    It looks as `print_table` makes one, for which Rich takes half a second a thousand rows.
    """
    lines = [columns, *rows]
    widths = [max(len(line[place]) for line in lines) for place in range(len(columns) - 1)]
    indent = sum(widths) + 3 * len(widths)
    room = shutil.get_terminal_size().columns - indent if sys.stdout.isatty() else 10_000
    last = min(max(len(line[-1]) for line in lines), max(20, room))

    def shown(line: Sequence[str]) -> Iterator[str]:
        cells = "".join(f"{cell:<{width}}   " for cell, width in zip(line, widths, strict=False))
        first, *others = textwrap.wrap(line[-1], last) or [""]
        yield (cells + first).rstrip()
        yield from (" " * indent + other for other in others)

    printed = [*shown(columns), "─" * (indent + last), *(text for row in rows for text in shown(row))]
    sys.stdout.write("\n" + "\n".join(printed) + "\n\n")


def print_answer(answer: "QuickstartAnswer") -> None:
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
    out = make_console(stderr=False)
    if not out.is_terminal:
        out.width = 10_000  # a pipe has no width to fit into
    for each in tables:
        out.print(each, soft_wrap=False)


def make_table(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> "Table":
    """A table whose cells are shown as they are, whatever brackets are in them."""
    from rich import box
    from rich.table import Column, Table
    from rich.text import Text

    cells = [tuple(row) for row in rows]
    headed = [
        Column(name, no_wrap=all(len(row[place]) <= WHOLE for row in cells), overflow="fold")
        for place, name in enumerate(columns)
    ]
    made = Table(*headed, box=box.SIMPLE_HEAD, pad_edge=False)
    for row in cells:
        made.add_row(*(Text(cell) for cell in row))
    return made


def print_results(summary: "Summary", trials: "list[Trial]") -> None:
    """Every trial of a study in a table, and below it why those that failed did."""
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
            format_params(each.params) + (f" (repeats trial {each.retry_of})" if each.retry_of is not None else ""),
        )
        for each in trials
    ]
    print_list(("trial", "outcome", "value", "epochs", "seconds", "parameters"), rows)
    for each in trials:
        if each.state == "failed":
            sys.stdout.writelines(f"{line}\n" for line in _failure(each))


def _failure(trial: "Trial") -> Iterator[str]:
    yield f"trial {trial.number} failed: {trial.detail or trial.outcome or 'it was ended by another program'}"
    if len(trial.history) > 1:
        for each in trial.history:
            epochs = format_count(each.epochs, "epoch")
            why = each.why or "still open"
            yield f"  attempt {each.number} on {each.host}, {each.device}: {why} after {epochs}, {each.seconds:.1f} s"
