"""A webhook on this host that fails when it is told to, and keeps what arrives."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Receiver:
    """What arrived, and how the next requests fare: each takes the next word of `plan`, and is accepted after these.

    A word is a status, `close` (the connection, without an answer) or `hang` (until `let_go` is set).
    """

    url: str = ""
    plan: list[str] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    """Sent with each answer."""
    requests: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    let_go: threading.Event = field(default_factory=threading.Event)

    @property
    def events(self) -> list[dict[str, Any]]:
        """The JSON of all requests."""
        return [json.loads(body) for _, body in self.requests]

    @property
    def ids(self) -> list[str]:
        """What each event is, without the study's key, in the order of the first arrivals."""
        return list(dict.fromkeys(event["id"].partition("-")[2] for event in self.events))


@contextmanager
def open_receiver() -> Iterator[Receiver]:
    """Serve a webhook in threads."""
    receiver = Receiver()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _make_handler(receiver))
    receiver.url = f"http://127.0.0.1:{server.server_port}/services/T0/PATHSECRET?token=QUERYSECRET"
    thread = threading.Thread(target=lambda: server.serve_forever(poll_interval=0.02))
    thread.start()
    try:
        yield receiver
    finally:
        receiver.let_go.set()
        server.shutdown()
        server.server_close()
        thread.join()


def _make_handler(receiver: Receiver) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            receiver.requests.append((dict(self.headers), body))
            receiver.paths.append(self.path)
            answers.get(word := receiver.plan.pop(0) if receiver.plan else "200", self._answer)(word)

        def _answer(self, word: str) -> None:
            self.send_response(int(word))
            for name, value in {**receiver.headers, "Content-Length": "0"}.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, format: str, *arguments: Any) -> None:
            pass

    def hang(_: str) -> None:
        receiver.let_go.wait(5)

    def close(_: str) -> None:
        pass

    answers: dict[str, Callable[[str], None]] = {"hang": hang, "close": close}
    return Handler
