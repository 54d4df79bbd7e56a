"""Whether the service works on this machine's first GPU, and how fast: one command, one table, under 8 minutes.

    python benchmarks/gpu.py [--parts NAME ...] [--quick] [--cpu]

With TensorFlow, or with KERAS_BACKEND=jax. Each part is a process of its own with a time limit, the service's parts
first; a row is printed as soon as it is known, and a part that fails costs its own rows only. Without a GPU, or with
--cpu, it runs a short form of what a CPU can and says what it left out. The images are scikit-learn's digits and, where
only their number matters, random ones in the layout of CIFAR-10. The database is an embedded one, made for this run.
"""

import argparse
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from gpu_nvml import read_driver_version
from gpu_rows import QUICK, Row, Verdict, write_random_images

from hpsearch import devices, settings
from hpsearch.devices import Gpu
from hpsearch.storage.embedded import server

KILL_SECONDS = 10.0
NOISE = re.compile(r"[IW]\d{4} |WARNING: All log messages")
"""What TensorFlow writes to stderr about the machine."""
CPU_PATIENCE = 5
"""How many times as long a part may take without a GPU."""


@dataclass(frozen=True)
class Part:
    """One process: `program` is called with `arguments`; it is ended after `limit` seconds.

    `trains`: it loads the framework itself, with the GPU pinned as in a trainer process. `alone`: nothing else may use
    the GPU meanwhile, because it fills its memory or measures speed.
    """

    name: str
    program: str
    limit: float
    trains: bool = False
    alone: bool = False

    @property
    def command(self) -> list[str]:
        """The command line."""
        return [sys.executable, str(Path(__file__).with_name(f"{self.program}.py")), self.name]


PARTS = (
    Part("worker", "gpu_service", 120),
    Part("signal", "gpu_service", 120),
    Part("losses", "gpu_correctness", 120, trains=True),
    Part("predictions", "gpu_correctness", 120, trains=True),
    Part("pinning", "gpu_service", 120),
    Part("resume", "gpu_correctness", 120, trains=True),
    Part("evaluation", "gpu_service", 120),
    Part("memory", "gpu_service", 120, alone=True),
    Part("shares", "gpu_service", 90, alone=True),
    Part("compilation", "gpu_speed", 120, alone=True),
    Part("slots", "gpu_speed", 150, alone=True),
    Part("epochs", "gpu_speed", 180, trains=True, alone=True),
)


def run(part: Part, environment: Mapping[str, str], limit: float) -> Iterator[Row]:
    """Run a part's process and yield its rows; a last one says that it failed, where it did."""
    with tempfile.TemporaryFile("w+") as stderr:
        process = subprocess.Popen(
            part.command, env=dict(environment), stdout=subprocess.PIPE, stderr=stderr, text=True, process_group=0
        )
        RUNNING.add(process)
        alarm = threading.Timer(limit, lambda: end(process))
        alarm.start()
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("{"):
                yield Row.read(line)
        code = process.wait()
        in_time = alarm.is_alive()
        alarm.cancel()
        RUNNING.discard(process)
        stderr.seek(0)
        said = [line.strip() for line in stderr.read().splitlines() if line.strip() and not NOISE.match(line)]
    print(f"# {part.name}", *said[-60:], sep="\n", file=sys.stderr, flush=True)
    if not in_time:
        yield Row(part.name, "", Verdict.FAILED, f"not over after {limit:.0f} s")
    elif code:
        yield Row(part.name, "", Verdict.FAILED, said[-1][:200] if said else f"exit {code}")


RUNNING: set["subprocess.Popen[str]"] = set()


def end_all(number: int, _: FrameType | None) -> NoReturn:
    """End the parts that run, and leave."""
    for process in tuple(RUNNING):
        end(process)
    sys.exit(128 + number)


def end(process: "subprocess.Popen[str]") -> None:
    """End a part and the processes of its group; trainers leave with the process that started them."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
            process.wait(KILL_SECONDS)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            continue


@contextmanager
def prepare(gpu: Gpu | None, quick: bool) -> Iterator[dict[str, str]]:
    """Start a database and write images; the environment of the parts names them."""
    with tempfile.TemporaryDirectory(prefix="hpsearch-gpu-") as directory:
        write_random_images(Path(directory))
        environment = {name: value for name, value in os.environ.items() if not name.startswith("HPSEARCH_")}
        # A cache of its own: what an earlier run has compiled would not be compiled again.
        cache = {"XDG_CACHE_HOME": str(Path(directory) / "cache")}
        environment |= {"HPSEARCH_DATA_DIR": directory, "PYTHONUNBUFFERED": "1", **cache}
        if gpu is None:
            environment["CUDA_VISIBLE_DEVICES"] = ""
        if quick or gpu is None:
            environment[QUICK] = "1"
        with server.start(Path(directory) / "postgres") as postgres:
            yield {**environment, "HPSEARCH_STORAGE": postgres.url}
        shutil.rmtree(postgres.cluster.data)  # root's is elsewhere


def describe_machine(gpu: Gpu | None) -> str:
    """Describe the GPU, its driver, the cores and the versions."""
    backend = os.environ.get("KERAS_BACKEND", "tensorflow")
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("keras", backend, "numpy"))
    cores = f"{len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.0f}"
    if gpu is None:
        return f"no GPU; {cores}; Python {platform.python_version()}, {versions}"
    memory = f"{gpu.memory / 2**30:.0f} GiB, driver {read_driver_version(gpu)}"
    return f"{gpu}, {memory}; {cores}; Python {platform.python_version()}, {versions}"


class Table:
    """The table, printed row by row."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self._lock = threading.Lock()
        print("| part | check | figure | verdict | s |\n|---|---|---|---|---:|", flush=True)

    def run(self, part: Part, environment: Mapping[str, str], limit: float) -> None:
        """Run a part and print its rows, each with the seconds since the one before it."""
        last = time.monotonic()
        for row in run(part, environment, limit):
            took = time.monotonic() - last
            last += took
            with self._lock:
                print(f"| {part.name} | {row.check} | {row.figure} | {row.judgement} | {took:.1f} |", flush=True)
                self.rows.append(row)


def measure(parts: Sequence[Part], gpu: Gpu | None, quick: bool) -> list[Row]:
    """Run the parts and print their rows: first those that may run at the same time, as far as there are cores."""
    table, patience = Table(), 1 if gpu else CPU_PATIENCE
    with prepare(gpu, quick) as environment:
        pinned = settings.make_trainer_environment(gpu.uuid if gpu else None)
        changed = {name: value for name, value in pinned.items() if os.environ.get(name) != value}

        def run_part(part: Part) -> None:
            table.run(part, environment | (changed if part.trains else {}), part.limit * patience)

        with ThreadPoolExecutor(max(1, len(os.sched_getaffinity(0)) // 2)) as pool:
            list(pool.map(run_part, [part for part in parts if not part.alone]))
        for part in parts:
            if part.alone:
                run_part(part)
    return table.rows


def main() -> None:
    """Measure and print; exit with 1 where a row is wrong or failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [part.name for part in PARTS]
    parser.add_argument("--parts", nargs="*", choices=names, default=names)
    parser.add_argument("--quick", action="store_true", help="few images and steps")
    parser.add_argument("--cpu", action="store_true", help="as on a machine without a GPU")
    options: Any = parser.parse_args()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end_all)
    began = time.monotonic()
    gpu = None if options.cpu else next(iter(devices.list_gpus()), None)
    print(describe_machine(gpu) + "\n", flush=True)
    rows = measure([part for part in PARTS if part.name in options.parts], gpu, options.quick)
    counts = {verdict: sum(row.verdict is verdict for row in rows) for verdict in Verdict}
    print(f"\n{json.dumps(counts)[1:-1].replace(chr(34), '')}; {time.monotonic() - began:.0f} s", flush=True)
    sys.exit(1 if counts[Verdict.WRONG] + counts[Verdict.FAILED] else 0)


if __name__ == "__main__":
    main()
