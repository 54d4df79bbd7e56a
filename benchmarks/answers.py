"""How right the service's answers are: searches over landscapes of which the truth is known, without any training.

    python benchmarks/answers.py [--quick]
    python benchmarks/answers.py table [--landscapes FILE ...] [--only NAME ...] [--seeds 6] [--keep DIRECTORY]
    python benchmarks/answers.py simulate --landscape FILE --name NAME --seed 0 --study NAME --storage URL

`simulate` runs one search into a database: the service's own claim, sampler, pruner and storage, over the validation
accuracies that `curve(params, epochs, rng, name)` of a Python file returns in place of a training. `table` runs many
(each landscape of `benchmarks/landscapes`, six seeds) in an embedded Postgres, and holds what the service says of each
against what is true of the landscape (`answers_truth.py`). `--keep` names a directory in which the searches stay, and
from which those that are there already are taken. `--quick` takes two landscapes, two seeds and 20 trials: its figures
say nothing.

How to read the tables. "Shown" counts the searches for which any share is shown, which is right unless nothing matters.
Top-1 is right where the hyperparameter with the largest share is the true one, at the epoch for which the importance is
said; the row of all counts the landscapes where the true lead is at least 0.05. "Held" is the part of the 95% intervals
that contain the truth; a share may lie outside by 0.005. Differences are between levels, on average over the space or
among good configurations; a claim is a difference that is said to be settled. CPU-s is what the service's answer took.
"""

import argparse
import contextlib
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import answers_landscapes
import answers_scores
import answers_service
from answers_landscapes import Landscape
from answers_scores import LandscapeScore
from answers_truth import Truth

from hpsearch.errors import NotFoundError
from hpsearch.outcomes import StudyStatus
from hpsearch.storage import embedded, results, studies
from hpsearch.storage.database import Database
from hpsearch.storage.results import Summary, Trial

LANDSCAPES = sorted((Path(__file__).parent / "landscapes").glob("*.py"))
SEEDS, TRIALS, EPOCHS = 6, 100, 30
QUICK = ("additive", "own-rates")


@dataclass(frozen=True)
class SearchSize:
    """How large each search is, and how many there are of each landscape."""

    seeds: int = SEEDS
    trials: int = TRIALS
    epochs: int = EPOCHS


QUICK_SIZE = SearchSize(seeds=2, trials=20, epochs=9)


def simulate(options: argparse.Namespace) -> None:
    """Run one search."""
    landscape = answers_landscapes.find(options.landscape, options.name)
    with contextlib.closing(Database(options.storage)) as database:
        database.prepare()
        if database.transact(lambda connection: studies.find_if_any(connection, options.study)):
            raise SystemExit(f"{options.study} is in the database already: give the new study another name")
        answers_landscapes.search(database, landscape, options.study, options.seed, options.trials, options.epochs)


def table(options: argparse.Namespace) -> None:
    """Run the searches that are missing, ask the service about each, and print how right it is."""
    size = QUICK_SIZE if options.quick else SearchSize(options.seeds)
    names = options.only or (QUICK if options.quick else ())
    landscapes = [landscape for file in options.landscapes for landscape in answers_landscapes.load(file)]
    chosen = [landscape for landscape in landscapes if not names or landscape.name in names]
    with (
        open_directory(options.keep) as directory,
        embedded.start(directory) as server,
        contextlib.closing(Database(server.url)) as database,
    ):
        database.prepare()
        scores = [score for landscape in chosen for score in measure(database, landscape, size)]
    print(answers_scores.format_table(scores))


def measure(database: Database, landscape: Landscape, size: SearchSize) -> Iterator[LandscapeScore]:
    """Yield the score of the answer to each search over a landscape."""
    truth = cache(partial(Truth, landscape, epochs=size.epochs))
    for seed in range(size.seeds):
        summary, trials = search(database, landscape, seed, size)
        first_rung = next(epoch for epoch in range(1, size.epochs + 1) if _is_rung(summary, epoch))
        begun = time.process_time()
        answer = answers_service.answer(summary, trials)
        seconds = time.process_time() - begun
        yield answers_scores.score_answer(landscape.name, answer, seconds, first_rung, size.epochs, truth)
        print(".", end="", file=sys.stderr, flush=True)
    print(f" {landscape.name}", file=sys.stderr)


def _is_rung(summary: Summary, epoch: int) -> bool:
    spec = summary.study.spec
    return epoch == spec.budget.epochs or spec.compares_after(epoch)


def search(database: Database, landscape: Landscape, seed: int, size: SearchSize) -> tuple[Summary, Sequence[Trial]]:
    """Return a search, which is run unless it is there."""
    name = f"{landscape.name}-{seed}-{size.trials}x{size.epochs}"
    read = partial(results.read, name=name)
    try:
        summary, trials = database.transact(read)
    except NotFoundError:
        answers_landscapes.search(database, landscape, name, seed, size.trials, size.epochs)
        summary, trials = database.transact(read)
    if summary.status is not StudyStatus.FINISHED:
        raise SystemExit(f"{name} was interrupted: delete it from the kept database, or use another --keep")
    return summary, trials


@contextlib.contextmanager
def open_directory(kept: Path | None) -> Iterator[Path]:
    """Give the directory of the database: the one to keep, or one that is removed afterwards."""
    if kept is not None:
        kept.mkdir(parents=True, exist_ok=True)
        yield kept.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="hps-") as directory:
        yield Path(directory)


def main() -> None:
    """Read the command line; without a command, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command")
    one = commands.add_parser("simulate", help="run one search into a database")
    one.add_argument("--landscape", type=Path, required=True, help="a Python file with the function curve")
    one.add_argument("--name", required=True, help="handed to curve")
    one.add_argument("--seed", type=int, required=True, help="of the study and of the noise")
    one.add_argument("--study", required=True, help="the name of the new study")
    one.add_argument("--storage", required=True, help="the URL of the Postgres database")
    one.add_argument("--trials", type=int, default=TRIALS)
    one.add_argument("--epochs", type=int, default=EPOCHS)
    one.set_defaults(call=simulate)
    many = commands.add_parser("table", help="run many, and print how right the answers are (what is run by default)")
    many.add_argument("--quick", action="store_true", help="two landscapes, two seeds, small; over in a minute")
    many.add_argument("--landscapes", type=Path, nargs="+", default=LANDSCAPES, metavar="FILE")
    many.add_argument("--only", nargs="+", default=(), metavar="NAME", help="of the landscapes in these files")
    many.add_argument("--seeds", type=int, default=SEEDS, help="searches of each landscape")
    many.add_argument("--keep", type=Path, metavar="DIRECTORY", help="where the searches stay")
    many.set_defaults(call=table)
    arguments = sys.argv[1:]
    options = parser.parse_args(
        arguments if {*arguments[:1]} & {*commands.choices, "-h", "--help"} else ["table", *arguments]
    )
    options.call(options)


if __name__ == "__main__":
    main()
