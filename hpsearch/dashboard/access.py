"""Access control for the dashboard: Optuna's own has none, and lets whoever reaches it delete a study."""

import ipaddress
import math
import re
import socket
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from hpsearch.dashboard.passwords import PasswordGuard
from hpsearch.formatting import format_count

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

MAX_FILE, MAX_BODY = 128 << 20, 1 << 20
"""Bytes of a request's body: of one that attaches a file, which stands in it as base64, and of any other."""

Environ = dict[str, Any]


@dataclass(frozen=True)
class Refusal:
    """The answer to a request that is not allowed."""

    status: str
    reason: str
    headers: tuple[tuple[str, str], ...] = ()


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches `host`: an address, or a name with all its addresses."""
    try:
        resolved = socket.getaddrinfo(host.strip("[]") or None, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        return all(ipaddress.ip_address(address[0]).is_loopback for *_, address in resolved)
    except (OSError, ValueError):
        return False


class AccessControl:
    """Decides by a request's head whether it is answered, before its body is read; to be called from one thread.

    Without `edit`, only those are that change nothing. With a `password`, only those that bring it (HTTP Basic, under
    any name); without one, only those addressed to this machine by the Host header, so that no other site's page reads
    the dashboard through a visitor's browser (DNS rebinding).
    """

    def __init__(self, edit: bool = False, password: str | None = None) -> None:
        self._edit = edit
        self._passwords = PasswordGuard(password) if password is not None else None

    def find_refusal(self, environ: Environ) -> Refusal | None:
        """Return why the request is refused; None where it is allowed."""
        if self._passwords is not None:
            refusal = _ask_password(self._passwords, environ)
            if refusal is not None:
                return refusal
        reason = self._find_reason(environ)
        if reason is not None:
            return Refusal("403 Forbidden", reason)
        if int(environ.get("CONTENT_LENGTH") or 0) > get_body_limit(environ):
            return Refusal("413 Content Too Large", f"the body has more than {get_body_limit(environ)} bytes")
        return None

    def _find_reason(self, environ: Environ) -> str | None:
        if self._passwords is None and not _is_local(_host(environ)):
            return "without a password the dashboard answers under localhost only: set HPSEARCH_DASHBOARD_PASSWORD"
        if environ["REQUEST_METHOD"] in READING_METHODS:
            return None
        if not self._edit:
            return "the dashboard is read-only: start it with hpsearch dashboard --edit to change notes and files"
        # A browser sends a password that it knows with every request to this host, also one from another site's page.
        origin = environ.get("HTTP_ORIGIN")
        if origin is not None and urlsplit(origin).netloc.lower() != _host(environ):
            return "this request comes from another site's page: a proxy has to pass on the Host header of the request"
        request = f"{environ['REQUEST_METHOD']} {environ.get('PATH_INFO', '')}".rstrip("/")
        if EDITS.fullmatch(request):
            return None
        return next(reason for pattern, reason in REFUSALS if re.fullmatch(pattern, request, re.DOTALL))


def get_body_limit(environ: Environ) -> int:
    """Return how many bytes the body of a request may have."""
    uploads = environ["REQUEST_METHOD"] == "POST" and environ.get("PATH_INFO", "").startswith("/api/artifacts/")
    return MAX_FILE if uploads else MAX_BODY


def _ask_password(passwords: PasswordGuard, environ: Environ) -> Refusal | None:
    address = environ["REMOTE_ADDR"]
    challenge = ("WWW-Authenticate", 'Basic realm="hpsearch", charset="UTF-8"')
    refusal = Refusal("401 Unauthorized", "the dashboard needs its password", (challenge,))
    authorization = environ.get("HTTP_AUTHORIZATION")
    if not authorization:  # how a browser begins: no try
        return refusal
    pause = passwords.find_pause(address)
    if pause > 0:
        wait = ("Retry-After", str(math.ceil(pause)))
        reason = f"too many wrong passwords from your address: wait {format_count(math.ceil(pause), 'second')}"
        return Refusal("429 Too Many Requests", reason, (wait,))
    return None if passwords.accepts(address, authorization) else refusal


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
