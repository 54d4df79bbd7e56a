"""What goes wrong outside a training: a slot goes on after a pause, with its trial released."""

import errno
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from sqlalchemy import text

from hpsearch.errors import DatabaseError
from hpsearch.storage.artifacts.cleanup import ArtifactCleanup
from hpsearch.storage.database import Database
from hpsearch.storage.studies import Study
from hpsearch.storage.workers import WorkerIdentity
from hpsearch.worker.db_retry import StopRequest
from hpsearch.worker.display_protocol import WorkerDisplay
from hpsearch.worker.lease_renewal import LeaseRenewal
from hpsearch.worker.resources import Quota
from hpsearch.worker.slot import SharedSlotState, Slot, Step
from hpsearch.worker.study_code import CodeDirectories
from hpsearch.worker.timing import Timing
from hpsearch.worker.trainer_process import TrainerProcess

ROUNDS = 4
"""How often a slot meets a fault before it is told to stop."""

RAISE = """
create function fail() returns trigger language plpgsql as
$$ begin raise exception 'made up by the test' using errcode = '{code}'; end $$
"""


class IdleTrainer:
    """A trainer process that is never asked to train."""

    alive = True

    def close(self) -> None:
        """Do nothing."""


class Notes:
    """What a worker prints; after ROUNDS lines it is told to stop."""

    def __init__(self, stop: StopRequest) -> None:
        self._stop = stop
        self.lines: list[str] = []

    def note(self, line: str) -> None:
        """Keep a line."""
        self.lines.append(line)
        self._stop.requested = len(self.lines) >= ROUNDS


class Faults:
    """A slot on the test's database, and what became of it."""

    def __init__(self, database: Database, holder: WorkerIdentity, monkeypatch: pytest.MonkeyPatch) -> None:
        self.database = database
        stop, timing = StopRequest(), Timing(poll=0.01)
        self.notes, self.pauses = Notes(stop), list[float]()
        self.start_trainer = IdleTrainer
        self.slot = Slot(
            SharedSlotState(
                database,
                cast("WorkerDisplay", self.notes),
                holder,
                LeaseRenewal(database, holder.worker_id, timing),
                stop,
                Quota(None),
                (),
                False,
                lambda: cast("TrainerProcess", self.start_trainer()),
                ArtifactCleanup(database),
                timing,
                CodeDirectories(database, self.notes.note),
            )
        )
        monkeypatch.setattr(self.slot, "_wait", self.pauses.append)

    def serve(self) -> list[str]:
        """Serve until told to stop; return the lines it printed, each of which is one and holds no SQL."""
        self.slot.serve()
        for line in self.notes.lines:
            assert not any(part in line for part in ("\n", "Traceback", "[SQL", "parameters", "insert into"))
        return self.notes.lines

    def list_ends(self) -> list[str | None]:
        """Return how the attempts ended, in order; None for one that is open."""
        ends = "select why from hpsearch.attempts order by trial_id, number"
        return list(self.database.execute(lambda c: c.scalars(text(ends)).all()))

    def fail_at(self, what: str, code: str) -> None:
        """Let the server raise an error of an SQLSTATE at what a trigger names."""
        self.database.transact(lambda c: c.execute(text(RAISE.format(code=code))))
        self.database.transact(lambda c: c.execute(text(f"create trigger fail {what} execute function fail()")))


@pytest.fixture
def faults(
    database: Database,
    started: Callable[..., Study],
    holder: Callable[[str], WorkerIdentity],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Faults]:
    """A slot, and a study with trials for it."""
    started()
    faults = Faults(database, holder("w"), monkeypatch)
    yield faults
    faults.slot.wakeup.close()


@pytest.mark.parametrize("code", ["58030", "XX000", "XX001", "P0001", "23514"])
@pytest.mark.parametrize("what", ["before insert on hpsearch.attempts", "before insert on trials"])
def test_database_error_at_a_claim(faults: Faults, code: str, what: str) -> None:
    """An error of the server at a claim, whatever it is, costs a line and a pause that grows."""
    faults.fail_at(what, code)
    lines = faults.serve()
    assert len(lines) == ROUNDS
    assert all("failed: made up by the test" in line for line in lines)
    assert faults.pauses == [0.02, 0.04, 0.08, 0.16]
    assert faults.list_ends() == []


def absent(directory: Path) -> Path:
    return directory / "absent"


def file(directory: Path) -> Path:
    (directory / "file").touch()
    return directory / "file"


def system(_: Path) -> Path:
    return Path("/proc")


@pytest.mark.parametrize("choose", [absent, file, system])
def test_work_directory_that_cannot_be_made(
    faults: Faults, choose: Callable[[Path], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the temporary directory is gone or refuses, the trial is released at once, and its attempt not counted."""
    monkeypatch.setattr(tempfile, "tempdir", str(choose(tmp_path)))
    lines = faults.serve()
    assert faults.list_ends() == ["preempted"] * ROUNDS
    assert all(str(choose(tmp_path)) in line and line.endswith("; trying again") for line in lines)
    assert faults.pauses == [0.02, 0.04, 0.08, 0.16]


def test_trainer_that_cannot_be_started(faults: Faults) -> None:
    """A host without a process to spare releases the trial, and tries again."""

    def refuse() -> IdleTrainer:
        raise OSError(errno.EAGAIN, "Resource temporarily unavailable")

    faults.start_trainer = refuse  # type: ignore[assignment]
    assert "Resource temporarily unavailable" in faults.serve()[0]
    assert faults.list_ends() == ["preempted"] * ROUNDS


def raise_from(error: Exception) -> Callable[..., Any]:
    def fail(*_: object) -> None:
        raise error

    return fail


def test_bug_counts_as_an_attempt(faults: Faults, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception that nobody foresaw says where it was raised; when a trial's attempts are spent, it has failed."""
    monkeypatch.setattr(faults.slot, "_make_runner", raise_from(KeyError("lacking")))
    lines = faults.serve()
    assert all(line.startswith("KeyError: 'lacking' (test_slot.py:") for line in lines)
    assert faults.list_ends() == ["crashed"] * ROUNDS
    failed = "select count(*) from trials where state = 'FAIL'"
    assert faults.database.execute(lambda c: c.scalar(text(failed))) == 1


def test_error_that_no_retry_mends(faults: Faults, monkeypatch: pytest.MonkeyPatch) -> None:
    """What only the user can mend ends the worker, with its trial released."""
    monkeypatch.setattr(faults.slot, "_make_runner", raise_from(DatabaseError("no rights")))
    with pytest.raises(DatabaseError, match="no rights"):
        faults.serve()
    assert faults.list_ends() == ["preempted"]
    assert faults.pauses == []


def test_pause_stays_at_its_longest_however_long_the_fault_lasts(
    faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It doubles until then; two thousand failures in a row, a day and a half of them, are no error of their own."""
    steps = iter([*[Step.FAILED] * 2000, Step.NO_TRIAL, Step.FAILED, Step.DRAINED])
    monkeypatch.setattr(faults.slot, "_step", lambda: next(steps))
    faults.slot.serve()
    longest = faults.slot.shared.timing.longest_pause
    assert faults.pauses[:3] == pytest.approx([0.02, 0.04, 0.08])
    assert set(faults.pauses[100:2000]) == {longest}
    assert faults.pauses[2000:] == pytest.approx([0.01, 0.02])
