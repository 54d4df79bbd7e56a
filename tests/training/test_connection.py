"""The trainer's end of the pipe."""

import multiprocessing
import os
import time

import pytest

from hpsearch.training import connection
from hpsearch.training.connection import SupervisorConnection
from hpsearch.training.protocol import BatchProgress, Stop

DEADLINE = 60.0  # seconds until the test gives up waiting for a message


def test_progress_is_sent_once_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """However fast the batches are, the time between two messages passes; a Stop is returned when it has come."""
    supervisor, trainer = multiprocessing.Pipe()
    os.dup(supervisor.fileno())  # never closed: the thread would take its end for the supervisor's, and exit
    never, always = 1e9, 0.0  # whatever else this machine does
    monkeypatch.setattr(connection, "PROGRESS_SECONDS", never)
    line = SupervisorConnection(trainer)
    for batch in range(100):
        assert line.report_progress(BatchProgress(1, batch, 100)) is None
    assert not supervisor.poll()
    monkeypatch.setattr(connection, "PROGRESS_SECONDS", always)
    line.report_progress(BatchProgress(1, 7, 100))
    monkeypatch.setattr(connection, "PROGRESS_SECONDS", never)
    assert supervisor.recv() == BatchProgress(1, 7, 100)
    supervisor.send(Stop(checkpoint=True))
    deadline = time.monotonic() + DEADLINE
    while (stop := line.report_progress(BatchProgress(1, 8, 100))) is None and time.monotonic() < deadline:
        pass
    assert stop == Stop(checkpoint=True)
