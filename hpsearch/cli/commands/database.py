"""Looking after the database's tables."""

import typer

from hpsearch.cli.app import Storage, app
from hpsearch.cli.console import explain_wait, print_line

db = typer.Typer(help="Look after the database's tables.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(db, name="db")


@db.command("upgrade")
def upgrade(storage: Storage = None) -> None:
    """Make the tables, or upgrade those of an older hpsearch."""
    from hpsearch.storage.database import connect

    with connect(storage, prepare=False) as database:
        before = database.read_version()
        with explain_wait(f"upgrading the tables in {database.name}"):
            database.migrate()
        after = database.read_version()
    print_line(
        f"the tables in {database.name} are at version {after}"
        + (f" (before: {before or 'none'})" if before != after else "")
    )
