"""One pass over a study for a webhook: its new events are stored with their numbers, posted in order, and marked.

An event is marked after it was accepted, so that a process that was killed in between posts it again: each arrives at
least once, and for the first time after all before it. A pass is made by one process at a time (`leases`).
"""

import threading
import time
from collections.abc import Sequence
from dataclasses import replace

from hpsearch.errors import HpsearchError
from hpsearch.evaluation import answers
from hpsearch.mirror import events
from hpsearch.mirror.events import StudyEvent
from hpsearch.mirror.following import PassResult, StopRequestedError
from hpsearch.mirror.leases import MirrorLease, make_taken_over_error
from hpsearch.mirror.runs import make_study_key
from hpsearch.mirror.webhook import Webhook, WebhookUnreachableError
from hpsearch.storage.database import Connection, Database
from hpsearch.storage.events import history as histories
from hpsearch.storage.events import outbox
from hpsearch.storage.events.history import StudyHistory
from hpsearch.storage.events.outbox import StoredEvent
from hpsearch.storage.studies import Study
from hpsearch.storage.tables.mirrors import MirrorHold

TRIES = 5
"""Posts of an event in a pass that nobody repeats."""
FIRST_PAUSE, MAX_PAUSE = 1.0, 60.0
"""Seconds before the second try, of which each later one doubles; a webhook that asks for more than MAX_PAUSE gets no
other try in the pass."""
RENEWAL_SECONDS = 20.0
"""After an outage of the database, within which every living worker has renewed its leases (they do each 15 s)."""

EVALUATION_SENTENCE = "It tests another study's best configurations: hpsearch evaluate shows the result."


class WebhookMirror:
    """A study's events at a webhook. `leave` asks for the end of a pass; `follows`: somebody repeats the passes."""

    def __init__(
        self, database: Database, study: Study, webhook: Webhook, leave: threading.Event, *, follows: bool
    ) -> None:
        self._database = database
        self._study = study
        self._webhook = webhook
        self._leave = leave
        self._follows = follows
        self._lease = MirrorLease(database, study, "webhook", webhook.identity)
        self._answering_since: float | None = None
        self._next_try = 0.0

    def run_pass(self, *, describes_study: bool = True) -> PassResult:
        """Post the events that the webhook has not accepted; the answer comes with the last one in any case.

        Raises:
            HeldElsewhereError: another process is at it.
            StopRequestedError: the process was told to leave.
            TrackerError: the webhook refuses an event, or (`WebhookUnreachableError`) does not accept it now.
            NotFoundError: the study was deleted.
            DatabaseError: the database does not answer, or refuses us.
        """
        with self._lease.take() as hold:
            is_over = self._store_events(hold)
            return PassResult(is_over, self._deliver(hold), 0)

    def _store_events(self, hold: MirrorHold) -> bool:
        """Store the events that are new, and return whether no more will come."""
        history, known = self._read(hold)
        new = events.list_events(history, known)
        if new:
            key = make_study_key(self._study.study_id, self._study.name, history.created_at)
            answered = [self._add_answer(event) if event.is_last else event for event in new]
            if not self._database.transact(lambda connection: self._store(connection, hold, key, answered)):
                raise make_taken_over_error()
        return history.is_over

    def _read(self, hold: MirrorHold) -> tuple[StudyHistory, frozenset[str]]:
        def work(connection: Connection) -> tuple[StudyHistory, frozenset[str]]:
            history = histories.read(connection, self._study.study_id)
            return history, outbox.read_keys(connection, hold.mirror_id)

        try:
            history, known = self._database.transact(work)
        except HpsearchError:
            self._answering_since = None
            raise
        now = time.monotonic()
        since = self._answering_since = self._answering_since or now
        if self._follows and now - since < RENEWAL_SECONDS:  # who is only waiting for the database, too, is not gone
            history = replace(history, lost=tuple(hold for hold in history.lost if not hold.is_open))
        return history, known

    def _add_answer(self, event: StudyEvent) -> StudyEvent:
        if self._study.spec.evaluation:
            return events.add_answer(event, [EVALUATION_SENTENCE])
        source = self._database.transact(lambda connection: answers.read_answer_source(connection, self._study.name))
        sentences = answers.answer(source).sentences
        return events.add_answer(event, [*sentences.answer, *sentences.caveats])

    def _store(self, connection: Connection, hold: MirrorHold, study_key: str, new: Sequence[StudyEvent]) -> bool:
        first = outbox.find_next_sequence(connection, hold)
        if first is None:
            return False
        rows = [
            StoredEvent(sequence, event.key, events.write_body(event, self._study.name, study_key, sequence))
            for sequence, event in enumerate(new, start=first)
        ]
        outbox.store(connection, hold.mirror_id, rows)
        return True

    def _deliver(self, hold: MirrorHold) -> int:
        """Post what is not accepted yet, and return how many events that were."""
        pending = self._database.transact(lambda connection: outbox.read_pending(connection, hold.mirror_id))
        for event in pending:
            self._post(event.body)
            self._mark(hold, event)
        return len(pending)

    def _mark(self, hold: MirrorHold, event: StoredEvent) -> None:
        if not self._database.transact(lambda connection: outbox.mark_delivered(connection, hold, event.sequence)):
            raise make_taken_over_error()

    def _post(self, body: str) -> None:
        pause, tries = FIRST_PAUSE, 1 if self._follows else TRIES
        for left in reversed(range(tries)):
            if self._leave.is_set():
                raise StopRequestedError
            if self._next_try > time.monotonic() and self._follows:
                raise WebhookUnreachableError(f"{self._webhook.destination} asks for a pause")
            try:
                return self._webhook.post(body)
            except WebhookUnreachableError as error:
                self._next_try = time.monotonic() + error.pause
                if self._follows:
                    raise
                if not left or error.pause > MAX_PAUSE:
                    wait = f" and asks to wait {error.pause:.0f} s" if error.pause > MAX_PAUSE else ""
                    raise WebhookUnreachableError(f"{error}{wait}: the same command posts what is left") from None
                self._leave.wait(max(pause, error.pause))
                pause *= 2
        raise AssertionError("unreachable")
