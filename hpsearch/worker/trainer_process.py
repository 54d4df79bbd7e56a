"""The supervisor's end of a trainer process."""

import multiprocessing
import os
import signal
import subprocess
from collections.abc import Mapping
from multiprocessing.connection import Connection, wait

from hpsearch import settings
from hpsearch.devices import Gpu
from hpsearch.training.protocol import FromTrainer, Ready, ToTrainer
from hpsearch.worker.output.output_pipe import OutputPipe
from hpsearch.worker.timing import DEFAULT_TIMING, Timing
from hpsearch.worker.wakeup import WakeupPipe

GPU_SHARE = 0.9
"""The share of a GPU's memory that its slots divide; the rest is for CUDA's own contexts."""


class TrainerDiedError(Exception):
    """The process is gone. `by_signal` is the signal that ended it, if one did; `last_line` is its last words."""

    def __init__(self, returncode: int, last_line: str) -> None:
        self.by_signal = signal.Signals(-returncode) if returncode < 0 else None
        self.last_line = last_line
        how = self.by_signal.name if self.by_signal else f"exit {returncode}"
        super().__init__(f"the trainer process died ({how}){': ' + last_line if last_line else ''}")


class TrainerProcess:
    """A running trainer process: it loads Keras as soon as it is started, and is kept warm between trials.

    `gpu` is the one it may use; None hides all of them. `slots` trainers share its memory, or the host's cores. In a
    process group of its own, so that a terminal's Ctrl-C reaches the supervisor only. `output` has what it prints.
    """

    def __init__(self, gpu: Gpu | None, slots: int = 1, timing: Timing = DEFAULT_TIMING) -> None:
        self._timing = timing
        self.connection, theirs = multiprocessing.Pipe()
        self.output = OutputPipe()
        self._process = subprocess.Popen(
            settings.make_python_command("hpsearch.training.process", str(theirs.fileno())),
            pass_fds=[theirs.fileno()],
            env=dict(make_environment(gpu, slots)),
            stdin=subprocess.DEVNULL,
            stdout=self.output.write_end,
            stderr=self.output.write_end,
            process_group=0,
        )
        theirs.close()
        self.output.close_write_end()
        self.gpu = gpu
        self.ready: Ready | None = None

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process.poll() is None

    def describe_missing_gpu(self) -> str | None:
        """Return why the process, once ready, would not train on its GPU; None where it would, or was given none."""
        if self.gpu is None or self.ready is None or self.ready.device == "GPU":
            return None
        remedy = "pip install 'jax[cuda12]'" if self.ready.backend == "jax" else "make install GPU=1"
        return (
            f"{self.ready.backend} does not see the GPU and would train on the CPU: "
            f"install its CUDA libraries ({remedy}), or use --cpu"
        )

    def send(self, message: ToTrainer) -> None:
        """Send a message.

        Raises:
            TrainerDiedError: the process is gone.
        """
        try:
            self.connection.send(message)
        except OSError:
            raise self._make_died_error() from None

    def receive(self, wakeup: WakeupPipe, timeout: float) -> FromTrainer | None:
        """Return the next message; None where `wakeup` was woken or `timeout` seconds passed first.

        Raises:
            TrainerDiedError: the process is gone.
        """
        channel: list[Connection | WakeupPipe] = [self.connection, wakeup]
        if self.connection not in wait(channel, timeout):  # type: ignore[arg-type]  # anything with a fileno() will do
            return None
        try:
            message: FromTrainer = self.connection.recv()
        except (EOFError, OSError):
            raise self._make_died_error() from None
        if isinstance(message, Ready):
            self.ready = message
            self.output.clear()  # what it printed while it loaded is no trial's
        return message

    def _make_died_error(self) -> TrainerDiedError:
        try:
            returncode = self._process.wait(self._timing.kill)
        except subprocess.TimeoutExpired:
            self._process.kill()
            returncode = self._process.wait()
        return TrainerDiedError(returncode, self.output.read_last_line()[:500])

    def close(self) -> None:
        """End the process: it leaves by itself when its pipe closes, and is killed where it does not."""
        self.connection.close()
        try:
            self._process.wait(self._timing.kill)
        except subprocess.TimeoutExpired:
            self.kill()
        self.output.close()

    def kill(self, *, wait: bool = True) -> None:
        """End the process at once; without a wait from a signal handler, which may have interrupted one."""
        self._process.kill()
        if wait:
            self._process.wait()


def make_environment(gpu: Gpu | None, slots: int) -> Mapping[str, str]:
    """Return the environment of one of `slots` trainer processes that share a GPU, or the CPU."""
    if gpu is None:
        threads = max(1, (os.cpu_count() or 1) // slots) if slots > 1 else None
        return settings.make_trainer_environment(None, threads=threads)
    share = GPU_SHARE / slots
    return settings.make_trainer_environment(gpu.uuid, int(gpu.memory * share) or None, share, alone=slots == 1)
