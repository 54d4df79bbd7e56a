"""The commands that govern a study, as a user types them."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Callable

import pytest

from hpsearch.errors import ExitCode
from hpsearch.outcomes import AttemptEnd, TrialOutcome
from hpsearch.storage import attempts
from hpsearch.storage.database import Database
from hpsearch.storage.studies import Study
from hpsearch.storage.workers import WorkerIdentity
from tests.support.commands import hpsearch, one_line
from tests.support.small_study import claim

Started = Callable[..., Study]
Enrol = Callable[[str], WorkerIdentity]

STATUS = [sys.executable, "-m", "hpsearch.cli.main", "status"]


@pytest.fixture(autouse=True)
def _settings(storage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HPSEARCH_STORAGE", storage)


def run(*arguments: str) -> str:
    """Return what a command that succeeds prints on stderr; its stdout is empty."""
    ended = hpsearch(*arguments)
    assert (ended.returncode, ended.stdout) == (ExitCode.DONE, ""), ended.stderr
    return ended.stderr


def end(database: Database, study: Study, worker: WorkerIdentity, ending: TrialOutcome, **attributes: object) -> None:
    attempt = claim(database, study, worker)
    assert attempt is not None
    database.transact(lambda c: attempts.finish(c, attempt, ending, attributes))


def test_pause_resume_and_stop_say_what_they_did(database: Database, started: Started, holder: Enrol) -> None:
    """Each tells what becomes of the running trials, and what to type next; doing it twice is no fault."""
    study = started(study={"name": "my study"})
    assert claim(database, study, holder("w")) is not None
    assert run("pause", "my study") == (
        "my study is paused\n"
        "  1 trial held by workers: told to save and release them within 15 s\n"
        "  hpsearch resume 'my study' lets it go on\n"
    )
    assert run("pause", "my study") == "my study is paused already\n"
    assert run("resume", "my study") == "my study was paused and is running again\n"
    assert run("resume", "my study") == "my study is running already\n"
    assert run("stop", "my study") == (
        "my study is stopped\n"
        "  1 trial held by workers: ended as pruned within 15 s\n"
        "  hpsearch resume 'my study' lets it go on with what is left of its budget\n"
    )
    assert run("stop", "my study").startswith("my study is stopped already\n")
    assert "my study is stopped: only a running study can be paused" in one_line(
        hpsearch("pause", "my study"), ExitCode.REFUSED
    )


@pytest.mark.parametrize("command", ["pause", "resume", "stop", "retry", "delete"])
def test_unknown_study_is_one_line(command: str) -> None:
    """A study that is not there ends with 3."""
    assert "there is no study nowhere" in one_line(hpsearch(command, "nowhere"), ExitCode.NOT_FOUND)


def test_start_study_says_that_the_study_is_paused(tmp_path: object) -> None:
    """Starting it again does not resume it, and tells what does."""
    hpsearch("start-study")
    hpsearch("pause", "cifar10-cnn")
    output = run("start-study")
    assert "it is paused" in output
    assert "hpsearch resume cifar10-cnn" in output


def test_retry_says_which_trials_repeat_which(database: Database, started: Started, holder: Enrol) -> None:
    """The pairs, the new budget and the status; a line where nothing failed; a trial that is not there ends with 3."""
    study, worker = started(), holder("w")
    assert run("retry", "small").startswith("small has no failed trial that was not tried again already")
    end(database, study, worker, TrialOutcome.ERROR)
    assert run("retry", "small") == "trial 1 repeats trial 0\nsmall has 5 trials now; it is running\n"
    assert "repeats trial 0" in hpsearch("results", "small").stdout
    assert "small has no trial 7" in one_line(hpsearch("retry", "small", "--trial", "7"), ExitCode.NOT_FOUND)
    assert "trial 1 of small is waiting" in one_line(hpsearch("retry", "small", "--trial", "1"), ExitCode.REFUSED)


def test_results_say_why_a_trial_failed(database: Database, started: Started, holder: Enrol) -> None:
    """Below the table: the detail, and every attempt where there was more than one."""
    study, worker = started(), holder("w")
    first = claim(database, study, worker)
    assert first is not None
    database.transact(lambda c: attempts.release(c, first, AttemptEnd.CRASHED))
    end(database, study, worker, TrialOutcome.ERROR, detail="ValueError: [bad] shape")
    end(database, study, worker, TrialOutcome.ERROR, detail="another")
    end(database, study, worker, TrialOutcome.PRUNED, detail="not a failure")
    lines = [line for line in hpsearch("results", "small").stdout.splitlines() if "attempt" in line or "failed" in line]
    assert lines[0] == "trial 0 failed: ValueError: [bad] shape"
    assert re.fullmatch(r"  attempt 1 on host-w, CPU: crashed after 0 epochs, \d\.\d s", lines[1])
    assert re.fullmatch(r"  attempt 2 on host-w, CPU: error after 0 epochs, \d\.\d s", lines[2])
    assert lines[3:] == ["trial 1 failed: another"]


def test_delete_asks_on_a_terminal(started: Started) -> None:
    """It names what goes; n keeps the study, y deletes it."""
    started()
    for answer, left in (("n", 1), ("y", 0)):
        ours, theirs = pty.openpty()
        command = [sys.executable, "-m", "hpsearch.cli.main", "delete", "small"]
        with subprocess.Popen(command, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            os.write(ours, f"{answer}\n".encode())
            out, err = process.communicate(timeout=60)
        os.close(ours)
        os.close(theirs)
        assert (process.returncode, out) == (ExitCode.DONE, b"")
        assert b"delete small with its 0 trials and 0 files? [y/N]" in err
        assert len(json.loads(hpsearch("status", "--json").stdout)["studies"]) == left


def test_delete_without_a_terminal_wants_yes(started: Started) -> None:
    """Nobody being there to ask, it is refused in one line; with --yes it deletes."""
    started()
    line = one_line(hpsearch("delete", "small"), ExitCode.USAGE)
    assert "--yes" in line
    assert run("delete", "small", "--yes") == "small is deleted\n"


def test_status_shows_pace_and_workers(database: Database, started: Started, holder: Enrol) -> None:
    """Trials an hour and the end of a running study, and what each worker holds."""
    study, worker = started(), holder("w")
    end(database, study, worker, TrialOutcome.ERROR)
    assert claim(database, study, worker) is not None
    shown = hpsearch("status").stdout
    assert "trials/h" in shown
    assert re.search(r"^ *w +host-w +CPU +small 1 +0/3 +\d s ago", shown, re.MULTILINE)


@pytest.mark.slow
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_watch_prints_a_block_again_and_again_into_a_pipe(started: Started, sent: signal.Signals) -> None:
    """A dated block and then another, and exit code 0 on Ctrl-C."""
    started()
    with subprocess.Popen([*STATUS, "--watch"], stdout=subprocess.PIPE, text=True) as watching:
        assert watching.stdout is not None
        lines = list[str]()
        while sum(line.endswith(" UTC\n") for line in lines) < 3:
            lines.append(watching.stdout.readline())
        watching.send_signal(sent)
        watching.stdout.read()
        assert watching.wait(30) == ExitCode.DONE
    dated, studies = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC\n", [line for line in lines if "small" in line]
    assert len(studies) == len([line for line in lines if re.fullmatch(dated, line)]) - 1


@pytest.mark.slow
def test_watch_shows_in_place_on_a_terminal(started: Started) -> None:
    """The tables are drawn over their former selves."""
    started()
    ours, theirs = pty.openpty()
    with subprocess.Popen([*STATUS, "--watch"], stdout=theirs, env={**os.environ, "TERM": "xterm"}) as watching:
        os.close(theirs)
        seen = b""
        while seen.count(b"small") < 2:
            seen += os.read(ours, 4096)
        watching.send_signal(signal.SIGINT)
        assert watching.wait(30) == ExitCode.DONE
    os.close(ours)
    assert b"\x1b[1A" in seen


def test_watch_and_json_exclude_each_other() -> None:
    """One is for people, the other for programs."""
    one_line(hpsearch("status", "--json", "--watch"), ExitCode.USAGE)
