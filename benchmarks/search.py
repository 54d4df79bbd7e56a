"""CPU seconds until a search reaches a validation accuracy: the service against Optuna's thirty lines and KerasTuner.

    python benchmarks/search.py [--quick]                               every side of both data sets, then the table
    python benchmarks/search.py run --dataset cifar10 --side service --seeds 0-4
    python benchmarks/search.py table --dataset cifar10 [--by 200]
    python benchmarks/search.py picture --dataset cifar10 --out docs/search-cifar10.svg

A run is a seed of a side, in a fresh process tree with a database of its own, recorded in
build/bench/search/DATASET/SIDE/SEED.jsonl. A complete run is not repeated (delete its file for that), so what was
interrupted goes on with the next run. CIFAR-10 has to be at hand (HPSEARCH_DATA_DIR). `--quick` runs every side but
the ablations once, small, to see that all of it works: its figures say nothing.
"""

import argparse
import multiprocessing
import platform
import subprocess
from collections.abc import Sequence
from pathlib import Path

import psutil
import search_picture
import search_results
import search_run
import search_sides
import search_table
from search_results import Run
from search_run import Job
from search_sides import ABLATIONS, ROOT, SERVICE, TASKS, TITLES, Task

QUICK = "quick"
MAIN = ("optuna", "kerastuner", *SERVICE)
SEEDS = (0, 1, 2, 3, 4)


def record(name: str, side: str, seed: int, trials: int, cpu_seconds: float | None) -> None:
    """One run, unless it has been made. Optuna's is over after so many trials, the others after so many CPU seconds."""
    file = search_results.file_of(name, side, seed)
    if (made := search_results.read(file)) and _covers(made, side, trials, cpu_seconds):
        return
    launch = search_sides.launch(TASKS[name], side, seed, trials)
    header = {
        "dataset": name,
        "side": side,
        "seed": seed,
        "machine": machine(),
        "commit": commit(),
        "versions": dict(launch.versions),
        "configuration": dict(launch.configuration),
    }
    job = Job(launch.command, launch.environment, cpu_seconds, header, file)
    # A fresh process for the record: what its children cost is then the run's alone.
    process = multiprocessing.get_context("spawn").Process(target=search_run.run, args=(job,))
    process.start()
    process.join()
    if process.exitcode != 0:
        raise SystemExit(f"{name} {side} {seed} failed")
    if made := search_results.read(file):
        print(
            f"{name} {side} {seed}: {made.cpu:.0f} CPU-s, {len(made.epochs)} epochs, best {made.best():.4f}", flush=True
        )


def _covers(made: Run, side: str, trials: int, cpu_seconds: float | None) -> bool:
    if side == "optuna":
        return int(made.header["header"]["configuration"]["trials"]) >= trials
    return made.end == "finished" or (cpu_seconds is not None and made.cpu >= cpu_seconds)


def collect(name: str, sides: Sequence[str]) -> dict[str, list[Run]]:
    """The complete runs of each side; Optuna's up to the trials that set the target, where it has so many."""
    trials, found = TASKS[name].trials, {side: search_results.runs(name, side) for side in sides}
    rivals = [run for run in search_results.runs(name, "optuna") if _covers(run, "optuna", trials, None)]
    return {**found, "optuna": [run.first(trials) for run in rivals]}


def machine() -> str:
    """The processor, and what Python sees of the system."""
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    model = models[0].partition(":")[2].strip() if models else platform.processor()
    size = f"{psutil.cpu_count()} cores, {psutil.virtual_memory().total / 2**30:.0f} GiB"
    return f"{model}, {size}, {platform.system()}, Python {platform.python_version()}"


def commit() -> str:
    """The checkout's commit, with a + where its files differ from it."""
    told = subprocess.run(["git", "describe", "--always", "--dirty=+"], cwd=ROOT, capture_output=True, text=True)
    return told.stdout.strip() or "unknown"


def seeds(text: str) -> list[int]:
    """`0-4` or `0,2,5`."""
    parts = [part.partition("-") for part in text.split(",")]
    return [seed for first, _, last in parts for seed in range(int(first), int(last or first) + 1)]


def run(options: argparse.Namespace) -> None:
    """The runs that are missing: seed by seed over all sides, so that the machine's moods spread evenly."""
    task: Task = TASKS[options.dataset]
    for seed in options.seeds:
        for side in options.side:
            limit = task.limit(side)
            record(options.dataset, side, seed, options.trials or task.trials, limit and (options.cpu_seconds or limit))


def table(options: argparse.Namespace) -> None:
    """What the complete runs say: the sides against each other, and what each default brings."""
    task: Task = TASKS[options.dataset]
    found = collect(options.dataset, list(TITLES))
    print(f"\n{options.dataset}\n")
    print(search_table.table(task, {side: found[side] for side in MAIN}, options.by))
    if any(found[side] for side in ABLATIONS):
        print(f"\n{options.dataset}, each default off on its own\n")
        ablated = {side: found[side] for side in ("optuna", *ABLATIONS)}
        print(search_table.table(task, ablated, options.by or task.cpu_seconds_short))


def picture(options: argparse.Namespace) -> None:
    """The best value so far against CPU seconds."""
    found = collect(options.dataset, MAIN)
    search_picture.draw(TASKS[options.dataset], options.dataset, found, options.out)


def everything(quick: bool) -> None:
    """All runs of all data sets, and their tables; or, quick, one small one of each side."""
    for name in (QUICK,) if quick else ("cifar10", "digits"):
        sides = list(MAIN if quick else TITLES)
        plan = {"side": sides, "seeds": SEEDS[:1] if quick else SEEDS, "trials": None, "cpu_seconds": None, "by": None}
        options = argparse.Namespace(dataset=name, **plan)
        run(options)
        table(options)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one small run of each side, over in three minutes")
    commands = parser.add_subparsers(dest="command")
    runs = commands.add_parser("run", help="make the runs that are missing")
    runs.add_argument("--side", nargs="+", choices=list(TITLES), default=list(TITLES))
    runs.add_argument("--seeds", type=seeds, default=list(SEEDS), help="such as 0-4 or 0,2")
    runs.add_argument("--trials", type=int, help="of Optuna's run; the others end by CPU seconds")
    runs.add_argument("--cpu-seconds", type=float, help="after which every other run is ended, not the task's")
    runs.set_defaults(call=run)
    tables = commands.add_parser("table", help="print what the runs say")
    tables.add_argument("--by", type=float, help="CPU seconds after which to compare the sides")
    tables.set_defaults(call=table)
    pictures = commands.add_parser("picture", help="draw it")
    pictures.add_argument("--out", type=Path, required=True, help="an .svg file")
    pictures.set_defaults(call=picture)
    for command in (runs, tables, pictures):
        command.add_argument("--dataset", choices=list(TASKS), default="cifar10")
    options = parser.parse_args()
    if options.command:
        options.call(options)
    else:
        everything(options.quick)


if __name__ == "__main__":
    main()
