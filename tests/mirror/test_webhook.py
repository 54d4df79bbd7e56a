"""What a webhook is told, over HTTP to a server that fails at times."""

import hashlib
import hmac
import json
import logging
import random
import threading
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import text

from hpsearch.errors import HpsearchError, TrackerError, UsageError
from hpsearch.mirror import following, webhook_mirror
from hpsearch.mirror.following import PassResult, StopRequestedError
from hpsearch.mirror.leases import HeldElsewhereError
from hpsearch.mirror.webhook import Webhook, WebhookUnreachableError, open_webhook
from hpsearch.mirror.webhook_mirror import WebhookMirror
from hpsearch.outcomes import TrialOutcome
from hpsearch.settings import Setting
from hpsearch.storage import study_control
from hpsearch.storage.attempts import Attempt
from hpsearch.storage.database import Database
from hpsearch.storage.studies import Study
from hpsearch.storage.workers import WorkerIdentity
from tests.support.small_study import claim, finish_trial
from tests.support.tracked_study import Killed, KillSwitch, expire, forget_mirrors
from tests.support.webhook_receiver import Receiver, open_receiver

Start = Callable[..., Study]
Begin = Callable[..., Attempt]

SECRET = "the key"
SECRETS = ("PATHSECRET", "QUERYSECRET", "USERSECRET", "PASSWORDSECRET", SECRET)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with open_receiver() as opened:
        yield opened


def open_at(url: str, seconds: float = 2.0) -> Webhook:
    """Return a signed webhook with a short timeout."""
    opened = open_webhook(Setting(url, "--webhook"), Setting(SECRET, "HPSEARCH_WEBHOOK_SECRET"))
    return Webhook(opened.url, opened.secret, (seconds, seconds))


def post(database: Database, study: Study, webhook: Webhook, *, follows: bool = True) -> PassResult:
    """Make one pass as a process of its own does."""
    return WebhookMirror(database, study, webhook, threading.Event(), follows=follows).run_pass()


def expire_attempts(database: Database, trial: int) -> None:
    """Let the lease on a trial run out."""
    statement = (
        "update hpsearch.attempts set held_until = clock_timestamp() where ended_at is null and "
        "trial_id = (select trial_id from trials where number = :trial)"
    )
    database.transact(lambda connection: connection.execute(text(statement), {"trial": trial}))


def list_steps(database: Database, study: Study, begin: Begin, other: WorkerIdentity) -> Iterator[None]:
    """Run a study with each kind of event, step by step: its first worker is lost with its second trial."""
    first = begin(study, 0.5)
    yield
    finish_trial(database, first)
    yield
    begin(study, 0.6)
    expire_attempts(database, 1)
    yield
    adopted = claim(database, study, other)
    assert adopted is not None
    assert adopted.number == 2
    yield
    finish_trial(database, adopted)
    yield
    finish_trial(database, begin(study, 0.4))
    database.transact(lambda c: study_control.pause(c, study.name))
    yield
    database.transact(lambda c: study_control.resume(c, study.name))
    yield
    finish_trial(database, begin(study, 0.9))


EVENTS = ["started", "best-0", "gone-1-1", "best-1", "paused-1", "best-3", "finished-3"]


def run_study(database: Database, study: Study, begin: Begin, holder: Callable[[str], WorkerIdentity]) -> None:
    """Run the whole study."""
    for _ in list_steps(database, study, begin, holder("other")):
        pass


@pytest.mark.usefixtures("server_long_up")
@pytest.mark.parametrize("seed", range(4))
def test_each_event_arrives_in_order_whatever_fails(
    database: Database,
    started: Start,
    begin: Begin,
    holder: Callable[[str], WorkerIdentity],
    receiver: Receiver,
    monkeypatch: pytest.MonkeyPatch,
    seed: int,
) -> None:
    """Through errors, closed connections, silence and garbage: at least once, first in order, the same each time."""
    monkeypatch.setattr(webhook_mirror, "RENEWAL_SECONDS", 0.0)
    study, webhook, chance = started(), open_at(receiver.url, 0.2), random.Random(seed)
    receiver.plan = chance.choices(["200", "503", "429", "500", "close", "hang"], [4, 1, 1, 1, 1, 0.4], k=25)

    def attempt_pass() -> bool:
        try:
            return post(database, study, webhook).is_over
        except WebhookUnreachableError:
            return False

    for _ in list_steps(database, study, begin, holder("other")):
        if chance.random() < 0.7:
            attempt_pass()
    while not attempt_pass():
        pass
    assert receiver.ids == EVENTS
    assert [event["sequence"] for event in {event["id"]: event for event in receiver.events}.values()] == [*range(1, 8)]
    assert len({body for _, body in receiver.requests}) == 7
    for headers, body in receiver.requests:
        assert verify(headers, body)
        assert not verify(headers, body + b" ")
    before = len(receiver.requests)
    assert post(database, study, webhook) == PassResult(True, 0, 0)
    assert len(receiver.requests) == before


def verify(headers: dict[str, str], body: bytes) -> bool:
    """Return whether a signature is right, as docs/webhook.md says."""
    signed = headers["X-Hpsearch-Timestamp"].encode() + b"." + body
    expected = "sha256=" + hmac.new(SECRET.encode(), signed, hashlib.sha256).hexdigest()
    is_fresh = abs(time.time() - int(headers["X-Hpsearch-Timestamp"])) < 300
    return is_fresh and hmac.compare_digest(expected, headers["X-Hpsearch-Signature"])


@pytest.mark.usefixtures("server_long_up")
def test_a_finished_study_has_the_same_events(
    database: Database,
    started: Start,
    begin: Begin,
    holder: Callable[[str], WorkerIdentity],
    receiver: Receiver,
) -> None:
    """Posted after the fact they are those of one that was followed, each with what it is about."""
    study = started(study={"name": "a <b> & c"})
    run_study(database, study, begin, holder)
    assert post(database, study, open_at(receiver.url), follows=False) == PassResult(True, 7, 0)
    assert receiver.ids == EVENTS
    first, best, gone, better, paused, _, finished = receiver.events
    assert first["text"].startswith("a &lt;b&gt; &amp; c has started: 4 trials of at most 3 epochs, to maximize val_")
    assert first["details"]["worker"] == "w"
    assert (best["event"], best["study"], best["details"]["previous"]) == ("best", "a <b> & c", None)
    assert gone["event"] == "worker_gone"
    places = {"trial": 1, "attempt": 1, "worker": "w", "host": "host-w", "device": "CPU", "job": None}
    assert gone["details"] == places
    assert (better["details"]["value"], better["details"]["previous"]) == (0.6, {"trial": 0, "value": 0.5})
    assert set(better["details"]["params"]) >= {"learning_rate", "optimizer"}
    assert (paused["text"], paused["details"]) == ("a &lt;b&gt; &amp; c was paused by a person", {"reason": None})
    assert finished["details"]["best"]["value"] == 0.9
    assert finished["details"]["counts"]["complete"] == 4
    assert any("Trial 3 is best" in sentence for sentence in finished["details"]["answer"])
    assert "Trial 3 is best" in finished["text"]
    times = [event["time"] for event in receiver.events]
    assert all(time.endswith("Z") for time in times)
    assert sorted(times[3:]) == times[3:]


def test_a_study_that_paused_itself_says_why(
    database: Database, started: Start, begin: Begin, receiver: Receiver
) -> None:
    """After too many failures; a study that is stopped and goes on again ends twice, with one answer."""
    study = started(budget={"trials": 4, "epochs": 3, "failures": 2})
    for _ in range(2):
        finish_trial(database, begin(study), TrialOutcome.ERROR)
    database.transact(lambda c: study_control.stop(c, study.name))  # which looks first
    post(database, study, open_at(receiver.url))
    *_, paused, stopped = receiver.events
    assert "the last 2 trials ended in errors" in paused["details"]["reason"]
    assert paused["details"]["reason"] in paused["text"]
    assert stopped["details"]["status"] == "stopped"
    assert stopped["details"]["answer"]
    database.transact(lambda c: study_control.resume(c, study.name))
    for _ in range(2):
        finish_trial(database, begin(study, 0.3))
    forget_mirrors(database)
    receiver.requests.clear()
    assert post(database, study, open_at(receiver.url)).is_over
    assert [event["event"] for event in receiver.events] == ["started", "paused", "finished", "best", "finished"]
    assert [bool(event["details"].get("answer")) for event in receiver.events] == [False, False, False, False, True]


def test_a_worker_is_not_gone_while_the_database_comes_back(
    database: Database, started: Start, begin: Begin, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who follows waits for the renewals after an outage; one pass tells what is so now."""
    study = started()
    begin(study, 0.5)
    monkeypatch.setattr("hpsearch.storage.claims.EXPIRED", "clock_timestamp() > a.held_until")
    expire_attempts(database, 0)
    mirror = WebhookMirror(database, study, open_at(receiver.url), threading.Event(), follows=True)
    clock = [1000.0]
    monkeypatch.setattr(webhook_mirror, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    for now, known in ((0.0, ["started"]), (15.0, ["started"]), (21.0, ["started", "gone-0-1"])):
        clock[0] = 1000.0 + now
        mirror.run_pass()
        assert receiver.ids == known
    forget_mirrors(database)
    receiver.requests.clear()
    post(database, study, open_at(receiver.url), follows=False)
    assert receiver.ids == ["started", "gone-0-1"]


def test_a_late_trial_that_is_not_better_is_none(
    database: Database, started: Start, begin: Begin, receiver: Receiver
) -> None:
    """One whose end becomes visible after that of a better one was posted, although it is of before."""
    study = started()
    early, late = begin(study, 0.5), begin(study, 0.7)
    finish_trial(database, late)
    post(database, study, open_at(receiver.url))
    finish_trial(database, early)
    statement = "update trials set datetime_complete = datetime_complete - interval '1 hour' where number = 0"
    database.transact(lambda c: c.execute(text(statement)))
    post(database, study, open_at(receiver.url))
    assert receiver.ids == ["started", "best-1"]


def test_the_last_worker_need_not_have_stored_the_end(
    database: Database, started: Start, begin: Begin, receiver: Receiver
) -> None:
    """A study whose trials have all ended is finished, and told so once."""
    study = started(budget={"trials": 1, "epochs": 3})
    finish_trial(database, begin(study, 0.5))
    for _ in range(2):
        post(database, study, open_at(receiver.url))
    assert receiver.ids == ["started", "best-0", "finished-1"]


@pytest.mark.usefixtures("server_long_up")
def test_killed_anywhere_it_goes_on(
    database: Database,
    started: Start,
    begin: Begin,
    holder: Callable[[str], WorkerIdentity],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Killed before any call of the database, any post, or after it: none is missing, at most one comes again."""
    study, posted = started(), list[str]()
    run_study(database, study, begin, holder)
    monkeypatch.setattr(Webhook, "post", lambda _, body: posted.append(body))
    switch = KillSwitch()
    switch.wrap(monkeypatch, Webhook, "post")
    switch.wrap(monkeypatch, Database, "transact")
    webhook = open_at("http://127.0.0.1:9/x")
    for due in range(1000):
        switch.due = None
        forget_mirrors(database)
        posted.clear()
        switch.calls, switch.due = [], due
        try:
            post(database, study, webhook)
        except Killed:
            switch.due = None
            expire(database)
            assert post(database, study, webhook).is_over
            arrivals = [json.loads(body)["sequence"] for body in dict.fromkeys(posted)]
            assert arrivals == [*range(1, 8)], due
            assert len(posted) <= 8, due
            continue
        break
    assert due > 15


def test_of_two_at_once_one_waits(
    database: Database, started: Start, begin: Begin, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While one posts, the other does not; one that was frozen meanwhile marks nothing that another has posted."""
    study, webhook, posted = started(), open_at(receiver.url), list[str]()
    finish_trial(database, begin(study, 0.5))
    send = Webhook.post

    def interrupt(self: Webhook, body: str) -> None:
        monkeypatch.setattr(Webhook, "post", send)
        with pytest.raises(HeldElsewhereError):
            post(database, study, webhook)
        expire(database)
        assert post(database, study, webhook).runs == 2
        posted.append(body)
        send(self, body)

    monkeypatch.setattr(Webhook, "post", interrupt)
    with pytest.raises(HeldElsewhereError, match="taken over"):
        post(database, study, webhook)
    assert receiver.ids == ["started", "best-0"]
    assert [event["sequence"] for event in receiver.events] == [1, 2, 1]
    assert post(database, study, webhook).runs == 0


def test_one_pass_tries_again_and_then_gives_up(
    database: Database, started: Start, begin: Begin, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With pauses that grow, or as long as the webhook asks for, unless that is too long."""
    study, pauses = started(), list[float]()
    begin(study)

    class Clockless(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            pauses.append(timeout or 0.0)
            return False

    def run() -> PassResult:
        return WebhookMirror(database, study, open_at(receiver.url), Clockless(), follows=False).run_pass()

    receiver.plan = ["503"] * webhook_mirror.TRIES
    with pytest.raises(WebhookUnreachableError, match="answers 503: the same command posts what is left"):
        run()
    assert pauses == [1, 2, 4, 8]
    pauses.clear()
    receiver.plan, receiver.headers = ["429"], {"Retry-After": "7"}
    assert run().runs == 1
    assert pauses == [7]
    forget_mirrors(database)
    receiver.plan, receiver.headers = ["429"], {"Retry-After": "900"}
    with pytest.raises(WebhookUnreachableError, match="asks to wait 900 s"):
        run()


def test_who_follows_asks_not_before_the_webhook_wants(
    database: Database, started: Start, begin: Begin, receiver: Receiver
) -> None:
    """The events of meanwhile are stored, and posted later; somebody may ask it to leave."""
    study, leave = started(), threading.Event()
    attempt = begin(study, 0.5)
    receiver.plan, receiver.headers = ["429"], {"Retry-After": "900"}
    mirror = WebhookMirror(database, study, open_at(receiver.url), leave, follows=True)
    with pytest.raises(WebhookUnreachableError):
        mirror.run_pass()
    finish_trial(database, attempt)
    with pytest.raises(WebhookUnreachableError):
        mirror.run_pass()
    assert len(receiver.requests) == 1
    assert post(database, study, open_at(receiver.url)).runs == 2
    leave.set()
    other = WebhookMirror(database, study, open_at(f"{receiver.url}&2"), leave, follows=False)
    with pytest.raises(StopRequestedError):
        following.run_once(other, leave, print)


LINES = {
    "404": "refuses an event with 404",
    "302": "answers 302, and an event is sent nowhere else",
    "503": "answers 503",
    "close": "cannot be reached",
    "hang": "does not answer",
}


def test_no_secret_is_shown_or_stored(
    database: Database,
    started: Start,
    begin: Begin,
    receiver: Receiver,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Whatever the webhook does, lines, logs and tables have no more of the address than scheme, host and port."""
    caplog.set_level(logging.INFO)
    study = started()
    begin(study)
    url = receiver.url.replace("http://", "http://USERSECRET:PASSWORDSECRET@")
    webhook = open_at(url, 0.2)
    receiver.headers = {"Location": f"{receiver.url}/elsewhere"}
    lines = [webhook.destination, webhook.identity, repr(webhook)]
    for word, line in LINES.items():
        receiver.plan = [word]
        with pytest.raises(TrackerError, match=line) as raised:
            post(database, study, webhook)
        lines.append(str(raised.value))
        assert raised.value.__suppress_context__ or raised.value.__context__ is None
    assert len(receiver.requests) == len(LINES)
    assert post(database, study, webhook).runs == 1
    headers, _ = receiver.requests[-1]
    assert headers["Authorization"].startswith("Basic ")
    lines += [caplog.text, *capfd.readouterr(), dump(database)]
    assert "started" in lines[-1]
    for secret in SECRETS:
        assert all(secret not in line for line in lines), secret


def dump(database: Database) -> str:
    """Return all rows of all tables."""
    names = "select schemaname || '.' || tablename from pg_tables where schemaname in ('public', 'hpsearch')"

    def read(connection: Any) -> str:
        tables = connection.scalars(text(names)).all()
        return "\n".join(str(row) for name in tables for row in connection.execute(text(f"select * from {name}")))

    return database.transact(read)


def test_a_request_goes_to_its_address_only(
    database: Database,
    started: Start,
    begin: Begin,
    receiver: Receiver,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Any,
) -> None:
    """No proxy sees what is for this host, and nothing of ~/.netrc is sent; a new password is no other address."""
    study = started()
    begin(study)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    (tmp_path / "netrc").write_text("default login me password mine\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert post(database, study, open_at(receiver.url)).runs == 1
    assert "Authorization" not in receiver.requests[0][0]
    assert receiver.paths == ["/services/T0/PATHSECRET?token=QUERYSECRET"]
    assert post(database, study, open_at(receiver.url.replace("http://", "http://me:mine@"))).runs == 0


@pytest.mark.parametrize(
    ("url", "insecure", "line"),
    [
        ("https://hooks.slack.com/services/SECRET", False, None),
        ("http://localhost:8080/SECRET", False, None),
        ("http://127.0.0.2/SECRET", False, None),
        ("http://[::1]/SECRET", False, None),
        ("http://intranet/SECRET", True, None),
        ("http://intranet/SECRET", False, "would have events sent to http://intranet for"),
        ("http://localhost.evil.example/SECRET", False, "add --insecure"),
        ("http://127.0.0.1@evil.example/SECRET", False, "http://evil.example for"),
        ("http://2130706433/SECRET", False, "add --insecure"),
        ("ftp://host/SECRET", True, "no address of a webhook"),
        ("https:///SECRET", True, "no address of a webhook"),
        ("https://host:port/SECRET", True, "no address of a webhook"),
        ("https://[SECRET", True, "no address of a webhook"),
        ("SECRET", True, "no address of a webhook"),
        ("https://host/SECRET\n", True, "no address of a webhook"),
    ],
)
def test_addresses(url: str, insecure: bool, line: str | None) -> None:
    """https anywhere, http to this host, elsewhere only where that is allowed; a refusal does not repeat it."""
    if line is None:
        assert open_webhook(Setting(url, "--webhook"), None, insecure=insecure).url == url
        return
    with pytest.raises(UsageError, match=line) as raised:
        open_webhook(Setting(url, "--webhook"), None, insecure=insecure)
    assert "SECRET" not in str(raised.value)
    assert isinstance(raised.value, HpsearchError)
