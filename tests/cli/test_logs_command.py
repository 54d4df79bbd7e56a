"""`hpsearch logs`, as a user types it."""

import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import text

import hpsearch as api
from hpsearch.errors import ExitCode
from hpsearch.outcomes import AttemptEnd, TrialOutcome
from hpsearch.storage import attempts
from hpsearch.storage.artifacts import output
from hpsearch.storage.artifacts.output import LIMIT, Output
from hpsearch.storage.attempts import Attempt
from hpsearch.storage.database import Database
from hpsearch.storage.studies import Study
from hpsearch.storage.workers import WorkerIdentity
from tests.support.commands import DEADLINE, hpsearch, one_line
from tests.support.small_study import claim, finish_trial

Started = Callable[..., Study]
Enrol = Callable[[str], WorkerIdentity]


@pytest.fixture(autouse=True)
def _settings(storage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HPSEARCH_STORAGE", storage)


@pytest.fixture
def attempt(database: Database, started: Started, holder: Enrol) -> Attempt:
    """A running trial."""
    claimed = claim(database, started(), holder("w"))
    assert claimed is not None
    return claimed


def store(database: Database, attempt: Attempt, printed: bytes, earlier: Output | None = None) -> None:
    """Store this as all that the attempt printed so far, after what earlier ones did."""
    whole = (earlier or Output()).append(Output(output.keep_end(printed), len(printed)))
    database.transact(lambda c: output.store(c, attempt, whole, attach=True))


def test_output_is_on_stdout(database: Database, attempt: Attempt) -> None:
    """As it is, with the line under way, whether the trial is running or has ended."""
    store(database, attempt, "grün <b>\n50%".encode())
    running = hpsearch("logs", "small", "0")
    assert (running.returncode, running.stdout, running.stderr) == (ExitCode.DONE, "grün <b>\n50%\n", "")
    finish_trial(database, attempt)
    assert hpsearch("logs", "small", "0").stdout == "grün <b>\n50%\n"
    assert api.logs("small", 0) == "grün <b>\n50%"


def test_missing_beginning_is_said(database: Database, attempt: Attempt) -> None:
    """Of a long output the last 64 kB are printed, and stderr says how much is missing."""
    store(database, attempt, b"x" * 99_999 + b"\n")
    shown = hpsearch("logs", "small", "0")
    assert shown.stdout == "x" * 65_535 + "\n"
    assert shown.stderr == "34,464 bytes before this were not kept: of each trial, the last 64 kB are\n"
    assert api.logs("small", 0).startswith("[the first 34,464 bytes were not kept]\nxxx")


def test_nothing_printed_is_said_on_stderr(database: Database, attempt: Attempt, holder: Enrol) -> None:
    """A trial that waits, one that runs and one that has ended each say so; that is no fault."""

    def look(trial: int) -> str:
        shown = hpsearch("logs", "small", str(trial))
        assert (shown.returncode, shown.stdout) == (ExitCode.DONE, "")
        return shown.stderr

    assert look(0) == "trial 0 has printed nothing yet\n"
    finish_trial(database, attempt)
    assert look(0) == "trial 0 printed nothing\n"
    database.transact(lambda c: c.execute(text("update trials set state = 'WAITING'")))
    assert look(0) == "trial 0 has not begun yet\n"


def test_traceback_is_there_once(database: Database, attempt: Attempt) -> None:
    """The traceback of the error that ended the trial follows, unless the trial printed it itself."""
    traceback = "Traceback (most recent call last):\n  ...\nValueError: no\n"
    store(database, attempt, b"before\n")
    finish_trial(database, attempt, TrialOutcome.ERROR, detail="ValueError: no", traceback=traceback)
    assert hpsearch("logs", "small", "0").stdout == api.logs("small", 0) == "before\n" + traceback
    database.transact(
        lambda c: c.execute(text("update hpsearch.output set content = :t, written = length(:t)"), {"t": traceback})
    )
    assert hpsearch("logs", "small", "0").stdout == api.logs("small", 0) == traceback


def test_faults_are_one_line(database: Database, attempt: Attempt) -> None:
    """A study or a trial that is not there."""
    missing = one_line(hpsearch("logs", "large", "0"), ExitCode.NOT_FOUND)
    assert "there is no study large" in missing
    missing = one_line(hpsearch("logs", "small", "7"), ExitCode.NOT_FOUND)
    assert missing == "hpsearch: small has no trial 7: hpsearch results lists those it has"
    assert hpsearch("logs", "small", "one").returncode == ExitCode.USAGE


@contextmanager
def following(*options: str) -> Iterator[tuple[subprocess.Popen[str], Any, Any]]:
    """`hpsearch logs` of the running trial with these options: the process, its stdout and its stderr."""
    with subprocess.Popen(
        [sys.executable, "-m", "hpsearch.cli.main", "logs", "small", "0", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        deadline = threading.Timer(DEADLINE, process.kill)
        deadline.start()
        try:
            yield process, process.stdout, process.stderr
        finally:
            deadline.cancel()
            process.kill()


def test_follow_goes_on_over_attempts_until_the_trial_has_ended(
    database: Database, attempt: Attempt, holder: Enrol
) -> None:
    """Each line is printed once, when it is whole, in whichever attempt; the end is on stderr."""
    with following("--follow") as (process, out, err):
        assert err.readline() == "trial 0 has printed nothing yet\n"
        store(database, attempt, b"one\n 50%")
        assert out.readline() == "one\n"
        store(database, attempt, b"one\n100%\n")
        assert out.readline() == "100%\n"
        database.transact(lambda c: attempts.release(c, attempt, AttemptEnd.PREEMPTED))
        second = claim(database, attempt.study, holder("v"))
        assert second is not None
        earlier = database.transact(lambda c: output.read_earlier(c, second))
        store(database, second, b"two\n" * 20_000, earlier)
        missing = len("--- attempt 2, on host-v ---\n") + 80_000 - LIMIT
        assert err.readline().startswith(f"{missing:,} bytes before this were not kept")
        assert "".join(out.readline() for _ in range(LIMIT // 4)) == "two\n" * (LIMIT // 4)
        store(database, second, b"two\n" * 20_000 + b"end", earlier)
        finish_trial(database, second, TrialOutcome.DIVERGED, detail="the loss is not finite")
        assert process.wait(DEADLINE) == ExitCode.DONE
        assert out.read() == "end\n"
        assert err.read() == "trial 0 has ended: diverged (the loss is not finite)\n"


def test_following_ends_with_ctrl_c(database: Database, attempt: Attempt) -> None:
    """Ctrl-C leaves the trial alone, and is no fault."""
    store(database, attempt, b"one\n")
    with following("-f") as (process, out, err):
        assert out.readline() == "one\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(DEADLINE) == ExitCode.DONE
        assert (out.read(), err.read()) == ("", "")
