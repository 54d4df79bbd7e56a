"""When a trainer is replaced because its memory has grown."""

from hpsearch.worker.slot import MemoryGrowth

GB = 2**30


def excessive(*memories: float) -> list[bool]:
    """What is said of a trainer after each of its trials."""
    growth = MemoryGrowth()
    return [growth.excessive(int(memory * GB)) for memory in memories]


def test_trainer_that_grows_is_replaced() -> None:
    """Half as much again as after its first three trials is too much."""
    assert excessive(1.0, 1.1, 1.2, 1.5, 1.79, 1.81) == [False, False, False, False, False, True]


def test_trainer_that_settles_is_kept() -> None:
    """What it loads once, in its first trials, is no growth."""
    assert not any(excessive(0.5, 0.9, 2.0, *[2.9] * 50))


def test_memory_is_compared_with_its_youth_however_slowly_it_grew() -> None:
    """A leak too small to see from trial to trial is seen in the end."""
    said = excessive(1.0, 1.0, 1.0, *(1.0 + 0.01 * trial for trial in range(1, 60)))
    assert said.index(True) == 3 + 50
    assert not any(said[: said.index(True)])


def test_memory_that_nobody_knows_counts_for_nothing() -> None:
    """An outcome without a figure is neither growth nor youth."""
    assert excessive(0, 1.0, 0, 1.0, 1.0, 0, 1.6) == [False, False, False, False, False, False, True]
