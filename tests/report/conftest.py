"""What the tests of the report share."""

import pytest

from hpsearch.storage.database import Database
from tests.support.grid_report import GRID
from tests.support.simulation import Simulation


@pytest.fixture
def grid(database: Database) -> Simulation:
    """A finished grid of two optimizers with three seeds each, trained by two workers in turns."""
    simulation = Simulation(database, GRID, ("a", "b"))
    simulation.run(6)
    return simulation
