"""The open connections of the dashboard: at most so many in all and from an address, those that only wait give way."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from tornado.iostream import IOStream

from hpsearch.dashboard.passwords import group_address

MAX_CONNECTIONS, MAX_FROM_ADDRESS = 512, 64
"""A browser opens six; behind a proxy all come from its address. A process may commonly open 1024 files."""


class Connections:
    """Where there are too many, the longest open one is closed whose request is not being answered.

    So a new one finds room, whoever holds others open and sends them little.
    """

    def __init__(self) -> None:
        self._addresses: dict[IOStream, str] = {}
        self._answered: set[IOStream] = set()

    def admit(self, stream: IOStream, address: str) -> bool:
        """Make room for a new connection and remember it; return False where all others are being answered."""
        group = group_address(address)
        counts = Counter(self._addresses.values())
        crowd = group if counts[group] >= MAX_FROM_ADDRESS else None
        if crowd is None and counts.total() >= MAX_CONNECTIONS:
            crowd = counts.most_common(1)[0][0]
        if crowd is not None and not self._close_oldest(crowd):
            return False
        self._addresses[stream] = group
        return True

    def remove(self, stream: IOStream) -> None:
        """Forget a connection that was closed."""
        self._addresses.pop(stream, None)

    @contextmanager
    def keep(self, stream: IOStream) -> Iterator[None]:
        """Keep a connection open within the block, in which its request is answered."""
        self._answered.add(stream)
        try:
            yield
        finally:
            self._answered.discard(stream)

    def _close_oldest(self, group: str) -> bool:
        waiting = (s for s, g in self._addresses.items() if g == group and s not in self._answered)
        oldest = next(waiting, None)
        if oldest is None:
            return False
        self.remove(oldest)
        oldest.close()
        return True
