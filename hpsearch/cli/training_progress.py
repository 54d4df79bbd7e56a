"""How a worker shows what it does: live lines on a terminal, plain lines into a pipe."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Column

from hpsearch.cli.data_view import describe_progress
from hpsearch.formatting import format_count, format_params, make_printable
from hpsearch.metrics import EpochMetrics, find_best_epoch
from hpsearch.outcomes import AttemptEnd
from hpsearch.storage.attempts import Attempt
from hpsearch.training import protocol
from hpsearch.worker.display_protocol import WorkerDisplay

NARROW = 80
"""Characters of a terminal below which there is no bar, and no name beside a figure."""

WIDE = 100
"""Characters of a terminal from which the time since a trial began is shown too."""

BAR = 20
"""Characters of a bar: beside it a terminal of 100 has room for epoch, value and the first of the parameters."""


def _name(attempt: Attempt) -> str:
    return f"{attempt.study.name} trial {attempt.trial_number}"


def _epoch(attempt: Attempt, metrics: EpochMetrics) -> str:
    # An evaluation has these figures at the end only, of the test images.
    names = dict.fromkeys((attempt.study.spec.study.metric, "val_accuracy", "val_loss"))
    figures = [f"{name} {metrics.value(name):.4f}, " for name in names] if metrics.validated else []
    return (
        f"epoch {metrics.epoch}/{attempt.study.spec.budget.epochs}: {''.join(figures)}"
        f"train_loss {metrics.train_loss:.4f}, {metrics.seconds:.1f} s"
    )


@dataclass
class TrialProgress:
    """What was shown of a running trial; a retrained epoch replaces its first showing."""

    params: Mapping[str, object]
    epochs: dict[int, EpochMetrics]
    loading: bool = False

    def best(self, metric: str) -> str:
        """Return `val_accuracy 0.4520`: the best epoch's, as the trial's value is."""
        return _figure(find_best_epoch(list(self.epochs.values()), metric), metric)

    def last(self, metric: str) -> str:
        """Return the same of the last epoch."""
        return _figure(self.epochs.get(max(self.epochs, default=0)), metric)


def _figure(metrics: EpochMetrics | None, metric: str) -> str:
    return f"{metric} {metrics.value(metric):.4f}" if metrics and metrics.validated else ""


class PlainProgress(WorkerDisplay):
    """One plain line an event."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._trials: dict[int, TrialProgress] = {}

    @property
    def running(self) -> list[TrialProgress]:
        """Return what was shown of the running trials; several slots may begin and end some meanwhile."""
        return list(self._trials.values())

    def _print(self, line: str) -> None:
        self.console.print(make_printable(line), markup=False, highlight=False, soft_wrap=True)

    def start_trial(self, attempt: Attempt, params: Mapping[str, object]) -> None:
        """Print the parameters."""
        self._begin(attempt, params)
        again = f" (attempt {attempt.number})" if attempt.number > 1 else ""
        self._print(f"{_name(attempt)} of {attempt.study.spec.budget.trials}{again}: {format_params(params)}")

    def _begin(self, attempt: Attempt, params: Mapping[str, object]) -> None:
        self._trials[attempt.trial_id] = TrialProgress(params, {metrics.epoch: metrics for metrics in attempt.epochs})

    def show_start(self, attempt: Attempt, epochs: Sequence[EpochMetrics]) -> None:
        """Print which epoch another attempt really goes on after: known only once its checkpoint was read."""
        self._take_over(attempt, epochs)
        if attempt.number == 1:
            return
        stored, left = len(attempt.epochs), len(epochs)
        before = format_count(stored, "epoch")
        lost = f", as no checkpoint of the {before} before can be used" if stored and not left else ""
        lost = f" of {stored}, as no later checkpoint was kept" if 0 < left < stored else lost
        onward = f"goes on after epoch {left}" if left else "begins at epoch 1"
        self._print(f"{_name(attempt)} attempt {attempt.number} {onward}{lost}")

    def _take_over(self, attempt: Attempt, epochs: Sequence[EpochMetrics]) -> None:
        if (trial := self._trials.get(attempt.trial_id)) is not None:
            trial.epochs = {metrics.epoch: metrics for metrics in epochs}

    def show_loading(self, attempt: Attempt, progress: protocol.DataProgress) -> None:
        """Print once how many images there are to decode."""
        trial = self._trials.get(attempt.trial_id)
        if trial is not None and not trial.loading and not progress.is_download:
            trial.loading = True
            self._print(f"{_name(attempt)} prepares {progress.total:,} images")

    def show_progress(self, attempt: Attempt, progress: protocol.BatchProgress) -> None:
        """Print nothing: a log has no use for batches."""

    def show_epoch(self, attempt: Attempt, metrics: EpochMetrics) -> None:
        """Print its figures."""
        self._add(attempt, metrics)
        self._print(f"{_name(attempt)} {_epoch(attempt, metrics)}")

    def _add(self, attempt: Attempt, metrics: EpochMetrics) -> None:
        if (trial := self._trials.get(attempt.trial_id)) is not None:
            trial.epochs[metrics.epoch] = metrics

    def end_trial(self, attempt: Attempt, end: AttemptEnd, detail: str) -> None:
        """Print how it ended, and with which value."""
        self._print(self._ended(attempt, end, detail, self._trials.pop(attempt.trial_id, None)))

    def _ended(self, attempt: Attempt, end: AttemptEnd, detail: str, trial: TrialProgress | None) -> str:
        value = trial.best(attempt.study.spec.study.metric) if trial else ""
        remarks = ", ".join(part for part in (value, detail) if part)
        return f"{_name(attempt)} {end}{': ' + remarks if remarks else ''}"

    def note(self, line: str) -> None:
        """Print the line."""
        self._print(line)


class LiveProgress(PlainProgress):
    """A live line a trial with a bar over all its epochs, and a lasting line once it has ended."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)

        def keep() -> Column:
            return Column(no_wrap=True)

        self._is_narrow = console.width < NARROW
        name, state = (TextColumn(text, table_column=keep()) for text in ("{task.description}", "{task.fields[state]}"))
        bars = [] if self._is_narrow else [BarColumn(BAR, table_column=keep())]
        clocks = [TimeElapsedColumn(table_column=keep())] if console.width >= WIDE else []
        # What is shown of the parameters gives way to the figures.
        rest = TextColumn("{task.fields[rest]}", table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis"))
        columns = (name, *bars, state, *clocks, rest)
        self._bars = Progress(*columns, console=console, transient=True, expand=True)
        self._tasks: dict[int, TaskID] = {}

    def __enter__(self) -> "LiveProgress":
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def start_trial(self, attempt: Attempt, params: Mapping[str, object]) -> None:
        """Add a bar."""
        self._begin(attempt, params)
        self._tasks[attempt.trial_id] = self._bars.add_task(
            f"trial {attempt.trial_number}",
            total=attempt.study.spec.budget.epochs,
            completed=len(attempt.epochs),
            state="loading",
            rest=escape(make_printable(format_params(params))),
        )

    def show_start(self, attempt: Attempt, epochs: Sequence[EpochMetrics]) -> None:
        """Move the bar to where the training begins."""
        super().show_start(attempt, epochs)
        self._update(attempt, len(epochs), "training")

    def show_loading(self, attempt: Attempt, progress: protocol.DataProgress) -> None:
        """Show how many images are decoded beside the bar."""
        task = self._tasks.get(attempt.trial_id)
        if task is not None:
            self._bars.update(task, state=describe_progress(progress))

    def show_progress(self, attempt: Attempt, progress: protocol.BatchProgress) -> None:
        """Move the bar with the batches."""
        done = progress.epoch - 1 + progress.batch / max(1, progress.batches)
        self._update(attempt, done, f"epoch {progress.epoch}/{attempt.study.spec.budget.epochs}")

    def show_epoch(self, attempt: Attempt, metrics: EpochMetrics) -> None:
        """Show the epoch's figure beside the bar."""
        self._add(attempt, metrics)
        self._update(attempt, metrics.epoch, f"epoch {metrics.epoch}/{attempt.study.spec.budget.epochs}")

    def _update(self, attempt: Attempt, done: float, state: str) -> None:
        task, trial = self._tasks.get(attempt.trial_id), self._trials.get(attempt.trial_id)
        if task is not None and trial is not None:
            last = trial.last(attempt.study.spec.study.metric)
            if self._is_narrow:
                state, last = state.removeprefix("epoch "), last.rpartition(" ")[2]
            self._bars.update(task, completed=done, state=f"{state}  {last}".rstrip())

    def end_trial(self, attempt: Attempt, end: AttemptEnd, detail: str) -> None:
        """Remove the bar; the outcome stays, with the parameters."""
        task = self._tasks.pop(attempt.trial_id, None)
        if task is not None:
            self._bars.remove_task(task)
        super().end_trial(attempt, end, detail)

    def _ended(self, attempt: Attempt, end: AttemptEnd, detail: str, trial: TrialProgress | None) -> str:
        line = super()._ended(attempt, end, detail, trial)
        return f"{line} ({format_params(trial.params)})" if trial else line
