"""What surrounds a command's work: its database and its progress display.

The imports are inside, as a command's are, so that `hpsearch --help` answers at once.
"""

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from hpsearch.cli import console

if TYPE_CHECKING:
    from hpsearch.cli.training_progress import PlainProgress
    from hpsearch.storage.database import Database
    from hpsearch.storage.studies import Study


@contextlib.contextmanager
def open_database(storage: str | None, application: str = "hpsearch") -> Iterator["Database"]:
    """Connect to the database that the options and the environment name, and leave it at the end."""
    from hpsearch.storage.database import connect

    with connect(storage, application) as database:
        yield database


@contextlib.contextmanager
def open_display() -> Iterator["PlainProgress"]:
    """Show the progress of trials on stderr: live on a terminal, a line an event elsewhere."""
    from hpsearch.cli.training_progress import LiveProgress, PlainProgress

    terminal = console.make_console(stderr=True)
    if not terminal.is_terminal:
        yield PlainProgress(terminal)
        return
    with LiveProgress(terminal) as live:
        yield live


@contextlib.contextmanager
def open_search_display(database: "Database", study: "Study") -> Iterator["PlainProgress"]:
    """Show on stderr how far a study is: a live bar on a terminal, a line a trial elsewhere."""
    from hpsearch.cli.search_progress import LiveSearchProgress, PlainSearchProgress, SearchEstimate
    from hpsearch.storage import studies

    def count_ended() -> int:
        row = database.execute(lambda connection: studies.count_trials(connection, study.study_id))
        return int(row.total - row.running - row.waiting)

    estimate, terminal = SearchEstimate(study, count_ended), console.make_console(stderr=True)
    if not terminal.is_terminal:
        yield PlainSearchProgress(terminal, estimate)
        return
    with LiveSearchProgress(terminal, estimate, study.name) as live:
        yield live


def print_place(command: str, database: "Database", device: str) -> None:
    """Print where a command trains, and into which database."""
    from hpsearch.storage.database import EmbeddedDatabase

    console.print_line(f"hpsearch {command} on {device}, database {database.name}")
    if isinstance(database, EmbeddedDatabase):
        console.print_line(
            "  it serves this host only: for several, give --storage postgresql://user:password@host/database"
        )
