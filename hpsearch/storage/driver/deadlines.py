"""A limit on every call to a server that is connected and silent.

A stalled pooler, a stopped postmaster or a hung disk keeps a connection open and answers nothing. The server's own
timeouts cannot help there, TCP's end only what is not acknowledged, and psycopg2 waits in C, where no exception reaches
it. So a thread of each process looks at the calls under way and shuts the socket of an overdue one down, which ends it
as a broken connection does. (psycopg2's wait callback would be simpler, but it refuses COPY.)
"""

import contextlib
import io
import os
import socket
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from queue import Empty, SimpleQueue
from typing import IO, Any

import psycopg2
from psycopg2.extensions import connection, cursor

CALL_SECONDS = 75.0
"""How long a call may be silent: more than the server's own timeout of a statement, whose error says more."""

LOOK_SECONDS = 0.25
"""Between two looks at the calls under way."""

_allowance = threading.local()


@contextmanager
def allow(seconds: float) -> Iterator[None]:
    """Let the calls of this thread be silent for `seconds`, more or less than their database's limit, in the block."""
    before = getattr(_allowance, "seconds", None)
    _allowance.seconds = seconds
    try:
        yield
    finally:
        _allowance.seconds = before


class CallLimits:
    """How long the calls on one database may be silent: `seconds`, and less once the process was told to leave."""

    def __init__(self, seconds: float = CALL_SECONDS) -> None:
        self.seconds = seconds
        self._leave = 0.0
        self._hurried_at: float | None = None
        self._failing_since: float | None = None

    def hurry(self, leave: float) -> None:
        """Give up on a database that does not answer for `leave` seconds from now on, and on a call after half of that.

        A call that succeeds begins the time anew: a training that is slow to end costs none of it.
        """
        if self._hurried_at is None:
            self._leave, self._hurried_at = leave, time.monotonic()

    @property
    def left(self) -> float | None:
        """For how many seconds more the database is waited for, 0 where it was given up; None before `hurry`."""
        if self._hurried_at is None:
            return None
        if self._failing_since is None:
            return self._leave
        return max(0.0, max(self._failing_since, self._hurried_at) + self._leave - time.monotonic())

    @property
    def is_failing(self) -> bool:
        """Whether the last call was not answered."""
        return self._failing_since is not None

    def record(self, began: float, *, answered: bool) -> None:
        """Record whether a call that began at a time of the monotonic clock was answered."""
        if answered:
            self._failing_since = None
        elif self._failing_since is None:
            self._failing_since = began

    def choose_seconds(self) -> float:
        """Return how long a call of this thread may be silent, `hurry` apart."""
        seconds: float | None = getattr(_allowance, "seconds", None)
        return self.seconds if seconds is None else seconds

    def is_overdue(self, heard_at: float, seconds: float) -> bool:
        """Return whether a call that may be silent for `seconds`, and was last heard of at `heard_at`, is given up."""
        now = time.monotonic()
        if self._hurried_at is not None:
            silent = now - max(heard_at, self._hurried_at)
            if silent > self._leave / 2 or self.left == 0:
                return True
        return now - heard_at > seconds

    def connect(self, factory: type["BoundedConnection"], dsn: str) -> "BoundedConnection":
        """Connect, as psycopg2's `connection_factory`, in a thread that is left to itself where that takes too long.

        libpq's own `connect_timeout` is for each host, and not for the look-up of its name.
        """
        outcome: SimpleQueue[BoundedConnection | BaseException] = SimpleQueue()
        threading.Thread(target=self._connect, args=(factory, dsn, outcome), name="connect", daemon=True).start()
        began, seconds = time.monotonic(), self.choose_seconds()
        while True:
            try:
                result = outcome.get(timeout=LOOK_SECONDS)
                break
            except Empty:
                if self.is_overdue(began, seconds):
                    # A connection that comes after all is closed with the queue, its only holder.
                    raise psycopg2.OperationalError(_describe(began)) from None
        if isinstance(result, BaseException):
            raise result
        return result

    def _connect(
        self, factory: type["BoundedConnection"], dsn: str, outcome: "SimpleQueue[BoundedConnection | BaseException]"
    ) -> None:
        try:
            outcome.put(factory(dsn, self))
        except BaseException as error:  # noqa: BLE001 - raised again by who waits
            outcome.put(error)


class BoundedCursor(cursor):
    """A cursor whose calls have a limit."""

    connection: "BoundedConnection"

    def execute(self, query: Any, vars: Any = None) -> None:
        """Execute a statement."""
        with self.connection.bound():
            super().execute(query, vars)

    def executemany(self, query: Any, vars_list: Any) -> None:
        """Execute a statement for each of some parameters."""
        with self.connection.bound():
            super().executemany(query, vars_list)

    def copy_expert(self, sql: Any, file: Any, size: int = 8192) -> None:
        """Copy from a file; each piece that the server takes is a sign of life."""
        with self.connection.bound():
            super().copy_expert(sql, _HeardFile(file, self.connection), size)


class BoundedConnection(connection):
    """A connection whose calls have the limits of its database."""

    def __init__(self, dsn: str, limits: CallLimits | None = None) -> None:
        super().__init__(dsn)
        self.cursor_factory = BoundedCursor
        self._limits = limits or CallLimits()
        self._heard_at: float | None = None
        self._seconds = 0.0
        self._cut = False
        # A descriptor of our own: libpq's may be another file's by the time that the socket is shut down.
        self._socket = socket.socket(fileno=os.dup(self.fileno()))
        self._release = weakref.finalize(self, self._socket.close)
        _watchdog.add(self)

    @contextmanager
    def bound(self) -> Iterator[None]:
        """Bound the call in the block."""
        began = time.monotonic()
        self._seconds = self._limits.choose_seconds()
        self._heard_at = began
        try:
            yield
        except psycopg2.Error:
            if self._cut:
                raise psycopg2.OperationalError(_describe(self._heard_at)) from None
            raise
        finally:
            self._heard_at = None

    def note_life(self) -> None:
        """Note that the call under way gets on."""
        self._heard_at = time.monotonic()

    def end_overdue(self) -> None:
        """Break the connection where a call on it is overdue."""
        heard_at = self._heard_at
        if heard_at is not None and self._limits.is_overdue(heard_at, self._seconds):
            self._cut = True
            with contextlib.suppress(OSError):  # closed, or broken already
                self._socket.shutdown(socket.SHUT_RDWR)

    def commit(self) -> None:
        """Commit."""
        with self.bound():
            super().commit()

    def rollback(self) -> None:
        """Roll back."""
        with self.bound():
            super().rollback()

    def close(self) -> None:
        """Close the connection."""
        self._release()
        super().close()


class _HeardFile(io.RawIOBase):
    """A file that is read on behalf of a call."""

    def __init__(self, file: IO[bytes], caller: BoundedConnection) -> None:
        self._file, self._caller = file, caller

    def read(self, size: int = -1, /) -> bytes:
        self._caller.note_life()
        return self._file.read(size)


class _Watchdog:
    """The thread that ends overdue calls, started with the first connection of a process."""

    def __init__(self) -> None:
        self._connections: weakref.WeakSet[BoundedConnection] = weakref.WeakSet()
        self._lock = threading.Lock()
        self._started = False

    def add(self, new: BoundedConnection) -> None:
        with self._lock:
            self._connections.add(new)
            if not self._started:
                threading.Thread(target=self._watch, name="deadlines", daemon=True).start()
                self._started = True

    def _watch(self) -> None:
        while True:
            time.sleep(LOOK_SECONDS)
            self._end_overdue()

    def _end_overdue(self) -> None:
        with self._lock:
            connections = list(self._connections)
        for each in connections:
            each.end_overdue()


_watchdog = _Watchdog()


def _describe(since: float) -> str:
    return f"it has been silent for {time.monotonic() - since:.0f} s"
