"""What a warm trainer could save at most that keeps compiled steps for later trials of the same architecture.

    python benchmarks/warm_steps.py

From the records of `search.py` in `benchmarks/measured/search`: how much more CPU a trial's first epoch took than its
others, which is compiling and all else that a trial begins and ends with, and what share of the whole search that is.
Steps that were kept would save it only where an earlier trial had the same architecture, so the share is a bound. What
trials of one epoch, and a run's first trial, which also starts the trainer, take more is taken from the others.
"""

from collections.abc import Iterable
from pathlib import Path
from statistics import mean, stdev

import search_results
from search_results import Run

RECORDS = Path(__file__).parent / "measured" / "search"
SIDES = {"service": "TPE and ASHA, the default", "random": "random and ASHA", "no-pruner": "TPE, no pruner"}


def measure_first_epochs(run: Run) -> tuple[float, float]:
    """Return the CPU seconds that a first epoch takes more, and what share of the run they are over all trials."""
    seconds: dict[int, list[float]] = {}
    before = 0.0
    for epoch in run.epochs:
        seconds.setdefault(epoch.trial, []).append(epoch.cpu - before)
        before = epoch.cpu
    more = mean(taken[0] - mean(taken[1:]) for trial, taken in seconds.items() if trial and len(taken) > 1)
    return more, more * len(seconds) / run.cpu


def main() -> None:
    """Print a row for each data set and kind of search."""
    print("| search | CPU-s more | share of the search | trials | runs |\n| --- | ---: | ---: | ---: | ---: |")
    for dataset in ("cifar10", "digits"):
        sides = search_results.read(RECORDS / f"{dataset}.jsonl")
        for side, title in SIDES.items():
            runs = sides[side]
            more, shares = zip(*map(measure_first_epochs, runs), strict=True)
            trials = [len({epoch.trial for epoch in run.epochs}) for run in runs]
            print(
                f"| {dataset}, {title} | {_spread(more, 2)} | {_spread([100 * share for share in shares], 0)}% | "
                f"{_spread(trials, 0)} | {len(runs)} |"
            )


def _spread(values: Iterable[float], places: int) -> str:
    listed = list(values)
    return f"{mean(listed):.{places}f} ± {stdev(listed):.{places}f}"


if __name__ == "__main__":
    main()
