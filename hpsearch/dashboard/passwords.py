"""The dashboard's password: asked with HTTP Basic, and slower and slower for an address that gives wrong ones."""

import base64
import hmac
import ipaddress
import logging
import time
from collections import OrderedDict
from dataclasses import dataclass

log = logging.getLogger(__name__)

FREE_TRIES = 10
"""Wrong passwords from an address before it has to wait: a page asks for several things at once with an old one."""

LONGEST_PAUSE = 60.0
"""Seconds that an address waits at most between two tries; the first pause is of one, and each twice the last."""

FORGET_AFTER = 3600.0
"""Seconds after which an address's wrong passwords no longer count."""

MAX_ADDRESSES = 10_000
"""Addresses whose wrong passwords are remembered; those of longest ago are forgotten first."""


@dataclass
class WrongTries:
    """How many wrong passwords an address gave, and until when no other is looked at (seconds of `time.monotonic`)."""

    count: int = 0
    last: float = 0.0
    blocked_until: float = 0.0


class PasswordGuard:
    """Compares passwords, and makes an address wait that gives many wrong ones; to be called from one thread.

    Meanwhile the right one is not looked at either, or whoever guesses would learn it all the same.
    """

    def __init__(self, password: str) -> None:
        # In an environment variable, bytes that are not UTF-8 are surrogates.
        self._password = password.encode("utf-8", "surrogateescape")
        self._wrong: OrderedDict[str, WrongTries] = OrderedDict()

    def find_pause(self, address: str) -> float:
        """Return the seconds for which no password from this address is looked at; 0 means that it is."""
        tries = self._wrong.get(group_address(address))
        return max(0.0, tries.blocked_until - time.monotonic()) if tries is not None else 0.0

    def accepts(self, address: str, authorization: str) -> bool:
        """Return whether an Authorization header holds the password, under any name; count it where it does not."""
        group = group_address(address)
        if _holds(authorization, self._password):
            self._wrong.pop(group, None)
            return True
        self._count(group)
        return False

    def _count(self, group: str) -> None:
        now = time.monotonic()
        tries = self._wrong.setdefault(group, WrongTries())
        if now - tries.last > FORGET_AFTER:
            tries.count = 0
        tries.count, tries.last = tries.count + 1, now
        if tries.count >= FREE_TRIES:
            tries.blocked_until = now + min(LONGEST_PAUSE, 2.0 ** (tries.count - FREE_TRIES))
        if tries.count == FREE_TRIES:
            log.warning("%d wrong passwords from %s: it now waits longer before each further one", FREE_TRIES, group)
        self._wrong.move_to_end(group)
        if len(self._wrong) > MAX_ADDRESSES:
            self._wrong.popitem(last=False)


def group_address(address: str) -> str:
    """Return what stands for an address where something is counted by address: of IPv6 its network, a /64.

    A host of IPv6 has all the addresses of its network.
    """
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    return str(parsed) if parsed.version == 4 else str(ipaddress.ip_network((parsed, 64), strict=False))


def _holds(authorization: str, password: bytes) -> bool:
    scheme, _, credentials = authorization.partition(" ")
    try:
        _, _, given = base64.b64decode(credentials.strip(), validate=True).partition(b":")
    except ValueError:
        return False
    return hmac.compare_digest(given, password) and scheme.lower() == "basic"
