"""How a worker shows what it does: live lines on a terminal, plain lines into a pipe."""

from collections.abc import Mapping
from dataclasses import dataclass

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from hpsearch.formatting import format_params
from hpsearch.metrics import EpochMetrics, find_best_epoch
from hpsearch.storage.attempts import Attempt
from hpsearch.training import protocol
from hpsearch.worker.display_protocol import WorkerDisplay


def _name(held: Attempt) -> str:
    return f"{held.study.name} trial {held.trial_number}"


def _epoch(held: Attempt, metrics: EpochMetrics) -> str:
    # An evaluation has these figures at the end only, of the test images.
    judged = f"val_accuracy {metrics.val_accuracy:.4f}, val_loss {metrics.val_loss:.4f}, " if metrics.validated else ""
    return (
        f"epoch {metrics.epoch}/{held.study.spec.budget.epochs}: {judged}"
        f"train_loss {metrics.train_loss:.4f}, {metrics.seconds:.1f} s"
    )


@dataclass
class _EpochProgress:
    """What was told of a held trial; a retrained epoch replaces its first telling."""

    params: Mapping[str, object]
    epochs: dict[int, EpochMetrics]

    def best(self, metric: str) -> str:
        """`val_accuracy 0.4520`: the best epoch's, as the trial's value is."""
        return _figure(find_best_epoch(list(self.epochs.values()), metric), metric)

    def last(self, metric: str) -> str:
        """The same of the last epoch."""
        return _figure(self.epochs.get(max(self.epochs, default=0)), metric)


def _figure(metrics: EpochMetrics | None, metric: str) -> str:
    return f"{metric} {metrics.value(metric):.4f}" if metrics and metrics.validated else ""


class PlainProgress(WorkerDisplay):
    """One plain line an event."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._courses: dict[int, _EpochProgress] = {}

    def _print(self, line: str) -> None:
        self.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def trial_started(self, held: Attempt, params: Mapping[str, object]) -> None:
        """The parameters, and the epoch it goes on from."""
        self._begin(held, params)
        again = f" (attempt {held.number}, after epoch {len(held.epochs)})" if held.number > 1 else ""
        self._print(f"{_name(held)} of {held.study.spec.budget.trials}{again}: {format_params(params)}")

    def _begin(self, held: Attempt, params: Mapping[str, object]) -> None:
        self._courses[held.trial_id] = _EpochProgress(params, {metrics.epoch: metrics for metrics in held.epochs})

    def progress(self, held: Attempt, progress: protocol.BatchProgress) -> None:
        """Nothing: a log has no use for batches."""

    def epoch(self, held: Attempt, metrics: EpochMetrics) -> None:
        """Its figures."""
        self._add(held, metrics)
        self._print(f"{_name(held)} {_epoch(held, metrics)}")

    def _add(self, held: Attempt, metrics: EpochMetrics) -> None:
        if (course := self._courses.get(held.trial_id)) is not None:
            course.epochs[metrics.epoch] = metrics

    def trial_ended(self, held: Attempt, ending: str, detail: str) -> None:
        """How it ended, and with which value."""
        self._print(self._ended(held, ending, detail, self._courses.pop(held.trial_id, None)))

    def _ended(self, held: Attempt, ending: str, detail: str, course: _EpochProgress | None) -> str:
        value = course.best(held.study.spec.study.metric) if course else ""
        said = ", ".join(part for part in (value, detail) if part)
        return f"{_name(held)} {ending}{': ' + said if said else ''}"

    def note(self, line: str) -> None:
        """The line."""
        self._print(line)


class LiveProgress(PlainProgress):
    """A live line a trial with a bar over all its epochs, and a lasting line once it has ended."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[state]}"),
            TimeElapsedColumn(),
            console=console,
            transient=True,
        )
        self._tasks: dict[int, TaskID] = {}

    def __enter__(self) -> "LiveProgress":
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def trial_started(self, held: Attempt, params: Mapping[str, object]) -> None:
        """A new bar."""
        self._begin(held, params)
        self._tasks[held.trial_id] = self._bars.add_task(
            escape(f"trial {held.trial_number}  {format_params(params)}"),
            total=held.study.spec.budget.epochs,
            completed=len(held.epochs),
            state="loading",
        )

    def progress(self, held: Attempt, progress: protocol.BatchProgress) -> None:
        """The bar moves with the batches."""
        done = progress.epoch - 1 + progress.batch / max(1, progress.batches)
        self._update(held, done, f"epoch {progress.epoch}/{held.study.spec.budget.epochs}")

    def epoch(self, held: Attempt, metrics: EpochMetrics) -> None:
        """The bar shows the epoch's figure."""
        self._add(held, metrics)
        self._update(held, metrics.epoch, f"epoch {metrics.epoch}/{held.study.spec.budget.epochs}")

    def _update(self, held: Attempt, done: float, state: str) -> None:
        task, course = self._tasks.get(held.trial_id), self._courses.get(held.trial_id)
        if task is not None and course is not None:
            last = course.last(held.study.spec.study.metric)
            self._bars.update(task, completed=done, state=f"{state}  {last}".rstrip())

    def trial_ended(self, held: Attempt, ending: str, detail: str) -> None:
        """The bar goes; the outcome stays, with the parameters."""
        task = self._tasks.pop(held.trial_id, None)
        if task is not None:
            self._bars.remove_task(task)
        super().trial_ended(held, ending, detail)

    def _ended(self, held: Attempt, ending: str, detail: str, course: _EpochProgress | None) -> str:
        line = super()._ended(held, ending, detail, course)
        return f"{line} ({format_params(course.params)})" if course else line
