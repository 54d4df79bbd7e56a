"""The short form of `make chaos`."""

from pathlib import Path

import pytest

from tests.fault_injection.chaos import chaos

pytestmark = pytest.mark.tensorflow


@pytest.mark.timeout(500)
def test_a_minute_of_chaos(scratch: Path) -> None:
    """Whatever happened to workers, trainers and database for a minute, after a drain everything adds up."""
    assert chaos(scratch, seconds=60, seed=1, wanted=3) == []
