"""Which worker trained which trial when: the attempts over time, and the workers' utilization."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from hpsearch.plotting import chart
from hpsearch.plotting.chart import COLOURS, HATCHES, Axis, Bars, Chart, Panel
from hpsearch.storage.results import AttemptRecord, Trial

MAX_WORKERS = 24
"""Rows of the timeline."""


@dataclass(frozen=True)
class TimelineBar:
    """One attempt on the timeline, in hours since the first attempt of the study."""

    trial: int
    attempt: AttemptRecord
    start: float
    end: float


@dataclass(frozen=True)
class WorkerUtilization:
    """How a worker spent its time, in hours: `busy` with a trial (several at once count once), of `span`.

    `span` is from the `start` of its first attempt to the end of its last; `job` is the batch engine's.
    """

    worker: str
    name: str
    attempts: int
    epochs: int
    start: float
    busy: float
    span: float
    job: str | None = None

    @property
    def share(self) -> float:
        """The fraction of its span that it was busy."""
        return self.busy / self.span if self.span > 0 else 1.0


def list_bars(trials: Iterable[Trial], now: datetime) -> list[TimelineBar]:
    """Return a bar for every attempt, by start; one that is still open ends `now`."""
    attempts = [(trial.number, attempt) for trial in trials for attempt in trial.history]
    if not attempts:
        return []
    first = min(attempt.began for _, attempt in attempts)

    def count_hours(moment: datetime) -> float:
        return (moment - first).total_seconds() / 3600

    bars = [
        TimelineBar(number, attempt, count_hours(attempt.began), count_hours(max(attempt.ended or now, attempt.began)))
        for number, attempt in attempts
    ]
    return sorted(bars, key=lambda bar: bar.start)


def measure_utilization(bars: Sequence[TimelineBar]) -> list[WorkerUtilization]:
    """Return each worker's utilization, in the order in which the workers started.

    Args:
        bars: by start, as `list_bars` returns them.
    """
    by_worker: dict[str, list[TimelineBar]] = defaultdict(list)
    for bar in bars:
        by_worker[bar.attempt.worker].append(bar)
    names = _name_workers(by_worker)
    return [_measure_worker(worker, names[worker], bars) for worker, bars in by_worker.items()]


def _measure_worker(worker: str, name: str, bars: Sequence[TimelineBar]) -> WorkerUtilization:
    start = until = bars[0].start
    busy = 0.0
    for bar in bars:  # by start: only what lies beyond all earlier ones is new
        busy += max(0.0, bar.end - max(until, bar.start))
        until = max(until, bar.end)
    epochs = sum(bar.attempt.epochs for bar in bars)
    return WorkerUtilization(worker, name, len(bars), epochs, start, busy, until - start, bars[0].attempt.job)


def _name_workers(by_worker: Mapping[str, Sequence[TimelineBar]]) -> dict[str, str]:
    """Return each worker's `host, device`, with a number where several workers had the same."""
    places = {worker: f"{bars[0].attempt.host}, {bars[0].attempt.device}" for worker, bars in by_worker.items()}
    totals = Counter(places.values())
    seen: Counter[str] = Counter()
    names = {}
    for worker, place in places.items():
        seen[place] += 1
        names[worker] = f"{place} #{seen[place]}" if totals[place] > 1 else place
    return names


def plot_timeline(bars: Sequence[TimelineBar]) -> Chart:
    """Return a row for each worker (at most `MAX_WORKERS`, those with the most attempts), a bar for each attempt.

    The bars' colours and hatches say how the attempts ended, the most frequent ending first.
    """
    shown = sorted(measure_utilization(bars), key=lambda use: -use.attempts)[:MAX_WORKERS]
    shown.sort(key=lambda use: (use.start, _make_natural_key(use.name)))
    rows = {use.worker: float(row) for row, use in enumerate(shown)}
    by_ending: dict[str, list[TimelineBar]] = defaultdict(list)
    for bar in bars:
        if bar.attempt.worker in rows:
            by_ending[_label_ending(bar.attempt)].append(bar)
    ordered = sorted(by_ending, key=lambda ending: -len(by_ending[ending]))
    marks = [_make_bars(ending, by_ending[ending], rows, place) for place, ending in enumerate(ordered)]
    y = chart.make_row_axis([_shorten(use.name) for use in shown])
    panel = Panel("", Axis("hours since the first trial began"), y, tuple(marks))
    return Chart((panel,), width=760, height=60 + 26 * max(2, len(shown)))


def _make_natural_key(name: str) -> list[tuple[int, str]]:
    """Return a key that sorts host9 before host10."""
    return [(len(part), part) for part in re.split(r"(\d+)", name)]


def _label_ending(attempt: AttemptRecord) -> str:
    if attempt.why:
        return attempt.why.replace("_", " ")
    return "running" if attempt.ended is None else "ended"


def _make_bars(ending: str, bars: Sequence[TimelineBar], rows: Mapping[str, float], place: int) -> Bars:
    return Bars(
        tuple(rows[bar.attempt.worker] for bar in bars),
        tuple(bar.end - bar.start for bar in bars),
        tuple(bar.start for bar in bars),
        ending,
        COLOURS[place % len(COLOURS)],
        HATCHES[place % len(HATCHES)],
        hover=tuple(
            f"trial {bar.trial}, attempt {bar.attempt.number}: {ending}, {bar.attempt.epochs} epochs, "
            f"{bar.attempt.seconds:.0f} s" + (f", {bar.attempt.job}" if bar.attempt.job else "")
            for bar in bars
        ),
    )


def _shorten(name: str) -> str:
    return name if len(name) <= 40 else f"{name[:28]}…{name[-11:]}"
