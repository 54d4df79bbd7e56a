"""The commands, in modules by what they act on.

A command is a function with `@app.command()` in any module here: every module is imported, so no list names it. The
first sentence of its docstring is its line in `hpsearch --help`, which has room for 61 characters. What it needs beyond
the command line is imported inside it, so that `--help` answers at once.
"""

import importlib
import pkgutil


def register() -> None:
    """Import every module of this package, which registers its commands with `app`."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
