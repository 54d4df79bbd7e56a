"""The Optuna dashboard over our storage, on a WSGI server fit for a network."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import optuna
import optuna_dashboard
import waitress

from hpsearch.dashboard import access, patches
from hpsearch.dashboard.access import AccessControl
from hpsearch.dashboard.artifact_files import ArtifactFiles
from hpsearch.dashboard.bulk_storage import BulkStorage
from hpsearch.dashboard.plot_artifacts import PlotArtifactStore
from hpsearch.dashboard.plugin import DashboardPlugin
from hpsearch.dashboard.request_checks import RequestChecks
from hpsearch.errors import DatabaseError, UsageError
from hpsearch.storage.connections import STATEMENT_TIMEOUT
from hpsearch.storage.database import Database

THREADS = 8

MAX_UPLOAD, MAX_READ_ONLY = 128 << 20, 1 << 20
"""Bytes of a request, which the server reads before access is checked: with `--edit` it may hold a file."""


@dataclass(frozen=True)
class DashboardServer:
    """A dashboard that listens already; `serve` answers until the process is told to end."""

    url: str
    serve: Callable[[], None]


def listen(
    database: Database, host: str, port: int, *, edit: bool = False, password: str | None = None
) -> DashboardServer:
    """Open the dashboard on `host`:`port` (0: any free one), read-only but for `edit`.

    Raises:
        UsageError: the address cannot be listened on, or not without a password.
        DatabaseError: Optuna's tables cannot be used.
    """
    if password is None and not access.is_loopback(host):
        raise UsageError(
            f"others can reach {host!r}, and the dashboard asks for no password: set HPSEARCH_DASHBOARD_PASSWORD "
            "or HPSEARCH_DASHBOARD_PASSWORD_FILE, or leave --host out"
        )
    application = AccessControl(build_application(database), edit, password)
    # A page makes more requests at once than there are threads; waitress warns of each that waits.
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)
    limit = MAX_UPLOAD if edit else MAX_READ_ONLY
    try:
        server = waitress.create_server(application, host=host, port=port, threads=THREADS, max_request_body_size=limit)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error).rstrip(".")
        raise UsageError(f"cannot listen on {host}:{port} ({reason}): choose another --host or --port") from None
    # A name such as localhost may stand for several addresses; the server has a socket for each, and a list of them.
    addresses = getattr(server, "effective_listen", None) or [(server.effective_host, server.effective_port)]
    address, opened = addresses[0]
    shown = f"[{address}]" if ":" in address else address
    return DashboardServer(f"http://{shown}:{opened}/dashboard", server.run)


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
