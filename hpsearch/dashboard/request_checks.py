"""What a request asks for is checked before a view of optuna-dashboard sees it: those raise whatever they meet."""

import logging
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import bottle
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError

from hpsearch.errors import DatabaseError, first_line
from hpsearch.storage import dashboard_queries
from hpsearch.storage.dashboard_queries import find_outage
from hpsearch.storage.database import Database

log = logging.getLogger(__name__)

MAX_ID = 2**31 - 1
"""Of a study or trial in Optuna's tables."""

FIELDS: Mapping[str, Mapping[str, type]] = {
    "/api/studies/<study_id:int>/note": {"version": int, "body": str},
    "/api/studies/<study_id:int>/<trial_id:int>/note": {"version": int, "body": str},
    "/api/artifacts/<study_id:int>": {"file": str, "filename": str},
    "/api/artifacts/<study_id:int>/<trial_id:int>": {"file": str, "filename": str},
    "/api/trials/<trial_id:int>/tell": {"state": str},
}
"""What the body of a request has to hold, by the rule of its route."""

CONTENT_ROUTES = {*FIELDS, "/api/studies/<study_id:int>/plot/<plot_type>", "/csv/<study_id:int>"}
"""Where a ValueError says that what was asked for makes no sense: a file that is not base64, a plot of nothing."""


class RequestError(Exception):
    """A request that cannot be answered; `str(error)` says why in one line."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class RequestChecks:
    """A plugin of the dashboard's Bottle: it answers requests that make no sense with 4xx and a reason."""

    name, api = "hpsearch-requests", 2

    def __init__(self, database: Database) -> None:
        self._database = database

    def apply(self, callback: Callable[..., Any], route: bottle.Route) -> Callable[..., Any]:
        """Wrap the callback of a route; Bottle calls this for each."""

        def answer(**arguments: Any) -> Any:
            try:
                self._check(route, arguments)
                return callback(**arguments)
            except bottle.HTTPError as error:
                return _refuse(error.status_code, str(error.body))
            except bottle.HTTPResponse:  # a redirection
                raise
            except Exception as error:  # noqa: BLE001 - whatever it is, the answer is an error
                return _refuse(*_describe(error, route))

        return answer

    def _check(self, route: bottle.Route, arguments: Mapping[str, Any]) -> None:
        bottle.request.environ.setdefault("HTTP_ACCEPT_ENCODING", "")  # the views look it up without a default
        ids = {name: arguments.get(name) for name in ("study_id", "trial_id")}
        asked = {name: value for name, value in ids.items() if value is not None}
        if any(not 0 <= value <= MAX_ID for value in asked.values()):
            raise RequestError(404, _describe_ids(asked))
        if asked and not self._database.transact(lambda c: dashboard_queries.has_records(c, **ids)):
            raise RequestError(404, _describe_ids(asked))
        after = bottle.request.query.get("after")
        if after is not None and not re.fullmatch(r"[0-9]{1,9}", after):
            raise RequestError(400, "after is no number of trials")
        if route.method != "GET" and route.rule in FIELDS:
            body = _check_body(FIELDS[route.rule])
            if "values" in body:
                self._check_values(arguments["trial_id"], body["values"])

    def _check_values(self, trial_id: int, values: Any) -> None:
        """Raise where the values of a trial that is told are not those that its study has."""
        numbers = isinstance(values, list) and all(type(value) in {int, float} for value in values)
        wanted = self._database.transact(lambda c: dashboard_queries.count_objectives(c, trial_id))
        if not numbers or len(values) != wanted or not all(map(_is_finite, values)):
            raise RequestError(400, f"values has to be a list of {wanted} finite numbers")


def _check_body(fields: Mapping[str, type]) -> dict[str, Any]:
    try:
        body = bottle.request.json
    except RecursionError:
        raise RequestError(400, "the body is nested too deeply") from None
    if not isinstance(body, dict):
        raise RequestError(400, "the body has to be a JSON object, with its Content-Type")
    for field, kind in fields.items():
        if type(body.get(field)) is not kind:
            raise RequestError(400, f"the body has no {field}, or one of another type")
    return body


def _is_finite(number: float) -> bool:
    try:
        return math.isfinite(number)
    except OverflowError:  # an integer beyond all floats
        return False


def _describe_ids(ids: Mapping[str, int]) -> str:
    return f"there is no {' with '.join(f'{name[:-3]} {str(value)[:20]}' for name, value in ids.items())}"


def _describe(error: Exception, route: bottle.Route) -> tuple[int, str]:
    """Return the status and the reason of a request that failed; log what is not the request's fault."""
    if isinstance(error, RequestError):
        return error.status, str(error)
    if isinstance(error, UpdateFinishedTrialError):
        return 409, "the trial has ended"
    if isinstance(error, ValueError) and route.rule in CONTENT_ROUTES:
        return 400, first_line(error)
    outage = find_outage(error) if isinstance(error, StorageInternalError) else None
    if outage is None and isinstance(error, DatabaseError):
        outage = first_line(error)
    if outage is not None:
        log.error("the database does not answer: %s", outage)
        return 503, "the database does not answer"
    log.error("%s %s failed", route.method, route.rule, exc_info=error)
    return 500, "internal server error"


def _refuse(status: int, reason: str) -> dict[str, str]:
    bottle.response.status = status
    return {"reason": reason}
