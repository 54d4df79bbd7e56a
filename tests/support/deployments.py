"""Holds command lines and variables of files that start hpsearch to what it takes."""

import ast
from pathlib import Path

import typer

from hpsearch import settings
from hpsearch.cli.main import app


def parse(arguments: list[str]) -> str:
    """Parse a command line as `hpsearch` itself does, without running it; return the command's name."""
    program, name, *options = arguments
    group = typer.main.get_command(app)
    with group.make_context(program, [name, *options], resilient_parsing=True) as context:
        command = group.get_command(context, name)  # type: ignore[attr-defined]
    assert command is not None, f"hpsearch has no command {name!r}"
    command.make_context(name, list(options), parent=context)
    return name


def list_variables_read() -> set[str]:
    """Return every name that settings.py hands to `read`, which also looks for it with _FILE."""
    tree = ast.parse(Path(settings.__file__).read_text())
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    reads = [call for call in calls if isinstance(call.func, ast.Name) and call.func.id == "read"]
    return {str(call.args[0].value) for call in reads if isinstance(call.args[0], ast.Constant)}
