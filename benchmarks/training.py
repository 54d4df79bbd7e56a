"""Our trainer against plain `keras.Model.fit`: the same configuration, data and machine, in one run.

    python benchmarks/training.py [--images 5000] [--epochs 3] [--repeats 2] [--quick] [--parts NAME ...]

Needs CIFAR-10 (HPSEARCH_DATA_DIR). Each side is a process of its own, the sides take turns epoch by epoch, and the
first epoch, which compiles, is counted apart. CPU is user + system time of the side's process. With `taskset -c 0`
before it TensorFlow uses one thread. It hides every GPU: `gpu.py` measures that.
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
import training_levers
import training_verdicts

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
    "ours float32": "hpsearch, in float32",
    "ours bfloat16": "hpsearch, in mixed_bfloat16",
    "floor float32": "its multiplications alone, in float32",
    "floor bfloat16": "its multiplications alone, in bfloat16",
}
WHOLE = 50_000


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


class Side:
    """A side's process, which does one thing at a time: as many as it is told to."""

    def __init__(self, name: str, what: str, numbers: Sequence[int], environment: Mapping[str, str]) -> None:
        command = [sys.executable, str(Path(__file__).with_name("training_sides.py")), name, what, *map(str, numbers)]
        self.name = name
        pipe, both = subprocess.PIPE, subprocess.STDOUT
        self._process = subprocess.Popen(command, env=environment, text=True, stdin=pipe, stdout=pipe, stderr=both)
        self.precision: str = self._read()["precision"]
        """The dtype policy that precision = auto takes."""
        self.lines: list[dict[str, float]] = []

    def go_on(self) -> None:
        """Wait until it has done one thing more."""
        assert self._process.stdin
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        self.lines.append(self._read())

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout
        others = []
        for line in self._process.stdout:
            if line.startswith("{"):
                return dict(json.loads(line))
            others.append(line)
        raise SystemExit(f"{self.name}: {''.join(others)[-2000:]}")

    def end(self) -> None:
        """End its process."""
        self._process.communicate()


def turns(names: Sequence[str], what: str, numbers: Sequence[int], count: int, repeats: int) -> dict[str, list[Side]]:
    """Let the sides do `count` things in turn, A B A B, each in as many processes as there are `repeats`."""
    environment = settings.make_trainer_environment(None)
    ended: dict[str, list[Side]] = {name: [] for name in names}
    for _ in range(repeats):
        sides = [Side(name, what, numbers, environment) for name in names]
        for _ in range(count):
            for side in sides:
                side.go_on()
            print(".", end="", file=sys.stderr, flush=True)
        for side in sides:
            side.end()
            ended[side.name].append(side)
    return ended


def after_first(sides: Mapping[str, list[Side]], what: str) -> dict[str, list[float]]:
    """Return the figure `what` of each side's lines, without the first of every process."""
    return {
        name: [line[what] for process in processes for line in process.lines[1:]] for name, processes in sides.items()
    }


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Format mean ± standard deviation."""
    return f"{mean(values):.{digits}f}" + (f" ± {stdev(values):.{digits}f}" if len(values) > 1 else "")


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Format a table whose numbers are aligned to the right."""
    rule = ("---", *("---:" for _ in head[1:]))
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, rule, *rows)) + "\n"


def _numbers(size: Size) -> tuple[int, ...]:
    return size.images, size.validation, 32, size.epochs + 1


def epochs(size: Size) -> str:
    """Measure CPU seconds per epoch of the base model, and of what its layers multiply; and judge them."""
    processes = turns(list(SIDES), "epochs", _numbers(size), size.epochs + 1, size.repeats)
    cost, took = after_first(processes, "cpu"), after_first(processes, "clock")
    rows = []
    for name, title in SIDES.items():
        first = mean(process.lines[0]["cpu"] for process in processes[name]) - mean(cost[name])
        ratio = f"{mean(cost['plain']) / mean(cost[name]):.2f}×"
        scaled = f"{mean(cost[name]) * WHOLE / size.images:.0f}"
        clock, count = f"{mean(took[name]):.1f}", str(len(took[name]))
        rows.append((title, spread(cost[name]), scaled, ratio, clock, f"{first:.1f}", count))
    head = ("side", "CPU-s an epoch", f"per {WHOLE:,}", "less than plain", "clock, s", "first epoch, CPU-s more", "n")
    what = f"{size.images:,} training and {size.validation:,} validation images, batch 32"
    chosen = processes["ours float32"][0].precision.removeprefix("mixed_")
    verdicts = "\n".join(training_verdicts.judge(cost, chosen, SIDES))
    return f"Base model, an epoch with validation: {what}.\n\n{markdown(head, rows)}\n{verdicts}\n"


def levers(size: Size) -> str:
    """Measure what an epoch costs with each layer and update of our own, and with Keras's in its place."""
    rows = []
    for lever in training_levers.LEVERS:
        names = [f"{how} {lever}" for how in ("with", "without")]
        cost = after_first(turns(names, "epochs", _numbers(size), size.epochs + 1, size.repeats), "cpu")
        ours, keras = (cost[name] for name in names)
        rows.append((lever, spread(keras), spread(ours), f"{1 - mean(ours) / mean(keras):.1%}", str(len(ours))))
    head = ("lever", "Keras's, CPU-s an epoch", "ours", "less", "n")
    return f"Base model with what a lever needs, an epoch with validation.\n\n{markdown(head, rows)}"


def trials(size: Size) -> str:
    """Measure CPU seconds of whole trials as a search has them, in a process that has trained one before."""
    rows = []
    # What the search benchmark trains.
    images, validation = (5000, 2000) if size.images > QUICK.images else (size.images, size.validation)
    for count in size.trial_epochs:
        names = ("plain", "plain both", "ours")
        lines = turns(names, "trials", (images, validation, 128, count, size.trials + 1), size.trials + 1, 1)
        cost = after_first(lines, "cpu")
        for name in names:
            ratio = f"{mean(cost['plain']) / mean(cost[name]):.2f}×"
            rows.append(
                (f"{SIDES.get(name, 'hpsearch')}, {count} epochs", spread(cost[name]), ratio, str(len(cost[name])))
            )
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
    print(machine() + "\n", flush=True)
    if "epochs" in options.parts:
        print(epochs(size), flush=True)
    if "levers" in options.parts:
        print(levers(size), flush=True)
    if "trials" in options.parts:
        print(trials(size), flush=True)
    if "warm" in options.parts:
        print(warm(size), flush=True)


PARTS = ["epochs", "levers", "trials", "warm"]


if __name__ == "__main__":
    main()
