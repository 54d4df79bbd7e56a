"""A proxy in front of Postgres that a test breaks: it stalls, delays, half-closes or resets connections."""

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum, auto
from pathlib import Path

import sqlalchemy

DELAY = 0.02
"""Seconds by which a slow proxy delays each message."""


class Fault(Enum):
    """What a broken proxy does."""

    STALL = auto()
    """It keeps every connection open and forwards nothing, until the fault is lifted: then all that it has taken in."""
    DELAY = auto()
    """It forwards each message late."""
    HALF_CLOSE = auto()
    """It closes its direction to the client, and forwards on what that sends."""
    SWALLOW = auto()
    """It closes the direction to the server and says nothing to the client."""
    RESET = auto()
    """It resets the connection."""


class Proxy:
    """Forwards the connections of `address` to a server; `struck` says whether the fault has occurred."""

    def __init__(self, url: str, directory: Path | None) -> None:
        """Forward to the server of `url`, from a socket in `directory`, by default from a port of this host."""
        self._upstream = sqlalchemy.make_url(url)
        self._listener = socket.socket(socket.AF_UNIX if directory else socket.AF_INET)
        if directory:
            self._listener.bind(str(directory / ".s.PGSQL.5432"))
            here = self._upstream.set(host=None, query={"host": str(directory), "port": "5432"})
        else:
            self._listener.bind(("127.0.0.1", 0))
            here = self._upstream.set(host="127.0.0.1", port=self._listener.getsockname()[1], query={})
        self.url = here.render_as_string(hide_password=False)
        self._listener.listen()
        self._fault: Fault | None = None
        self._messages = 0
        self.struck = False
        self._lifted = threading.Event()
        self._lifted.set()
        threading.Thread(target=self._accept, daemon=True).start()

    def break_at(self, fault: Fault, message: int = 0) -> None:
        """Break at a message of a client, counted from 0 from now on, and stay broken until `lift`."""
        self._lifted.clear()
        self._messages, self.struck = message, False
        self._fault = fault

    def lift(self) -> None:
        """Work again."""
        self._fault, self.struck = None, False
        self._lifted.set()

    def close(self) -> None:
        """Take no more connections."""
        self.lift()
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = self._connect()
                for source, target in ((client, server), (server, client)):
                    pump = threading.Thread(target=self._pump, args=(source, target, source is client), daemon=True)
                    pump.start()

    def _connect(self) -> socket.socket:
        query = self._upstream.query
        if "host" in query:
            server = socket.socket(socket.AF_UNIX)
            server.connect(f"{query['host']}/.s.PGSQL.{query.get('port', 5432)}")
            return server
        return socket.create_connection((self._upstream.host, self._upstream.port or 5432))

    def _pump(self, source: socket.socket, target: socket.socket, from_client: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(2**16):
                if from_client and self._fault and not self.struck:
                    self.struck = self._messages == 0
                    self._messages -= 1
                if self.struck and not self._suffer(source, target, from_client):
                    return
                target.sendall(data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    def _suffer(self, source: socket.socket, target: socket.socket, from_client: bool) -> bool:
        """Do to a message what the fault does; return whether it is forwarded all the same."""
        client, server = (source, target) if from_client else (target, source)
        match self._fault:
            case Fault.STALL:
                self._lifted.wait()
                return True
            case Fault.DELAY:
                time.sleep(DELAY)
                return True
            case Fault.HALF_CLOSE:
                client.shutdown(socket.SHUT_WR)
                return from_client
            case Fault.SWALLOW:
                server.shutdown(socket.SHUT_WR)
                self._lifted.wait()
            case Fault.RESET:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                client.close()
                server.shutdown(socket.SHUT_RDWR)
        return False


@contextmanager
def run_proxy(url: str, directory: Path | None = None) -> Iterator[Proxy]:
    """Run a proxy for the block."""
    proxy = Proxy(url, directory)
    try:
        yield proxy
    finally:
        proxy.close()
