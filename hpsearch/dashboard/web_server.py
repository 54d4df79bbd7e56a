"""An HTTP server for a WSGI application that strangers may reach: Tornado's, with deadlines and limits.

Heads and bodies are read without a thread. A request is checked as soon as its head is there, and takes a thread once
it is complete.
"""

import asyncio
import contextlib
import json
import logging
import re
import socket
import ssl
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus
from io import BytesIO
from typing import Any
from urllib.parse import unquote_to_bytes

from tornado.http1connection import HTTP1Connection, HTTP1ServerConnection
from tornado.httpserver import HTTPServer
from tornado.httputil import (
    HTTPHeaders,
    HTTPInputError,
    HTTPMessageDelegate,
    HTTPServerConnectionDelegate,
    HTTPServerRequest,
    RequestStartLine,
    ResponseStartLine,
)
from tornado.iostream import IOStream

from hpsearch.dashboard.access import AccessControl, Environ, Refusal, get_body_limit
from hpsearch.dashboard.connections import Connections
from hpsearch.dashboard.headers import Headers, secure_headers

log = logging.getLogger(__name__)

HEAD_TIMEOUT = 30.0
"""Seconds for a request's head, from the connection's begin or from the end of the request before."""

BODY_TIMEOUT, BODY_RATE = 30.0, 256 * 1024
"""Seconds for a request's body, and bytes a second by which a larger one has longer."""

REFUSED_TIMEOUT, MAX_REFUSED = 5.0, 256 * 1024
"""Seconds and bytes for which the body of a refused request is still read.

A connection that is closed while its client is sending may lose the answer.
"""

WRITE_TIMEOUT = 60_000
"""Milliseconds after which the system drops a connection that takes nothing of its answer."""

MAX_HEAD = 64 * 1024

Application = Callable[..., Iterable[bytes]]


@dataclass(frozen=True)
class Response:
    """An answer as it is sent."""

    status: str
    headers: Headers
    body: bytes


async def serve(
    sockets: Iterable[socket.socket],
    application: Application,
    access: AccessControl,
    threads: int,
    tls: ssl.SSLContext | None = None,
) -> None:
    """Answer what is asked on the listening `sockets`, until cancelled."""
    for name in ("tornado.access", "tornado.general"):  # what clients do wrong
        logging.getLogger(name).setLevel(logging.ERROR)
    executor = ThreadPoolExecutor(threads, "dashboard")
    connections = Connections()
    server = _Server(_Requests(application, access, executor, connections), connections, tls)
    server.add_sockets(sockets)
    try:
        await asyncio.Event().wait()
    finally:
        server.stop()
        executor.shutdown(wait=False, cancel_futures=True)


class _Server(HTTPServer):
    """Tornado's server, which closes connections that wait where there are too many."""

    def initialize(self, requests: "_Requests", connections: Connections, tls: ssl.SSLContext | None) -> None:  # type: ignore[override]
        super().initialize(
            requests,
            ssl_options=tls,
            max_header_size=MAX_HEAD,
            idle_connection_timeout=HEAD_TIMEOUT,
        )
        self._open = connections

    def handle_stream(self, stream: IOStream, address: tuple[Any, ...]) -> None:
        if not self._open.admit(stream, address[0]):
            stream.close()
            return
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            stream.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, WRITE_TIMEOUT)
        super().handle_stream(stream, address)

    def on_close(self, server_conn: object) -> None:
        assert isinstance(server_conn, HTTP1ServerConnection)
        self._open.remove(server_conn.stream)
        super().on_close(server_conn)


@dataclass(frozen=True)
class _Requests(HTTPServerConnectionDelegate):
    """What requests need: who answers them, who lets them in, and the threads."""

    application: Application
    access: AccessControl
    executor: ThreadPoolExecutor
    connections: Connections

    def start_request(self, server_conn: object, request_conn: Any) -> HTTPMessageDelegate:
        return _RequestReader(self, request_conn)


class _RequestReader(HTTPMessageDelegate):
    """One request, from its head to its answer."""

    def __init__(self, shared: _Requests, connection: HTTP1Connection) -> None:
        self._shared, self._connection = shared, connection
        self._body = bytearray()
        self._environ: Environ = {}
        self._refused = False
        self._task: asyncio.Task[None] | None = None

    def headers_received(self, start_line: Any, headers: HTTPHeaders) -> None:
        self._environ = make_environ(start_line, headers, self._connection)
        refusal = self._shared.access.find_refusal(self._environ)
        if refusal is not None:
            self._refuse(refusal, headers)
            return
        limit = get_body_limit(self._environ)
        length = int(self._environ.get("CONTENT_LENGTH", limit))
        self._connection.set_max_body_size(limit)
        self._connection.set_body_timeout(BODY_TIMEOUT + length / BODY_RATE)

    def _refuse(self, refusal: Refusal, headers: HTTPHeaders) -> None:
        self._refused = True
        has_body = headers.get("Content-Length", "0") != "0" or "Transfer-Encoding" in headers
        closing = [("Connection", "close")] if has_body else []
        body = json.dumps({"reason": refusal.reason}).encode()
        self._write(Response(refusal.status, [("Content-Type", "application/json"), *refusal.headers, *closing], body))
        if "Expect" in headers:  # the body is not sent before it is asked for
            self._connection.finish()
        self._connection.set_max_body_size(sys.maxsize)
        self._connection.set_body_timeout(REFUSED_TIMEOUT)

    def data_received(self, chunk: bytes) -> None:
        self._body += chunk
        if self._refused and len(self._body) > MAX_REFUSED:
            self._connection.finish()

    def finish(self) -> None:
        if self._refused:
            self._connection.finish()
            return
        self._environ |= {"wsgi.input": BytesIO(self._body), "CONTENT_LENGTH": str(len(self._body))}
        task = self._task = asyncio.get_running_loop().create_task(self._answer())

        def give_up() -> None:
            task.cancel()

        self._connection.set_close_callback(give_up)

    def on_connection_close(self) -> None:
        self._body.clear()

    async def _answer(self) -> None:
        loop, stream = asyncio.get_running_loop(), self._connection.stream
        with self._shared.connections.keep(stream):
            answer = await loop.run_in_executor(self._shared.executor, call, self._shared.application, self._environ)
        if not stream.closed():
            self._connection.set_close_callback(None)
            self._write(answer)
            self._connection.finish()

    def _write(self, answer: Response) -> None:
        code, _, reason = answer.status.partition(" ")
        silent = self._environ["REQUEST_METHOD"] == "HEAD" or code in {"204", "304"}
        headers = HTTPHeaders({"Date": formatdate(usegmt=True)})
        for name, value in secure_headers(answer.headers):
            if name.lower() not in {"content-length", "date"}:
                headers.add(name, value)
        if code not in {"204", "304"}:
            headers["Content-Length"] = str(len(answer.body))
        body = b"" if silent else answer.body
        # A failure to write is the connection's, which is then closed.
        self._connection.write_headers(ResponseStartLine("HTTP/1.1", int(code), reason), headers, body)


def make_environ(start_line: RequestStartLine, headers: HTTPHeaders, connection: HTTP1Connection) -> Environ:
    """Return what WSGI calls the environ of a request, without its body.

    Raises:
        HTTPInputError: the request is malformed.
    """
    request = HTTPServerRequest(start_line=start_line, headers=headers, connection=connection)  # checks Host
    if not request.path.startswith("/"):
        raise HTTPInputError("the request's target is no path")
    if not re.fullmatch("[0-9]{1,18}", headers.get("Content-Length", "0")):
        raise HTTPInputError("Content-Length is no number")
    environ = {
        "REQUEST_METHOD": start_line.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(request.path.encode("latin-1")).decode("latin-1"),
        "QUERY_STRING": request.query,
        "REMOTE_ADDR": request.remote_ip,
        "SERVER_NAME": request.host_name,
        "SERVER_PORT": "443" if request.protocol == "https" else "80",
        "SERVER_PROTOCOL": start_line.version,
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": request.protocol,
        "wsgi.input": BytesIO(),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    for header, value in headers.items():  # those of one name are joined
        key = header.replace("-", "_").upper()
        if key in {"CONTENT_TYPE", "CONTENT_LENGTH"}:
            environ[key] = value
        elif "_" not in header and key != "TRANSFER_ENCODING":  # X_Y must not pass for X-Y
            environ[f"HTTP_{key}"] = value
    return environ


def call(application: Application, environ: Environ) -> Response:
    """Return what the application answers; what it raises is an answer too, and a line in the log."""
    started: list[Any] = []

    def start(status: str, headers: Headers, *_: Any) -> Callable[[bytes], object]:
        started[:] = status, headers
        return lambda _: None

    try:
        chunks = application(environ, start)
        try:
            return Response(started[0], started[1], b"".join(chunks))
        finally:
            with contextlib.suppress(AttributeError):
                chunks.close()  # type: ignore[attr-defined]
    except Exception:
        log.exception("%s failed", environ["REQUEST_METHOD"])
        status = HTTPStatus.INTERNAL_SERVER_ERROR
        return Response(f"{status.value} {status.phrase}", [("Content-Type", "text/plain")], b"")
