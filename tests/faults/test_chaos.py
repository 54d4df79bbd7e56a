"""The short form of `make chaos`."""

from pathlib import Path

import pytest
from chaos import chaos


@pytest.mark.timeout(500)
def test_a_minute_of_chaos(scratch: Path) -> None:
    """Whatever happened to workers, trainers and database for a minute, after a drain everything adds up."""
    assert chaos(scratch, seconds=60, seed=1, wanted=3) == []
