"""How long a user waits: for the help, the status, the results, a worker's first trial, the dashboard's study page.

    python benchmarks/responsiveness.py [--quick]

Real commands in real processes on an embedded Postgres of their own, which has a study of 10,000 trials of ten epochs
and one of 1,000. Prints medians and ranges of the clock's and of CPU seconds (user + system, the command's and its
children's; the server's own are not in it), and the target beside each. `--quick`: 1,000 and 100 trials, two runs.
"""

import argparse
import contextlib
import importlib.metadata
import os
import platform
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
from sqlalchemy import text
from synthetic_history import SPACE, fill

from hpsearch.spec import loader
from hpsearch.storage import embedded, study_creation
from hpsearch.storage.database import Database

COMMAND = [sys.executable, "-m", "hpsearch.cli.main"]
BARE = [sys.executable, "-c", "pass"]
QUIET = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
PAGE_SECONDS = 180.0
"""Seconds after which a page that has not drawn its plots is given up."""


@dataclass(frozen=True)
class Took:
    """Seconds by the clock and of the CPU; NaN where there is no such figure."""

    clock: float
    cpu: float = float("nan")


def command(*arguments: str) -> Took:
    """Run a command to its end and discard its output."""
    return timed([*COMMAND, *arguments])


def timed(whole: Sequence[str]) -> Took:
    """Run a program to its end."""
    began = time.perf_counter()
    running = subprocess.Popen(whole, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, ended, usage = os.wait4(running.pid, 0)
    clock = time.perf_counter() - began
    running.returncode = os.waitstatus_to_exitcode(ended)
    assert running.returncode == 0, whole
    return Took(clock, usage.ru_utime + usage.ru_stime)


def spread(values: Sequence[float]) -> str:
    """Format median and range."""
    known = [value for value in values if value == value]
    if not known:
        return ""
    return f"{statistics.median(known):.2f} ({min(known):.2f} to {max(known):.2f})"


def show(what: str, took: Sequence[Took], target: str = "") -> None:
    """Print a line of the table."""
    clock, cpu = spread([each.clock for each in took]), spread([each.cpu for each in took])
    print(f"{what:<64} {clock:<24} {cpu:<24} {target:<12} {len(took)}", flush=True)


def time_help(runs: int) -> None:
    """Time the help and a bare interpreter, in turns."""
    bare, helped = [], []
    for _ in range(2 * runs):
        bare.append(timed(BARE))
        helped.append(command("--help"))
    show("a bare interpreter", bare)
    show("hpsearch --help", helped)
    over = [Took(b.clock - a.clock, b.cpu - a.cpu) for a, b in zip(bare, helped, strict=True)]
    show("  over the bare interpreter", over, "0.3 s")


def time_reading(url: str, long: int, short: int, runs: int) -> None:
    """Time `status` and `results`."""
    place = ("--storage", url)
    show(f"status, {long:,} trials", [command("status", *place) for _ in range(runs)], "1 s")
    show(f"results, {short:,} trials", [command("results", "short", *place) for _ in range(runs)], "1 s")
    for form in ("--csv", "--json"):
        took = [command("results", "short", form, *place) for _ in range(runs)]
        show(f"results {form}, {short:,} trials", took)
    show(f"results, {long:,} trials", [command("results", "long", *place) for _ in range(runs)])


def first_trial(environment: dict[str, str], opened: Callable[[], float], *options: str) -> tuple[Took, Took]:
    """Start a worker; return the time until its first attempt was opened, and until it printed the trial."""
    began, clock = time.time(), time.perf_counter()
    running = subprocess.Popen(
        [*COMMAND, "worker", "--cpu", *options], env={**os.environ, **environment}, stderr=subprocess.PIPE, text=True
    )
    assert running.stderr is not None
    try:
        for line in running.stderr:
            if re.search(r" trial \d+ of ", line):
                break
        sampled = time.perf_counter() - clock
        used = sum(psutil.Process(running.pid).cpu_times()[:2])
        delay = opened() - began
    finally:
        running.send_signal(signal.SIGTERM)
        running.communicate()
    return Took(delay), Took(sampled, used)


def newest(database: Database) -> float:
    """Return when the newest attempt was opened, in seconds since the epoch, by the server's clock."""
    query = text("select extract(epoch from max(opened_at))::float from hpsearch.attempts")
    return float(database.transact(lambda c: c.execute(query).scalar_one()))


def warm_worker(database: Database, url: str, what: str, runs: int) -> None:
    """Time a worker on a server that runs."""
    took = [first_trial({}, lambda: newest(database), "--study", what, "--storage", url) for _ in range(runs)]
    show(f"worker --cpu: its first trial is held (study {what})", [delay for delay, _ in took], "2 s")
    show("  and sampled (CPU of the worker so far)", [sampled for _, sampled in took])


def cold_worker(runs: int) -> None:
    """Time a worker with the embedded server of this host, which is down before and after each."""
    with tempfile.TemporaryDirectory() as home:
        place = Path(home) / "hpsearch"
        described = {"study": {"name": "cold"}, "data": {"name": "digits"}, "space": SPACE}
        with embedded.start(place) as server, contextlib.closing(Database(server.url)) as database:
            database.prepare()
            study_creation.start(database, loader.from_dict(described))

        def opened() -> float:
            with embedded.start(place) as server, contextlib.closing(Database(server.url)) as database:
                return newest(database)

        took = [first_trial({"XDG_DATA_HOME": home}, opened) for _ in range(runs)]
        show("worker --cpu: its first trial is held, server down before", [delay for delay, _ in took], "2 s")


@contextlib.contextmanager
def dashboard(url: str) -> Iterator[tuple[str, psutil.Process]]:
    """Start a fresh dashboard; yield its address and its process."""
    running = subprocess.Popen(
        [*COMMAND, "dashboard", "--port", "0", "--storage", url], stderr=subprocess.PIPE, text=True
    )
    assert running.stderr is not None
    try:
        address = re.search(r"http://[^/\s]+", running.stderr.readline())
        assert address
        yield address[0], psutil.Process(running.pid)
    finally:
        running.terminate()
        running.communicate()


def request(process: psutil.Process, address: str) -> tuple[Took, int]:
    """Request a page; return the time and its size in bytes."""
    used, began = sum(process.cpu_times()[:2]), time.perf_counter()
    with urllib.request.urlopen(address) as answer:
        size = len(answer.read())
    return Took(time.perf_counter() - began, sum(process.cpu_times()[:2]) - used), size


def time_answers(url: str, trials: int, runs: int) -> None:
    """Time what the study's page requests: everything at first, then every ten seconds what is new."""
    first, again, polls = list[Took](), list[Took](), list[Took]()
    sizes = set()
    for _ in range(runs):
        with dashboard(url) as (address, process):
            for times, query in ((first, "?after=0"), (again, "?after=0"), (polls, f"?after={trials}")):
                took, size = request(process, f"{address}/api/studies/1{query}")
                times.append(took)
                sizes.add(f"{query}: {size / 1e6:.2f} MB")
    show(f"dashboard, {trials:,} trials: the page's first request", first)
    show("  the same for the next visitor", again)
    show("  a later poll", polls)
    print(f"  sizes of the answers: {', '.join(sorted(sizes))}")


def time_page(url: str, trials: int, runs: int) -> None:
    """Time the study's page in a headless Chromium, until its plots are drawn."""
    from playwright.sync_api import Error, sync_playwright

    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        print("there is no Chromium here: the page was not measured")
        return
    drawn: dict[str, list[Took]] = {
        name: [] for name in ("#graph-timeline", "#graph-intermediate-values", "#graph-hyperparameter-importances")
    }
    with sync_playwright() as playwright:
        for _ in range(runs):
            with dashboard(url) as (address, _), playwright.chromium.launch(executable_path=chromium, args=QUIET) as b:
                opened = b.new_page(viewport={"width": 1400, "height": 1000})
                began = time.perf_counter()
                opened.goto(f"{address}/dashboard/studies/1")
                for name, times in drawn.items():
                    with contextlib.suppress(Error):  # not within PAGE_SECONDS: one figure less, which the table shows
                        plot = opened.locator(f"{name} :is(.trace, .point)").first
                        plot.wait_for(state="attached", timeout=1000 * PAGE_SECONDS)
                        times.append(Took(time.perf_counter() - began))
    for name, times in drawn.items():
        show(f"the page in Chromium, {trials:,} trials: {name.removeprefix('#graph-').replace('-', ' ')}", times)
        if len(times) < runs:
            print(f"  {runs - len(times)} of {runs} not within {PAGE_SECONDS:g} s")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    long, short, runs = (1000, 100, 2) if quick else (10_000, 1000, 5)
    versions = ", ".join(
        f"{each} {importlib.metadata.version(each)}" for each in ("optuna", "optuna-dashboard", "sqlalchemy", "typer")
    )
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, {versions}")
    print(f"load when begun: {os.getloadavg()[0]:.1f}")
    print(f"{'':<64} {'clock, s: median (range)':<24} {'CPU, s: median (range)':<24} {'target':<12} n")
    time_help(runs)
    with (
        tempfile.TemporaryDirectory() as directory,
        embedded.start(Path(directory)) as server,
        contextlib.closing(Database(server.url)) as database,
    ):
        database.prepare()
        fill(database, "long", long)
        fill(database, "short", short)
        time_reading(server.url, long, short, runs)
        for name in ("short", "long"):
            warm_worker(database, server.url, name, runs)
        cold_worker(runs)
        time_answers(server.url, long, 2 if quick else 3)
        time_page(server.url, long, 1 if quick else 2)


if __name__ == "__main__":
    main()
