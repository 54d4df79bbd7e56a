"""web_server.py and connections.py: slow, large, many and malformed requests, over real sockets."""

import asyncio
import base64
import contextlib
import json
import ssl
import subprocess
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tornado.netutil import bind_sockets

from hpsearch.dashboard import connections, server, web_server
from hpsearch.dashboard.access import AccessControl
from hpsearch.errors import UsageError

PATIENCE = 60
"""Seconds after which a test gives up."""

PASSWORD = base64.b64encode(b"me:right").decode()
REQUEST = b"GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n"

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Connect = Callable[..., Awaitable[Streams]]


class Application:
    """A WSGI application that answers with what it was asked."""

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.held = threading.Event()

    def __call__(self, environ: Any, start: Any) -> list[bytes]:
        self.paths.append(environ["PATH_INFO"])
        if environ["PATH_INFO"] == "/held":
            self.held.wait(PATIENCE)
        if environ["PATH_INFO"] == "/fault":
            raise RuntimeError("a fault")
        start("200 OK", [("Content-Type", "text/plain")])
        body = environ["wsgi.input"].read()
        return [f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']} ".encode(), body[:100], b" %d" % len(body)]


@asynccontextmanager
async def serving(
    application: Application, access: AccessControl | None = None, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Connect]:
    """Serve on a free port of 127.0.0.0/8; what opens a connection there, from an address of that network."""
    sockets = bind_sockets(0, "127.0.0.1")
    port = sockets[0].getsockname()[1]
    task = asyncio.create_task(web_server.serve(sockets, application, access or AccessControl(edit=True), 4, tls))

    async def connect(source: str = "127.0.0.1", **options: Any) -> Streams:
        return await asyncio.open_connection("127.0.0.1", port, local_addr=(source, 0), **options)

    try:
        yield connect
    finally:
        application.held.set()
        task.cancel()
        await asyncio.wait([task])


def run(test: Coroutine[Any, Any, None]) -> None:
    """Run a test's coroutine, within the patience; in a thread, as Playwright's tests leave a loop in this one."""

    async def limit() -> None:
        await asyncio.wait_for(test, PATIENCE)

    with ThreadPoolExecutor(1) as executor:
        executor.submit(asyncio.run, limit()).result()


async def read_answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    """Status, headers (by lower-case name) and body of the next answer."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
    body = await reader.readexactly(int(headers["content-length"])) if "content-length" in headers else b""
    return int(head[0].split()[1]), headers, body


async def exchange(connect: Connect, request: bytes, source: str = "127.0.0.1") -> tuple[int, dict[str, str], bytes]:
    """The answer to a request on a connection of its own."""
    reader, writer = await connect(source)
    writer.write(request)
    answer = await read_answer(reader)
    writer.close()
    return answer


BEGUN = [
    b"",
    b"GET /slow HTTP/1.1\r\nX: ",
    b"PUT /api/studies/1/note HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n",
]


@pytest.mark.parametrize("source", ["127.0.0.1", "127.0.0.2"])
@pytest.mark.parametrize("begun", BEGUN)
def test_slow_connections_shut_nobody_out(begun: bytes, source: str) -> None:
    """While 300 sockets send a byte now and then, requests from their address and others are answered."""

    async def test() -> None:
        application = Application()
        async with serving(application) as connect:
            slow = [writer for _, writer in [await connect() for _ in range(300)]]
            for piece in (begun, b"x", b"x", b"x"):
                for writer in slow:
                    if not writer.is_closing():
                        writer.write(piece)
                assert (await exchange(connect, REQUEST, source))[0] == 200
            assert set(application.paths) == {"/x"}
            for writer in slow:
                writer.close()

    run(test())


def test_connections_are_limited_in_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """With many addresses at it, the oldest that waits of the busiest address gives way; none being answered does."""
    monkeypatch.setattr(connections, "MAX_CONNECTIONS", 6)
    monkeypatch.setattr(connections, "MAX_FROM_ADDRESS", 4)

    async def test() -> None:
        application = Application()
        async with serving(application) as connect:
            answered, writer = await connect("127.0.0.2")
            writer.write(REQUEST.replace(b"/x", b"/held"))
            while not application.paths:
                await asyncio.sleep(0.01)
            waiting = [await connect("127.0.0.2") for _ in range(3)]
            others = [await connect(f"127.0.0.{3 + number}") for number in range(2)]
            assert (await exchange(connect, REQUEST, "127.0.0.9"))[0] == 200
            assert await waiting[0][0].read() == b""
            application.held.set()
            assert (await read_answer(answered))[0] == 200
            for reader, writer in [*waiting[1:], *others]:
                writer.write(REQUEST)
                assert (await read_answer(reader))[0] == 200

    run(test())


def test_slow_head_and_slow_body_have_a_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection whose request is not there in time is closed, though bytes keep coming; so is one that idles."""
    monkeypatch.setattr(web_server, "HEAD_TIMEOUT", 0.3)
    monkeypatch.setattr(web_server, "BODY_TIMEOUT", 0.3)
    monkeypatch.setattr(web_server, "BODY_RATE", 1e9)

    async def trickle(connect: Connect, begun: bytes) -> bytes:
        reader, writer = await connect()
        writer.write(begun)
        closed = asyncio.ensure_future(reader.read())
        while not closed.done():
            writer.write(b"x")
            await asyncio.wait([closed], timeout=0.05)
        return closed.result() if closed.exception() is None else b""

    async def test() -> None:
        application = Application()
        body = b"PUT /api/studies/1/note HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9999\r\n\r\n"
        async with serving(application) as connect:
            chunked = body.replace(b"Content-Length: 9999", b"Transfer-Encoding: chunked")
            for begun in (b"", b"GET /x HTTP/1.1\r\nX: ", body, chunked):
                assert await trickle(connect, begun) in {b"", b"HTTP/1.1 400 Bad Request\r\n\r\n"}
            reader, writer = await connect()
            writer.write(REQUEST)
            assert (await read_answer(reader))[0] == 200
            assert await reader.read() == b""
        assert application.paths == ["/x"]

    run(test())


async def send_on(connect: Connect, head: bytes, length: int) -> int:
    """How many bytes of a body could be sent until the server closed the connection."""
    _, writer = await connect()
    writer.write(head)
    sent = 0
    try:
        while sent < length:
            writer.write(bytes(1 << 16))
            await writer.drain()
            sent += 1 << 16
    except ConnectionError:
        writer.close()
    return sent


def test_password_is_asked_before_the_body() -> None:
    """A large body without the password is answered at once, and not taken in; with it, and small, it is."""

    async def test() -> None:
        application = Application()
        head = b"POST /api/artifacts/1 HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n%s\r\n"
        async with serving(application, AccessControl(True, "right")) as connect:
            assert (await exchange(connect, head % (128 << 20, b"")))[0] == 401
            assert (await exchange(connect, head % (128 << 20, b"Expect: 100-continue\r\n")))[0] == 401
            assert await send_on(connect, head % (128 << 20, b""), 128 << 20) < 32 << 20
            known = b"Authorization: Basic " + PASSWORD.encode() + b"\r\n"
            assert (await exchange(connect, head % ((128 << 20) + 1, known)))[0] == 413
            status, _, body = await exchange(connect, head % (5, known) + b"12345")
            assert (status, body) == (200, b"POST /api/artifacts/1 12345 5")
            # One that is refused with a small body keeps its answer, and its connection is not used again.
            status, headers, body = await exchange(connect, head % (5, b"") + b"12345" + REQUEST)
            assert (status, headers["connection"]) == (401, "close")
        assert application.paths == ["/api/artifacts/1"]

    run(test())


MALFORMED = [
    b"x\r\n\r\n",
    b"GET /x\r\n\r\n",
    b"GET  /x HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET /x HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n",
    b"GET http://localhost/x HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET x HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET * HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET /x HTTP/1.1\r\nHost : localhost\r\n\r\n",
    b"GET /x HTTP/1.1\r\nHost: localhost\r\nX\r\n\r\n",
    b"GET /x HTTP/1.1\r\nHost: localhost\r\nX: a\0b\r\n\r\n",
    *(
        b"PUT /api/studies/1/note HTTP/1.1\r\nHost: localhost\r\n" + framing + b"\r\n\r\n0\r\n\r\n" + REQUEST
        for framing in (
            b"Content-Length: x",
            b"Content-Length: -1",
            b"Content-Length: +5",
            b"Content-Length: 0x5",
            b"Content-Length: 5_0",
            b"Content-Length: 5, 6",
            b"Content-Length: 5\r\nContent-Length: 6",
            b"Content-Length: " + b"9" * 5000,
            b"Content-Length: 5\r\nTransfer-Encoding: chunked",
            b"Transfer-Encoding: gzip",
            b"Transfer-Encoding: chunked, chunked",
            b"Transfer-Encoding: xchunked",
        )
    ),
    b"PUT /api/studies/1/note HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n" + REQUEST,
    b"PUT /api/studies/1/note HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0x1\r\nxx" + REQUEST,
    b"PUT /api/studies/1/note HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n200000\r\n" + REQUEST,
]
"""Requests that two servers may read in two ways, or none."""


def test_malformed_requests_are_refused_whole(caplog: pytest.LogCaptureFixture) -> None:
    """Of a malformed request nothing reaches the application, nor what follows it; the connection is closed."""

    async def test() -> None:
        application = Application()
        async with serving(application) as connect:
            for request in MALFORMED:
                reader, writer = await connect()
                writer.write(request)
                assert (await reader.readline()).startswith(b"HTTP/1.1 400 "), request
                with pytest.raises(asyncio.IncompleteReadError):
                    await reader.readuntil(b"HTTP/1.1")
                writer.close()
            assert application.paths == []
            assert (await exchange(connect, REQUEST))[0] == 200

    run(test())
    assert caplog.messages == []


def test_requests_arrive_as_they_were_sent() -> None:
    """Chunked bodies, encoded paths, several requests on a connection, HEAD; a name with _ is no header's alias."""

    async def test() -> None:
        application = Application()
        async with serving(application) as connect:
            chunked = b"PUT /api/studies/1/note HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
            reader, writer = await connect()
            writer.write(chunked + b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n" + REQUEST.replace(b"/x", b"/%2e%2E/%00%ff?a=b"))
            status, headers, body = await read_answer(reader)
            assert (status, body) == (200, b"PUT /api/studies/1/note abcde 5")
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["x-frame-options"] == "SAMEORIGIN"
            assert "sandbox" in headers["content-security-policy"]
            assert (await read_answer(reader))[2] == "GET /../\0\u00ff  0".encode()
            writer.write(REQUEST.replace(b"GET", b"HEAD"))
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 OK\r\n")
            writer.write(REQUEST.replace(b"localhost", b"evil.example\r\nX_Y: z"))
            refused = await read_answer(reader)
            assert (refused[0], refused[1]["x-frame-options"]) == (403, "SAMEORIGIN")
            assert "localhost" in json.loads(refused[2])["reason"]

    run(test())


def test_fault_of_the_application_is_an_answer(caplog: pytest.LogCaptureFixture) -> None:
    """What the application raises is answered with 500, and the connection goes on."""

    async def test() -> None:
        async with serving(Application()) as connect:
            reader, writer = await connect()
            writer.write(REQUEST.replace(b"/x", b"/fault") + REQUEST)
            assert (await read_answer(reader))[0] == 500
            assert (await read_answer(reader))[0] == 200

    run(test())
    assert caplog.messages == ["GET failed"]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a self-signed certificate for localhost, its key, another key, and one with a password."""
    directory = tmp_path_factory.mktemp("tls")
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-days", "2"]
    command += ["-addext", "subjectAltName=DNS:localhost", "-keyout", "key.pem", "-out", "certificate.pem"]
    subprocess.run(command, cwd=directory, check=True, capture_output=True)
    for arguments in (["-out", "other.pem"], ["-aes128", "-passout", "pass:secret", "-out", "locked.pem"]):
        subprocess.run(["openssl", "genrsa", *arguments, "2048"], cwd=directory, check=True, capture_output=True)
    return directory


def test_https_is_served_with_a_certificate(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that trusts the certificate is answered; plain HTTP and a handshake that never comes are not."""
    monkeypatch.setattr(web_server, "HEAD_TIMEOUT", 1.0)
    tls = server.load_certificate(certificate / "certificate.pem", certificate / "key.pem")
    trust = ssl.create_default_context(cafile=str(certificate / "certificate.pem"))

    async def test() -> None:
        application = Application()
        async with serving(application, tls=tls) as connect:
            silent, _ = await connect()
            reader, writer = await connect(ssl=trust, server_hostname="localhost")
            writer.write(REQUEST)
            assert (await read_answer(reader))[0] == 200
            plain, writer = await connect()
            writer.write(REQUEST)
            with contextlib.suppress(ConnectionError):
                assert b"200" not in await plain.read()
            assert await silent.read() == b""
        assert application.paths == ["/x"]

    run(test())


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        (("none.pem", "key.pem"), "No such file"),
        (("key.pem", None), "PEM"),
        (("certificate.pem", None), "PEM"),
        (("certificate.pem", "other.pem"), "(?i)mismatch"),
        (("certificate.pem", "locked.pem"), "key without a password"),
    ],
)
def test_certificate_that_cannot_be_used_is_a_usage_error(
    certificate: Path, files: tuple[str, str | None], reason: str
) -> None:
    """One line names the files, the reason and what is wanted; no password is asked for."""
    paths = [certificate / name if name else None for name in files]
    assert paths[0] is not None
    with pytest.raises(UsageError, match=reason) as refused:
        server.load_certificate(paths[0], paths[1])
    assert "\n" not in str(refused.value)
