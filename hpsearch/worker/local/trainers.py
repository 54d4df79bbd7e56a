"""A trainer process for one request of a command."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from hpsearch.devices import Gpu
from hpsearch.errors import NotFoundError, UserCodeError
from hpsearch.formatting import format_duration
from hpsearch.training.protocol import Calling, CodeFailed, FromTrainer, Notice, Refused
from hpsearch.worker.timing import Timing, read_timing
from hpsearch.worker.trainer_process import TrainerProcess
from hpsearch.worker.wakeup import WakeupPipe

log = logging.getLogger(__name__)
"""Prints to stderr, as no command sets up another place."""

WAIT_SECONDS = 3600.0
"""Between two messages; only a framework that hangs sends none for so long, and Ctrl-C ends that too."""


class LocalTrainer:
    """A trainer process, and what it answers."""

    def __init__(self, trainer: TrainerProcess, wakeup: WakeupPipe, timing: Timing) -> None:
        self._trainer, self._wakeup, self._timing = trainer, wakeup, timing
        self.send = trainer.send

    def receive(self, last: type[FromTrainer]) -> Iterator[FromTrainer]:
        """Yield the trainer's messages up to one of the type `last`.

        Raises:
            NotFoundError: this host cannot do what was asked for, or the framework does not see the GPU.
            TrainerDiedError: the process is gone.
            UserCodeError: the user's own code failed, or runs for too long.
        """
        message: FromTrainer | None = None
        while not isinstance(message, last):
            message = self._wait(message.what if isinstance(message, Calling) else None)
            if isinstance(message, Refused):
                raise NotFoundError(message.detail)
            if isinstance(message, CodeFailed):
                raise UserCodeError(message.detail, message.traceback)
            if missing := self._trainer.describe_missing_gpu():  # what the CPU takes says nothing of the GPU
                raise NotFoundError(missing)
            if isinstance(message, Notice):
                log.warning("%s", message.text)
            elif message is not None:
                yield message

    def _wait(self, called: str | None) -> FromTrainer | None:
        """Return the next message; where the user's own code is called, say that it still runs, and give it up."""
        if called is None:
            return self._trainer.receive(self._wakeup, WAIT_SECONDS)
        stall, quiet = self._timing.stall, min(self._timing.quiet, self._timing.stall)
        message = self._trainer.receive(self._wakeup, quiet)
        if message is None:
            log.warning("%s takes over %s: Ctrl-C ends it", called, format_duration(quiet))
            message = self._trainer.receive(self._wakeup, stall - quiet)
        if message is None:
            remedy = "look for what it waits for, or let it run longer by HPSEARCH_STALL_SECONDS"
            raise UserCodeError(f"{called} has not ended after {format_duration(stall)}: {remedy}")
        return message


@contextmanager
def start_trainer(gpu: Gpu | None) -> Iterator[LocalTrainer]:
    """Start a trainer on a GPU, None being the CPU, and end it after the block.

    Raises:
        UsageError: see `timing.read_timing`.
    """
    timing = read_timing()
    trainer, wakeup = TrainerProcess(gpu), WakeupPipe()
    try:
        yield LocalTrainer(trainer, wakeup, timing)
    finally:
        if trainer.alive:
            trainer.kill()  # it may be in the middle of a check
        trainer.close()
        wakeup.close()
