"""The exception tree, and the exit code each branch ends the command with.

The message of each is one line for the user: what happened, and what to do about it. The command line prints it and
exits with the class's code; any other exception is a bug and exits with 1.
"""

from collections.abc import Sequence
from enum import IntEnum


class ExitCode(IntEnum):
    """What `hpsearch` returns to the shell (also in docs/commands.md)."""

    DONE = 0
    BUG = 1
    USAGE = 2
    """Bad usage or study file."""
    NOT_FOUND = 3
    """No such study, GPU or dataset."""
    DATABASE = 4
    """The database cannot be reached or used."""
    REFUSED = 5
    """The request contradicts what is stored, such as a study of that name with another search space."""
    INTERRUPTED = 130
    """A second Ctrl-C."""


class HpsearchError(Exception):
    """An error a user can cause. `str(error)` is one line without a secret in it."""

    exit_code = ExitCode.BUG


class UsageError(HpsearchError):
    """The command or the study file asks for something that makes no sense."""

    exit_code = ExitCode.USAGE


class StudyFileError(UsageError):
    """A study file with faults, one line each: `field: what is wrong, what would be right`."""

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = tuple(faults)


class NotFoundError(HpsearchError):
    """A study, GPU or dataset that is not there."""

    exit_code = ExitCode.NOT_FOUND


class DatabaseError(HpsearchError):
    """The database cannot be reached, or cannot be used as it is."""

    exit_code = ExitCode.DATABASE


class UnreachableError(DatabaseError):
    """The database does not answer now; the same request may succeed later."""


class StoreError(UsageError):
    """The place where artifacts are stored cannot be reached or used."""


class RefusedError(HpsearchError):
    """The request contradicts what the database holds."""

    exit_code = ExitCode.REFUSED


def first_line(error: Exception) -> str:
    """Return an error's first line; of a database error the driver's, without the SQL statement."""
    lines = str(getattr(error, "orig", error)).strip().splitlines()
    return lines[0] if lines else type(error).__name__
