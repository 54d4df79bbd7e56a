"""The answers that the dashboard shows: computed in the background, the last one shown meanwhile."""

import logging
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Generic, TypeVar

from hpsearch.analysis.answer import Answer
from hpsearch.errors import NotFoundError, UnreadableStudyError, first_line
from hpsearch.evaluation import answers
from hpsearch.evaluation.answers import AnswerSource
from hpsearch.storage import studies
from hpsearch.storage.database import Connection, Database

log = logging.getLogger(__name__)

MAX_COMPUTING_SHARE = 0.05
"""The fraction of the time that goes at most into computing for a study that changes at every request."""

MAX_AGE = 300.0
"""Seconds after which something is computed again, though nothing is known to have changed."""

Result = TypeVar("Result")
Version = tuple[object, ...]
"""Of a study: see `dashboard_queries.read_study_version`."""


@dataclass(frozen=True)
class Computed(Generic[Result]):
    """Something computed from a study, the version of the study that was, when, and the seconds that it took."""

    version: Version
    result: Result
    computed_at: float
    seconds: float

    def is_fresh(self, version: Version) -> bool:
        """Return whether it need not be computed again for this version."""
        age = time.monotonic() - self.computed_at
        return age < self.seconds / MAX_COMPUTING_SHARE or (version == self.version and age < MAX_AGE)


class BackgroundAnswers:
    """The last answer of each study, computed by one thread; to be called from any."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._executor = ThreadPoolExecutor(1, "answers")
        self._last: dict[int, Computed[Answer]] = {}
        self._running: dict[int, Future[None]] = {}

    def find(self, study_id: int, version: Version, patience: float | None) -> Answer | None:
        """Return the last answer, and have a newer one computed where the study changed since.

        Where there is none yet, wait for it for at most `patience` seconds (None: to its end); None where it is not
        there by then.
        """
        with self._lock:
            last = self._last.get(study_id)
            if last is None or not last.is_fresh(version):
                running = self._running.get(study_id)
                if running is None or running.done():
                    self._running[study_id] = self._executor.submit(self._compute, study_id, version)
        return self.wait(study_id, patience)

    def wait(self, study_id: int, patience: float | None) -> Answer | None:
        """Return the last answer; where there is none, wait as `find` does for the one that is being computed."""
        pending = self._running.get(study_id)
        if study_id not in self._last and pending is not None:
            wait([pending], patience)
        last = self._last.get(study_id)
        return last.result if last else None

    def _compute(self, study_id: int, version: Version) -> None:
        began = time.monotonic()

        def read(connection: Connection) -> AnswerSource:
            return answers.read_answer_source(connection, studies.read(connection, study_id).name)

        try:
            answer = answers.answer(self._database.transact(read))
        except (NotFoundError, UnreadableStudyError):  # deleted meanwhile, or the page says that it cannot be read
            return
        except Exception as error:  # noqa: BLE001 - no answer is worth a study's page
            log.error("a study is shown without its answer: %s", first_line(error))
            return
        self._last[study_id] = Computed(version, answer, time.monotonic(), time.monotonic() - began)
