"""What commands print is printable, and no figure is cut on a narrow terminal."""

import io
import re
import sys
import threading
from collections.abc import Callable

import pytest
from rich.console import Console
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from hpsearch.cli import console, status_view, tables
from hpsearch.cli.main import app
from hpsearch.cli.tables import FittedTable
from hpsearch.cli.training_progress import LiveProgress
from hpsearch.errors import LINE_LENGTH, ExitCode, HpsearchError
from hpsearch.outcomes import TrialOutcome
from hpsearch.storage import attempts, status
from hpsearch.storage.attempts import Attempt
from hpsearch.storage.database import Database
from hpsearch.storage.studies import Study
from hpsearch.storage.workers import WorkerIdentity
from tests.support.commands import hpsearch
from tests.support.small_study import claim, metrics

Begin = Callable[..., Attempt]
Started = Callable[..., Study]

CODES = "\x1b[2J\x1b]0;title\x07\x9b31m\x08\u202e"
"""Clear the screen, name the window, colours, a backspace, and letters from right to left."""

UNTOUCHED = {"spec", "fingerprint", "status", "distribution_json", "key", "value_json", "version_num", "worker_id"}
"""Columns that tell hpsearch what a row is; with other values there it is none of ours."""

WIDTHS = [40, 60, 80, 100, 200]


@pytest.fixture
def ended(database: Database, started: Started, begin: Begin) -> Study:
    """A study with a trial of each ending, and one that runs."""
    study = started(study={"name": "small"}, pruner={"name": "none"})
    for value, outcome in ((0.8433, TrialOutcome.COMPLETED), (0.4071, TrialOutcome.ERROR)):
        attempt = begin(study, value)
        database.transact(lambda c: attempts.finish(c, attempt, outcome, {"detail": f"why{CODES}"}))
    begin(study, 0.5)
    return study


def poison(connection: Connection) -> list[str]:
    """Put a terminal's codes into every column of text that takes them; return these columns."""
    columns = connection.execute(
        text(
            "select table_schema, table_name, column_name from information_schema.columns "
            "where table_schema in ('public', 'hpsearch') and data_type in ('text', 'character varying')"
        )
    ).all()
    poisoned = []
    for schema, table, column in columns:
        if column in UNTOUCHED:
            continue
        try:
            with connection.begin_nested():
                connection.execute(text(f"update {schema}.{table} set {column} = {column} || :codes"), {"codes": CODES})
            poisoned.append(f"{table}.{column}")
        except DBAPIError:  # a column of few words
            continue
    return poisoned


def test_nothing_that_is_stored_reaches_the_terminal_as_a_code(
    database: Database, storage: str, ended: Study, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every command that lists prints text, whatever another program wrote into whichever column."""
    poisoned = database.transact(poison)
    assert {"workers.host", "workers.device", "attempts.host", "studies.reason", "studies.study_name"} <= set(poisoned)
    name = f"small{CODES}"
    for command in (
        ["status"],
        ["status", "--json"],
        *([command, "small"] for command in ("results", "answer")),
        *([command, name] for command in ("results", "answer", "pause", "delete")),
        ["results", "small", "--csv"],
        ["logs", "small", "0"],
    ):
        try:
            app([*command, "--storage", storage], standalone_mode=False)
        except HpsearchError as error:
            console.print_error(str(error))
        printed = capsys.readouterr()
        for line in (printed.out + printed.err).splitlines():
            assert line.replace("\t", "").isprintable(), (command, line)


def test_cells_and_lines_are_printable(capsys: pytest.CaptureFixture[str]) -> None:
    """What is printed in whichever way is shown as it is stored, and does nothing."""
    shown = "\\x1b[2J"
    console.print_table(["a\x1b[2J"], [["b\x1b[2J"]])
    console.print_list(["a\x1b[2J"], [["b\x1b[2J\nc"]])
    console.print_line("line\x1b[2J\rx")
    console.print_answer_line("line\x1b[2J\nx")
    console.print_error("error\x1b[2J")
    printed = capsys.readouterr()
    assert "\x1b" not in printed.out + printed.err
    assert printed.out.count(shown) == 5
    assert printed.err == f"line{shown}\\rx\nhpsearch: error{shown}\n"


def test_messages_are_short_lines_and_few(capsys: pytest.CaptureFixture[str]) -> None:
    """Of a long line the beginning and the end stay, of many lines the first ones."""
    console.print_error(str(HpsearchError(f"x: {'1, ' * 100_000} is too long: drop some")))
    (line,) = capsys.readouterr().err.splitlines()
    assert len(line) == LINE_LENGTH + len("hpsearch: ")
    assert line.endswith("is too long: drop some")
    console.print_error("\n".join(f"fault {number}" for number in range(1_000)))
    lines = capsys.readouterr().err.splitlines()
    assert (len(lines), lines[-1]) == (console.LARGEST_MESSAGE, "hpsearch: and 961 more")


def test_what_takes_long_says_so(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal a line comes when the time is over, and none of what was done by then."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setattr(console, "PATIENCE_SECONDS", 0.0)
    seen = ""
    with console.explain_wait("deleting it"):
        while not seen:
            seen = capsys.readouterr().err
    assert seen == "deleting it\n"
    monkeypatch.setattr(console, "PATIENCE_SECONDS", 60.0)
    with console.explain_wait("deleting it"):
        pass
    assert capsys.readouterr().err == ""


def test_what_a_program_reads_does_not_depend_on_how_long_it_takes(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a pipe there is no such line."""
    monkeypatch.setattr(console, "PATIENCE_SECONDS", 0.0)
    threads = threading.active_count()
    with console.explain_wait("deleting it"):
        assert threading.active_count() == threads
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("width", WIDTHS)
def test_status_and_results_cut_no_figure(
    database: Database, ended: Study, width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On a terminal of any width a value, a count, a status and a host are whole."""
    overview = database.transact(status.read)
    out = Console(file=io.StringIO(), width=width, highlight=False)
    for table in status_view.make_tables(overview):
        out.print(table)
    assert isinstance(out.file, io.StringIO)
    printed = out.file.getvalue()
    assert all(len(line.rstrip()) <= width for line in printed.splitlines())
    words = re.split(r"[\s,;]+", printed)
    assert {"0.8433", "3/4", "running", "1/3", "host-w", "CPU", "ago"} <= set(words)
    assert "…" not in printed

    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    rows = [["17", "completed", "0.8433", "30", "1234.5", "learning_rate 0.00123, optimizer adam, batch_norm on"]]
    console.print_list(("trial", "outcome", "value", "epochs", "seconds", "parameters"), rows)
    listed = capsys.readouterr().out
    assert {"17", "completed", "0.8433", "30", "1234.5"} <= set(listed.split())
    if width > tables.UNWRAPPED_WIDTH + 50:
        assert all(len(line) <= width for line in listed.splitlines())


@pytest.mark.parametrize("width", WIDTHS)
def test_live_line_cuts_no_figure(
    database: Database, started: Started, holder: Callable[[str], WorkerIdentity], width: int
) -> None:
    """The parameters give way, the epoch and the value are whole."""
    attempt = claim(database, started(study={"name": "small"}), holder("w"))
    assert attempt is not None
    out = Console(file=io.StringIO(), width=width, force_terminal=True)
    shown = LiveProgress(out)
    params = {"learning_rate": 0.00123, "optimizer": "adam\x1b[2J", "batch_norm": True, "activation": "leaky_relu"}
    shown.start_trial(attempt, params)
    shown.show_epoch(attempt, metrics(2, 0.8433))
    plain = Console(file=io.StringIO(), width=width)
    plain.print(shown._bars.get_renderable())
    assert isinstance(plain.file, io.StringIO)
    (line,) = plain.file.getvalue().splitlines()
    assert len(line) <= width
    assert {"0.8433", "2/3"} <= set(line.split())
    assert "\x1b" not in line


def test_closest_names_come_first(database: Database, started: Started, storage: str) -> None:
    """Of many studies a handful is named, the one that was probably meant first."""
    for number in range(12):
        started(study={"name": f"study {number}"})
    started(study={"name": "cifar-baseline"})
    ended = hpsearch("results", "cifar-basline", "--storage", storage)
    assert ended.returncode == ExitCode.NOT_FOUND
    assert ended.stderr == (
        "hpsearch: there is no study cifar-basline: there are cifar-baseline, study 0, study 1, study 2, study 3 "
        "and 8 more\n"
    )


def test_table_keeps_its_columns_where_they_fit() -> None:
    """A table is a table as long as only sentences have to be wrapped."""
    out = Console(file=io.StringIO(), width=60)
    out.print(FittedTable(["study", "best"], [["a study", "0.8433"], ["x " * 60, "0.1"]]))
    assert isinstance(out.file, io.StringIO)
    assert "─" in out.file.getvalue()
