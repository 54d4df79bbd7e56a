"""What the slots of a worker share: a quota of trials and the device's memory; and when a trainer holds too much."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

MEMORY_GROWTH = 1.5
"""A trainer is replaced that holds so many times what it held after its first trials."""

SETTLED_TRIALS = 3
"""Trials after which a trainer has loaded whatever it loads once."""


class Quota:
    """How many trials a worker may still end, counted over its slots; None is any number."""

    def __init__(self, trials: int | None) -> None:
        self._left = trials
        self._lock = threading.Lock()

    def take(self) -> bool:
        """Reserve one trial; False where none is left."""
        with self._lock:
            if self._left == 0:
                return False
            if self._left is not None:
                self._left -= 1
            return True

    def give_back(self) -> None:
        """Give back a reserved trial that did not end."""
        with self._lock:
            if self._left is not None:
                self._left += 1


class DeviceMemory:
    """The device's memory: many trainings share it, or one has it alone."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._users = 0
        self._alone = False
        self._wanted_alone = 0

    @contextmanager
    def enter(self, *, alone: bool) -> Iterator[None]:
        """Wait until a training may use the device, and let it for the block."""
        with self._changed:
            if alone:
                self._wanted_alone += 1
                self._changed.wait_for(lambda: not self._users)
                self._wanted_alone -= 1
            else:  # behind those who want it alone, who would else wait for ever
                self._changed.wait_for(lambda: not self._alone and not self._wanted_alone)
            self._users += 1
            self._alone = alone
        try:
            yield
        finally:
            with self._changed:
                self._users -= 1
                self._alone = False
                self._changed.notify_all()


class MemoryGrowth:
    """How the memory of a trainer process grows from trial to trial."""

    def __init__(self) -> None:
        self._memories: list[int] = []

    def record(self, memory: int) -> bool:
        """Record the bytes held after a trial; True where they are far more than after the first trials.

        0 is an unknown figure, and never too much.
        """
        if not memory:
            return False
        self._memories.append(memory)
        settled = max(self._memories[:SETTLED_TRIALS])
        return len(self._memories) > SETTLED_TRIALS and memory > MEMORY_GROWTH * settled
