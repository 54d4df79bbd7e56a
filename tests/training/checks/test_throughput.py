"""How long an epoch takes."""

import time
from collections.abc import Callable

import pytest

from hpsearch.training.checks import throughput

pytestmark = pytest.mark.tensorflow


def test_an_epoch_cut_short_is_extrapolated() -> None:
    """The time of a long pass is that of its first batch and as many of the others as there are."""
    clock = iter(range(0, 10_000, 2))

    def run(watch: Callable[[int, float], bool]) -> None:
        batch = 1
        while watch(batch, 0.0) and batch < 1000:
            batch += 1

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "monotonic", lambda: next(clock))
        assert throughput._time_pass(32 * 1000, 32, run) == 2 * 1000
