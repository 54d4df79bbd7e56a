"""Start and stop a server: the first process that needs it starts it, the last one stops it."""

import fcntl
import os
import re
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import psutil
import psycopg2

from hpsearch.errors import DatabaseError, first_line
from hpsearch.storage.embedded.cluster import DATABASE, NAME, PORT, SOCKET, Cluster, find_binaries, find_cluster
from hpsearch.storage.embedded.connection import CONNECT_ARGUMENTS
from hpsearch.storage.embedded.locks import is_free, locked, open_own, share, take

_PATIENCE = 600.0  # seconds; recovery after a crash replays up to max_wal_size, maybe from a slow disk
_ELSEWHERE = 30.0  # seconds; what a killed server's children may take to notice and end
_CONNECT = 10.0  # seconds that one look at it may take
_SILENCE = 30.0  # seconds; a server that starts or recovers says that, and one that says nothing is stuck
_POLL = 0.01  # seconds
_FULL = re.compile("too many clients|connection slots are reserved")
_PASSING = re.compile(
    "the database system is|not yet accepting|could not fork|terminating connection|"
    "closed the connection|could not (receive|send)|server didn't return|"
    "Connection re|Broken pipe|No such file|temporarily unavailable|Interrupted|Cannot allocate"
)
"""Reasons not to connect that end by themselves: the server starts, ends, or is about to be found gone."""

_SETTINGS = {
    "listen_addresses": "",
    "port": str(PORT),
    "max_connections": "200",
    "shared_buffers": "128MB",
}


@dataclass(frozen=True)
class Server:
    """A running server, used by this process until `stop` or the end of a `with` block."""

    url: str
    cluster: Cluster = field(repr=False)
    users: FileIO = field(repr=False)

    def stop(self, patience: float = _PATIENCE) -> None:
        """Leave the server; the last user shuts it down and waits for that. A second call does nothing.

        What waits gives up after `patience` seconds; a server that was told to shut down does it nonetheless.

        Raises:
            DatabaseError: it does not shut down.
        """
        if self.users.closed:
            return
        directory = self.cluster.directory
        with _one_line(directory), self.users, locked(directory / "start.lock", patience):
            if take(self.users):
                _shut_down(self.cluster, patience)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def start(directory: Path, settings: Mapping[str, str] | None = None, patience: float = _PATIENCE) -> Server:
    """Return the server of `directory`: the running one, else it is started, and created before that on first use.

    Args:
        directory: where the server keeps its data; made if it is not there.
        settings: Postgres settings for a server that is started now, such as `{"fsync": "off"}` in a test.
        patience: after how many seconds it is given up, though what was started goes on starting.

    Raises:
        DatabaseError: the directory cannot be used, or Postgres does not start in it.
    """
    with _one_line(directory):
        directory.mkdir(parents=True, exist_ok=True)
        directory = directory.resolve()
        with locked(directory / "start.lock", patience):
            users = share(directory / "users.lock")
            try:
                cluster = find_cluster(directory)
                sockets = _serve(cluster, settings or {}, patience)
            except BaseException:
                users.close()
                raise
    url = f"postgresql://postgres@/{DATABASE}?host={quote(str(sockets))}&port={PORT}"
    return Server(url, cluster, users)


@dataclass(frozen=True)
class _Postmaster:
    """The content of postmaster.pid; if left from a server that is gone, its pid may be another program's."""

    pid: int
    sockets: Path
    ready: bool

    @classmethod
    def read(cls, cluster: Cluster) -> Self | None:
        try:
            lines = os.fsdecode((cluster.data / "postmaster.pid").read_bytes()).splitlines()
            return cls(int(lines[0]), Path(lines[4]), len(lines) > 7 and lines[7].strip() == "ready")
        except (FileNotFoundError, IndexError, ValueError):  # none, or half written
            return None

    def is_alive(self, cluster: Cluster) -> bool:
        try:
            command = psutil.Process(self.pid).cmdline()
        except (psutil.Error, ValueError):
            return False
        return bool(command) and Path(command[0]).name == "postgres" and str(cluster.data) in command

    def answers(self, patience: float) -> bool:
        """Return whether it takes connections.

        Raises:
            TimeoutError: it has been silent for `patience` seconds, of which libpq makes at least 2.
        """
        if not self.ready:
            return False
        place: dict[str, Any] = {"host": str(self.sockets), "port": PORT, "user": "postgres", "dbname": "postgres"}
        try:
            # asked too, as one that has just been killed still says that it is ready
            psycopg2.connect(**place, connect_timeout=max(2, int(patience)), **CONNECT_ARGUMENTS).close()
        except psycopg2.OperationalError as error:
            if _FULL.search(str(error)):
                return True
            if "timeout expired" in str(error):
                raise TimeoutError from None
            if not _PASSING.search(str(error)):
                raise DatabaseError(
                    f"the embedded Postgres takes no connection ({first_line(error)}): "
                    "mend that, or name a server with --storage"
                ) from None
            return False
        return True


def _living(cluster: Cluster) -> _Postmaster | None:
    postmaster = _Postmaster.read(cluster)
    return postmaster if postmaster and postmaster.is_alive(cluster) else None


def _serve(cluster: Cluster, settings: Mapping[str, str], patience: float) -> Path:
    """Start the server unless it runs, wait until it takes connections, and return its socket's directory."""
    began, log_began = time.monotonic(), None
    while True:
        postmaster = _living(cluster)
        try:
            if postmaster and postmaster.answers(min(patience, _CONNECT)):
                return postmaster.sockets
        except TimeoutError:
            if time.monotonic() - began > _SILENCE:
                raise DatabaseError(
                    f"the embedded Postgres in {cluster.directory} runs and does not answer: its disk hangs, or "
                    "somebody has stopped its process; see that it goes on, or name a server with --storage"
                ) from None
        if not postmaster and is_free(cluster.lock):
            if log_began is not None:
                raise DatabaseError(_why_it_died(cluster.log, log_began))
            log_began = _launch(cluster, settings)
        waited = time.monotonic() - began
        if waited > _ELSEWHERE and not postmaster and log_began is None:
            # its lock is held and it is not here: a shared file system, or one volume in two containers
            raise DatabaseError(
                f"the embedded Postgres in {cluster.directory} runs on another host or in another container, "
                "and serves only that one: stop it there, or name a server with --storage"
            )
        if waited > patience:
            raise DatabaseError(f"the embedded Postgres takes no connections after {waited:.0f} s: see {cluster.log}")
        time.sleep(_POLL)


def _launch(cluster: Cluster, settings: Mapping[str, str]) -> int:
    """Start postgres, detached from this process and its terminal, and return where its log begins, in bytes."""
    binaries = find_binaries(cluster.account)
    with open_own(cluster.lock) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not cluster.data.exists():
            cluster.make(binaries, lock)
        if not (cluster.directory / NAME).exists():
            (cluster.directory / NAME).symlink_to(cluster.data)
        sockets = cluster.sockets()
        # nothing of a server is left, so the pid in its files is dead, a zombie or another program's: postgres,
        # which only asks whether there is such a process, would refuse to start for it
        for stale in (cluster.data / "postmaster.pid", sockets / SOCKET, sockets / f"{SOCKET}.lock"):
            stale.unlink(missing_ok=True)
        return _run_postgres(cluster, binaries, lock, _options(sockets, settings))


def _options(sockets: Path, settings: Mapping[str, str]) -> list[str]:
    quoted = str(sockets).replace('"', '""')
    everything = {**_SETTINGS, "unix_socket_directories": f'"{quoted}"', **settings}
    return [part for name, value in everything.items() for part in ("-c", f"{name}={value}")]


def _run_postgres(cluster: Cluster, binaries: Path, lock: FileIO, options: list[str]) -> int:
    if cluster.log.exists() and cluster.log.stat().st_size > 1_000_000:
        cluster.log.rename(cluster.log.with_suffix(".log.1"))
    # the shell between makes postgres nobody's child: it outlives this process and is never its zombie
    command = ["/bin/sh", "-c", '"$0" "$@" &', str(binaries / "postgres"), "-D", str(cluster.data), *options]
    with open_own(cluster.log) as log:
        log_began = os.fstat(log.fileno()).st_size
        cluster.account.run(command, stdout=log, stderr=log, pass_fds=[lock.fileno()])
    return log_began


def _shut_down(cluster: Cluster, patience: float) -> None:
    postmaster = _living(cluster)
    if postmaster:
        os.kill(postmaster.pid, signal.SIGINT)
    deadline = time.monotonic() + patience
    while _living(cluster) or not is_free(cluster.lock):
        if time.monotonic() > deadline:
            raise DatabaseError(f"the embedded Postgres in {cluster.directory} does not stop: see {cluster.log}")
        time.sleep(_POLL)
    if postmaster:
        with suppress(OSError):  # leave nothing in a tmp that others share, not even an empty directory
            postmaster.sockets.rmdir()


def _why_it_died(log: Path, began: int) -> str:
    lines = log.read_bytes()[began:].decode(errors="replace").splitlines() or ["it wrote nothing"]
    fatal = [line[line.index("FATAL:") :] for line in lines if "FATAL:" in line]
    return (
        f"the embedded Postgres does not start: {(fatal or lines)[-1]} (more in {log}): "
        "mend that, or name a server with --storage"
    )


@contextmanager
def _one_line(directory: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DatabaseError(
            f"the embedded Postgres cannot use {error.filename or directory} ({error.strerror}): "
            "make it writable, or name a server with --storage"
        ) from None
