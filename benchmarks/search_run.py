"""One run of a search: a process tree of its own, whose CPU seconds are read whenever it prints an epoch."""

import ctypes
import fcntl
import json
import os
import resource
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import psutil
import search_results
from search_results import Epoch, Origin, Run

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
SCRATCH = "SCRATCH"
"""In a command or an environment: the run's own empty directory, gone afterwards."""


@dataclass(frozen=True)
class Job:
    """What to run, until when, what it is made with, and where its output (`log`) and its record (`file`) go.

    The run ends once it has cost `cpu_seconds`; None: by itself.
    """

    command: tuple[str, ...]
    environment: Mapping[str, str]
    cpu_seconds: float | None
    origin: Origin
    log: Path
    file: Path


def run(job: Job) -> None:
    """Run the job in this process, which has to be a fresh one: what its children cost is what the run costs.

    Raises:
        RuntimeError: the command failed.
    """
    # Whoever loses its parent in the tree becomes this process's child: a Postgres that put itself into the
    # background stays counted. And where the harness is killed, the run ends with it.
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    signal.signal(signal.SIGTERM, _leave)
    with _locked(job.log) as log:
        if log is None:
            print(f"{job.log}: left to the run of it that is under way")
            return
        with tempfile.TemporaryDirectory(prefix="hpsearch-benchmark-", ignore_cleanup_errors=True) as scratch:
            Path(scratch).chmod(0o755)  # where this is root, Postgres runs as another user
            with _tree(job, scratch, log) as process:
                complete = _follow(job, process)
            spent = resource.getrusage(resource.RUSAGE_CHILDREN)
        # The kernel's own sum over everything that was waited for, as a check on what was read during the run.
        kernel = f"{spent.ru_utime + spent.ru_stime:.0f} by the kernel"
        search_results.append(job.file, complete)
    what = f"{len(complete.epochs)} epochs, best {complete.best():.4f}"
    print(f"{job.log.stem}: {complete.cpu:.0f} CPU-s ({kernel}), {what}", flush=True)


def _leave(*_: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the group's and the parent's death may both bring one
    sys.exit(1)


@contextmanager
def _locked(file: Path) -> Iterator[IO[bytes] | None]:
    """Open the run's log, empty; None where another process makes this run."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("ab") as log:
        try:
            fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
            return
        log.truncate(0)
        yield log


@contextmanager
def _tree(job: Job, scratch: str, log: IO[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [part.replace(SCRATCH, scratch) for part in job.command],
        env={name: value.replace(SCRATCH, scratch) for name, value in job.environment.items()},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=log,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        _end_tree(process.pid)
        process.returncode = process.returncode or 0  # waited for just now, and not by Popen


def _follow(job: Job, process: subprocess.Popen[bytes]) -> Run:
    """Note the epochs that the tree prints, until it ends or has cost enough."""
    cpu, epochs = 0.0, list[Epoch]()
    for line in _lines(process):
        cpu = max(cpu, tree_cpu())  # a process that ends between two looks is missing from one of them
        if line and line.startswith("{"):
            epochs.append(Epoch.from_line(cpu, json.loads(line)))
        if job.cpu_seconds is not None and cpu >= job.cpu_seconds:
            return Run(job.origin, "cpu_seconds", round(cpu, 2), tuple(epochs))
    if process.wait() != 0:
        raise RuntimeError(f"{' '.join(job.command)[:200]} failed with {process.returncode}: see {job.log}")
    return Run(job.origin, "finished", round(tree_cpu(), 2), tuple(epochs))


def _lines(process: subprocess.Popen[bytes]) -> Iterator[str | None]:
    """Yield the lines of its output as they come, and None after each second without one."""
    assert process.stdout is not None
    rest = b""
    while True:
        if not select.select([process.stdout], [], [], 1)[0]:
            yield None
            continue
        part = os.read(process.stdout.fileno(), 65536)
        if not part:
            return
        *whole, rest = (rest + part).split(b"\n")
        yield from (line.decode(errors="replace") for line in whole)


def tree_cpu() -> float:
    """Return user and system seconds of all descendants, those that ended among them; without this process's own."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    total = ended.ru_utime + ended.ru_stime
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            total += sum(process.cpu_times()[:4])  # user, system, and both of its children that it waited for
    return total


def _end_tree(first: int) -> None:
    """Kill the process `first` and its descendants, ask what outlives them to leave, and wait for all."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C would leave the rest of the tree behind
    me = psutil.Process()
    with suppress(psutil.NoSuchProcess):
        root = psutil.Process(first)
        for process in (root, *root.children(recursive=True)):
            process.kill()
    left = me.children(recursive=True)  # a Postgres, which when killed would leave its shared memory behind
    for process in left:
        with suppress(psutil.NoSuchProcess):
            process.terminate()
    for process in psutil.wait_procs(left, timeout=10)[1]:
        process.kill()
    with suppress(ChildProcessError):
        while True:
            os.waitpid(-1, 0)
