"""Worker processes as a test sees them, and what it waits for: always an event, with a deadline."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
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


def wait_until(look: Callable[[], T], what: str) -> T:
    """Return what `look` does as soon as that is true; fail where it is not by the deadline."""
    end = time.monotonic() + DEADLINE
    while not (result := look()):
        assert time.monotonic() < end, f"in {DEADLINE:g} s it did not come to this: {what}"
        time.sleep(0.02)
    return result


def is_gone(pid: int) -> bool:
    """Return whether a process has ended, a zombie included."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


class WorkerProcess:
    """`hpsearch worker --cpu --drain` in a process and a process group of its own.

    `prefix` is a program that runs it, such as nohup; `output` the file descriptor it prints to instead of the log.
    """

    def __init__(
        self,
        storage: str,
        log: Path,
        *options: str,
        drain: bool = True,
        environment: dict[str, str] | None = None,
        cwd: Path | None = None,
        prefix: Sequence[str] = (),
        output: int | None = None,
        **settings: Any,
    ) -> None:
        self.log = log
        drained = ["--drain"] if drain else []
        with log.open("w") as file:
            self.process = subprocess.Popen(
                [
                    *(*prefix, sys.executable, str(LAUNCHER), json.dumps(settings)),
                    *("worker", "--cpu", *drained, *options, "--storage", storage),
                ],
                env={**os.environ, **ONE_THREAD, **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=file if output is None else output,
                stderr=file if output is None else output,
                process_group=0,
                cwd=cwd,
            )
        self._trainers: set[int] = set()

    @property
    def pid(self) -> int:
        """The supervisor's."""
        return self.process.pid

    @property
    def output(self) -> str:
        """Everything it has printed."""
        return self.log.read_text()

    def wait_for_output(self, words: str) -> str:
        """Wait for it to print this."""
        return wait_until(
            lambda: self.output if words in self.output else "", f"a worker prints {words!r}; it printed\n{self.output}"
        )

    def list_trainers(self) -> list[int]:
        """Return the process ids of its trainers."""
        try:
            children = psutil.Process(self.pid).children()
        except psutil.NoSuchProcess:
            return sorted(self._trainers)
        trainers = []
        for child in children:
            with suppress(psutil.Error):
                if "hpsearch.training.process" in child.cmdline() and child.status() != psutil.STATUS_ZOMBIE:
                    trainers.append(child.pid)
        self._trainers |= set(trainers)
        return trainers

    def wait_for_trainer(self) -> int:
        """Return the process id of its one trainer, as soon as it has one."""
        return wait_until(self.list_trainers, "a worker has a trainer")[0]

    def send(self, number: signal.Signals) -> None:
        """Signal the supervisor."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def freeze(self) -> None:
        """Stop supervisor and trainers, as a suspended machine does."""
        for pid in (self.pid, *self.list_trainers()):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let them go on."""
        for pid in (*self.list_trainers(), self.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def is_frozen(self) -> bool:
        """Return whether the supervisor is stopped."""
        with suppress(psutil.NoSuchProcess):
            return psutil.Process(self.pid).status() == psutil.STATUS_STOPPED
        return False

    def join(self) -> int:
        """Return its exit code, once it has left."""
        try:
            return self.process.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"a worker has not left in {DEADLINE:g} s; it printed\n{self.output}") from None

    def kill(self) -> None:
        """Kill whatever is left of it."""
        for pid in {self.pid, *self.list_trainers(), *self._trainers}:
            with suppress(ProcessLookupError):
                if pid == self.pid or not is_gone(pid):
                    os.kill(pid, signal.SIGKILL)
        self.process.wait()


class WorkerGroup:
    """The workers of a test on one database."""

    def __init__(self, storage: str, directory: Path) -> None:
        self.storage, self.directory = storage, directory
        self.workers: list[WorkerProcess] = []

    def start(self, *options: str, **settings: Any) -> WorkerProcess:
        """Start one more worker; what it prints is kept in a file."""
        log = self.directory / f"worker-{len(self.workers)}.log"
        worker = WorkerProcess(self.storage, log, *options, **settings)
        self.workers.append(worker)
        return worker


class PostgresServer:
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
        wait_until(lambda: is_gone(postmaster), "a killed server is gone")
        self.start()
        before.stop()

    @contextmanager
    def outage(self) -> Iterator[None]:
        """Stop it for the block."""
        self.stop()
        try:
            yield
        finally:
            self.start()


@contextmanager
def run_workers(storage: str, directory: Path, *, quiet: bool = False) -> Iterator[WorkerGroup]:
    """Kill the workers after the block; unless `quiet`, print what they printed, for whoever reads a failure."""
    group = WorkerGroup(storage, directory)
    try:
        yield group
    finally:
        for number, worker in enumerate(group.workers):
            code = worker.process.poll()
            worker.kill()
            if quiet:
                continue
            print(f"--- worker {number} ({'killed' if code is None else code})\n{worker.output}")
