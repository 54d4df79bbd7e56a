"""What a trial printed, on stdout: as it is now, or until the trial has ended; about it, on stderr."""

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from hpsearch.cli.console import print_line
from hpsearch.formatting import drop_controls
from hpsearch.outcomes import TrialState

if TYPE_CHECKING:
    from hpsearch.storage.artifacts.output import TrialOutput

FOLLOW_SECONDS = 1.0
"""Between two looks of `logs --follow`; workers store what is new every 5 s."""


class OutputPrinter:
    """Prints what is new in a trial's output; while the trial is running, whole lines only."""

    def __init__(self) -> None:
        self._printed = 0

    def print_news(self, trial: "TrialOutput", *, whole: bool) -> None:
        """Print what was not printed yet; with `whole`, the last line too, which may still be overwritten."""
        content, begin = trial.output.content, trial.output.dropped
        if begin > self._printed:
            print_line(f"{begin - self._printed:,} bytes before this were not kept: of each trial, the last 64 kB are")
            self._printed = begin
        end = len(content) if whole else content.rfind(b"\n") + 1
        news = content[self._printed - begin : end]
        self._printed = max(self._printed, begin + end)
        _write(news.decode(errors="replace"), ends_line=whole)


def _write(text: str, *, ends_line: bool) -> None:
    if text:
        # A worker stores no control characters; another program may have.
        text = drop_controls(text)
        sys.stdout.write(text if text.endswith("\n") or not ends_line else text + "\n")
        sys.stdout.flush()


def print_output(trial: "TrialOutput") -> None:
    """Print what the trial has printed so far."""
    if not trial.output.written:
        print_line(_describe_silence(trial))
    OutputPrinter().print_news(trial, whole=True)
    _write(trial.missing_traceback, ends_line=True)


def _describe_silence(trial: "TrialOutput") -> str:
    if trial.state is TrialState.WAITING:
        return f"trial {trial.number} has not begun yet"
    return f"trial {trial.number} " + ("printed nothing" if trial.state.is_finished else "has printed nothing yet")


def follow(read: "Callable[[], TrialOutput]") -> None:
    """Print what a trial prints until it has ended, in whichever attempt; while the database is unreachable, wait."""
    from hpsearch.errors import UnreachableError

    printer, unreachable, silent = OutputPrinter(), False, False
    while True:
        try:
            trial = read()
        except UnreachableError as error:
            if not unreachable:
                print_line(f"{error}; waiting for it")
            unreachable = True
        else:
            unreachable = False
            if not silent and not trial.output.written and not trial.state.is_finished:
                print_line(_describe_silence(trial))
                silent = True
            printer.print_news(trial, whole=trial.state.is_finished)
            if trial.state.is_finished:
                break
        time.sleep(FOLLOW_SECONDS)
    _write(trial.missing_traceback, ends_line=True)
    ending = trial.outcome.label if trial.outcome else trial.state.label
    print_line(f"trial {trial.number} has ended: {ending}" + (f" ({trial.detail})" if trial.detail else ""))
