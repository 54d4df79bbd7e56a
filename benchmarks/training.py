"""Our trainer against plain `keras.Model.fit`: the same configuration, data and machine, in one run.

    python benchmarks/training.py [--images 5000] [--epochs 3] [--repeats 2] [--quick] [--sides NAME ...]

Needs CIFAR-10 (HPSEARCH_DATA_DIR). Each side is a process of its own, the sides take turns, and the first epoch, which
compiles, is counted apart. CPU is user + system time of the side's process. With `taskset -c 0` before it TensorFlow
uses one thread. It hides every GPU: `gpu.py` measures that.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import psutil

from hpsearch import settings
from hpsearch.outcomes import TrialOutcome
from hpsearch.spec import hyperparameters
from hpsearch.training.protocol import BatchProgress, Ended, EpochReport, GoOn, Loaded, Ready, Refused, Train
from hpsearch.training.requests import DataRequest
from hpsearch.worker.trainer_process import TrainerProcess
from hpsearch.worker.wakeup import WakeupPipe

SIDES = {
    "plain": "plain fit",
    "plain steps": "plain fit, steps_per_execution = 32",
    "plain bfloat16": "plain fit, mixed_bfloat16",
    "plain both": "plain fit, both",
    "ours": "hpsearch",
    "ours float32": "hpsearch, precision = float32",
    "ours dropout": "hpsearch, Keras's dropout",
}
WHOLE = 50_000
Lines = list[dict[str, float]]


@dataclass(frozen=True)
class Size:
    """How much is trained: images of training and validation, epochs a process, processes a side."""

    images: int
    validation: int
    epochs: int
    repeats: int
    trial_epochs: tuple[int, ...]
    trials: int


QUICK = Size(640, 200, 2, 1, (1,), 2)


def side(name: str, what: str, numbers: Sequence[int], environment: Mapping[str, str]) -> Lines:
    """Run a side's process; return the lines it printed, but for the first, which says what it runs on."""
    command = [sys.executable, str(Path(__file__).with_name("training_sides.py")), name, what, *map(str, numbers)]
    done = subprocess.run(command, env=dict(environment), capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{name}: {done.stderr[-2000:]}")
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")][1:]


def turns(names: Sequence[str], what: str, numbers: Sequence[int], repeats: int) -> dict[str, list[Lines]]:
    """Run each side's processes, the sides in turn: A B A B."""
    environment = settings.make_trainer_environment(None)
    processes: dict[str, list[Lines]] = {name: [] for name in names}
    for _ in range(repeats):
        for name in names:
            processes[name].append(side(name, what, numbers, environment))
            print(".", end="", file=sys.stderr, flush=True)
    return processes


def after_first(sides: Mapping[str, list[Lines]], what: str) -> dict[str, list[float]]:
    """Return the figure `what` of each side's lines, without the first of every process."""
    return {name: [line[what] for lines in processes for line in lines[1:]] for name, processes in sides.items()}


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Format mean ± standard deviation."""
    return f"{mean(values):.{digits}f}" + (f" ± {stdev(values):.{digits}f}" if len(values) > 1 else "")


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Format a table whose numbers are aligned to the right."""
    rule = ("---", *("---:" for _ in head[1:]))
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, rule, *rows)) + "\n"


def _numbers(size: Size, epochs: int) -> tuple[int, ...]:
    return size.images, size.validation, 32, epochs


def epochs(names: Sequence[str], size: Size) -> str:
    """Measure CPU seconds per epoch of the base model."""
    lines = turns(names, "epochs", _numbers(size, size.epochs + 1), size.repeats)
    cost, took = after_first(lines, "cpu"), after_first(lines, "clock")
    rows = []
    for name in names:
        first = mean(process[0]["cpu"] for process in lines[name]) - mean(cost[name])
        ratio = f"{mean(cost[names[0]]) / mean(cost[name]):.2f}×"
        scaled = f"{mean(cost[name]) * WHOLE / size.images:.0f}"
        rows.append(
            (
                SIDES[name],
                spread(cost[name]),
                scaled,
                ratio,
                f"{mean(took[name]):.1f}",
                f"{first:.1f}",
                str(len(took[name])),
            )
        )
    head = ("side", "CPU-s an epoch", f"per {WHOLE:,}", "less than plain", "clock, s", "first epoch, CPU-s more", "n")
    what = f"{size.images:,} training and {size.validation:,} validation images, batch 32"
    return f"Base model, an epoch with validation: {what}.\n\n{markdown(head, rows)}"


def trials(size: Size) -> str:
    """Measure CPU seconds of whole trials as a search has them, in a process that has trained one before."""
    rows = []
    # What the search benchmark trains.
    images, validation = (5000, 2000) if size.images > QUICK.images else (size.images, size.validation)
    for count in size.trial_epochs:
        names = ("plain", "plain both", "ours")
        lines = turns(names, "trials", (images, validation, 128, count, size.trials + 1), 1)
        cost = after_first(lines, "cpu")
        for name in names:
            ratio = f"{mean(cost['plain']) / mean(cost[name]):.2f}×"
            rows.append((f"{SIDES[name]}, {count} epochs", spread(cost[name]), ratio, str(len(cost[name]))))
    head = ("side", "CPU-s a trial", "less than plain", "n")
    what = f"{images:,} and {validation:,} images, batch 128, build and compilation included; ours also keeps the model"
    return f"A search's trial: {what}.\n\n{markdown(head, rows)}"


def warm(size: Size) -> str:
    """Measure how long a warm trainer process takes for its next trial, compilation and training apart."""
    trainer, alarm, jobs = TrainerProcess(None), WakeupPipe(), []
    given = DataRequest("cifar10", size.images, size.validation, 0)
    with tempfile.TemporaryDirectory() as directory:
        for seed in range(size.trials + 2):
            values = hyperparameters.BASE_TABLE.fill_defaults({"batch_size": 128, "learning_rate": 0.001 * (seed + 1)})
            job = Train(values, given, seed, 1, "val_accuracy", 9, None, directory)
            jobs.append(list(marks(trainer, alarm, job)))
    trainer.close()
    rows = []
    names = ("Train → Loaded", "GoOn → the epoch (compiles)", "GoOn → Ended (keeps model)")
    for number, name in enumerate(names):
        cpu, clock = ([job[number][which] for job in jobs[2:]] for which in (0, 1))
        rows.append((name, spread(cpu), spread(clock), str(len(cpu))))
    return "A warm trainer's next trial.\n\n" + markdown(("from, to", "CPU-s", "clock, s", "n"), rows)


def marks(trainer: TrainerProcess, alarm: WakeupPipe, job: Train) -> Iterator[tuple[float, float]]:
    """Yield CPU and clock seconds up to Loaded, then each EpochReport, and Ended."""

    def now() -> tuple[float, float]:
        times = psutil.Process(trainer.pid).cpu_times()
        return times.user + times.system, time.monotonic()

    last = now()
    trainer.send(job)
    while True:
        message = trainer.receive(alarm, 600)
        if message is None or isinstance(message, Refused):
            raise SystemExit(message.detail if message else "the trainer says nothing")
        if isinstance(message, Ready | BatchProgress):
            continue
        current = now()
        yield current[0] - last[0], current[1] - last[1]
        if isinstance(message, Ended):
            if message.end.outcome is not TrialOutcome.COMPLETED:
                raise SystemExit(f"a trial ended as {message.end}")
            return
        last = current
        if isinstance(message, Loaded | EpochReport):
            trainer.send(GoOn())


def machine() -> str:
    """Describe the CPU, its flags, threads and versions."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = {name.strip(): value for name, _, value in (line.partition(":") for line in lines)}
    fast = [flag for flag in ("avx512f", "avx512_bf16", "amx_bf16") if flag in cpu.get("flags", "").split()]
    cores = len(os.sched_getaffinity(0))
    backend = os.environ.get("KERAS_BACKEND", "tensorflow")
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("keras", backend, "numpy"))
    return (
        f"{cpu.get('model name', platform.machine()).strip()} ({', '.join(fast)}), {cores} of {os.cpu_count()} cores, "
        f"load {os.getloadavg()[0]:.0f}; Python {platform.python_version()}, {versions}"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--trials", type=int, default=3, help="a side, measured")
    parser.add_argument("--trial-epochs", type=int, nargs="*", default=[1, 8])
    parser.add_argument("--quick", action="store_true", help="few images, and one process a side")
    parser.add_argument("--sides", nargs="*", choices=SIDES, default=list(SIDES), help="the first is compared with")
    parser.add_argument("--parts", nargs="*", choices=PARTS, default=PARTS)
    options: Any = parser.parse_args()
    size = (
        QUICK
        if options.quick
        else Size(
            options.images,
            options.images // 4,
            options.epochs,
            options.repeats,
            tuple(options.trial_epochs),
            options.trials,
        )
    )
    sides = ["plain", "ours"] if options.quick else options.sides
    print(machine() + "\n", flush=True)
    if "epochs" in options.parts:
        print(epochs(sides, size), flush=True)
    if "trials" in options.parts:
        print(trials(size), flush=True)
    if "warm" in options.parts:
        print(warm(size), flush=True)


PARTS = ["epochs", "trials", "warm"]


if __name__ == "__main__":
    main()
