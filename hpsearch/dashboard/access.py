"""Access control for the dashboard: Optuna's own has none, and lets whoever reaches it delete a study."""

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

READING_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
"""No GET of optuna-dashboard 0.21 changes anything."""

# What --edit allows; anything else stays refused. Notes and files are attached to a study without being part of it. The
# worker of a trial that is ended here loses it, as after any end from outside.
EDITS = re.compile(
    r"PUT /api/studies/[0-9]+(/[0-9]+)?/note"
    r"|POST /api/artifacts/[0-9]+(/[0-9]+)?"
    r"|DELETE /api/artifacts/[0-9]+/[0-9a-fA-F-]+"
    r"|POST /api/trials/[0-9]+/tell"
)

# To rename a study, the dashboard copies the trials into a new one without our rows, and deletes the old one while
# workers train it. To delete a study, it takes no locks. It removes a trial's file before it fails to change the trial,
# which is finished.
REFUSALS = (
    (r"POST /api/studies/[0-9]+/rename", "a study keeps its name: hpsearch start-study --name starts it under another"),
    (r"DELETE /api/studies/[0-9]+", "studies are not deleted here: hpsearch delete NAME does that, files included"),
    (r"POST /api/studies", "no worker would serve a study made here: hpsearch start-study makes one"),
    (r"DELETE /api/artifacts/.*", "a trial's files stay until hpsearch delete NAME removes its study"),
    (r".*", "this is not changed here: see hpsearch --help for what changes studies"),
)

HEADERS = (("X-Frame-Options", "SAMEORIGIN"), ("X-Content-Type-Options", "nosniff"))
"""No other site may show the dashboard in a frame, where a visitor's clicks would reach it (clickjacking)."""

Environ = dict[str, Any]


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches `host`: an address, or a name with all its addresses."""
    try:
        resolved = socket.getaddrinfo(host.strip("[]") or None, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        return all(ipaddress.ip_address(address[0]).is_loopback for *_, address in resolved)
    except (OSError, ValueError):
        return False


@dataclass(frozen=True)
class AccessControl:
    """A WSGI application that passes to `application` only the requests that are allowed.

    Without `edit`, those are the ones that change nothing. With a `password`, only those that bring it (HTTP Basic,
    under any name); without one, only those addressed to this machine by the Host header, so that no other site's page
    reads the dashboard through a visitor's browser (DNS rebinding).
    """

    application: Callable[..., Iterable[bytes]]
    edit: bool = False
    password: str | None = field(default=None, repr=False)

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        def start(status: str, headers: list[tuple[str, str]], *error: Any) -> Any:
            return start_response(status, [*headers, *HEADERS], *error)

        if self.password is not None and not _has_password(environ, self.password):
            challenge = ("WWW-Authenticate", 'Basic realm="hpsearch", charset="UTF-8"')
            return _refuse(environ, start, "401 Unauthorized", "the dashboard needs its password", challenge)
        reason = self._find_refusal(environ)
        if reason is not None:
            return _refuse(environ, start, "403 Forbidden", reason)
        return self.application(environ, start)

    def _find_refusal(self, environ: Environ) -> str | None:
        """Return why the request is refused, whoever makes it; None where it is allowed."""
        if self.password is None and not _is_local(_host(environ)):
            return "without a password the dashboard answers under localhost only: set HPSEARCH_DASHBOARD_PASSWORD"
        if environ["REQUEST_METHOD"] in READING_METHODS:
            return None
        if not self.edit:
            return "the dashboard is read-only: start it with hpsearch dashboard --edit to change notes and files"
        # A browser sends a password that it knows with every request to this host, also one from another site's page.
        origin = environ.get("HTTP_ORIGIN")
        if origin is not None and urlsplit(origin).netloc.lower() != _host(environ):
            return "this request comes from another site's page: a proxy has to pass on the Host header of the request"
        request = f"{environ['REQUEST_METHOD']} {environ.get('PATH_INFO', '')}".rstrip("/")
        if EDITS.fullmatch(request):
            return None
        return next(reason for pattern, reason in REFUSALS if re.fullmatch(pattern, request, re.DOTALL))


def _has_password(environ: Environ, password: str) -> bool:
    scheme, _, credentials = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
    try:
        _, _, given = base64.b64decode(credentials.strip(), validate=True).partition(b":")
    except ValueError:
        return False
    # In an environment variable, bytes that are not UTF-8 are surrogates.
    expected = password.encode("utf-8", "surrogateescape")
    return hmac.compare_digest(given, expected) and scheme.lower() == "basic"


def _host(environ: Environ) -> str:
    return str(environ.get("HTTP_HOST", "")).lower()


def _is_local(host: str) -> bool:
    """Return whether a Host header names this machine; unlike `is_loopback`, without resolving the name."""
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
    """Answer with an error as the dashboard's API does: its page shows the reason."""
    body = json.dumps({"reason": reason}).encode()
    start(status, [("Content-Type", "application/json"), ("Content-Length", str(len(body))), *headers])
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]
