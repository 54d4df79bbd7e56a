"""What a worker itself costs: CPU a trial without training or sampling, its memory, and its trainer's over 50 trials.

    python benchmarks/supervisor.py [--history 1000] [--trials 200] [--trainer-trials 50]

Claims, reports ten epochs and tells, on an embedded Postgres, in a study that has `history` finished trials already.
CPU is user + system time of this process, which is the supervisor's side: the server's own work is not in it.
"""

import argparse
import os
import platform
import resource
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from hpsearch import attempt, claim, embedded, messages, roster, slot, spec, study, trainer
from hpsearch.alarm import Alarm
from hpsearch.attempt import Attempt
from hpsearch.database import Database
from hpsearch.history import History
from hpsearch.outcome import Ending, EpochMetrics
from hpsearch.roster import Holder
from hpsearch.study import Study

EPOCHS = 10
TINY = {"filters": 8, "dense_units": 64, "batch_size": 64}


@contextmanager
def database() -> Iterator[Database]:
    """A migrated database on a server of its own."""
    with tempfile.TemporaryDirectory() as directory, embedded.start(Path(directory)) as server:
        opened = Database(server.url)
        opened.prepare()
        yield opened
        opened.close()


def started(opened: Database, pruner: str) -> Study:
    """A study with room for every trial."""
    described = {
        "study": {"name": pruner},
        "budget": {"trials": 1_000_000, "epochs": EPOCHS},
        "data": {"name": "digits"},
        "space": {"learning_rate": {"low": 1e-4, "high": 1e-1, "log": True}},
        "pruner": {"name": pruner},
    }
    return study.start(opened, spec.from_dict(described)).study


def one_trial(opened: Database, found: Study, holder: Holder, history: History, number: int) -> None:
    """Claim, ten epochs, tell; a value that the pruner has no reason to end."""
    held: Attempt | None = opened.transact(lambda c: claim.take(c, found.study_id, holder))
    assert held is not None
    for epoch in range(1, EPOCHS + 1):
        metrics = EpochMetrics(epoch, 1.0, 0.5, 1.0, epoch / 100 + number / 1e6, 0.01, 1.0)
        opened.transact(lambda c, m=metrics: attempt.record(c, held, m, history))
    opened.transact(lambda c: attempt.finish(c, held, Ending.COMPLETED, {}))


def supervisor(history_trials: int, trials: int) -> None:
    """Print CPU a trial and this process's memory, without a pruner and with the median one."""
    with database() as opened:
        holder = Holder("bench", "bench", "CPU")
        opened.transact(lambda c: roster.enrol(c, holder, os.getpid()))
        for pruner in ("none", "median"):
            found = started(opened, pruner)
            history = History(found.study_id, found.spec.direction)
            for number in range(history_trials):
                one_trial(opened, found, holder, history, number)
            costs = []
            for number in range(trials):
                before = time.process_time()
                one_trial(opened, found, holder, history, history_trials + number)
                costs.append(1000 * (time.process_time() - before))
            print(
                f"supervisor, {pruner} pruner, history {history_trials}: "
                f"{statistics.mean(costs):.1f} ± {statistics.stdev(costs):.1f} ms CPU a trial of {EPOCHS} epochs "
                f"(n={trials})"
            )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"supervisor memory: {psutil.Process().memory_info().rss / 2**20:.0f} MB now, {peak:.0f} MB at most")


def trainer_memory(trials: int) -> None:
    """Print a warm trainer's resident memory after 5 and after `trials` trainings of varied configurations."""
    process, alarm = trainer.Trainer(None), Alarm()
    memories = []
    activations, optimizers = ("relu", "prelu", "maxout", "tanh", "elu"), ("sgd", "adam", "rmsprop")
    described = {"study": {"name": "memory"}, "data": {"name": "digits"}, "fixed": TINY}
    base = spec.from_dict(described)
    with trainer.workdir() as directory:
        for number in range(trials):
            chosen = {
                **base.hyperparameters({}),
                "activation": activations[number % len(activations)],
                "optimizer": optimizers[number % len(optimizers)],
                "batch_norm": bool(number % 2),
            }
            data = messages.Data("digits", 500, 200, 0)
            process.send(messages.Train(chosen, data, number, 2, "val_accuracy", 9, None, str(directory)))
            while not isinstance(message := process.receive(alarm, 600), messages.Ended):
                if isinstance(message, messages.Loaded | messages.EpochReport):
                    process.send(messages.GoOn())
            memories.append(message.outcome.memory / 2**20)
    process.close()
    early, late = memories[min(4, trials - 1)], memories[-1]
    print(
        f"trainer memory: {early:.0f} MB after 5 trials, {late:.0f} MB after {trials}: "
        f"{100 * (late / early - 1):+.1f}% (replaced beyond {slot.MEMORY_GROWTH:g}×)"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--history", type=int, default=1000)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--trainer-trials", type=int, default=50)
    options = parser.parse_args()
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    supervisor(options.history, options.trials)
    trainer_memory(options.trainer_trials)


if __name__ == "__main__":
    main()
