"""How right the service's answers are on real training: searches of spaces of which a full grid says what is true.

    python benchmarks/answers_training.py [--quick]                     all that is missing, then the tables
    python benchmarks/answers_training.py run --dataset digits [--keep DIRECTORY] [--records DIRECTORY]
    python benchmarks/answers_training.py table [--dataset digits ...] [--records DIRECTORY]
    python benchmarks/answers_training.py picture --out docs/answers-training.webp

`run` trains the studies of `training_studies.py` through the service, one worker over an embedded Postgres that stays
in the kept directory: the grid, twice, each with other images and seeds, and the searches. What was interrupted goes on
with the same command. Each finished study is a line of RECORDS/DATASET.jsonl; one that is there is not trained again.
CIFAR-10 has to be in HPSEARCH_DATA_DIR. `table` and `picture` ask the service anew about what the records say (those in
benchmarks/measured/answers by default). `--quick` is a minute of digits: its figures say nothing.

The truth (`answers_grid.py`) is of the whole range of a learning rate, with what lies between the rates of the grid
interpolated, at the epoch for which the service says its importance and at the last one. The value of a training is its
best epoch until then. ± is the standard error that two repetitions leave. The tables of differences are those of
`answers.py`, which says how to read them: there "held" has no allowance for the grid's own standard error.
"""

import argparse
import contextlib
import tempfile
from pathlib import Path

import search
import search_sides
import training_picture
import training_records
import training_studies
import training_table
from training_judged import JudgedSearches
from training_records import RECORDS

from hpsearch.storage import embedded
from hpsearch.storage.database import Database

KEPT = search_sides.BUILD / "answers"
DATASETS = ("digits", "cifar10")


def run(options: argparse.Namespace) -> None:
    """Train and record what is missing of a data set."""
    file = options.records / f"{options.dataset}.jsonl"
    recorded = {record.name for record in training_records.read(file)}
    directory: Path = options.keep / options.dataset
    directory.mkdir(parents=True, exist_ok=True)
    with embedded.start(directory.resolve()) as server, contextlib.closing(Database(server.url)) as database:
        database.prepare()
        for described in training_studies.TASKS[options.dataset].describe():
            if described["study"]["name"] not in recorded:
                trials = training_studies.train(described, database)
                record = training_records.make_record(described, trials, search.machine(), search.commit())
                training_records.append(file, record)


def table(options: argparse.Namespace) -> None:
    """Print what is true, and how right the answers are."""
    print(training_table.format_tables(_judge(options)))


def picture(options: argparse.Namespace) -> None:
    """Draw it."""
    training_picture.draw(_judge(options), options.out)


def everything(quick: bool) -> None:
    """Run what is missing of all data sets, or the short form, and print the tables."""
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hps-"))) if quick else KEPT
        datasets = ("quick",) if quick else DATASETS
        records = directory / "records"
        for dataset in datasets:
            run(argparse.Namespace(dataset=dataset, keep=directory, records=records))
        table(argparse.Namespace(dataset=datasets, records=records))


def _judge(options: argparse.Namespace) -> list[JudgedSearches]:
    return [JudgedSearches(name, training_records.read(options.records / f"{name}.jsonl")) for name in options.dataset]


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a small grid and one search, over in a minute")
    commands = parser.add_subparsers(dest="command")
    runs = commands.add_parser("run", help="train and record what is missing")
    runs.add_argument("--dataset", choices=list(training_studies.TASKS), required=True)
    runs.add_argument("--keep", type=Path, default=KEPT, help="where the database stays, in a directory a data set")
    runs.add_argument("--records", type=Path, default=KEPT / "records", help="the directory to write records to")
    runs.set_defaults(call=run)
    tables = commands.add_parser("table", help="print what is true and how right the answers are")
    tables.set_defaults(call=table)
    pictures = commands.add_parser("picture", help="draw the shares and the differences")
    pictures.add_argument("--out", type=Path, required=True, help="a .webp or .png file")
    pictures.set_defaults(call=picture)
    for command in (tables, pictures):
        command.add_argument("--dataset", choices=list(training_studies.TASKS), nargs="+", default=DATASETS)
        command.add_argument("--records", type=Path, default=RECORDS, help="the directory to read records from")
    options = parser.parse_args()
    if options.command:
        options.call(options)
    else:
        everything(options.quick)


if __name__ == "__main__":
    main()
