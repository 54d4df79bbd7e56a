"""Who held which trial when: the workers' attempts over time, and what share of it they were busy."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from hpsearch.plotting import chart
from hpsearch.plotting.chart import COLOURS, HATCHES, Axis, Bars, Chart, Panel
from hpsearch.storage.results import AttemptRecord, Trial

MAX_WORKERS = 24
"""Rows of the timeline."""
HELD = "held now"


@dataclass(frozen=True)
class TimelineBar:
    """One attempt on the timeline, in hours since the first attempt of the study."""

    trial: int
    attempt: AttemptRecord
    start: float
    end: float


@dataclass(frozen=True)
class WorkerUtilization:
    """How a worker spent its time, in hours: with a trial (`busy`; several at once count once), of `there`.

    `there` is from its first attempt to the end of its last.
    """

    worker: str
    name: str
    attempts: int
    epochs: int
    start: float
    busy: float
    there: float

    @property
    def share(self) -> float:
        """The part of its time that it was busy, a fraction of 1."""
        return self.busy / self.there if self.there > 0 else 1.0


def list_bars(trials: Iterable[Trial], now: datetime) -> list[TimelineBar]:
    """Every attempt, by start; one that is still open ends now."""
    found = [(trial.number, attempt) for trial in trials for attempt in trial.history]
    if not found:
        return []
    first = min(attempt.began for _, attempt in found)

    def hours(moment: datetime) -> float:
        return (moment - first).total_seconds() / 3600

    made = [TimelineBar(n, each, hours(each.began), hours(max(each.ended or now, each.began))) for n, each in found]
    return sorted(made, key=lambda hold: hold.start)


def measure_utilization(found: Sequence[TimelineBar]) -> list[WorkerUtilization]:
    """Each worker's use, in the order in which they came."""
    by_worker: dict[str, list[TimelineBar]] = defaultdict(list)
    for hold in found:
        by_worker[hold.attempt.worker].append(hold)
    names = _names(by_worker)
    return [_use(worker, names[worker], held) for worker, held in by_worker.items()]


def _use(worker: str, name: str, held: Sequence[TimelineBar]) -> WorkerUtilization:
    busy, until = 0.0, held[0].start
    for hold in held:  # by start: only what lies beyond all earlier ones is new
        busy += max(0.0, hold.end - max(until, hold.start))
        until = max(until, hold.end)
    epochs = sum(hold.attempt.epochs for hold in held)
    return WorkerUtilization(worker, name, len(held), epochs, held[0].start, busy, until - held[0].start)


def _names(by_worker: dict[str, list[TimelineBar]]) -> dict[str, str]:
    """`host, device`, with a number where several workers had the same."""
    places = {worker: f"{held[0].attempt.host}, {held[0].attempt.device}" for worker, held in by_worker.items()}
    several = Counter(places.values())
    seen: Counter[str] = Counter()
    names = {}
    for worker, place in places.items():
        seen[place] += 1
        names[worker] = f"{place} #{seen[place]}" if several[place] > 1 else place
    return names


def plot_timeline(found: Sequence[TimelineBar]) -> Chart:
    """A row a worker (those with the most attempts where they are many), a bar an attempt, by how it ended."""
    shown = sorted(measure_utilization(found), key=lambda use: -use.attempts)[:MAX_WORKERS]
    shown.sort(key=lambda use: (use.start, [(len(part), part) for part in re.split(r"(\d+)", use.name)]))
    rows = {use.worker: float(row) for row, use in enumerate(shown)}
    kinds: dict[str, list[TimelineBar]] = defaultdict(list)
    for hold in found:
        if hold.attempt.worker in rows:
            kinds[hold.attempt.why or (HELD if hold.attempt.ended is None else "ended")].append(hold)
    ordered = sorted(kinds, key=lambda kind: -len(kinds[kind]))
    marks = [_bars(kind, kinds[kind], rows, place) for place, kind in enumerate(ordered)]
    names = [_shortened(use.name) for use in shown]
    y = chart.make_row_axis(names)
    panel = Panel("", Axis("hours since the first trial began"), y, tuple(marks))
    return Chart((panel,), width=760, height=60 + 26 * max(2, len(shown)))


def _bars(kind: str, held: Sequence[TimelineBar], rows: dict[str, float], place: int) -> Bars:
    return Bars(
        tuple(rows[hold.attempt.worker] for hold in held),
        tuple(hold.end - hold.start for hold in held),
        tuple(hold.start for hold in held),
        kind.replace("_", " "),
        COLOURS[place % len(COLOURS)],
        HATCHES[place % len(HATCHES)],
        hover=tuple(
            f"trial {hold.trial}, attempt {hold.attempt.number}: {kind}, {hold.attempt.epochs} epochs, "
            f"{hold.attempt.seconds:.0f} s"
            for hold in held
        ),
    )


def _shortened(name: str) -> str:
    return name if len(name) <= 40 else f"{name[:28]}…{name[-11:]}"
