"""Calls to a server that is silent: each ends, its connection is dropped, and what was begun is done or is not."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TypeVar

import psycopg2
import pytest
import sqlalchemy
from sqlalchemy import text

from hpsearch.errors import UnreachableError
from hpsearch.outcomes import AttemptEnd, TrialOutcome
from hpsearch.storage import attempts, claims
from hpsearch.storage.attempts import Attempt, LostError, PrunerVerdict
from hpsearch.storage.database import Connection, Database
from hpsearch.storage.driver import deadlines
from hpsearch.storage.driver.deadlines import BoundedConnection, CallLimits
from hpsearch.storage.studies import Study
from hpsearch.storage.workers import WorkerIdentity
from tests.support.proxy import Fault, Proxy, run_proxy
from tests.support.small_study import metrics
from tests.support.worker_processes import wait_until

T = TypeVar("T")

BRIEF = 0.15
"""Seconds for a call that is silent because the test made it so."""


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deadlines, "LOOK_SECONDS", 0.02)


@pytest.fixture
def proxy(storage: str) -> Iterator[Proxy]:
    """A proxy in front of the test's database."""
    with run_proxy(storage) as running:
        yield running


@pytest.fixture
def proxied(proxy: Proxy) -> Iterator[Database]:
    """The test's database, through the proxy."""
    with closing(Database(proxy.url)) as opened:
        yield opened


class Steps:
    """What a worker does on the database, each step once more until no fault met it."""

    def __init__(self, proxy: Proxy, proxied: Database, fault: Fault, study: Study, holder: WorkerIdentity) -> None:
        self._proxy, self._proxied, self._fault, self._study, self._holder = proxy, proxied, fault, study, holder
        self.failed: set[str] = set()

    def claim(self) -> Attempt:
        """Claim a trial; one of whose claim nobody heard stays held."""
        attempt = self._repeat("claim", lambda c: claims.claim_trial(c, self._study.study_id, self._holder))
        assert attempt is not None
        return attempt

    def store_epoch(self, attempt: Attempt) -> None:
        """Store an epoch."""
        self._repeat(
            "epoch", lambda c: attempts.store_epoch(c, attempt, metrics(1), PrunerVerdict()), self._proxied.execute
        )

    def renew(self, attempt: Attempt) -> None:
        """Renew the lease."""
        self._repeat("renewal", lambda c: attempts.renew(c, attempt, 90.0))

    def finish(self, attempt: Attempt) -> None:
        """End the trial, where an earlier try has not."""

        def finish(connection: Connection) -> None:
            try:
                attempts.finish(connection, attempt, TrialOutcome.COMPLETED, {})
            except LostError:
                assert attempts.read_end(connection, attempt) is AttemptEnd.COMPLETED

        self._repeat("end", finish)

    def _repeat(
        self,
        step: str,
        work: Callable[[Connection], T],
        run: Callable[[Callable[[Connection], T]], T] | None = None,
    ) -> T:
        """Run a step with the fault at its first message, its second and so on, until it has no further one."""
        message = 0
        while True:
            self._proxy.break_at(self._fault, message)
            self._proxied.limits.seconds = 60.0 if self._fault is Fault.DELAY else BRIEF
            try:
                result = (run or self._proxied.transact)(work)
                if not self._proxy.struck:
                    return result
            except UnreachableError:
                self.failed.add(step)
            finally:
                self._proxy.lift()
                self._proxied.limits.seconds = 60.0
            message += 1


@pytest.mark.parametrize("fault", list(Fault))
def test_fault_at_each_message_of_a_trial(
    database: Database,
    proxy: Proxy,
    proxied: Database,
    started: Callable[..., Study],
    holder: Callable[[str], WorkerIdentity],
    fault: Fault,
) -> None:
    """At whichever message a proxy breaks, the call ends, and repeated it leaves each step done once."""
    study = started(budget={"trials": 100, "epochs": 3})
    steps = Steps(proxy, proxied, fault, study, holder("w"))
    attempt = steps.claim()
    steps.store_epoch(attempt)
    steps.renew(attempt)
    steps.finish(attempt)
    assert steps.failed == (set() if fault is Fault.DELAY else {"claim", "epoch", "renewal", "end"})
    ended = "select number from trials where state = 'COMPLETE'"
    assert database.execute(lambda c: c.scalars(text(ended)).all()) == [attempt.trial_number]
    stored = "select trial_id, epoch from hpsearch.epochs"
    assert database.execute(lambda c: c.execute(text(stored)).all()) == [(attempt.trial_id, 1)]
    sessions = "select count(*) from pg_stat_activity where application_name = 'hpsearch' and state <> 'idle'"
    wait_until(lambda: database.execute(lambda c: c.scalar(text(sessions))) == 1, "no session of a broken call is left")


def test_silent_unix_socket_and_silent_commit(storage: str, scratch: Path) -> None:
    """Over a unix socket too a silent server is unreachable, in a line that says for how long, and is then left."""
    with run_proxy(storage, scratch) as proxy, closing(Database(proxy.url)) as proxied:
        proxied.transact(lambda c: c.execute(text("create table kept (n int)")))
        proxied.limits.seconds = BRIEF

        def insert(connection: Connection) -> None:
            connection.execute(text("insert into kept values (1)"))
            proxy.break_at(Fault.STALL)

        with pytest.raises(UnreachableError, match="has been silent for"):
            proxied.transact(insert)
        proxied.limits.seconds = 60.0
        proxy.lift()
        assert proxied.execute(lambda c: c.scalar(text("select count(*) from kept"))) in (0, 1)


def test_server_that_never_lets_in(scratch: Path) -> None:
    """A server that takes the connection and says nothing is unreachable."""
    import socket

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(scratch / ".s.PGSQL.5432"))
        listener.listen()
        with closing(Database(f"postgresql://u@/d?host={scratch}&port=5432")) as opened:
            opened.limits.seconds = BRIEF
            with pytest.raises(UnreachableError, match="has been silent for"):
                opened.read_version()


def test_long_statement_and_long_copy_are_let_be(proxied: Database) -> None:
    """What may take long is allowed to, and a copy whose every piece arrives is alive, however long it takes."""
    proxied.limits.seconds = BRIEF
    with deadlines.allow(60.0):
        proxied.execute(lambda c: c.execute(text("select pg_sleep(0.5)")))
    with pytest.raises(UnreachableError):
        proxied.execute(lambda c: c.execute(text("select pg_sleep(60)")))

    class Slow:
        """A file of ten pieces, read more slowly in all than a call may be silent."""

        pieces = 10

        def read(self, size: int) -> bytes:
            time.sleep(BRIEF / 5)
            self.pieces -= 1
            return b"1\n" if self.pieces >= 0 else b""

    def copy(connection: Connection) -> None:
        connection.execute(text("create table copied (n int)"))
        driver = connection.connection.dbapi_connection
        assert driver is not None
        driver.cursor().copy_expert("copy copied from stdin", Slow())

    with deadlines.allow(60.0):
        proxied.read_version()
    proxied.limits.seconds = 4 * BRIEF
    proxied.transact(copy)


def test_process_that_was_told_to_leave_does_not_wait(proxy: Proxy, proxied: Database) -> None:
    """`hurry` ends a call under way and every later one, until one succeeds again."""
    proxied.read_version()
    proxy.break_at(Fault.STALL)
    ended: list[str] = []

    def read() -> None:
        try:
            proxied.read_version()
        except UnreachableError as error:
            ended.append(str(error))

    waiting = threading.Thread(target=read)
    waiting.start()
    while not proxy.struck:
        time.sleep(0.01)
    assert not ended
    proxied.limits.hurry(2 * BRIEF)
    waiting.join(60)
    assert "has been silent for" in ended[0]
    while proxied.limits.left:
        read()
    began = time.monotonic()
    for _ in range(100):
        read()
    assert "told to leave" in ended[-1]
    assert time.monotonic() - began < 100 * BRIEF


def test_connection_that_comes_late_is_closed(storage: str, scratch: Path) -> None:
    """A connection that is let in when nobody waits for it any more does not stay open."""
    with run_proxy(storage, scratch) as proxy, closing(Database(storage)) as database:
        proxy.break_at(Fault.STALL)
        dsn = sqlalchemy.make_url(proxy.url).set(drivername="postgresql").render_as_string(hide_password=False)
        connect = partial(CallLimits().connect, BoundedConnection)
        with pytest.raises(psycopg2.OperationalError), deadlines.allow(BRIEF):
            psycopg2.connect(dsn, connection_factory=connect, application_name="late")
        proxy.lift()
        late = "select count(*) from pg_stat_activity where application_name = 'late'"
        wait_until(lambda: database.execute(lambda c: c.scalar(text(late))) == 0, "the late connection is closed")
