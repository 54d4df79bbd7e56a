"""The short form of `make chaos`."""

from pathlib import Path

import pytest

from tests.fault_injection.chaos import chaos
from tests.support.worker_processes import TEST_TIMEOUT

pytestmark = [pytest.mark.tensorflow, pytest.mark.timeout(TEST_TIMEOUT)]


def test_a_minute_of_chaos(scratch: Path) -> None:
    """Whatever happened to workers, trainers and database for a minute, after a drain everything adds up."""
    assert chaos(scratch, seconds=60, seed=1, wanted=3) == []
