"""What the slots of a worker share, and when a trainer holds too much memory."""

import threading

from hpsearch.worker.resources import DeviceMemory, MemoryGrowth
from tests.support.worker_processes import DEADLINE, wait_until

GB = 2**30


def enter(memory: DeviceMemory, inside: threading.Event, leave: threading.Event, *, alone: bool) -> threading.Thread:
    """A training that says when it uses the device, and does so until it is told to leave."""

    def train() -> None:
        with memory.enter(alone=alone):
            inside.set()
            leave.wait(DEADLINE)

    thread = threading.Thread(target=train)
    thread.start()
    return thread


def test_training_that_wants_the_device_alone_is_not_overtaken() -> None:
    """While one waits for the device to itself no other enters, and each does in the end."""
    memory = DeviceMemory()
    insides, leaves = ([threading.Event() for _ in range(3)] for _ in range(2))
    first = enter(memory, insides[0], leaves[0], alone=False)
    assert insides[0].wait(DEADLINE)
    alone = enter(memory, insides[1], leaves[1], alone=True)
    wait_until(lambda: memory._wanted_alone, "a training waits for the device to itself")
    third = enter(memory, insides[2], leaves[2], alone=False)
    assert not insides[1].is_set()
    leaves[0].set()
    assert insides[1].wait(DEADLINE)
    assert not insides[2].is_set()
    leaves[1].set()
    assert insides[2].wait(DEADLINE)
    leaves[2].set()
    for thread in (first, alone, third):
        thread.join(DEADLINE)
        assert not thread.is_alive()


def record(*memories: float) -> list[bool]:
    """Whether a trainer held too much after each of its trials."""
    growth = MemoryGrowth()
    return [growth.record(int(memory * GB)) for memory in memories]


def test_trainer_that_grows_is_replaced() -> None:
    """Half as much again as after its first three trials is too much."""
    assert record(1.0, 1.1, 1.2, 1.5, 1.79, 1.81) == [False, False, False, False, False, True]


def test_trainer_that_settles_is_kept() -> None:
    """What it loads once, in its first trials, is no growth."""
    assert not any(record(0.5, 0.9, 2.0, *[2.9] * 50))


def test_memory_is_compared_with_that_of_the_first_trials() -> None:
    """A leak too small to see from trial to trial is seen in the end."""
    excessive = record(1.0, 1.0, 1.0, *(1.0 + 0.01 * trial for trial in range(1, 60)))
    assert excessive.index(True) == 3 + 50
    assert not any(excessive[: excessive.index(True)])


def test_unknown_memory_counts_for_nothing() -> None:
    """A trial without a figure is neither growth nor one of the first."""
    assert record(0, 1.0, 0, 1.0, 1.0, 0, 1.6) == [False, False, False, False, False, False, True]
