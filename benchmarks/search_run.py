"""One run of a search: a process tree of its own, whose CPU seconds are read off whenever it tells of an epoch."""

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
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import psutil

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
SCRATCH = "SCRATCH"
"""In a command or an environment: the run's own empty directory, gone afterwards."""


@dataclass(frozen=True)
class Job:
    """What to run, until when, and where the record goes.

    The run ends once it has cost `cpu_seconds`; None: by itself.
    """

    command: tuple[str, ...]
    environment: Mapping[str, str]
    cpu_seconds: float | None
    header: Mapping[str, Any]
    file: Path


def run(job: Job) -> None:
    """Run the job in this process, which has to be a fresh one: what its children cost is what the run costs.

    The file has a header, a line for whatever the tree told, and, once the run is complete, a footer.

    Raises:
        RuntimeError: the command failed.
    """
    # Whoever loses its parent in the tree becomes this process's child: a Postgres that put itself into the
    # background stays counted. And where the harness is killed, the run ends with it.
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    signal.signal(signal.SIGTERM, _leave)
    with _record(job.file) as record:
        if record is None:
            print(f"{job.file}: left to the run of it that is under way")
            return
        _write(record, {"header": job.header, "cpu_seconds": job.cpu_seconds})
        with tempfile.TemporaryDirectory(prefix="hpsearch-benchmark-", ignore_cleanup_errors=True) as scratch:
            Path(scratch).chmod(0o755)  # where this is root, Postgres runs as another user
            began = time.monotonic()
            with _tree(job, scratch) as process:
                end = _follow(job, process, record)
            spent = resource.getrusage(resource.RUSAGE_CHILDREN)
        # The kernel's own sum over everything that was waited for, as a check on what was read off on the way.
        kernel = spent.ru_utime + spent.ru_stime
        _write(record, {"footer": end, "kernel_cpu": round(kernel, 2), "clock": round(time.monotonic() - began, 1)})


def _leave(*_: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the group's and the parent's death may both bring one
    sys.exit(1)


@contextmanager
def _record(file: Path) -> Iterator[IO[str] | None]:
    """The empty file to write to; None where another process is writing it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a", encoding="utf-8") as record:
        try:
            fcntl.flock(record, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
            return
        record.truncate(0)
        yield record


@contextmanager
def _tree(job: Job, scratch: str) -> Iterator[subprocess.Popen[bytes]]:
    command = [part.replace(SCRATCH, scratch) for part in job.command]
    environment = {name: value.replace(SCRATCH, scratch) for name, value in job.environment.items()}
    with job.file.with_suffix(".log").open("wb") as log:
        process = subprocess.Popen(
            command,
            env=environment,
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


def _follow(job: Job, process: subprocess.Popen[bytes], record: IO[str]) -> dict[str, Any]:
    """Write down what the tree tells; how the run ended, and the CPU seconds up to there."""
    cpu = 0.0
    for line in _lines(process):
        cpu = max(cpu, tree_cpu())  # a process that ends between two looks is missing from one of them
        told = json.loads(line) if line and line.startswith("{") else {}
        if told:
            _write(record, {"cpu": round(cpu, 2), **told})
        if job.cpu_seconds is not None and cpu >= job.cpu_seconds:
            return {"end": "cpu_seconds", "cpu": round(cpu, 2)}
    if process.wait() != 0:
        log = job.file.with_suffix(".log")
        raise RuntimeError(f"{' '.join(job.command)[:200]} failed with {process.returncode}: see {log}")
    return {"end": "finished", "cpu": round(tree_cpu(), 2)}


def _lines(process: subprocess.Popen[bytes]) -> Iterator[str | None]:
    """The lines of its output as they come, and None after each second without one."""
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
    """User and system seconds of all descendants, those that ended among them; without this process's own."""
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


def _write(record: IO[str], line: Mapping[str, Any]) -> None:
    record.write(json.dumps(line) + "\n")
    record.flush()
