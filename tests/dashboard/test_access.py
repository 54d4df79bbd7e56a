"""access.py: which requests reach the dashboard."""

import base64
import socket
from typing import Any

import pytest

from hpsearch.dashboard.access import AccessControl, is_loopback

PASSWORD = "pä55 wörd:日本"
READS = ["GET /dashboard", "GET /api/studies/1", "HEAD /api/meta", "OPTIONS /api/studies/1", "GET /csv/1"]
EDITS = [
    "PUT /api/studies/12/note",
    "PUT /api/studies/1/34/note",
    "POST /api/artifacts/1",
    "POST /api/artifacts/1/2",
    "DELETE /api/artifacts/1/0123abcd-ef",
    "POST /api/trials/7/tell",
    "POST /api/trials/7/tell/",
]
NEVER = [
    "DELETE /api/studies/1",
    "DELETE /api/studies/1///",
    "POST /api/studies",
    "POST /api/studies/1/rename",
    "POST /api/studies/1/rename/",
    "DELETE /api/artifacts/1/2/0123abcd",
    "POST /api/trials/7/user-attrs",
    "POST /api/studies/1/preference",
    "POST /incompatible-rdb-schema",
    "POST /api/llm/trial_filter_query",
    "DELETE /api/studies/1\n",
    "PUT /api/studies/1/note\n/../../x",
    "PUT /api/studies/\u0661/note",
    "PATCH /api/studies/1/note",
    "TRACE /dashboard",
    "get /dashboard",
    "delete /api/studies/1",
]


def ask(
    guard: AccessControl, request: str, host: str | None = "localhost:8080", **headers: str
) -> tuple[int, dict[str, str], Any]:
    """Status, headers and reason (or "through") of a request such as `GET /dashboard`; headers as WSGI names them."""
    method, _, path = request.partition(" ")
    environ: dict[str, Any] = {"REQUEST_METHOD": method, "PATH_INFO": path, "REMOTE_ADDR": "192.0.2.1", **headers}
    if host is not None:
        environ["HTTP_HOST"] = host
    refusal = guard.find_refusal(environ)
    if refusal is None:
        return 200, {}, "through"
    return int(refusal.status.split()[0]), dict(refusal.headers), refusal.reason


def guarded(**options: Any) -> AccessControl:
    """Access control with these options."""
    return AccessControl(**options)


def basic(password: str, user: str = "anybody") -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@pytest.mark.parametrize("request_", READS)
@pytest.mark.parametrize("edit", [False, True])
def test_reading_is_let_through(request_: str, edit: bool) -> None:
    """What changes nothing is answered with and without --edit."""
    assert ask(guarded(edit=edit), request_)[0] == 200


@pytest.mark.parametrize("request_", EDITS)
def test_edits_want_the_option(request_: str) -> None:
    """Notes, files and ends of trials are let through with --edit; without, the reason names it."""
    assert ask(guarded(edit=True), request_)[0] == 200
    status, _, reason = ask(guarded(), request_)
    assert status == 403
    assert "hpsearch dashboard --edit" in reason


@pytest.mark.parametrize("request_", NEVER)
@pytest.mark.parametrize("edit", [False, True])
def test_what_would_break_a_study_is_refused_always(request_: str, edit: bool) -> None:
    """To delete, rename or make a study and all that is not known to be harmless never reaches the dashboard."""
    status, _, reason = ask(guarded(edit=edit, password="p"), request_, HTTP_AUTHORIZATION=basic("p"))
    assert status == 403
    assert reason


@pytest.mark.parametrize(
    ("request_", "remedy"),
    [
        ("DELETE /api/studies/1", "hpsearch delete NAME"),
        ("POST /api/studies/1/rename", "hpsearch start-study --name"),
        ("POST /api/studies", "hpsearch start-study"),
        ("DELETE /api/artifacts/1/2/0123abcd", "hpsearch delete NAME"),
        ("POST /api/trials/7/user-attrs", "hpsearch --help"),
    ],
)
def test_refusal_under_edit_says_what_to_do_instead(request_: str, remedy: str) -> None:
    """Who may edit reads which command does what the page cannot."""
    assert remedy in ask(guarded(edit=True), request_)[2]


@pytest.mark.parametrize("request_", [*READS, *EDITS, *NEVER])
@pytest.mark.parametrize("edit", [False, True])
def test_password_is_asked_for_everywhere(request_: str, edit: bool) -> None:
    """Without the password every request is answered with a challenge, whatever it asks for."""
    status, headers, _ = ask(guarded(edit=edit, password=PASSWORD), request_)
    assert status == 401
    assert headers["WWW-Authenticate"] == 'Basic realm="hpsearch", charset="UTF-8"'


@pytest.mark.parametrize(
    "given",
    [
        "",
        "Basic",
        "Basic ",
        "Basic !!!",
        "Basic pässword",
        basic(""),
        basic(PASSWORD[:-1]),
        basic(PASSWORD + "x"),
        "Basic " + base64.b64encode(PASSWORD.encode()).decode(),
        "Basic " + base64.b64encode(f"u:{PASSWORD}".encode("utf-16")).decode(),
        basic(PASSWORD).replace("Basic", "Bearer"),
        basic(PASSWORD) + "=",
    ],
)
def test_wrong_password_is_refused(given: str) -> None:
    """A password that is wrong, missing or malformed is refused, and the answer does not hold the right one."""
    status, headers, reason = ask(guarded(password=PASSWORD), "GET /dashboard", HTTP_AUTHORIZATION=given)
    assert status == 401
    assert PASSWORD not in f"{headers}{reason}"


@pytest.mark.parametrize("password", [PASSWORD, "plain", ":", " spaces around ", "\udcff\udc80 no UTF-8"])
@pytest.mark.parametrize("user", ["", "anybody", "ünï"])
def test_right_password_lets_in_under_any_name(password: str, user: str) -> None:
    """The user's name does not matter; the password may hold a colon, any script, and bytes that are no UTF-8."""
    credentials = f"{user}:".encode() + password.encode("utf-8", "surrogateescape")
    given = "basic " + base64.b64encode(credentials).decode()
    assert ask(guarded(password=password), "GET /dashboard", "any.name:80", HTTP_AUTHORIZATION=given)[0] == 200


def test_password_is_not_in_the_guards_own_description() -> None:
    """A traceback or a log that shows the guard shows no secret."""
    guard = guarded(password=PASSWORD)
    assert PASSWORD not in f"{guard!r}{guard._passwords!r}"


LOCAL = ["localhost", "LOCALHOST:80", "a.localhost:8080", "127.0.0.1", "127.9.9.9:1", "[::1]", "[::1]:8080"]
FOREIGN = [
    None,
    "",
    "evil.example",
    "evil.example:8080",
    "localhost.evil.example",
    "127.0.0.1.evil.example",
    "10.0.0.1",
]


@pytest.mark.parametrize(
    ("host", "status"), [(h, 200) for h in LOCAL] + [(h, 403) for h in [*FOREIGN, "[::2]", ":8080"]]
)
def test_only_local_names_are_answered_without_a_password(host: str | None, status: int) -> None:
    """A page from elsewhere whose name was made to mean this machine reads nothing."""
    assert ask(guarded(), "GET /api/studies", host)[0] == status


@pytest.mark.parametrize("password", [None, PASSWORD])
@pytest.mark.parametrize(
    ("origin", "status"),
    [
        (None, 200),
        ("http://localhost:8080", 200),
        ("https://LocalHost:8080", 200),
        ("http://localhost", 403),
        ("http://localhost:9090", 403),
        ("http://evil.example", 403),
        ("null", 403),
        ("", 403),
    ],
)
def test_edit_from_another_sites_page_is_refused(origin: str | None, status: int, password: str | None) -> None:
    """What a page from elsewhere makes a visitor's browser send changes nothing, though the browser is known."""
    headers = {"HTTP_ORIGIN": origin} if origin is not None else {}
    guard = guarded(edit=True, password=password)
    answer = ask(guard, "PUT /api/studies/1/note", HTTP_AUTHORIZATION=basic(PASSWORD), **headers)
    assert answer[0] == status


@pytest.mark.parametrize(
    ("request_", "length", "status"),
    [
        ("POST /api/artifacts/1", 128 << 20, 200),
        ("POST /api/artifacts/1/2", (128 << 20) + 1, 413),
        ("PUT /api/studies/1/note", 1 << 20, 200),
        ("PUT /api/studies/1/note", (1 << 20) + 1, 413),
        ("GET /api/artifacts/1", (1 << 20) + 1, 413),
    ],
)
def test_body_may_be_as_large_as_its_route_needs(request_: str, length: int, status: int) -> None:
    """Only a request that attaches a file may be large; without --edit none that changes something is read."""
    assert ask(guarded(edit=True), request_, CONTENT_LENGTH=str(length))[0] == status
    assert ask(guarded(), request_, CONTENT_LENGTH=str(length))[0] in {403, 413}


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.3.2.1", "::1", "[::1]"])
def test_loopback_addresses(host: str) -> None:
    """Only this machine reaches these."""
    if "::1" in host and not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["", "0.0.0.0", "::", "*", "10.0.0.1", "no.such.host.invalid", "a b", "1" * 300, "0"])
def test_other_addresses(host: str) -> None:
    """Others may reach these, or nobody knows."""
    assert not is_loopback(host)


def test_name_that_also_means_another_address_is_not_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of a name's addresses have to be this machine's own."""
    two = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0)) for address in ("127.0.0.1", "192.0.2.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: two)
    assert not is_loopback("both")
