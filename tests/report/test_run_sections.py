"""run_sections.py: how the search went."""

import pytest

from hpsearch.plotting import timeline
from hpsearch.report import run_sections
from hpsearch.storage.database import Database
from tests.support.grid_report import query_rows, read_material
from tests.support.simulation import Simulation


def test_utilization_is_held_time_by_time_there(database: Database, grid: Simulation) -> None:
    """A worker's utilization is the time it held a trial by that from its first attempt to the end of its last."""
    material = read_material(database, "grid")
    used = {use.worker: use for use in timeline.measure_utilization(timeline.list_bars(material.trials, material.now))}
    stored = query_rows(
        database,
        "select worker_id, sum(extract(epoch from ended_at - opened_at))::float / 3600, "
        "extract(epoch from max(ended_at) - min(opened_at))::float / 3600 from hpsearch.attempts group by worker_id",
    )
    assert len(stored) == 2
    for worker, hours, there in stored:
        assert used[worker].busy == pytest.approx(hours)
        assert used[worker].span == pytest.approx(there)
        assert used[worker].share == pytest.approx(hours / there)
    assert "2 workers" in run_sections.describe_utilization(material).blocks[0].text  # type: ignore[union-attr]
