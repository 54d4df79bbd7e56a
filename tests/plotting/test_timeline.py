"""The timeline and the workers' utilization, of attempts that were never made."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from hpsearch.outcomes import AttemptEnd
from hpsearch.plotting import timeline
from hpsearch.plotting.chart import Bars
from hpsearch.storage.results import AttemptRecord, Trial
from tests.support.synthetic_trials import make_trial

START = datetime(2026, 1, 1, tzinfo=UTC)


def make_attempt(
    worker: str, hours: tuple[float, float | None], end: AttemptEnd | None = AttemptEnd.COMPLETED
) -> AttemptRecord:
    """Return an attempt of that worker between two hours after the start; one without the second is open."""
    began, ended = (None if hour is None else START + timedelta(hours=hour) for hour in hours)
    assert began is not None
    return AttemptRecord(1, worker, "host", "GPU 0 (A100)", 60.0, 3, None if ended is None else end, began, ended)


def make_trials(*attempts: AttemptRecord) -> Sequence[Trial]:
    """Return a trial with each attempt."""
    return [replace(make_trial(number, {}, [0.5]), history=(attempt,)) for number, attempt in enumerate(attempts)]


def test_overlapping_attempts_count_once() -> None:
    """A worker with two slots is busy while it has a trial in either; its span ends with the last attempt."""
    trials = make_trials(make_attempt("w", (0, 2)), make_attempt("w", (1, 3)), make_attempt("w", (5, 6)))
    (use,) = timeline.measure_utilization(timeline.list_bars(trials, START))
    assert (use.attempts, use.epochs) == (3, 9)
    assert (use.busy, use.span) == pytest.approx((4, 6))
    assert use.share == pytest.approx(4 / 6)


def test_an_open_attempt_ends_now() -> None:
    """An attempt that still runs reaches to the given moment, and is called running."""
    trials = make_trials(make_attempt("w", (0, None)))
    bars = timeline.list_bars(trials, START + timedelta(hours=2))
    assert [(bar.start, bar.end) for bar in bars] == [(0.0, 2.0)]
    (marks,) = timeline.plot_timeline(bars).panels[0].marks
    assert isinstance(marks, Bars)
    assert marks.label == "running"


def test_a_bar_names_the_job() -> None:
    """Where the attempt was made in one, what is shown below the pointer ends with it."""
    attempts = (make_attempt("a", (0, 1)), replace(make_attempt("a", (1, 2)), job="slurm 12_3"))
    (marks,) = timeline.plot_timeline(timeline.list_bars(make_trials(*attempts), START)).panels[0].marks
    assert isinstance(marks, Bars)
    assert marks.hover is not None
    assert marks.hover[0].endswith("60 s")
    assert marks.hover[1].endswith("60 s, slurm 12_3")


def test_bars_are_by_ending_in_their_workers_rows() -> None:
    """Workers of one host and device are numbered; the most frequent ending comes first."""
    attempts = (
        make_attempt("a", (0, 1)),
        make_attempt("b", (0.5, 1), AttemptEnd.OUT_OF_MEMORY),
        make_attempt("a", (1, 2)),
    )
    (panel,) = timeline.plot_timeline(timeline.list_bars(make_trials(*attempts), START)).panels
    assert [text for _, text in panel.y.ticks or ()] == ["host, GPU 0 (A100) #1", "host, GPU 0 (A100) #2"]
    completed, lost = panel.marks
    assert isinstance(completed, Bars)
    assert isinstance(lost, Bars)
    assert (completed.label, completed.row, completed.start, completed.length) == ("completed", (0, 0), (0, 1), (1, 1))
    assert (lost.label, lost.row, lost.length) == ("out of memory", (1,), (0.5,))


def test_only_the_workers_with_the_most_attempts_are_drawn() -> None:
    """A cluster's hundreds of workers do not fit on a page."""
    attempts = [make_attempt(f"w{n}", (n, n + 1)) for n in range(timeline.MAX_WORKERS + 5)]
    bars = timeline.list_bars(make_trials(*attempts, make_attempt("w28", (40, 41))), START)
    (panel,) = timeline.plot_timeline(bars).panels
    rows = [row for mark in panel.marks if isinstance(mark, Bars) for row in mark.row]
    assert len(set(rows)) == timeline.MAX_WORKERS
    assert rows.count(timeline.MAX_WORKERS - 1) == 2  # the last to begin is the one with two attempts


def test_no_attempt_has_no_bar() -> None:
    """Before the first claim there is nothing to draw."""
    assert timeline.list_bars([make_trial(0, {}, [])], START) == []
