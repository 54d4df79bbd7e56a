"""The Optuna dashboard over our storage, on a WSGI server made for the open air."""

import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import optuna
import optuna_dashboard
import waitress
from optuna.exceptions import StorageInternalError
from optuna.trial import FrozenTrial
from optuna_dashboard import _app, _bottle_util, _inmemory_cache, _serializer
from sqlalchemy.exc import OperationalError

from hpsearch.dashboard import access
from hpsearch.dashboard.access import AccessControl
from hpsearch.dashboard.bulk_storage import BulkStorage
from hpsearch.dashboard.plot_artifacts import PlotArtifactStore
from hpsearch.dashboard.plugin import DashboardPlugin
from hpsearch.errors import DatabaseError, UsageError
from hpsearch.storage.database import STATEMENT_TIMEOUT, Database, make_engine_options

THREADS = 8

LONGEST, NOTHING = 128 << 20, 1 << 20
"""Bytes of a request, which the server takes in before we are asked: with a file in it, or to be refused anyway."""


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
    served = AccessControl(build_application(database), edit, password)
    # A page asks for more at once than there are threads: that its requests wait is no news.
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)
    try:
        server = waitress.create_server(
            served, host=host, port=port, threads=THREADS, max_request_body_size=LONGEST if edit else NOTHING
        )
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error).rstrip(".")
        raise UsageError(f"cannot listen on {host}:{port} ({reason}): choose another --host or --port") from None
    # A name such as localhost may stand for several addresses; the server has a socket for each, and a list of them.
    addresses = getattr(server, "effective_listen", None) or [(server.effective_host, server.effective_port)]
    address, opened = addresses[0]
    shown = f"[{address}]" if ":" in address else address
    return DashboardServer(f"http://{shown}:{opened}/dashboard", server.run)


def build_application(database: Database) -> Any:
    """The WSGI application, without its guard.

    It has one store for all studies: what is attached to them is in Postgres, whatever place their models have.
    The storage is a cached one: given a bare URL, the dashboard reads every trial again every few seconds.

    Raises:
        DatabaseError: Optuna's tables are of another version than Optuna.
    """
    try:
        backend = BulkStorage(
            database.url.render_as_string(hide_password=False),
            engine_kwargs=_engine_options(),
            skip_table_creation=True,
        )
    except RuntimeError as error:
        raise DatabaseError(f"Optuna's tables in {database.name} cannot be used: {error}") from None
    served = optuna_dashboard.wsgi(optuna.storages.get_storage(backend), artifact_store=PlotArtifactStore(database))
    served.install(DashboardPlugin(database))
    return served


def _engine_options() -> dict[str, Any]:
    """A connection for each thread, and patience: over thousands of trials, Optuna thinks within a transaction.

    It only reads there, so nobody waits for it.
    """
    options: dict[str, Any] = {**make_engine_options("hpsearch dashboard"), "pool_size": THREADS}
    patience = f" -c idle_in_transaction_session_timeout={STATEMENT_TIMEOUT}"
    options["connect_args"] = {**options["connect_args"], "options": options["connect_args"]["options"] + patience}
    return options


# Four faults of optuna-dashboard 0.21 that our studies meet, mended where it looks things up.

_seen = _inmemory_cache._CachedExtraStudyProperty
_update_search_space = _seen._update_search_space
_serialize_trial = _serializer.serialize_frozen_trial
_importance = _app.get_param_importance_from_trials_cache


def _pass_over_unsampled(self: Any, trial: FrozenTrial) -> None:
    """A trial still waiting has no parameters yet, and is no reason to forget those that all others have.

    It would be for good: what is in every trial is only ever narrowed down, and is what parallel coordinates show.
    """
    if trial.distributions:
        _update_search_space(self, trial)


def _importance_of_none(cache: Any, storage: Any, study_id: int, objective: int, trials: list[FrozenTrial]) -> Any:
    """Nothing searched, no importance: the dashboard would divide by the number of hyperparameters."""
    searched = any(trial.distributions for trial in trials)
    return _importance(cache, storage, study_id, objective, trials) if searched else []


def _with_constraints(study_id: int, trial: FrozenTrial, attributes: dict[str, Any]) -> dict[str, Any]:
    """Optuna 5 gives each constraint a name; the dashboard knows of the older nameless ones only."""
    told: dict[str, Any] = _serialize_trial(study_id, trial, attributes)
    return {**told, "constraints": told["constraints"] or list(trial.constraints.values())}


def _tell_outage(record: logging.LogRecord) -> bool:
    """A database that does not answer is one line a request: not a traceback that speaks of invalid data."""
    error = sys.exc_info()[1]
    if isinstance(error, StorageInternalError) and isinstance(error.__cause__, OperationalError):
        reason = str(error.__cause__.orig).strip().splitlines() or ["no reason given"]
        record.msg, record.args = "the database does not answer: %s", (reason[0],)
    return True


_seen._update_search_space = _pass_over_unsampled
_serializer.serialize_frozen_trial = _with_constraints
_app.get_param_importance_from_trials_cache = _importance_of_none
_bottle_util.logger.addFilter(_tell_outage)
