"""How far one search is: a bar over all its trials on a terminal, and a line for each trial that has ended."""

import contextlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from rich.console import Console
from rich.markup import escape

from hpsearch.cli.training_progress import LiveProgress, PlainProgress, TrialProgress
from hpsearch.errors import HpsearchError
from hpsearch.formatting import format_count, format_duration, format_params, make_printable
from hpsearch.metrics import EpochMetrics
from hpsearch.outcomes import AttemptEnd
from hpsearch.storage.attempts import Attempt
from hpsearch.storage.studies import Study

CountEnded = Callable[[], int]
"""Returns how many trials of the study have ended, on whatever worker."""


class SearchEstimate:
    """How many trials of a study have ended, and how long the others will take at the speed since this began.

    A running trial counts by its epochs, so that there is an estimate after the first trial of several slots.
    """

    def __init__(self, study: Study, count_ended: CountEnded) -> None:
        self._study, self._count_ended = study, count_ended
        self.trials = study.spec.budget.trials
        self.ended = count_ended()
        self.done = float(self.ended)
        self._start: tuple[float, float] | None = None

    def count_ended(self) -> None:
        """Count the ended trials anew; where the database does not answer, the trial that has just ended."""
        before = self.ended
        self.ended = before + 1
        with contextlib.suppress(HpsearchError):
            self.ended = self._count_ended()

    def update(self, running: Iterable[TrialProgress]) -> None:
        """Add up the ended trials and the epochs of the running ones."""
        epochs = sum(len(trial.epochs) for trial in running)
        self.done = min(self.ended + epochs / self._study.spec.budget.epochs, self.trials)

    def begin(self, running: Iterable[TrialProgress]) -> None:
        """Measure the speed from now on; again does nothing."""
        self.update(running)
        if self._start is None:
            self._start = time.monotonic(), self.done

    def describe(self, *, short: bool = False) -> str:
        """Return `12 of 50 trials, about 85 s left`, or `12/50, 85 s left`."""
        seconds, trials = self._estimate_seconds(), format_count(self.trials, "trial")
        counts = f"{self.ended}/{self.trials}" if short else f"{self.ended:,} of {trials}"
        if seconds is None:
            return counts
        return f"{counts}, {'' if short else 'about '}{format_duration(seconds)} left"

    def _estimate_seconds(self) -> float | None:
        """Return how long the trials left will take; None until a whole trial is done, and when all are."""
        if self._start is None or self.done - self._start[1] < 1 or self.ended >= self.trials:
            return None
        began, before = self._start
        return (self.trials - self.done) * (time.monotonic() - began) / (self.done - before)


class PlainSearchProgress(PlainProgress):
    """A plain line for each trial that has ended, and how far the search is."""

    def __init__(self, console: Console, estimate: SearchEstimate) -> None:
        super().__init__(console)
        self._estimate = estimate

    def start_trial(self, attempt: Attempt, params: Mapping[str, object]) -> None:
        """Print nothing: the line of its end has the parameters."""
        self._begin(attempt, params)

    def show_start(self, attempt: Attempt, epochs: Sequence[EpochMetrics]) -> None:
        """Begin to measure the speed."""
        super().show_start(attempt, epochs)
        self._estimate.begin(self.running)

    def show_epoch(self, attempt: Attempt, metrics: EpochMetrics) -> None:
        """Print nothing: a search has many epochs."""
        self._add(attempt, metrics)
        self._estimate.update(self.running)

    def _ended(self, attempt: Attempt, end: AttemptEnd, detail: str, trial: TrialProgress | None) -> str:
        line = super()._ended(attempt, end, detail, trial)
        _count(self._estimate, end, self.running)
        params = f" ({format_params(trial.params)})" if trial else ""
        return f"{line}{params}; {self._estimate.describe()}"


class LiveSearchProgress(LiveProgress):
    """A live line for the whole search, above those of its running trials."""

    def __init__(self, console: Console, estimate: SearchEstimate, name: str) -> None:
        super().__init__(console)
        self._estimate = estimate
        self._search = self._bars.add_task(escape(make_printable(name)), total=estimate.trials, state="", rest="")
        self._show_search()

    def show_start(self, attempt: Attempt, epochs: Sequence[EpochMetrics]) -> None:
        """Begin to measure the speed."""
        super().show_start(attempt, epochs)
        self._estimate.begin(self.running)
        self._show_search()

    def show_epoch(self, attempt: Attempt, metrics: EpochMetrics) -> None:
        """Move the bars of the trial and of the search."""
        super().show_epoch(attempt, metrics)
        self._show_search()

    def end_trial(self, attempt: Attempt, end: AttemptEnd, detail: str) -> None:
        """Print a lasting line of the trial, and count it."""
        super().end_trial(attempt, end, detail)
        _count(self._estimate, end, self.running)
        self._show_search()

    def _show_search(self) -> None:
        estimate = self._estimate
        estimate.update(self.running)
        state = estimate.describe(short=self._is_narrow)
        self._bars.update(self._search, completed=estimate.done, state=state)


def _count(estimate: SearchEstimate, end: AttemptEnd, running: Iterable[TrialProgress]) -> None:
    if end.outcome is not None:
        estimate.count_ended()
    estimate.update(running)
