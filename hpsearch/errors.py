"""The exception tree, and the exit code each branch ends the command with.

The message of each is one line for the user: what happened, and what to do about it. The command line prints it and
exits with the class's code; any other exception is a bug and exits with 1.
"""

import traceback
from collections.abc import Sequence
from enum import IntEnum
from pathlib import Path


class ExitCode(IntEnum):
    """What `hpsearch` returns to the shell (also in docs/commands.md)."""

    DONE = 0
    BUG = 1
    USAGE = 2
    """Bad usage, study file or code of the user's own."""
    NOT_FOUND = 3
    """No such study, GPU or dataset."""
    DATABASE = 4
    """The database cannot be reached or used."""
    REFUSED = 5
    """The request contradicts what is stored, such as a study of that name with another search space."""
    INTERRUPTED = 130
    """A second Ctrl-C."""


LINE_LENGTH = 290
"""Characters of a line about an error; with `hpsearch: ` before it 300."""


def shorten(line: str, length: int = LINE_LENGTH) -> str:
    """Return a line of at most `length` characters; of a longer one the middle is left out, as the remedy ends it."""
    if len(line) <= length:
        return line
    end = length // 2
    return f"{line[: length - end - 3]} … {line[-end:]}"


class HpsearchError(Exception):
    """An error a user can cause. `str(error)` is one line without a secret in it, of at most LINE_LENGTH characters."""

    exit_code = ExitCode.BUG

    def __init__(self, message: str = "") -> None:
        super().__init__("\n".join(shorten(line) for line in message.split("\n")))


class UsageError(HpsearchError):
    """The command or the study file asks for something that makes no sense."""

    exit_code = ExitCode.USAGE


class StudyFileError(UsageError):
    """A study file with faults, one line each: `field: what is wrong, what would be right`."""

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = tuple(shorten(fault) for fault in faults)


class NotFoundError(HpsearchError):
    """A study, GPU or dataset that is not there."""

    exit_code = ExitCode.NOT_FOUND


class DatabaseError(HpsearchError):
    """The database cannot be reached, or cannot be used as it is."""

    exit_code = ExitCode.DATABASE


class UnreachableError(DatabaseError):
    """The database does not answer now; the same request may succeed later."""


class StatementError(HpsearchError):
    """The database failed at one statement and may not at the next: an I/O error, an internal one, a trigger.

    `reason` is the server's first line, without the statement and its parameters.
    """

    exit_code = ExitCode.DATABASE

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class UnreadableStudyError(DatabaseError):
    """A study, or what was made of it, that a newer hpsearch stored in a form that this one does not know."""


class UserCodeError(UsageError):
    """The user's own code cannot be imported, failed or hangs; `traceback` shows where in their files, if it is known.

    The same in every command that runs their code.
    """

    def __init__(self, message: str, traceback: str = "") -> None:
        super().__init__(message)
        self.traceback = traceback


class StoreError(UsageError):
    """The place where artifacts are stored cannot be reached or used."""


class TrackerError(UsageError):
    """A tracker that a study is mirrored to cannot be used as it is."""


class TrackerUnreachableError(TrackerError):
    """The tracker does not answer now; the same request may succeed later."""


class RefusedError(HpsearchError):
    """The request contradicts what the database holds."""

    exit_code = ExitCode.REFUSED


def is_final(error: Exception) -> bool:
    """Return whether an error ends a worker: no retry mends it, and no other study is served either."""
    passing = UnreachableError | StatementError | UnreadableStudyError
    return isinstance(error, HpsearchError) and not isinstance(error, passing)


def describe_fault(error: Exception) -> str:
    """Return a line about an exception that nobody foresaw, with where it was raised unless the cause is outside."""
    if isinstance(error, HpsearchError):
        return str(error)
    if isinstance(error, OSError):
        return first_line(error)
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return shorten(f"{type(error).__name__}: {first_line(error)}{place}")


def first_line(error: Exception) -> str:
    """Return an error's first line; of a database error the server's, without the SQL statement."""
    reason = error.reason if isinstance(error, StatementError) else getattr(error, "orig", error)
    lines = str(reason).strip().splitlines()
    return shorten(lines[0]) if lines else type(error).__name__
