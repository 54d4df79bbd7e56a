"""The Optuna dashboard over our storage, on a WSGI server fit for a network."""

import asyncio
import contextlib
import signal
import socket
import ssl
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import optuna_dashboard
from tornado.netutil import bind_sockets

from hpsearch import signals
from hpsearch.dashboard import access, patches, web_server
from hpsearch.dashboard.access import AccessControl
from hpsearch.dashboard.artifact_files import ArtifactFiles
from hpsearch.dashboard.bulk_storage import BulkStorage
from hpsearch.dashboard.plot_artifacts import PlotArtifactStore
from hpsearch.dashboard.plugin import DashboardPlugin
from hpsearch.dashboard.request_checks import RequestChecks
from hpsearch.errors import DatabaseError, UsageError, first_line
from hpsearch.storage.connections import STATEMENT_TIMEOUT
from hpsearch.storage.database import Database

THREADS = 8


@dataclass(frozen=True)
class DashboardServer:
    """A dashboard that listens already; `serve` answers until the process is told to end."""

    url: str
    serve: Callable[[], None]


def listen(
    database: Database,
    host: str,
    port: int,
    *,
    edit: bool = False,
    password: str | None = None,
    tls: ssl.SSLContext | None = None,
) -> DashboardServer:
    """Open the dashboard on `host`:`port` (0: any free one), read-only but for `edit`, over HTTPS with `tls`.

    Raises:
        UsageError: the address cannot be listened on, or not without a password.
        DatabaseError: Optuna's tables cannot be used.
    """
    if password is None and not access.is_loopback(host):
        raise UsageError(
            f"others can reach {host!r}, and the dashboard asks for no password: set HPSEARCH_DASHBOARD_PASSWORD "
            "or HPSEARCH_DASHBOARD_PASSWORD_FILE, or leave --host out"
        )
    application = build_application(database)
    sockets = _bind(host, port)
    address, opened = sockets[0].getsockname()[:2]
    shown = f"[{address}]" if ":" in address else address
    scheme = "https" if tls else "http"

    def serve() -> None:
        control = AccessControl(edit, password)
        asyncio.run(_end_on_signals(web_server.serve(sockets, application, control, THREADS, tls)))

    return DashboardServer(f"{scheme}://{shown}:{opened}/dashboard", serve)


async def _end_on_signals(serving: Coroutine[Any, Any, None]) -> None:
    """Serve until a signal comes that would interrupt the process.

    The loop takes these signals: what a handler raises anywhere in the server, Tornado logs and forgets.
    """
    loop, task = asyncio.get_running_loop(), asyncio.ensure_future(serving)
    handlers = {number: signal.getsignal(number) for number in signal.valid_signals()}
    interrupting = {number: handler for number, handler in handlers.items() if callable(handler)}
    for number in interrupting:
        loop.add_signal_handler(number, task.cancel)
    try:
        with contextlib.suppress(asyncio.CancelledError):
            await task
    finally:
        for number, handler in interrupting.items():
            loop.remove_signal_handler(number)
            signal.signal(number, handler)
        signals.ignore_notices()


def _bind(host: str, port: int) -> list[socket.socket]:
    """Listen on the address, or on all the addresses of a name such as localhost.

    Raises:
        UsageError: that is not possible.
    """
    try:
        if not host:
            raise ValueError("no address")
        return bind_sockets(port, host.strip("[]"))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error).rstrip(".")
        raise UsageError(f"cannot listen on {host}:{port} ({reason}): choose another --host or --port") from None


def load_certificate(certificate: Path, key: Path | None) -> ssl.SSLContext:
    """Return what HTTPS needs: a certificate (PEM, with its chain) and its key, which may be in the same file.

    Raises:
        UsageError: they cannot be read, or do not belong together.
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(certificate, key, password="")
    except (OSError, ValueError) as error:
        files = f"{certificate}" if key is None else f"{certificate} and {key}"
        reason = getattr(error, "strerror", None) or first_line(error)
        raise UsageError(
            f"cannot serve HTTPS with {files} ({reason}): --certificate and --key want PEM files, the key without "
            "a password"
        ) from None
    return context


def build_application(database: Database) -> Any:
    """Return the WSGI application, without access control; optuna-dashboard is patched for the whole process.

    It has one artifact store for all studies: what is attached to them is in Postgres, wherever their models are. The
    storage is a cached one: given a bare URL, the dashboard reads every trial again every few seconds.

    Raises:
        DatabaseError: Optuna's tables are of another version than Optuna.
    """
    patches.apply()
    # Over thousands of trials Optuna computes within a transaction; it only reads there, so nobody waits for it.
    options = database.make_engine_options("hpsearch dashboard", idle_timeout=STATEMENT_TIMEOUT)
    options["pool_size"] = THREADS
    try:
        storage = BulkStorage(
            database.url.render_as_string(hide_password=False),
            engine_kwargs=options,
            skip_table_creation=True,
        )
    except RuntimeError as error:
        raise DatabaseError(f"Optuna's tables in {database.name} cannot be used: {error}") from None
    cached, artifacts = optuna.storages.get_storage(storage), PlotArtifactStore(database)
    application = optuna_dashboard.wsgi(cached, artifact_store=artifacts)
    # The first one is outermost: it answers for what the others raise.
    for plugin in (RequestChecks(database), DashboardPlugin(database), ArtifactFiles(cached, artifacts)):
        application.install(plugin)
    return application
