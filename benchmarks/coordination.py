"""What it costs to share out trials over Postgres: this service and plain Optuna, without any training.

    python benchmarks/coordination.py [--quick] [--plot FILE]

Worker processes run trials of ten epochs on studies that have finished trials already, both sides on one embedded
Postgres with its usual settings, a fresh copy of a database each; sides take turns. CPU is user + system time of the
worker processes with their threads, and of the server apart; each worker's first trial, which reads the history, is in
a column of its own. At the end of each cell every trial must be complete and no number handed out twice.
"""

import argparse
import contextlib
import os
import platform
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import coordination_history
import coordination_workers
import psutil
import psycopg2
from sqlalchemy import text

from hpsearch.plotting import matplotlib_renderer
from hpsearch.plotting.chart import COLOURS, Axis, Chart, Panel, Series
from hpsearch.storage import embedded
from hpsearch.storage.database import Database

TRIALS = 200
"""The most trials a worker does in a cell, after its first."""


@dataclass(frozen=True)
class Kind:
    """One side under one setting; `sampler` and `pruner` are those of our study, None the service's default."""

    setting: str
    name: str
    side: coordination_workers.Side
    sampler: str | None = None
    pruner: str = ""

    @property
    def plain_optuna(self) -> bool:
        """Whether it is plain Optuna."""
        return self.side in {coordination_workers.optuna_random, coordination_workers.optuna_default}

    @property
    def template(self) -> str:
        """The name of the database that its cells copy."""
        return "optuna" if self.plain_optuna else f"ours_{self.sampler}_{self.pruner}"

    def fill(self, database: Database, trials: int) -> None:
        """Start its study, with a history."""
        if self.plain_optuna:
            coordination_history.start_optuna(database)
            coordination_history.fill(database, coordination_workers.optuna_random, trials)
        else:
            coordination_history.start_ours(database, self.sampler, self.pruner)
            coordination_history.fill(database, coordination_workers.hpsearch, trials)


RANDOM, ADAPTIVE = "random sampling, no pruner", "TPE, median pruner"
KINDS = (
    Kind(RANDOM, "hpsearch", coordination_workers.hpsearch, "random", "none"),
    Kind(RANDOM, "plain Optuna", coordination_workers.optuna_random),
    Kind(ADAPTIVE, "hpsearch", coordination_workers.hpsearch, "tpe", "median"),
    Kind(ADAPTIVE, "plain Optuna", coordination_workers.optuna_default),
)


@dataclass(frozen=True)
class Cell:
    """One measurement; milliseconds of CPU a trial of the workers and of the server, and of a worker's first trial."""

    trials: int
    rate: float
    worker: float
    server: float
    first: float


class BenchmarkServer:
    """The benchmark's own Postgres."""

    def __init__(self, running: embedded.Server) -> None:
        self.admin = Database(running.url)
        self._process = psutil.Process(int((running.cluster.data / "postmaster.pid").read_text().split()[0]))

    def database(self, name: str) -> Database:
        """Return one of its databases."""
        return Database(self.admin.url.set(database=name).render_as_string(hide_password=False))

    def run(self, statement: str, name: str = "postgres") -> None:
        """Run a statement outside any transaction, in one of its databases."""
        url = self.admin.url.set(drivername="postgresql", database=name).render_as_string(hide_password=False)
        with contextlib.closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
            connection.autocommit = True
            cursor.execute(statement)

    def prepare(self, kind: Kind, trials: int) -> str:
        """Make the database that cells copy, unless it is there; return its name."""
        name = f"{kind.template}_{trials}"
        with self.admin.engine.connect() as connection:
            there = connection.scalar(text("select 1 from pg_database where datname = :name"), {"name": name})
        if not there:
            self.run(f"create database {name}")
            database = self.database(name)
            database.prepare()
            kind.fill(database, trials)
            database.close()
            self.run("vacuum analyze", name)
        return name

    def cpu(self) -> float:
        """Return the CPU seconds of all its processes so far, those that have ended included."""
        used = self._process.cpu_times()
        total: float = used.user + used.system + used.children_user + used.children_system
        for child in self._process.children():
            try:
                times = child.cpu_times()
            except psutil.NoSuchProcess:
                continue
            total += times.user + times.system
        return total


def measure(server: BenchmarkServer, kind: Kind, workers: int, history: int, seconds: float) -> Cell:
    """Measure one cell, on a copy of the history's database."""
    template = server.prepare(kind, history)
    server.run(f"create database cell template {template} strategy file_copy")
    cell = server.database("cell")
    try:
        before: list[float] = []
        url = cell.url.render_as_string(hide_password=False)
        done = coordination_workers.work(kind.side, url, workers, TRIALS, seconds, lambda: before.append(server.cpu()))
        used = server.cpu() - before[0]
        check(cell, history, [number for each in done for number in each.numbers])
    finally:
        cell.close()
        server.run("drop database cell with (force)")
    trials = sum(len(each.numbers) - 1 for each in done)
    return Cell(
        trials,
        sum((len(each.numbers) - 1) / each.seconds for each in done),
        1000 * sum(each.cpu for each in done) / trials,
        1000 * used / trials,
        1000 * statistics.mean(each.first for each in done),
    )


def check(database: Database, history: int, numbers: Sequence[int]) -> None:
    """See that each number was handed out once, and that every trial is complete with all its epochs."""
    last = history + len(numbers)
    assert sorted(numbers) == list(range(history, last)), "a number is missing, or was handed out twice"
    with database.engine.connect() as connection:
        rows = connection.execute(
            text(
                "select t.number, t.state::text, (select count(*) from trial_intermediate_values i "
                "where i.trial_id = t.trial_id) from trials t order by t.number"
            )
        ).all()
    assert [tuple(row) for row in rows] == [(number, "COMPLETE", coordination_workers.EPOCHS) for number in range(last)]


Key = tuple[Kind, int, int]
"""Kind, workers, history."""


def run(
    server: BenchmarkServer, worker_counts: Sequence[int], histories: Sequence[int], repeats: int, seconds: float
) -> dict[Key, list[Cell]]:
    """Measure every cell so many times, the sides in turn."""
    cells: dict[Key, list[Cell]] = defaultdict(list)
    for history in histories:
        for setting in (RANDOM, ADAPTIVE):
            for workers in worker_counts:
                for _ in range(repeats):
                    for kind in (each for each in KINDS if each.setting == setting):
                        cells[kind, workers, history].append(measure(server, kind, workers, history, seconds))
                        print(".", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return cells


def table(setting: str, cells: dict[Key, list[Cell]]) -> Iterator[str]:
    """Yield the lines of one setting's table in Markdown."""
    head = ("workers", "history", "", "trials/s", "worker CPU ms/trial", "of Optuna's", "server CPU ms/trial")
    rows = [(*head, "first trial, CPU ms", "n")]
    for (kind, workers, history), group in cells.items():
        if kind.setting != setting:
            continue
        optuna = cells[next(each for each in KINDS if each.setting == setting and each.plain_optuna), workers, history]
        part = statistics.mean(each.worker for each in group) / statistics.mean(each.worker for each in optuna)
        rows.append(
            (
                str(workers),
                f"{history:,}",
                kind.name,
                shown([each.rate for each in group]),
                shown([each.worker for each in group]),
                "" if kind.plain_optuna else f"{part:.2f}",
                shown([each.server for each in group]),
                f"{statistics.mean(each.first for each in group):,.0f}",
                f"{len(group)} × {round(statistics.mean(each.trials for each in group))}",
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for place, row in enumerate(rows):
        yield "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        if place == 0:
            yield "|" + "|".join("-" * (width + 2) for width in widths) + "|"


def shown(values: Sequence[float]) -> str:
    """Format mean ± standard deviation."""
    spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.1f}{spread}"


def plot(cells: dict[Key, list[Cell]], histories: Sequence[int]) -> Chart:
    """Draw throughput against workers, a line for each side and history."""
    return Chart(
        tuple(_panel(setting, cells, histories) for setting in (RANDOM, ADAPTIVE)), columns=2, width=380, height=300
    )


def _panel(setting: str, cells: dict[Key, list[Cell]], histories: Sequence[int]) -> Panel:
    marks = []
    for kind in (each for each in KINDS if each.setting == setting):
        ours = not kind.plain_optuna
        for place, history in enumerate(histories):
            points = {workers: group for (which, workers, at), group in cells.items() if (which, at) == (kind, history)}
            rates = [[each.rate for each in group] for group in points.values()]
            marks.append(
                Series(
                    tuple(float(workers) for workers in points),
                    tuple(statistics.mean(each) for each in rates),
                    f"{kind.name}, history {history:,}",
                    ("solid", "dashed", "dotted")[place],
                    "circle" if ours else "square",
                    COLOURS[0] if ours else COLOURS[1],
                    tuple(min(each) for each in rates),
                    tuple(max(each) for each in rates),
                )
            )
    worker_counts = sorted({workers for _, workers, _ in cells})
    ticks = tuple((float(workers), str(workers)) for workers in worker_counts)
    return Panel(setting, Axis("worker processes", log=True, ticks=ticks), _rates(cells), tuple(marks))


def _rates(cells: dict[Key, list[Cell]]) -> Axis:
    """Return the same axis for both settings, so that they can be compared."""
    rates = [each.rate for group in cells.values() for each in group]
    low, high = min(rates) / 1.1, max(rates) * 1.1
    ticks = tuple((tick, f"{tick:g}") for tick in (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0) if low < tick < high)
    return Axis("trials/s", log=True, ticks=ticks, low=low, high=high)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one short cell each, without 10,000 trials or 16 workers")
    parser.add_argument("--plot", type=Path, help="write throughput against workers to this PNG")
    options = parser.parse_args()
    worker_counts, histories = ((1, 4), (0, 1_000)) if options.quick else ((1, 4, 16), (0, 1_000, 10_000))
    repeats, seconds = (1, 1.5) if options.quick else (3, 2.0)
    coordination_workers.quiet()
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as directory, embedded.start(Path(directory)) as running:
        server = BenchmarkServer(running)
        cells = run(server, worker_counts, histories, repeats, seconds)
        many = [measure(server, kind, 64, 1_000, 2 * seconds) for kind in KINDS if not kind.plain_optuna]
        postgres = server.admin.engine.connect().scalar(text("show server_version"))
        server.admin.close()
    versions = ", ".join(f"{name} {version(name)}" for name in ("optuna", "sqlalchemy", "psycopg2-binary"))
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, Postgres {postgres}, "
        f"{versions}"
    )
    print(f"mean ± standard deviation over cells of {seconds:g} s; n: cells × trials in each")
    for setting in (RANDOM, ADAPTIVE):
        print(f"\n{setting}\n")
        print("\n".join(table(setting, cells)))
    for setting, cell in zip((RANDOM, ADAPTIVE), many, strict=True):
        print(
            f"\n64 workers, {setting}: {cell.trials + 64} trials, no error, no number twice, {cell.rate:.1f} trials/s"
        )
    print(f"\n{time.monotonic() - begun:.0f} s in all")
    if options.plot:
        options.plot.write_bytes(matplotlib_renderer.render_png(plot(cells, histories)))


if __name__ == "__main__":
    main()
