"""The entry point `hpsearch`: runs a command and turns its errors into lines and exit codes."""

import contextlib
import sys
from typing import NoReturn

import typer
from typer.exceptions import TyperException

from hpsearch import signals
from hpsearch.cli import commands, stdio
from hpsearch.cli.app import app
from hpsearch.cli.console import print_error, print_line
from hpsearch.errors import LINE_LENGTH, ExitCode, HpsearchError, UserCodeError, shorten
from hpsearch.formatting import make_printable

__all__ = ["app", "main"]

commands.register()

HELP = " (see --help)"


def main() -> NoReturn:
    """Run the command of `sys.argv` and exit with one of `ExitCode`."""
    code: int = ExitCode.DONE
    stdio.prepare()
    signals.interrupt_on_requests()
    try:
        code = app(standalone_mode=False) or ExitCode.DONE
        sys.stdout.flush()
    except typer.Exit as exit_:
        code = exit_.exit_code
    except TyperException as error:
        message = error.format_message() if hasattr(error, "format_message") else str(error)
        if message.startswith("Usage:"):  # without arguments it is the help itself
            sys.stderr.write(f"{message}\n")
        else:
            print_error(shorten(make_printable(message or "bad usage"), LINE_LENGTH - len(HELP)) + HELP)
        code = ExitCode.USAGE
    except HpsearchError as error:
        print_error(str(error))
        for line in error.traceback.splitlines() if isinstance(error, UserCodeError) else ():
            print_line(f"  {line}")
        code = error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        code = ExitCode.INTERRUPTED
    except stdio.ReaderLeftError:
        code = ExitCode.DONE
    with contextlib.suppress(stdio.ReaderLeftError, HpsearchError):  # it is the code above that counts
        sys.stdout.flush()
    sys.exit(code)


if __name__ == "__main__":
    main()
