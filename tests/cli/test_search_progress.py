"""What is shown of a search that somebody waits for."""

import io
import time
from collections.abc import Callable
from dataclasses import replace

import pytest
from rich.console import Console

from hpsearch.cli.context import open_search_display
from hpsearch.cli.search_progress import LiveSearchProgress, PlainSearchProgress, SearchEstimate
from hpsearch.errors import UnreachableError
from hpsearch.outcomes import AttemptEnd
from hpsearch.storage.attempts import Attempt
from hpsearch.storage.database import Database
from hpsearch.storage.studies import Study
from hpsearch.storage.workers import WorkerIdentity
from tests.support.small_study import claim, finish_trial, metrics

Started = Callable[..., Study]
Enrol = Callable[[str], WorkerIdentity]

PARAMS = {"learning_rate": 0.00123456, "optimizer": "adam", "batch_norm": True}


@pytest.fixture
def attempt(database: Database, started: Started, holder: Enrol) -> Attempt:
    """The first trial of a study of four trials of three epochs, whose name is markup to Rich."""
    claimed = claim(database, started(study={"name": "[small]"}), holder("w"))
    assert claimed is not None
    return claimed


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return the time, in seconds, which stands still unless a test moves it."""
    seconds = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: seconds[0])
    return seconds


def make_plain(attempt: Attempt, counts: list[int]) -> tuple[PlainSearchProgress, io.StringIO]:
    """Return the display of a log, for a study of which so many trials have ended at each look."""
    file = io.StringIO()
    estimate = SearchEstimate(attempt.study, lambda: counts.pop(0))
    return PlainSearchProgress(Console(file=file, width=200), estimate), file


def test_a_log_has_one_line_a_trial(attempt: Attempt, clock: list[float]) -> None:
    """With value, parameters, how many trials have ended on any worker, and how long the others will take."""
    shown, file = make_plain(attempt, [1, 2])
    shown.start_trial(attempt, PARAMS)
    shown.show_start(attempt, ())
    for number in (1, 2, 3):
        clock[0] += 10
        shown.show_epoch(attempt, metrics(number, number / 10))
    shown.end_trial(attempt, AttemptEnd.COMPLETED, "")
    assert file.getvalue() == (
        "[small] trial 0 completed: val_accuracy 0.3000 (learning_rate 0.00123, optimizer adam, batch_norm on); "
        "2 of 4 trials, about 60 s left\n"
    )


def test_running_trials_count_by_their_epochs(attempt: Attempt, clock: list[float]) -> None:
    """Of two that run side by side neither has ended, and as much as one of four is done after their third epoch."""
    shown, _ = make_plain(attempt, [0])
    other = replace(attempt, trial_id=attempt.trial_id + 1, trial_number=1)
    for each in (attempt, other):
        shown.start_trial(each, PARAMS)
        shown.show_start(each, ())
    shown.show_epoch(attempt, metrics(1))
    shown.show_epoch(other, metrics(1))
    assert shown._estimate.describe() == "0 of 4 trials"
    clock[0] += 30
    shown.show_epoch(other, metrics(2))
    assert shown._estimate.describe() == "0 of 4 trials, about 90 s left"


def test_epochs_of_an_earlier_attempt_are_not_of_this_speed(attempt: Attempt, clock: list[float]) -> None:
    """A search that goes on after an interruption has the speed of this run alone."""
    again = replace(attempt, number=2, epochs=(metrics(1), metrics(2)))
    shown, _ = make_plain(attempt, [2, 3])
    shown.start_trial(again, PARAMS)
    shown.show_start(again, again.epochs)
    clock[0] += 5
    shown.show_epoch(again, metrics(3))
    assert shown._estimate.describe() == "2 of 4 trials"
    shown.end_trial(again, AttemptEnd.COMPLETED, "")
    other = replace(attempt, trial_id=attempt.trial_id + 1, trial_number=3)
    shown.start_trial(other, PARAMS)
    clock[0] += 10
    for number in (1, 2):
        shown.show_epoch(other, metrics(number))
    assert shown._estimate.describe() == "3 of 4 trials, about 5 s left"


def test_trial_that_is_left_is_not_counted(attempt: Attempt) -> None:
    """Ctrl-C leaves it to the next run."""
    shown, file = make_plain(attempt, [1])
    shown.start_trial(attempt, PARAMS)
    shown.end_trial(attempt, AttemptEnd.PREEMPTED, "after epoch 1")
    assert file.getvalue().endswith("; 1 of 4 trials\n")


def test_an_unreachable_database_stops_no_display(attempt: Attempt) -> None:
    """What was counted is added to until it answers again."""

    def count() -> int:
        if counted:
            raise UnreachableError("it is gone")
        counted.append(True)
        return 1

    counted: list[bool] = []
    estimate = SearchEstimate(attempt.study, count)
    estimate.count_ended()
    assert estimate.describe() == "2 of 4 trials"


def test_the_count_is_of_all_workers(database: Database, started: Started, holder: Enrol) -> None:
    """A trial that waits or runs has not ended."""
    study, worker = started(), holder("w")
    for _ in range(2):
        ended = claim(database, study, worker)
        assert ended is not None
        finish_trial(database, ended)
    claim(database, study, holder("other"))
    with open_search_display(database, study) as display:
        assert isinstance(display, PlainSearchProgress)
        assert display._estimate.ended == 2


@pytest.mark.parametrize("width", [40, 60, 80, 100, 200])
def test_a_terminal_has_a_bar_for_the_search_above_its_trials(attempt: Attempt, clock: list[float], width: int) -> None:
    """Nothing that is counted or estimated is cut off, and the epochs move the bar."""
    console = Console(file=io.StringIO(), width=width, force_terminal=True)
    shown = LiveSearchProgress(console, SearchEstimate(attempt.study, lambda: 1), attempt.study.name)
    shown.start_trial(attempt, PARAMS)
    shown.show_start(attempt, ())
    clock[0] += 30
    for number in (1, 2, 3):
        shown.show_epoch(attempt, metrics(number, 0.8433))
    search = shown._bars.tasks[0]
    assert (search.completed, search.total) == (2.0, 4)
    plain = Console(file=io.StringIO(), width=width)
    plain.print(shown._bars.get_renderable())
    assert isinstance(plain.file, io.StringIO)
    lines = plain.file.getvalue().splitlines()
    assert len(lines) == 2
    assert all(len(line) <= width for line in lines)
    assert ("1/4, 60 s left" if width < 80 else "1 of 4 trials, about 60 s left") in lines[0]
    assert {"3/3", "0.8433"} <= set(lines[1].split())
