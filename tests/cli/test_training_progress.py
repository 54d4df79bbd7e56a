"""What a worker shows of its trials."""

import io
from collections.abc import Callable
from dataclasses import replace

import pytest
from rich.console import Console

from hpsearch.cli.training_progress import LiveProgress, PlainProgress
from hpsearch.metrics import EpochMetrics
from hpsearch.outcomes import AttemptEnd
from hpsearch.storage.attempts import Attempt
from hpsearch.storage.database import Database
from hpsearch.storage.studies import Study
from hpsearch.storage.workers import WorkerIdentity
from tests.support.small_study import claim

PARAMS = {"learning_rate": 0.00123456, "optimizer": "adam", "batch_norm": True}


@pytest.fixture
def attempt(database: Database, started: Callable[..., Study], holder: Callable[[str], WorkerIdentity]) -> Attempt:
    """A trial of a study whose name is markup to Rich."""
    claimed = claim(database, started(study={"name": "[small]"}), holder("w"))
    assert claimed is not None
    return claimed


def epoch(number: int, value: float) -> EpochMetrics:
    return EpochMetrics(number, 1.0, 0.4, 1 - value, value, 0.01, 2.0)


def last_line(
    display: type[PlainProgress], attempt: Attempt, end: AttemptEnd, detail: str, *epochs: EpochMetrics
) -> str:
    """Return the last line that is printed of a trial."""
    console = Console(file=io.StringIO(), force_terminal=False, width=200)
    shown = display(console)
    shown.start_trial(attempt, PARAMS)
    for each in epochs:
        shown.show_epoch(attempt, each)
    shown.end_trial(attempt, end, detail)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()[-1]


def test_lasting_line_of_a_terminal_has_value_and_parameters(attempt: Attempt) -> None:
    """When the bar is gone, the line names the best value and what it was reached with."""
    line = last_line(LiveProgress, attempt, AttemptEnd.COMPLETED, "", epoch(1, 0.4), epoch(2, 0.452), epoch(3, 0.41))
    params = "learning_rate 0.00123, optimizer adam, batch_norm on"
    assert line == f"[small] trial 0 completed: val_accuracy 0.4520 ({params})"


def test_last_line_of_a_log_has_the_value(attempt: Attempt) -> None:
    """The parameters stand in the trial's first line already; the detail follows the value."""
    line = last_line(
        PlainProgress, attempt, AttemptEnd.PRUNED, "by the median pruner at epoch 2", epoch(1, 0.4), epoch(2, 0.3)
    )
    assert line == "[small] trial 0 pruned: val_accuracy 0.4000, by the median pruner at epoch 2"


def test_value_is_that_of_the_best_epoch_of_all_attempts(attempt: Attempt) -> None:
    """A trial that goes on from another worker's epochs counts those too; a value that is no number is none."""
    adopted = replace(attempt, epochs=(epoch(1, 0.9),))
    line = last_line(PlainProgress, adopted, AttemptEnd.COMPLETED, "", epoch(2, 0.3), epoch(3, float("nan")))
    assert line == "[small] trial 0 completed: val_accuracy 0.9000"


@pytest.mark.parametrize(
    ("stored", "left", "line"),
    [
        (12, 12, "attempt 2 goes on after epoch 12"),
        (12, 9, "attempt 2 goes on after epoch 9 of 12, as no later checkpoint was kept"),
        (12, 0, "attempt 2 begins at epoch 1, as no checkpoint of the 12 epochs before can be used"),
        (0, 0, "attempt 2 begins at epoch 1"),
        (0, 3, "attempt 2 goes on after epoch 3"),
    ],
)
@pytest.mark.parametrize("display", [PlainProgress, LiveProgress])
def test_an_attempt_says_from_where_it_really_goes_on(
    attempt: Attempt, display: type[PlainProgress], stored: int, left: int, line: str
) -> None:
    """What its checkpoint holds counts, not what is stored; what is trained anew is not in its value."""
    epochs = [epoch(number, number / 100) for number in range(1, 13)]
    again = replace(attempt, number=2, epochs=tuple(epochs[:stored]))
    with io.StringIO() as file:
        progress = display(Console(file=file, width=200))
        progress.start_trial(again, PARAMS)
        progress.show_start(again, epochs[:left])
        assert file.getvalue().splitlines()[-1] == f"[small] trial 0 {line}"
        progress.end_trial(again, AttemptEnd.PAUSED, "")
        value = f": val_accuracy {left / 100:.4f}" if left else ""
        assert f"[small] trial 0 paused{value}" in file.getvalue().splitlines()[-1]
        assert bool(value) == ("val_accuracy" in file.getvalue().splitlines()[-1])


def test_trial_without_an_epoch_has_no_value(attempt: Attempt) -> None:
    """Its line is the ending and the detail."""
    assert (
        last_line(PlainProgress, attempt, AttemptEnd.ERROR, "ValueError: x") == "[small] trial 0 error: ValueError: x"
    )


def test_an_epoch_has_the_studys_own_metric(
    database: Database, started: Callable[..., Study], holder: Callable[[str], WorkerIdentity]
) -> None:
    """Before accuracy and loss, in each line of a log."""
    attempt = claim(database, started(study={"name": "own", "metric": "val_f1"}), holder("w"))
    assert attempt is not None
    with io.StringIO() as file:
        progress = PlainProgress(Console(file=file, width=200))
        progress.show_epoch(attempt, replace(epoch(1, 0.9), val_metric=0.75))
        assert "epoch 1/" in (line := file.getvalue())
    assert ": val_f1 0.7500, val_accuracy 0.9000, val_loss " in line
