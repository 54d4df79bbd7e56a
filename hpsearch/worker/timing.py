"""How long a worker waits, and how often it looks."""

from dataclasses import dataclass, replace

from hpsearch import settings
from hpsearch.storage.artifacts.cleanup import CLEANUP_SECONDS
from hpsearch.storage.attempts import LEASE_SECONDS
from hpsearch.training.protocol import Train


@dataclass(frozen=True)
class Timing:
    """The intervals and timeouts of a worker, in seconds."""

    lease: float = LEASE_SECONDS
    """How long an attempt is held after its last renewal."""
    renewal: float = 15.0
    """Between two renewals of the lease."""
    poll: float = 2.0
    """Between two looks for work by an idle slot."""
    stall: float = 600.0
    """A trainer that sends no message for so long hangs; compiling the largest model takes one or two minutes."""
    quiet: float = 10.0
    """After how long a command says that the user's own code still runs."""
    stop: float = 60.0
    """How long a trainer may take to finish its batch and write a checkpoint once it was told to stop."""
    kill: float = 5.0
    """How long a trainer process whose pipe was closed may take to leave before it is killed."""
    retry: float = 2.0
    """Between two tries of a transaction while the database is unreachable."""
    silence: float = 30.0
    """How long a call on the database may be silent: the server's own timeout of a lock (20 s) comes first."""
    leave: float = 7.0
    """How long a worker that was told to stop waits for an unreachable database: it leaves within ten seconds."""
    longest_pause: float = 60.0
    """Between two tries after errors in a row that nobody foresaw; the first pause is twice `poll`."""
    output: float = 5.0
    """Between two looks for what a trainer printed and is not stored yet."""
    signal: float = 0.5
    """After how long at most a worker sees a signal."""
    cleanup: float = CLEANUP_SECONDS
    """Between two clean-ups of stored files that belong to nothing."""
    checkpoint: float = Train.checkpoint_every
    """Between two checkpoints of a training, at least."""


DEFAULT_TIMING = Timing()


def read_timing() -> Timing:
    """Return the default timing, with HPSEARCH_STALL_SECONDS where that is set.

    Raises:
        UsageError: see `settings.read_stall_seconds`.
    """
    return replace(DEFAULT_TIMING, stall=settings.read_stall_seconds() or DEFAULT_TIMING.stall)
