"""The Typer application that commands register with, and the options that several of them have."""

import re
from pathlib import Path
from typing import Annotated

import typer
from typer.core import TyperGroup

from hpsearch.cli.console import print_line
from hpsearch.version import __version__


class SortedGroup(TyperGroup):
    """Commands in alphabetical order, whatever module they come from."""

    def list_commands(self, ctx: object) -> list[str]:
        """Return the names as the help lists them."""
        return sorted(self.commands)


app = typer.Typer(
    name="hpsearch",
    cls=SortedGroup,
    help="Search the hyperparameters of Keras image classifiers, on as many GPU hosts as you have.",
    epilog="Begin with hpsearch quickstart; or with start-study, then worker on each host, then dashboard.",
    context_settings={"help_option_names": ["-h", "--help"]},
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"hpsearch {__version__}")
        raise typer.Exit


@app.callback()
def set_up(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Take the options that stand before the command."""


PASSWORD = re.compile(r"://[^/?#]*:[^/?#]+@|[?&]password=.")
"""In a URL."""


def _warn_of_password(context: typer.Context, url: str | None) -> str | None:
    """Say, once, that a password on a command line is not private."""
    if url and PASSWORD.search(url) and not context.resilient_parsing:
        print_line(
            "warning: every user of this host can read the password in --storage as long as the command runs: put the "
            "URL into a file that you alone can read, and name that in HPSEARCH_STORAGE_FILE"
        )
    return url


Storage = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        callback=_warn_of_password,
        help="Postgres to use (else HPSEARCH_STORAGE, else an embedded one on this host).",
    ),
]
StudyName = Annotated[str, typer.Argument(help="The study.")]
StudyFile = Annotated[Path | None, typer.Argument(help="The study file (none: the default study).")]
NewName = Annotated[str | None, typer.Option(help="Replaces study.name.")]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Replaces a key of the file; repeatable.")
]
NewTrials = Annotated[int | None, typer.Option(help="Replaces budget.trials.")]
GpuIndex = Annotated[int | None, typer.Option(metavar="N", help="Use this GPU.")]
Cpu = Annotated[bool, typer.Option("--cpu", help="Use the CPU.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]
