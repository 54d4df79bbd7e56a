"""The entry point `hpsearch`: runs a command and turns its errors into lines and exit codes."""

import contextlib
import sys
from typing import NoReturn

import typer
from typer.exceptions import TyperException

from hpsearch import signals
from hpsearch.cli import commands, stdio
from hpsearch.cli.app import app
from hpsearch.cli.console import print_line
from hpsearch.errors import ExitCode, HpsearchError, UserCodeError

__all__ = ["app", "main"]

commands.register()


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
        # Without arguments it is the help itself.
        print_line(message if message.startswith("Usage:") else f"hpsearch: {message or 'bad usage'} (see --help)")
        code = ExitCode.USAGE
    except HpsearchError as error:
        for line in str(error).splitlines():
            print_line(f"hpsearch: {line}" if not line.startswith(" ") else line)
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
