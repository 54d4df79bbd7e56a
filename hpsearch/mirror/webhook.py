"""A webhook: where events are posted to, signed, and what its answers mean.

The address may itself be the secret, as Slack's is: no line, log or table has more of it than scheme, host and port,
and a digest of the rest.
"""

import hashlib
import hmac
import ipaddress
import logging
import time
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

import requests
from requests.utils import get_auth_from_url

from hpsearch.errors import TrackerError, TrackerUnreachableError, UsageError
from hpsearch.settings import Setting
from hpsearch.version import __version__

CONNECT_SECONDS, ANSWER_SECONDS = 5.0, 10.0
"""For a connection, and for each part of the answer, to come."""

PASSING = {408, 425, 429}
"""Answers below 500 that a later try may not get: a timeout, too early, too many requests."""

MAX_RETRY_AFTER = 3600.0
"""Seconds that a webhook may ask for at most before the next try."""

TIMESTAMP, SIGNATURE = "X-Hpsearch-Timestamp", "X-Hpsearch-Signature"
"""The headers of a signed event: seconds since 1970, and of these, a point and the body the HMAC with SHA-256."""

EXAMPLE = "write https://HOST/PATH"

logging.getLogger("urllib3").setLevel(logging.CRITICAL)  # its warnings have the whole address in them


class WebhookUnreachableError(TrackerUnreachableError):
    """The webhook does not accept an event now, and asks for a `pause` (seconds) before the next try."""

    def __init__(self, message: str, pause: float = 0.0) -> None:
        super().__init__(message)
        self.pause = pause


@dataclass(frozen=True)
class Webhook:
    """The address that events are posted to; see `open_webhook`."""

    url: str = field(repr=False)
    secret: bytes | None = field(repr=False)
    timeout: tuple[float, float] = (CONNECT_SECONDS, ANSWER_SECONDS)

    @property
    def destination(self) -> str:
        """Return scheme, host and port, which is all of the address that is shown."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"

    @property
    def identity(self) -> str:
        """Return what is stored of the address; it is the same with another user and password."""
        parts = urlsplit(self.url)
        content = f"{self.destination}{parts.path}?{parts.query}"
        return f"{self.destination} {hashlib.sha256(content.encode()).hexdigest()[:16]}"

    def post(self, body: str) -> None:
        """Post an event's JSON, and return once it was accepted.

        Raises:
            WebhookUnreachableError: the webhook does not accept it now.
            TrackerError: it refuses it.
        """
        try:
            with self._send(body.encode()) as answer:
                status, pause = answer.status_code, _read_pause(answer.headers.get("Retry-After"))
        except (OSError, ValueError) as error:  # what the error says has the address in it
            raise self._translate(error) from None
        if status in PASSING or status >= 500:
            raise WebhookUnreachableError(f"{self.destination} answers {status}", pause)
        if 300 <= status < 400:
            raise TrackerError(
                f"{self.destination} answers {status}, and an event is sent nowhere else: give the address that it "
                "sends you to, if it is yours"
            )
        if not 200 <= status < 300:
            raise TrackerError(f"{self.destination} refuses an event with {status}: is the address still valid?")

    def _send(self, body: bytes) -> requests.Response:
        user, password = get_auth_from_url(self.url)
        with requests.Session() as session:  # one for each request, so that no cookie stays
            return session.post(
                self.url,
                data=body,
                headers=self._make_headers(body),
                timeout=self.timeout,
                auth=(user, password) if user or password else _keep_request,
                proxies={"no_proxy": "*"} if is_loopback(self.url) else {},
                allow_redirects=False,
                stream=True,  # the answer's content is not read
            )

    def _make_headers(self, body: bytes) -> dict[str, str]:
        headers = {"Content-Type": "application/json", "User-Agent": f"hpsearch/{__version__}"}
        if self.secret is None:
            return headers
        now = str(int(time.time()))
        signature = hmac.new(self.secret, now.encode() + b"." + body, hashlib.sha256).hexdigest()
        return {**headers, TIMESTAMP: now, SIGNATURE: f"sha256={signature}"}

    def _translate(self, error: Exception) -> TrackerError:
        """Return the line about a request that failed, which has nothing of the error's own message."""
        if isinstance(error, requests.exceptions.SSLError) and "CERTIFICATE_VERIFY_FAILED" in str(error):
            return TrackerError(
                f"the certificate of {self.destination} is not trusted: name the file of its authority in "
                "REQUESTS_CA_BUNDLE"
            )
        if isinstance(error, requests.exceptions.ProxyError):
            return WebhookUnreachableError(f"the proxy on the way to {self.destination} does not connect to it")
        if isinstance(error, requests.exceptions.Timeout):
            return WebhookUnreachableError(f"{self.destination} does not answer")
        return WebhookUnreachableError(f"{self.destination} cannot be reached")


def open_webhook(address: Setting, secret: Setting | None, *, insecure: bool = False) -> Webhook:
    """Return the webhook at an address; events are signed where there is a secret.

    Raises:
        UsageError: it is no address, or what is posted could be read on the way there, and that is not allowed.
    """
    try:
        url = str(requests.Request("POST", address.value).prepare().url)
        parts = urlsplit(url)
        if not (address.value.isprintable() and parts.scheme in {"http", "https"} and parts.hostname):
            raise ValueError
    except ValueError:  # requests' own errors about addresses are such, too
        raise UsageError(f"{address.source} is no address of a webhook: {EXAMPLE}") from None
    # In an environment variable, bytes that are not UTF-8 are surrogates.
    webhook = Webhook(url, secret.value.encode("utf-8", "surrogateescape") if secret else None)
    if parts.scheme == "http" and not is_loopback(url) and not insecure:
        raise UsageError(
            f"{address.source} would have events sent to {webhook.destination} for anybody on the way to read: use "
            "https, or add --insecure"
        )
    return webhook


def is_loopback(url: str) -> bool:
    """Return whether an address is one of this host's own."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _keep_request(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Add no user and password: requests would look for them in ~/.netrc."""
    return request


def _read_pause(header: str | None) -> float:
    """Return the seconds that a Retry-After header asks for; 0 where it asks for none."""
    if not header:
        return 0.0
    try:
        seconds = (
            float(header) if header.strip().isdecimal() else parsedate_to_datetime(header).timestamp() - time.time()
        )
    except (OverflowError, ValueError):
        return 0.0
    return min(max(0.0, seconds), MAX_RETRY_AFTER)
