"""Worker processes as a test sees them, and what it waits for: always an event, with a deadline."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import psutil

from hpsearch.storage import embedded

T = TypeVar("T")

LAUNCHER = Path(__file__).with_name("worker_launcher.py")

DEADLINE = 1200.0
"""Seconds in which what a test waits for happens on however busy a machine."""

TEST_TIMEOUT = 3 * DEADLINE
"""pytest's own limit for a test that waits, so that it fails at the deadline, which says what did not happen."""

QUICK_TIMING = {"lease": 8.0, "renewal": 0.7, "poll": 0.2, "checkpoint": 0.0}
"""A lease that expires in seconds, workers that look for work often, and a checkpoint after every epoch."""

ONE_THREAD = {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1", "OMP_NUM_THREADS": "1"}
"""Several trainers on few cores, with tiny models, only get in each other's way with more."""

QUICK_SERVER = {"fsync": "off", "full_page_writes": "off"}
"""What is committed outlives the server's processes, though not a power cut."""


def until(look: Callable[[], T], what: str) -> T:
    """What `look` returns as soon as that is true; the test fails where it is not by the deadline."""
    end = time.monotonic() + DEADLINE
    while not (found := look()):
        assert time.monotonic() < end, f"in {DEADLINE:g} s it did not come to this: {what}"
        time.sleep(0.02)
    return found


def gone(pid: int) -> bool:
    """Whether a process has ended, a zombie included."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


class Worker:
    """`hpsearch worker --cpu --drain` in a process and a process group of its own."""

    def __init__(
        self,
        storage: str,
        log: Path,
        *options: str,
        drain: bool = True,
        environment: dict[str, str] | None = None,
        **settings: Any,
    ) -> None:
        self.log = log
        drained = ["--drain"] if drain else []
        with log.open("w") as file:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, str(LAUNCHER), json.dumps(settings)),
                    *("worker", "--cpu", *drained, *options, "--storage", storage),
                ],
                env={**os.environ, **ONE_THREAD, **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                process_group=0,
            )
        self._trainers: set[int] = set()

    @property
    def pid(self) -> int:
        """The supervisor's."""
        return self.process.pid

    @property
    def said(self) -> str:
        """Everything it has printed."""
        return self.log.read_text()

    def hears(self, words: str) -> str:
        """Wait for it to print this."""
        return until(
            lambda: self.said if words in self.said else "", f"a worker prints {words!r}; it printed\n{self.said}"
        )

    def trainers(self) -> list[int]:
        """The process ids of its trainers."""
        try:
            children = psutil.Process(self.pid).children()
        except psutil.NoSuchProcess:
            return sorted(self._trainers)
        found = []
        for child in children:
            with suppress(psutil.Error):
                if "hpsearch.training.process" in child.cmdline() and child.status() != psutil.STATUS_ZOMBIE:
                    found.append(child.pid)
        self._trainers |= set(found)
        return found

    def trainer(self) -> int:
        """The process id of its one trainer, as soon as it has one."""
        return until(self.trainers, "a worker has a trainer")[0]

    def send(self, number: signal.Signals) -> None:
        """Signal the supervisor."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def freeze(self) -> None:
        """Stop supervisor and trainers, as a suspended machine does."""
        for pid in (self.pid, *self.trainers()):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let them go on."""
        for pid in (*self.trainers(), self.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def frozen(self) -> bool:
        """Whether the supervisor is stopped."""
        with suppress(psutil.NoSuchProcess):
            return psutil.Process(self.pid).status() == psutil.STATUS_STOPPED
        return False

    def join(self) -> int:
        """Its exit code, once it has left."""
        try:
            return self.process.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"a worker has not left in {DEADLINE:g} s; it printed\n{self.said}") from None

    def end(self) -> None:
        """Kill whatever is left of it."""
        for pid in {self.pid, *self.trainers(), *self._trainers}:
            with suppress(ProcessLookupError):
                if pid == self.pid or not gone(pid):
                    os.kill(pid, signal.SIGKILL)
        self.process.wait()


class Crew:
    """The workers of a test on one database."""

    def __init__(self, storage: str, directory: Path) -> None:
        self.storage, self.directory = storage, directory
        self.workers: list[Worker] = []

    def start(self, *options: str, **settings: Any) -> Worker:
        """One more worker; what it prints is kept in a file."""
        log = self.directory / f"worker-{len(self.workers)}.log"
        made = Worker(self.storage, log, *options, **settings)
        self.workers.append(made)
        return made


class Server:
    """A Postgres of the test's own, which it may take away from the workers."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._running = embedded.start(directory, QUICK_SERVER)
        self.url = self._running.url

    def stop(self) -> None:
        """Shut it down in order, connections and all, as an upgrade does."""
        self._running.stop()

    def start(self) -> None:
        """Bring it back, where it was."""
        self._running = embedded.start(self.directory, QUICK_SERVER)

    def crash(self) -> None:
        """Kill it outright, and bring it back: it recovers from its log."""
        before = self._running
        postmaster = int((before.cluster.data / "postmaster.pid").read_text().split()[0])
        os.kill(postmaster, signal.SIGKILL)
        until(lambda: gone(postmaster), "a killed server is gone")
        self.start()
        before.stop()

    @contextmanager
    def away(self) -> Iterator[None]:
        """It is down during the block."""
        self.stop()
        try:
            yield
        finally:
            self.start()


@contextmanager
def crew(storage: str, directory: Path, *, quiet: bool = False) -> Iterator[Crew]:
    """Workers that are gone after the block; unless quiet, what they printed is printed for whoever reads a failure."""
    hired = Crew(storage, directory)
    try:
        yield hired
    finally:
        for number, worker in enumerate(hired.workers):
            code = worker.process.poll()
            worker.end()
            if quiet:
                continue
            print(f"--- worker {number} ({'killed' if code is None else code})\n{worker.said}")
