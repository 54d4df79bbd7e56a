"""run_sections.py: how the search went."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from hpsearch.evaluation.answers import AnswerSource
from hpsearch.plotting import timeline
from hpsearch.report import run_sections
from hpsearch.report.document import Table
from hpsearch.report.material import ReportSource, prepare_material
from hpsearch.report.mixed_precision import describe_mixed_precision
from hpsearch.spec.datasets import DataFacts
from hpsearch.storage import results
from hpsearch.storage.database import Database
from hpsearch.storage.results import AttemptRecord
from tests.support.grid_report import query_rows, read_material
from tests.support.simulation import Simulation
from tests.support.synthetic_trials import GRID, make_summary, make_trial


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


def test_environment_has_the_images_of_each_class() -> None:
    """A row a class with its images by part; nothing while no worker has loaded them."""
    facts = DataFacts((96, 64, 3), ("cat", "dog"), (1200, 90), (300, 20), (150, 10))
    tables = _list_tables(facts)
    (classes,) = (table for table in tables if table.columns[0] == "class")
    assert classes.rows == (("cat", "1,200", "300", "150"), ("dog", "90", "20", "10"))
    assert classes.caption == "Images of each class, 96 × 64 pixels with 3 channels"
    assert not [table for table in _list_tables(None) if table.columns[0] == "class"]


def test_workers_are_listed_with_their_jobs() -> None:
    """In a column that is there only where a worker has one."""
    now = datetime.now(UTC)
    plain = AttemptRecord(1, "a", "host", "CPU", 60.0, 3, None, now, now)
    in_a_job = replace(plain, worker="b", job="slurm 12_3")
    for attempts, last in (((plain,), "100%"), ((plain, in_a_job), "slurm 12_3")):
        trials = [replace(make_trial(n, {}, [0.5]), history=(attempt,)) for n, attempt in enumerate(attempts)]
        source = ReportSource(AnswerSource(make_summary(GRID, []), trials, None, None, None), (), now)
        table = run_sections.describe_utilization(prepare_material(source)).blocks[-1]
        assert isinstance(table, Table)
        assert table.rows[-1][-1] == last
        assert table.columns[-1] == ("job" if len(attempts) > 1 else "utilization")
        assert {len(row) for row in table.rows} == {len(table.columns)}


def _list_tables(facts: DataFacts | None) -> list[Table]:
    summary = make_summary(GRID, [], facts=facts)
    source = ReportSource(AnswerSource(summary, [], None, None, None), (), datetime.now(UTC))
    section = run_sections.describe_environment(prepare_material(source))
    return [block for block in section.blocks if isinstance(block, Table)]


def test_mixed_precision_is_said() -> None:
    """Where hosts chose differently, a sentence counts the trials; else there is none."""
    trials = [
        replace(make_trial(number, {}, [0.5]), made_by={"precision": precision} if precision else {})
        for number, precision in enumerate(("float32", "mixed_bfloat16", "float32", ""))
    ]
    sentence = describe_mixed_precision(results.count_precisions(trials))
    assert sentence is not None
    assert "2 trials in float32 and 1 trial in mixed_bfloat16" in sentence
    assert "for a model of this kind" in sentence  # trials of one host may differ too
    assert describe_mixed_precision(results.count_precisions([trials[0], trials[2], trials[3]])) is None
