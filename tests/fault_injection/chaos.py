"""Chaos: workers on trainings of seconds, a random fault every few seconds, then a drain; does everything add up?

    python -m tests.fault_injection.chaos --minutes 10 --seed 1 --workers 4

Prints what it did and what the database holds afterwards, and ends with 1 where a invariant was violated. The same seed
gives the same faults in the same order; what they meet is up to the machine.
"""

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

from hpsearch.storage.database import Database
from tests.support.attempt_records import StoredRecords, start
from tests.support.worker_processes import PostgresServer, WorkerGroup, WorkerProcess, run_workers

EVERY = 5.0
"""Seconds between two faults."""

TIMING = {"lease": 6.0, "renewal": 1.0, "poll": 0.5, "stall": 60.0, "stop": 20.0, "checkpoint": 0.5}

TRIALS, EPOCHS, KEPT = 6, 12, 2
STUDIES = 2
"""Studies that run at once: as soon as one is over, the next one is started, so that many budgets end in the middle."""


@dataclass
class Chaos:
    """One run: the faults it may do, each a method, and how many of each it did."""

    server: PostgresServer
    records: StoredRecords
    workers: WorkerGroup
    wanted: int
    random: random.Random
    done: Counter[str] = field(default_factory=Counter)
    running: list[WorkerProcess] = field(default_factory=list)
    frozen: dict[int, float] = field(default_factory=dict)
    started: int = 0

    def run(self, seconds: float) -> None:
        """Do faults for so long."""
        faults = [
            self.kill,
            self.kill,
            self.terminate,
            self.freeze,
            self.pause,
            self.restart,
            self.crash,
            self.kill_trainer,
        ]
        end, due = time.monotonic() + seconds, time.monotonic() + EVERY
        long_outage = time.monotonic() + seconds / 2 if seconds >= 300 else end
        while (now := time.monotonic()) < end:
            self.keep_up()
            if now >= due:
                fault = self.random.choice(faults)
                self.done[fault.__name__] += 1
                fault()
                due += EVERY
            if now >= long_outage:
                self.done["long outage"] += 1
                self.restart(60.0)
                long_outage, due = end, time.monotonic() + EVERY
            time.sleep(0.2)

    def keep_up(self) -> None:
        """Replace dead workers, thaw those that were frozen long enough, start a study where one is over."""
        now = time.monotonic()
        for worker in self.running:
            if self.frozen.get(worker.pid, now + 1) <= now:
                worker.thaw()
                del self.frozen[worker.pid]
        self.running = [worker for worker in self.running if worker.process.poll() is None]
        while len(self.running) < self.wanted:
            self.running.append(self.workers.start(drain=False, timing=TIMING))
        running = self.records.rows("select count(*) from hpsearch.studies where status in ('running', 'paused')")[0][0]
        for _ in range(STUDIES - running):
            start(
                self.records.database,
                f"chaos-{self.started}",
                trials=TRIALS,
                epochs=EPOCHS,
                keep_models=KEPT,
                pruner={"name": "median", "n_startup_trials": 3, "n_warmup_steps": 4},
                budget={"attempts": 20, "failures": 1000},
            )
            self.started += 1

    def one(self) -> WorkerProcess:
        return self.random.choice(self.running)

    def kill(self) -> None:
        """As the kernel, or a power cut, does."""
        self.one().send(signal.SIGKILL)

    def terminate(self) -> None:
        """As a preemption does."""
        self.one().send(signal.SIGTERM)

    def freeze(self) -> None:
        """Shorter or longer than a lease."""
        worker = self.one()
        worker.freeze()
        self.frozen[worker.pid] = time.monotonic() + self.random.uniform(1, 14)

    def pause(self) -> None:
        """A study, and let it go on, as a person does who changed their mind."""
        running = self.records.rows("select study_id from hpsearch.studies where status = 'running' order by 1")
        if running:
            study_id = self.random.choice(running)[0]
            self.turn(study_id, "running", "paused")
            time.sleep(self.random.uniform(0, 4))
            self.turn(study_id, "paused", "running")

    def turn(self, study_id: int, before: str, after: str) -> None:
        if self.records.rows(
            "select 1 from hpsearch.studies where study_id = :id and status = :s", id=study_id, s=before
        ):
            self.records.status(study_id, after)

    def restart(self, seconds: float | None = None) -> None:
        """The server, at once or after some seconds; once in a long run after a minute."""
        with self.server.outage():
            time.sleep(self.random.choice([0.0, 0.0, self.random.uniform(0, 8)]) if seconds is None else seconds)

    def crash(self) -> None:
        """The server, killed outright."""
        self.server.crash()

    def kill_trainer(self) -> None:
        """As the kernel does where memory runs out, or a broken library."""
        trainers = self.one().list_trainers()
        if trainers:
            with suppress(ProcessLookupError):
                os.kill(self.random.choice(trainers), self.random.choice([signal.SIGKILL, signal.SIGSEGV]))

    def drain(self) -> None:
        """Thaw all, tell all to leave, and let new workers end what was started."""
        for worker in self.running:
            worker.thaw()
            worker.send(signal.SIGTERM)
        for worker in self.running:
            worker.join()
        drained = [self.workers.start(timing=TIMING) for _ in range(self.wanted)]
        codes = [worker.join() for worker in drained]
        assert codes == [0] * self.wanted, f"draining workers left with {codes}"


def crashes(workers: WorkerGroup) -> list[str]:
    """Workers that left by themselves other than with 0, and tracebacks in what any printed."""
    failures = []
    for number, worker in enumerate(workers.workers):
        code = worker.process.poll()
        absent = code == 4 and "cannot reach the database" in worker.output  # started while it was away
        if code not in (None, 0, -signal.SIGKILL, -signal.SIGTERM) and not absent:
            failures.append(f"worker {number} left with {code}: {worker.output.strip().splitlines()[-1:]}")
        if "Traceback" in worker.output:
            failures.append(f"worker {number} printed a traceback: see {worker.log}")
    return failures


def chaos(directory: Path, seconds: float, seed: int, wanted: int) -> list[str]:
    """Run it; what did not add up."""
    server = PostgresServer(directory / "server")
    try:
        with closing(Database(server.url)) as database, run_workers(server.url, directory, quiet=True) as workers:
            database.migrate()
            run = Chaos(server, StoredRecords(database), workers, wanted, random.Random(seed))
            run.run(seconds)
            run.drain()
            broken = [*run.records.discrepancies(), *crashes(workers)]
            report(run, len(workers.workers))
            return broken
    finally:
        server.stop()


def report(run: Chaos, workers: int) -> None:
    """The counts."""
    print(f"{'faults':>24}  {sum(run.done.values())}: " + ", ".join(f"{n} {name}" for name, n in run.done.items()))
    print(f"{'workers started':>24}  {workers}")
    print(f"{'studies':>24}  {run.started}, {TRIALS} trials of up to {EPOCHS} epochs each")
    for name, count in run.records.counts().items():
        print(f"{name:>24}  {count}")
    for title, query in (
        ("trials", "select state::text, count(*) from trials group by 1 order by 1"),
        ("attempts ended", "select why, count(*) from hpsearch.attempts group by 1 order by 1"),
    ):
        print(f"{title:>24}  " + ", ".join(f"{count} {what}" for what, count in run.records.rows(query)))


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=None, help="by default a new one, which is printed")
    parser.add_argument("--workers", type=int, default=4)
    given = parser.parse_args()
    seed = random.randrange(10**6) if given.seed is None else given.seed
    directory = Path(tempfile.mkdtemp(prefix="hps-chaos-"))
    directory.chmod(0o711)
    print(
        f"chaos for {given.minutes:g} minutes with seed {seed} and {given.workers} workers; "
        f"what they print is in {directory}"
    )
    broken = chaos(directory, 60 * given.minutes, seed, given.workers)
    for line in broken:
        print(f"broken: {line}")
    print("everything adds up" if not broken else f"{len(broken)} invariants violated")
    sys.exit(1 if broken else 0)


if __name__ == "__main__":
    main()
