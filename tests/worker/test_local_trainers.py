"""What a command that has a trainer of its own says of code that does not end."""

from dataclasses import replace
from typing import Any

import pytest

from hpsearch.errors import UserCodeError
from hpsearch.training.protocol import Calling, CodeFailed, DataProgress, FromTrainer
from hpsearch.training.user.declarations import Explored
from hpsearch.worker.local.trainers import LocalTrainer
from hpsearch.worker.timing import DEFAULT_TIMING

BUILD = Calling("my_model.py:build")


class ScriptedTrainer:
    """Answers with messages; None is a wait that ended without one. `waits` are the seconds it was waited for."""

    def __init__(self, *messages: FromTrainer | None) -> None:
        self._messages = list(messages)
        self.waits: list[float] = []

    def send(self, message: object) -> None:
        """Take a message."""

    def describe_missing_gpu(self) -> None:
        """Say that no GPU is missing."""

    def receive(self, wakeup: object, timeout: float) -> FromTrainer | None:
        """Return the next message."""
        self.waits.append(timeout)
        return self._messages.pop(0)


def listen(trainer: Any) -> LocalTrainer:
    """Return the trainer as a command has it."""
    wakeup: Any = None
    return LocalTrainer(trainer, wakeup, replace(DEFAULT_TIMING, quiet=10, stall=600))


def test_code_that_takes_long_is_said_once_a_call(caplog: pytest.LogCaptureFixture) -> None:
    """And nothing is said of what is none of the user's, such as decoding their images."""
    script: list[FromTrainer | None] = [None, DataProgress(1, 2), None, BUILD, None, BUILD, Explored((), False)]
    trainer = listen(ScriptedTrainer(*script))
    assert list(trainer.receive(Explored)) == [message for message in script if message]
    assert caplog.messages == ["my_model.py:build takes over 10 s: Ctrl-C ends it"]


def test_code_that_hangs_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    """After as long as a trainer of a worker may be silent."""
    scripted = ScriptedTrainer(BUILD, None, None)
    trainer = listen(scripted)
    with pytest.raises(UserCodeError, match=r"^my_model.py:build has not ended after 10 min: look for what it waits"):
        list(trainer.receive(Explored))
    assert sum(scripted.waits[1:]) == 600
    assert len(caplog.messages) == 1


def test_code_that_fails_keeps_its_traceback() -> None:
    """So that the command shows both."""
    trainer = listen(ScriptedTrainer(CodeFailed("my_model.py, line 3: it is broken", "Traceback\n")))
    with pytest.raises(UserCodeError, match=r"my_model.py, line 3: it is broken") as raised:
        list(trainer.receive(Explored))
    assert raised.value.traceback == "Traceback\n"
