"""Worker processes without a trainer: those of the service, and plain Optuna's, on the same made-up figures.

Ours are the real `Slot` of a worker, from claim to end of every trial, on a trainer that answers at once. Optuna's is
what a user would write: `study.optimize` on an RDBStorage, with `report` and `should_prune` at each epoch.
"""

import logging
import multiprocessing
import os
import resource
import time
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from threading import BrokenBarrierError
from typing import Any, Protocol, TextIO

import optuna
from rich.console import Console

from hpsearch.cli.training_progress import PlainProgress
from hpsearch.metrics import EpochMetrics
from hpsearch.outcomes import AttemptEnd, Confusion, TrainingEnd, TrialOutcome
from hpsearch.storage import workers
from hpsearch.storage.artifacts.cleanup import ArtifactCleanup
from hpsearch.storage.attempts import Attempt
from hpsearch.storage.database import Database
from hpsearch.storage.workers import WorkerIdentity
from hpsearch.training.protocol import Ended, EpochReport, FromTrainer, GoOn, Loaded, Ready, ToTrainer, Train
from hpsearch.worker.db_retry import StopRequest
from hpsearch.worker.lease_renewal import LeaseRenewal
from hpsearch.worker.output.output_pipe import OutputPipe
from hpsearch.worker.resources import Quota
from hpsearch.worker.slot import SharedSlotState, Slot
from hpsearch.worker.study_code import CodeDirectories
from hpsearch.worker.timing import DEFAULT_TIMING
from hpsearch.worker.wakeup import WakeupPipe

EPOCHS = 10
STUDY = "coordination"
OPTIMIZERS = ["sgd", "momentum", "nesterov", "adam", "adagrad", "rmsprop"]
ACTIVATIONS = ["sigmoid", "tanh", "relu", "leaky_relu", "prelu", "elu", "maxout"]
FORK = multiprocessing.get_context("fork")
"""A worker starts with everything imported, on either side."""

MATRIX: Confusion = tuple(tuple(440 if row == column else 6 + row for column in range(10)) for row in range(10))
WAIT_SECONDS = 600


def accuracy(epoch: int) -> float:
    """Return a value a little better than in the trials before, so that no median pruner ends one, on either side."""
    return 0.5 + 0.04 * epoch + 1e-9 * time.monotonic()


class InstantTrainer:
    """A trainer that answers at once and trains nothing."""

    ready = Ready("none", "CPU", {"keras": "3", "python": "3"})
    alive = True

    def __init__(self) -> None:
        self.output = OutputPipe()  # it prints nothing, as the service's own models do
        self._answers: deque[FromTrainer] = deque()
        self._epoch = 0

    def describe_missing_gpu(self) -> None:
        """Report no GPU that is missing."""

    def send(self, message: ToTrainer) -> None:
        """Take a message, and have the answer ready."""
        match message:
            case Train():
                self._epoch = 0
                self._answers.append(Loaded("0" * 64, 1_250_858, "float32"))
            case GoOn() if self._epoch == EPOCHS:
                self._answers.append(Ended(TrainingEnd(TrialOutcome.COMPLETED)))
            case GoOn():
                self._epoch += 1
                value = accuracy(self._epoch)
                metrics = EpochMetrics(self._epoch, 2 - value, value, 2.1 - value, value, 0.01, 1.0)
                self._answers.append(EpochReport(metrics, None, MATRIX))
            case _:
                raise AssertionError(message)

    def receive(self, wakeup: WakeupPipe, timeout: float) -> FromTrainer:
        """Return the next answer."""
        return self._answers.popleft()

    def close(self) -> None:
        """Do nothing: there is no process to end."""


class Limit(Quota):
    """So many trials at most, and none begun after `until` (`time.monotonic`)."""

    def __init__(self, trials: int, until: float) -> None:
        super().__init__(trials)
        self._until = until

    def take(self) -> bool:
        return time.monotonic() < self._until and super().take()


class Course(Protocol):
    """Runs trials until so many are done or the time (`time.monotonic`) has come."""

    def __call__(self, trials: int, until: float) -> None: ...


Side = Callable[[str, ExitStack, list[int]], Course]
"""Sets a worker up on the database of a URL; the numbers of the trials it ended go into the list."""


def _open_null() -> TextIO:
    """Open the null device, for the lines that either side prints."""
    return Path(os.devnull).open("w")  # for as long as the process lives


def quiet() -> None:
    """Let Optuna write its lines as our side does, in this process and in those that it forks."""
    handler = logging.StreamHandler(_open_null())
    handler.setFormatter(optuna.logging.create_default_formatter())
    optuna.logging.disable_default_handler()
    logging.getLogger("optuna").addHandler(handler)


class _RecordingProgress(PlainProgress):
    """The lines a worker prints, and which trials it ended."""

    def __init__(self, numbers: list[int], console: Console) -> None:
        super().__init__(console)
        self._numbers = numbers

    def end_trial(self, attempt: Attempt, end: AttemptEnd, detail: str) -> None:
        super().end_trial(attempt, end, detail)
        assert end is AttemptEnd.COMPLETED, (end, detail)
        self._numbers.append(attempt.trial_number)


def hpsearch(url: str, stack: ExitStack, numbers: list[int]) -> Course:
    """Set up a worker of the service."""
    database = Database(url)
    stack.callback(database.close)
    holder = WorkerIdentity(f"bench-{os.getpid()}", "bench", "CPU")
    database.transact(lambda connection: workers.register(connection, holder, os.getpid()))
    lease = stack.enter_context(LeaseRenewal(database, holder.worker_id, DEFAULT_TIMING))
    display = _RecordingProgress(numbers, Console(file=_open_null()))

    def shared(quota: Quota) -> SharedSlotState:
        start: Any = InstantTrainer
        return SharedSlotState(
            database,
            display,
            holder,
            lease,
            StopRequest(),
            quota,
            (STUDY,),
            True,
            start,
            ArtifactCleanup(database),
            DEFAULT_TIMING,
            CodeDirectories(database, display.note),
        )

    served = Slot(shared(Quota(0)))

    def run(trials: int, until: float) -> None:
        served.shared = shared(Limit(trials, until))
        served.serve()

    return run


def optuna_random(url: str, stack: ExitStack, numbers: list[int]) -> Course:
    """Set up plain Optuna, sampling at random, without a pruner."""
    return _optuna(url, stack, numbers, optuna.samplers.RandomSampler(), optuna.pruners.NopPruner())


def optuna_default(url: str, stack: ExitStack, numbers: list[int]) -> Course:
    """Set up plain Optuna as it is by default: TPE and the median pruner."""
    return _optuna(url, stack, numbers, None, None)


def _optuna(
    url: str,
    stack: ExitStack,
    numbers: list[int],
    sampler: optuna.samplers.BaseSampler | None,
    pruner: optuna.pruners.BasePruner | None,
) -> Course:
    storage = optuna.storages.RDBStorage(url)
    stack.callback(storage.engine.dispose)
    study = optuna.load_study(study_name=STUDY, storage=storage, sampler=sampler, pruner=pruner)

    def run(trials: int, until: float) -> None:
        study.optimize(_objective, trials, timeout=max(0.0, until - time.monotonic()), callbacks=[ended])

    def ended(study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
        numbers.append(trial.number)

    return run


def _objective(trial: optuna.Trial) -> float:
    trial.suggest_float("learning_rate", 1e-5, 1e-1, log=True)
    trial.suggest_categorical("optimizer", OPTIMIZERS)
    trial.suggest_categorical("activation", ACTIVATIONS)
    trial.suggest_float("dropout", 0.0, 0.5)
    trial.suggest_categorical("batch_norm", [True, False])
    best = 0.0
    for epoch in range(1, EPOCHS + 1):
        value = accuracy(epoch)
        best = max(best, value)
        trial.report(value, epoch)
        if trial.should_prune():
            raise optuna.TrialPruned
    return best


@dataclass(frozen=True)
class Work:
    """What one worker process did after its first trial, whose CPU seconds are `first`."""

    numbers: tuple[int, ...]
    cpu: float
    seconds: float
    first: float


def work(side: Side, url: str, workers: int, trials: int, seconds: float, meet: Callable[[], None]) -> list[Work]:
    """Let so many processes work at once; each does a first trial before all begin.

    Args:
        side: which kind of worker.
        url: the database.
        workers: how many.
        trials: the most a worker does, after its first.
        seconds: for how long it begins new ones.
        meet: called when the first trials are done, before the others begin.

    Raises:
        RuntimeError: a worker failed.
    """
    barrier = FORK.Barrier(workers, action=None)
    begin = FORK.Event()
    pipes, processes = [], []
    for _ in range(workers):
        ours, theirs = FORK.Pipe()
        process = FORK.Process(target=_worker, args=(side, url, trials, seconds, barrier, begin, theirs))
        process.start()
        theirs.close()
        pipes.append(ours)
        processes.append(process)
    try:
        for pipe in pipes:
            _receive(pipe)
        meet()
        begin.set()
        done = [_receive(pipe) for pipe in pipes]
    finally:
        for process in processes:
            process.join(30)
            process.kill()
    return done


def _receive(pipe: Pipe) -> Any:
    if not pipe.poll(WAIT_SECONDS):
        raise RuntimeError("a worker does not answer")
    try:
        return pipe.recv()
    except EOFError:
        raise RuntimeError("a worker failed: see above") from None


def _worker(side: Side, url: str, trials: int, seconds: float, barrier: Any, begin: Any, pipe: Pipe) -> None:
    numbers: list[int] = []
    with ExitStack() as stack:
        run = side(url, stack, numbers)
        cpu = _cpu()
        run(1, time.monotonic() + WAIT_SECONDS)
        first = _cpu() - cpu
        pipe.send("ready")
        try:
            begin.wait(WAIT_SECONDS)
            barrier.wait(WAIT_SECONDS)
        except BrokenBarrierError:
            return
        cpu, start = _cpu(), time.monotonic()
        run(trials, start + seconds)
        pipe.send(Work(tuple(numbers), _cpu() - cpu, time.monotonic() - start, first))


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
