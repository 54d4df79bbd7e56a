"""What is stored of a trainer's output: while it trains, at the end of its attempt, and over several attempts."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import event, text

from hpsearch.errors import NotFoundError, UnreachableError
from hpsearch.metrics import Direction
from hpsearch.outcomes import AttemptEnd, TrainingEnd, TrialOutcome, TrialState
from hpsearch.sampling.readonly_storage import ReadOnlyStorage
from hpsearch.storage import attempts
from hpsearch.storage.artifacts import output
from hpsearch.storage.artifacts.output import LIMIT
from hpsearch.storage.artifacts.study_artifacts import StudyArtifacts
from hpsearch.storage.attempts import Attempt, LostError
from hpsearch.storage.database import Database
from hpsearch.storage.studies import Study
from hpsearch.storage.workers import WorkerIdentity
from hpsearch.training.protocol import EpochReport
from hpsearch.worker.db_retry import DatabaseRetry
from hpsearch.worker.epoch_queue import EpochQueue
from hpsearch.worker.output.output_pipe import OutputPipe
from hpsearch.worker.output.output_recorder import OutputRecorder
from hpsearch.worker.timing import DEFAULT_TIMING
from hpsearch.worker.trial_completion import TrialCompletion
from tests.support.small_study import claim, finish_trial, metrics

Started = Callable[..., Study]
Enrol = Callable[[str], WorkerIdentity]

DEADLINE = 120.0
NEVER = 1e6


class Trainer:
    """The pipe of a trainer that prints what it is told."""

    def __init__(self) -> None:
        self.output = OutputPipe()

    def print(self, *lines: str) -> None:
        for line in lines:
            os.write(self.output.write_end, f"{line}\n".encode())


@pytest.fixture
def trainer() -> Iterator[Trainer]:
    """A trainer whose pipe is closed after the test."""
    opened = Trainer()
    yield opened
    opened.output.close_write_end()
    opened.output.close()


@pytest.fixture
def study(started: Started) -> Study:
    """The small study."""
    return started()


def take(database: Database, study: Study, worker: WorkerIdentity) -> Attempt:
    """Claim a trial."""
    attempt = claim(database, study, worker)
    assert attempt is not None
    return attempt


def record(database: Database, attempt: Attempt, trainer: Trainer, interval: float = NEVER) -> OutputRecorder:
    """A recorder of the attempt, whose thread is not started."""
    return OutputRecorder(database, attempt, trainer.output, print, interval)


def complete(database: Database, attempt: Attempt, recorder: OutputRecorder) -> TrialCompletion:
    """What closes the attempt."""
    retry = DatabaseRetry(database, print, DEFAULT_TIMING)
    return TrialCompletion(attempt, retry, StudyArtifacts(database, None), print, recorder.store_last)


def read(database: Database, trial: int = 0) -> str:
    """What is stored of a trial."""
    return database.transact(lambda c: output.find(c, "small", trial)).output.format()


@contextmanager
def count_statements(database: Database) -> Iterator[list[str]]:
    """The statements of the block."""
    sent: list[str] = []

    def execute(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        sent.append(statement)

    event.listen(database.engine, "before_cursor_execute", execute)
    yield sent
    event.remove(database.engine, "before_cursor_execute", execute)


def test_output_is_stored_while_the_trial_is_running(
    database: Database, study: Study, holder: Enrol, trainer: Trainer
) -> None:
    """A reader sees what was printed without anybody's doing, again and again."""
    attempt = take(database, study, holder("w"))
    with record(database, attempt, trainer, interval=0.01):
        for line in ("one", "two"):
            trainer.print(line)
            deadline = time.monotonic() + DEADLINE
            while not read(database).endswith(f"{line}\n"):
                assert time.monotonic() < deadline
                time.sleep(0.01)
    assert read(database) == "one\ntwo\n"


def test_trial_that_prints_nothing_costs_no_statement(
    database: Database, study: Study, holder: Enrol, trainer: Trainer
) -> None:
    """Nothing is sent where nothing is new: a first output is one statement, and none the second time."""
    recorder = record(database, take(database, study, holder("w")), trainer)
    with count_statements(database) as sent:
        recorder.store()
        assert len(sent) == 0
        trainer.print("something")
        recorder.store()
        recorder.store()
        assert len(sent) == 1


@pytest.mark.parametrize("outcome", [TrialOutcome.COMPLETED, TrialOutcome.ERROR, TrialOutcome.DIVERGED])
def test_last_words_are_there_when_the_trial_has_ended(
    database: Database, study: Study, holder: Enrol, trainer: Trainer, outcome: TrialOutcome
) -> None:
    """However it ends; whoever reads it ended reads all that it printed."""
    attempt = take(database, study, holder("w"))
    trainer.print("last words")
    complete(database, attempt, record(database, attempt, trainer)).finish(TrainingEnd(outcome, "why", "a traceback"))
    found = database.transact(lambda c: output.find(c, "small", 0))
    assert (found.state, found.outcome, found.detail) == (outcome.state, outcome, "why")
    assert found.output.format() == "last words\n"
    assert found.missing_traceback == "a traceback\n"


def test_last_words_of_a_pruned_trial_are_there(
    database: Database, started: Started, holder: Enrol, trainer: Trainer
) -> None:
    """The epoch at which the pruner ends a trial closes the attempt; the output is stored before."""
    study = started(pruner={"name": "median", "n_startup_trials": 1})
    good, bad = take(database, study, holder("w")), take(database, study, holder("v"))
    for attempt, value in ((good, 0.8), (bad, 0.1)):
        history = ReadOnlyStorage(study.study_id, Direction.MAXIMIZE)
        recorder = record(database, attempt, trainer)
        queue = EpochQueue(database, attempt, history, StudyArtifacts(database, None), print, recorder.store_last)
        trainer.print(f"value {value}")
        queue.add(EpochReport(metrics(1, value), None, None))
        pruned = queue.store()
        if attempt is good:
            finish_trial(database, good)
            trainer.output.clear()
    assert pruned is not None
    assert database.transact(lambda c: output.find(c, "small", 1)).state is TrialState.PRUNED
    assert read(database, 1) == "value 0.1\n"


def test_attempts_follow_each_other(database: Database, study: Study, holder: Enrol, trainer: Trainer) -> None:
    """A line says where another attempt begins, and on which host; what was printed before stays above it."""
    for number, line in ((1, "first"), (2, ""), (3, "third")):
        attempt = take(database, study, holder(f"w{number}"))
        assert (attempt.trial_number, attempt.number) == (0, number)
        trainer.output.clear()
        os.write(trainer.output.write_end, line.encode())
        complete(database, attempt, record(database, attempt, trainer)).release(AttemptEnd.PREEMPTED)
    assert read(database) == "first\n--- attempt 3, on host-w3 ---\nthird"


def test_limit_holds_over_attempts(database: Database, study: Study, holder: Enrol, trainer: Trainer) -> None:
    """Of all attempts together the last 64 kB are kept, and what is missing is counted to the byte."""
    printed = 0
    for number in (1, 2):
        attempt = take(database, study, holder(f"w{number}"))
        trainer.output.clear()
        trainer.print(*[f"{number} " + "x" * 97] * 400)
        complete(database, attempt, record(database, attempt, trainer)).release(AttemptEnd.PREEMPTED)
        printed += 400 * 100
    mark = "--- attempt 2, on host-w2 ---\n"
    stored = database.transact(lambda c: output.find(c, "small", 0)).output
    assert len(stored.content) == LIMIT
    assert stored.written == printed + len(mark)
    assert stored.content.decode().endswith(mark + f"2 {'x' * 97}\n" * 400)
    assert stored.format().startswith(f"[the first {stored.written - LIMIT:,} bytes were not kept]\n")
    attempt = take(database, study, holder("w3"))
    trainer.output.clear()
    trainer.print(*["y" * 99] * 1000)
    record(database, attempt, trainer).store()
    stored = database.transact(lambda c: output.find(c, "small", 0)).output
    assert stored.written == printed + 2 * len(mark) + 100_000
    assert set(stored.content) == set(b"y\n")
    assert len(stored.content) == LIMIT


def test_lost_attempt_writes_nothing(database: Database, study: Study, holder: Enrol, trainer: Trainer) -> None:
    """What a worker printed whose trial another one adopted is not mixed in, by its thread or at its end."""
    lost = take(database, study, holder("w"))
    database.transact(lambda c: attempts.release(c, lost, AttemptEnd.PREEMPTED))
    attempt = take(database, study, holder("v"))
    trainer.print("mine")
    record(database, attempt, trainer).store()
    recorder = record(database, lost, trainer)
    trainer.print("late")
    with pytest.raises(LostError):
        complete(database, lost, recorder).end(TrialOutcome.COMPLETED, {})
    with record(database, lost, trainer, interval=0.001) as threaded:
        threaded._thread.join(DEADLINE)
        assert not threaded._thread.is_alive(), "it goes on although the attempt is lost"
    assert read(database) == "--- attempt 2, on host-v ---\nmine\n"


def test_outage_costs_nothing_but_time(
    database: Database, study: Study, holder: Enrol, trainer: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the database is unreachable the output waits; the next time all of it is stored."""
    attempt = take(database, study, holder("w"))
    answering = Database.execute
    failed: list[bool] = []

    def fail(self: Database, work: Any) -> Any:
        failed.append(True)
        raise UnreachableError("no database")

    trainer.print("before")
    with record(database, attempt, trainer, interval=0.001) as recorder:
        monkeypatch.setattr(Database, "execute", fail)
        trainer.print("meanwhile")
        deadline = time.monotonic() + DEADLINE
        while len(failed) < 3:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        monkeypatch.setattr(Database, "execute", answering)
        complete(database, attempt, recorder).end(TrialOutcome.COMPLETED, {})
    assert read(database) == "before\nmeanwhile\n"


def test_output_that_cannot_be_stored_costs_no_trial(
    database: Database, study: Study, holder: Enrol, trainer: Trainer, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever the server has against it, the trial ends as it did, and a line says so."""
    attempt = take(database, study, holder("w"))
    database.transact(lambda c: c.execute(text("alter table hpsearch.output add check (content <> E'bad\\n')")))
    trainer.print("bad")
    complete(database, attempt, record(database, attempt, trainer)).end(TrialOutcome.COMPLETED, {})
    assert "what trial 0 printed cannot be stored" in capsys.readouterr().out
    assert database.transact(lambda c: output.find(c, "small", 0)).state is TrialState.COMPLETE


def test_whatever_was_printed_can_be_stored(database: Database, study: Study, holder: Enrol, trainer: Trainer) -> None:
    """Every byte and every control character, on lines of their own and all at once."""
    attempt = take(database, study, holder("w"))
    singly = b"\n".join(bytes([byte]) for byte in range(256))
    os.write(trainer.output.write_end, bytes(range(256)) + singly + "\ud7ff😀\n".encode())
    record(database, attempt, trainer).store()
    assert read(database).endswith("\ud7ff😀\n")


def test_unknown_trial_is_one_line(database: Database, study: Study) -> None:
    """It says which trial is not there, and where those that are can be seen."""
    with pytest.raises(NotFoundError, match="small has no trial 7: hpsearch results lists those it has"):
        read(database, 7)
