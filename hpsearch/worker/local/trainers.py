"""A trainer process for one request of a command."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from hpsearch.devices import Gpu
from hpsearch.errors import NotFoundError
from hpsearch.training.protocol import FromTrainer, Notice, Refused
from hpsearch.worker.trainer_process import TrainerProcess
from hpsearch.worker.wakeup import WakeupPipe

log = logging.getLogger(__name__)
"""Prints to stderr, as no command sets up another place."""

WAIT_SECONDS = 3600.0
"""Between two messages; only a framework that hangs sends none for so long, and Ctrl-C ends that too."""


class LocalTrainer:
    """A trainer process, and what it answers."""

    def __init__(self, trainer: TrainerProcess, wakeup: WakeupPipe) -> None:
        self._trainer, self._wakeup = trainer, wakeup
        self.send = trainer.send

    def receive(self, last: type[FromTrainer]) -> Iterator[FromTrainer]:
        """Yield the trainer's messages up to one of the type `last`.

        Raises:
            NotFoundError: this host cannot do what was asked for, or the framework does not see the GPU.
            TrainerDiedError: the process is gone.
        """
        message: FromTrainer | None = None
        while not isinstance(message, last):
            message = self._trainer.receive(self._wakeup, WAIT_SECONDS)
            if isinstance(message, Refused):
                raise NotFoundError(message.detail)
            if missing := self._trainer.describe_missing_gpu():  # what the CPU takes says nothing of the GPU
                raise NotFoundError(missing)
            if isinstance(message, Notice):
                log.warning("%s", message.text)
            elif message is not None:
                yield message


@contextmanager
def start_trainer(gpu: Gpu | None) -> Iterator[LocalTrainer]:
    """Start a trainer on a GPU, None being the CPU, and end it after the block."""
    trainer, wakeup = TrainerProcess(gpu), WakeupPipe()
    try:
        yield LocalTrainer(trainer, wakeup)
    finally:
        if trainer.alive:
            trainer.kill()  # it may be in the middle of a check
        trainer.close()
        wakeup.close()
