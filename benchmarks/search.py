"""CPU seconds until a search reaches a validation accuracy: the service against Optuna's thirty lines and KerasTuner.

    python benchmarks/search.py [--quick]                               every side of both data sets, then the table
    python benchmarks/search.py run --dataset cifar10 --side service --seeds 0-4
    python benchmarks/search.py table --dataset cifar10 [--by 200] [--records benchmarks/measured/search]
    python benchmarks/search.py picture --dataset cifar10 --out docs/performance-search-cifar10.svg

A run is a seed of a side, in a fresh process tree with a database of its own, recorded as a line of
build/bench/search/DATASET.jsonl. A complete run is not repeated (delete its line for that), so what was
interrupted goes on with the next run. CIFAR-10 has to be in HPSEARCH_DATA_DIR. `--quick` runs every side but
the ablations once, small, to see that all of it works: its figures say nothing. `--records` names another directory
than build/bench/search to read the runs from.
"""

import argparse
import multiprocessing
import platform
import subprocess
from pathlib import Path

import psutil
import search_picture
import search_results
import search_run
import search_sides
import search_table
from search_results import RESULTS, Origin, Run
from search_run import Job
from search_sides import ABLATIONS, ROOT, SERVICE, TASKS, TITLES, Task

QUICK = "quick"
MAIN = ("optuna", "kerastuner", *SERVICE)
SEEDS = (0, 1, 2, 3, 4)


def record(name: str, side: str, seed: int, trials: int, cpu_seconds: float | None) -> None:
    """Make one run, unless it is recorded. Optuna's ends after so many trials, the others after so many CPU seconds."""
    file = RESULTS / f"{name}.jsonl"
    runs = search_results.read(file).get(side, [])
    if any(run.origin.seed == seed and _covers(run, trials, cpu_seconds) for run in runs):
        return
    launch = search_sides.launch(TASKS[name], side, seed, trials)
    origin = Origin(side, seed, machine(), commit(), launch.versions, launch.configuration)
    log = RESULTS / "logs" / f"{name} {side} {seed}.log"
    job = Job(launch.command, launch.environment, cpu_seconds, origin, log, file)
    # A fresh process for the run: what its children cost is then the run's alone.
    process = multiprocessing.get_context("spawn").Process(target=search_run.run, args=(job,))
    process.start()
    process.join()
    if process.exitcode != 0:
        raise SystemExit(f"{name} {side} {seed} failed")


def _covers(run: Run, trials: int, cpu_seconds: float | None) -> bool:
    if run.origin.side == "optuna":
        return int(run.origin.configuration["trials"]) >= trials
    return run.end == "finished" or (cpu_seconds is not None and run.cpu >= cpu_seconds)


def collect(name: str, records: Path) -> dict[str, list[Run]]:
    """Return the complete runs of each side; Optuna's up to the trials that set the target, where it has so many."""
    trials, sides = TASKS[name].trials, search_results.read(records / f"{name}.jsonl")
    optuna = [run.first(trials) for run in sides.get("optuna", []) if _covers(run, trials, None)]
    return {side: optuna if side == "optuna" else sides.get(side, []) for side in TITLES}


def machine() -> str:
    """Return the processor, and what Python sees of the system."""
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    model = models[0].partition(":")[2].strip() if models else platform.processor()
    size = f"{psutil.cpu_count()} cores, {psutil.virtual_memory().total / 2**30:.0f} GiB"
    return f"{model}, {size}, {platform.system()}, Python {platform.python_version()}"


def commit() -> str:
    """Return the checkout's commit, with a + where its files differ from it."""
    git = subprocess.run(["git", "describe", "--always", "--dirty=+"], cwd=ROOT, capture_output=True, text=True)
    return git.stdout.strip() or "unknown"


def seeds(text: str) -> list[int]:
    """Read `0-4` or `0,2,5`."""
    parts = [part.partition("-") for part in text.split(",")]
    return [seed for first, _, last in parts for seed in range(int(first), int(last or first) + 1)]


def run(options: argparse.Namespace) -> None:
    """Make the runs that are missing: seed by seed over all sides, so that other load spreads evenly."""
    task: Task = TASKS[options.dataset]
    for seed in options.seeds:
        for side in options.side:
            limit = task.limit(side)
            record(options.dataset, side, seed, options.trials or task.trials, limit and (options.cpu_seconds or limit))


def table(options: argparse.Namespace) -> None:
    """Print the sides against each other, and what each default brings."""
    task: Task = TASKS[options.dataset]
    sides = collect(options.dataset, options.records)
    print(f"\n{options.dataset}\n")
    print(search_table.table(task, {side: sides[side] for side in MAIN}, options.by))
    if any(sides[side] for side in ABLATIONS):
        print(f"\n{options.dataset}, each default off on its own\n")
        ablated = {side: sides[side] for side in ("optuna", *ABLATIONS)}
        print(search_table.table(task, ablated, options.by or task.cpu_seconds_short))


def picture(options: argparse.Namespace) -> None:
    """Draw the best value so far against CPU seconds."""
    sides = collect(options.dataset, options.records)
    search_picture.draw(TASKS[options.dataset], options.dataset, sides, options.out)


def everything(quick: bool) -> None:
    """Make all runs of all data sets and print their tables; or, quick, one small run of each side."""
    for name in (QUICK,) if quick else ("cifar10", "digits"):
        sides = list(MAIN if quick else TITLES)
        plan = {"side": sides, "seeds": SEEDS[:1] if quick else SEEDS, "trials": None, "cpu_seconds": None, "by": None}
        options = argparse.Namespace(dataset=name, records=RESULTS, **plan)
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
    for command in (tables, pictures):
        command.add_argument("--records", type=Path, default=RESULTS, help="the directory to read the runs from")
    for command in (runs, tables, pictures):
        command.add_argument("--dataset", choices=list(TASKS), default="cifar10")
    options = parser.parse_args()
    if options.command:
        options.call(options)
    else:
        everything(options.quick)


if __name__ == "__main__":
    main()
