"""Who may do what in the dashboard: Optuna's own asks nobody, and lets whoever reaches it delete a study."""

import base64
import hmac
import ipaddress
import json
import re
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

READING = frozenset({"GET", "HEAD", "OPTIONS"})
"""No GET of optuna-dashboard 0.21 changes anything."""

# What --edit allows; anything else stays refused. Notes and files hang on a study without being part of it. The worker
# of a trial that is ended here finds it lost, as after any end from outside.
EDITS = re.compile(
    r"PUT /api/studies/[0-9]+(/[0-9]+)?/note"
    r"|POST /api/artifacts/[0-9]+(/[0-9]+)?"
    r"|DELETE /api/artifacts/[0-9]+/[0-9a-fA-F-]+"
    r"|POST /api/trials/[0-9]+/tell"
)

# To rename, the dashboard copies the trials into a new study, which is none of ours, and deletes the old one under its
# workers. To delete, it takes no locks, and nobody is asked first. A trial's file it removes before it fails to say so
# in the trial, which is finished.
REFUSALS = (
    (r"POST /api/studies/[0-9]+/rename", "a study keeps its name: hpsearch start-study --name starts it under another"),
    (r"DELETE /api/studies/[0-9]+", "studies are not deleted here: hpsearch delete NAME does that, files included"),
    (r"POST /api/studies", "no worker would serve a study made here: hpsearch start-study makes one"),
    (r"DELETE /api/artifacts/.*", "a trial's files stay until hpsearch delete NAME removes its study"),
    (r".*", "this is not changed here: see hpsearch --help for what changes studies"),
)

HEADERS = (("X-Frame-Options", "SAMEORIGIN"), ("X-Content-Type-Options", "nosniff"))
"""No other site may show the dashboard in a frame and lend its visitors' clicks to it."""

Environ = dict[str, Any]


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches `host`: an address, or a name with all its addresses."""
    try:
        found = socket.getaddrinfo(host.strip("[]") or None, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        return all(ipaddress.ip_address(address[0]).is_loopback for *_, address in found)
    except (OSError, ValueError):
        return False


@dataclass(frozen=True)
class AccessControl:
    """A WSGI application that hands on to `application` only what may be.

    Without `edit`, that is what changes nothing. With a `password`, only who gives it (HTTP Basic, under any name);
    without one, only what is addressed to this machine, lest a page from elsewhere reads it by a visitor's browser.
    """

    application: Callable[..., Iterable[bytes]]
    edit: bool = False
    password: str | None = field(default=None, repr=False)

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        def start(status: str, headers: list[tuple[str, str]], *error: Any) -> Any:
            return start_response(status, [*headers, *HEADERS], *error)

        if self.password is not None and not _knows(environ, self.password):
            challenge = ("WWW-Authenticate", 'Basic realm="hpsearch", charset="UTF-8"')
            return _refuse(environ, start, "401 Unauthorized", "the dashboard wants its password", challenge)
        reason = self._reason(environ)
        if reason is not None:
            return _refuse(environ, start, "403 Forbidden", reason)
        return self.application(environ, start)

    def _reason(self, environ: Environ) -> str | None:
        """Why the request is refused, whoever makes it; None where it is not."""
        if self.password is None and not _is_local(_host(environ)):
            return "without a password the dashboard answers under localhost only: set HPSEARCH_DASHBOARD_PASSWORD"
        if environ["REQUEST_METHOD"] in READING:
            return None
        if not self.edit:
            return "the dashboard is read-only: start it with hpsearch dashboard --edit to change notes and files"
        # A browser sends the password it knows along with whatever a page from elsewhere asks for.
        origin = environ.get("HTTP_ORIGIN")
        if origin is not None and urlsplit(origin).netloc.lower() != _host(environ):
            return "this request comes from another site's page: a proxy has to hand on the Host it was asked for"
        asked = f"{environ['REQUEST_METHOD']} {environ.get('PATH_INFO', '')}".rstrip("/")
        if EDITS.fullmatch(asked):
            return None
        return next(reason for pattern, reason in REFUSALS if re.fullmatch(pattern, asked, re.DOTALL))


def _knows(environ: Environ, password: str) -> bool:
    scheme, _, credentials = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
    try:
        _, _, given = base64.b64decode(credentials.strip(), validate=True).partition(b":")
    except ValueError:
        return False
    # The environment hands over bytes that are no UTF-8 as surrogates.
    wanted = password.encode("utf-8", "surrogateescape")
    return hmac.compare_digest(given, wanted) and scheme.lower() == "basic"


def _host(environ: Environ) -> str:
    return str(environ.get("HTTP_HOST", "")).lower()


def _is_local(host: str) -> bool:
    """Whether a Host header names this machine; unlike `loopback`, without asking who a name belongs to."""
    name = re.sub(r":[0-9]*$", "", host)
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name.removeprefix("[").removesuffix("]")).is_loopback
    except ValueError:
        return False


def _refuse(
    environ: Environ, start: Callable[..., Any], status: str, reason: str, *headers: tuple[str, str]
) -> list[bytes]:
    """Answer as the dashboard's API does: its page shows the reason."""
    body = json.dumps({"reason": reason}).encode()
    start(status, [("Content-Type", "application/json"), ("Content-Length", str(len(body))), *headers])
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]
