"""request_checks.py: whatever is asked for, the answer is 2xx, 3xx or 4xx, and the log has no traceback."""

import json
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from hpsearch.dashboard.access import AccessControl
from hpsearch.outcomes import TrialOutcome
from hpsearch.storage.attempts import Attempt
from hpsearch.storage.database import Database
from hpsearch.storage.studies import Study
from tests.support.dashboard_client import DashboardClient
from tests.support.small_study import finish_trial

JSON = {"CONTENT_TYPE": "application/json"}
FILE = {"file": "data:text/plain;base64,eA==", "filename": "x.txt"}

REFUSED: list[tuple[str, str, str, Any, int]] = [
    ("GET", "/static/../x", "", None, 403),
    ("GET", "/static/../../../../../etc/passwd", "", None, 403),
    ("GET", "/static/x\0.js", "", None, 404),
    ("GET", "/static/" + "x" * 5000, "", None, 404),
    ("GET", "/artifacts/99/0123abcd", "", None, 404),
    ("GET", "/artifacts/99/x", "", None, 404),
    ("GET", "/artifacts/1/99/0123abcd", "", None, 404),
    ("GET", "/artifacts/1/2/0123abcd", "", None, 404),
    ("GET", "/api/studies/1", "after=x", None, 400),
    ("GET", "/api/studies/1", "after=-1", None, 400),
    ("GET", "/api/studies/1", "after=" + "9" * 5000, None, 400),
    ("GET", "/api/studies/99999999999999999999999", "", None, 404),
    ("GET", "/api/studies/-1", "", None, 404),
    ("GET", "/api/studies/99/param_importances", "", None, 404),
    ("GET", "/api/studies/99/plot/contour", "", None, 404),
    ("GET", "/api/studies/1/plot/x", "", None, 404),
    ("GET", "/api/studies/1/plot/pareto_front", "", None, 400),
    ("GET", "/csv/99", "", None, 404),
    ("GET", "/csv/1", "trial_ids=1,x", None, 400),
    ("GET", "/csv/1", "trial_ids=77", None, 404),
    ("PUT", "/api/studies/1/note", "", [], 400),
    ("PUT", "/api/studies/1/note", "", {}, 400),
    ("PUT", "/api/studies/1/note", "", b"[" * 5000 + b"]" * 5000, 400),
    ("PUT", "/api/studies/1/note", "", b'{"a":' * 5000 + b"1" + b"}" * 5000, 400),
    ("PUT", "/api/studies/1/note", "", {"version": "x", "body": "x"}, 400),
    ("PUT", "/api/studies/1/note", "", {"version": 1, "body": {}}, 400),
    ("PUT", "/api/studies/99/note", "", {"version": 1, "body": "x"}, 404),
    ("PUT", "/api/studies/1/99/note", "", {"version": 1, "body": "x"}, 404),
    ("PUT", "/api/studies/1/note", "", {"version": 7, "body": "x"}, 409),
    ("POST", "/api/artifacts/1", "", {}, 400),
    ("POST", "/api/artifacts/1", "", {**FILE, "file": "x"}, 400),
    ("POST", "/api/artifacts/1", "", {**FILE, "file": "data:x;base64,A"}, 400),
    ("POST", "/api/artifacts/1", "", {**FILE, "filename": 7}, 400),
    ("POST", "/api/artifacts/99", "", FILE, 404),
    ("POST", "/api/artifacts/1/1", "", FILE, 400),
    ("DELETE", "/api/artifacts/1/0123abcd", "", None, 404),
    ("DELETE", "/api/artifacts/99/0123abcd", "", None, 404),
    ("POST", "/api/trials/99/tell", "", {"state": "Fail"}, 404),
    ("POST", "/api/trials/1/tell", "", {"state": "Fail"}, 409),
    ("POST", "/api/trials/2/tell", "", {"state": 7}, 400),
    ("POST", "/api/trials/2/tell", "", {"state": "x"}, 400),
    ("POST", "/api/trials/2/tell", "", {"state": "Complete"}, 400),
    *(
        ("POST", "/api/trials/2/tell", "", {"state": "Complete", "values": values}, 400)
        for values in ([], [1, 2], "1", ["1"], [None], [float("nan")], [10**400], [float("inf")], {"0": 1}, [True])
    ),
    ("PATCH", "/dashboard", "", None, 405),
    ("GET", "/nothing", "", None, 404),
]
"""Method, path, query, body, and the status that it is answered with."""


@pytest.fixture
def asked(
    database: Database, started: Callable[..., Study], begin: Callable[..., Attempt], client: DashboardClient
) -> Iterator[DashboardClient]:
    """A client of a dashboard with study 1, whose trial 1 is complete and whose trial 2 is running."""
    study = started()
    finish_trial(database, begin(study, 0.5), TrialOutcome.COMPLETED)
    assert (study.study_id, begin(study).trial_id) == (1, 2)
    yield client
    assert client.trials(study)[1]["state"] == "Running"


def test_requests_that_make_no_sense_are_4xx(asked: DashboardClient, caplog: pytest.LogCaptureFixture) -> None:
    """Unknown ids, odd numbers, paths out of the tree and bodies of another shape are refused with a reason."""
    for method, path, query, body, status in REFUSED:
        content = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        answered, headers, answer = asked.exchange(method, path, query, content, HTTP_HOST="localhost")
        assert (method, path[:80], body, answered) == (method, path[:80], body, status)
        if headers["Content-Type"] == "application/json":
            assert json.loads(answer)["reason"]
    assert caplog.messages == []


def test_nothing_that_a_program_sends_is_500(
    asked: DashboardClient, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """Thousands of requests put together from odd parts, for every route: none ends in a fault of the server."""
    chance = random.Random(15)
    access = AccessControl(edit=True)
    for _ in range(2000):
        method, path, query, content, headers = compose(asked.application.routes, chance)
        environ = {"REQUEST_METHOD": method, "PATH_INFO": path, "HTTP_HOST": "localhost"}
        if access.find_refusal(environ) is not None:
            continue
        status, _, answer = asked.exchange(method, path, query, content, **headers)
        assert status < 500, (method, path, query, content, headers, answer)
    assert caplog.messages == []
    assert capfd.readouterr() == ("", "")


ODD = ["", "0", "-1", "99", "9" * 30, "9" * 5000, "x", "%00", "\0", "..", "/", "\xff", "\xc3\xa9", "'", "a" * 5000]
BODIES: list[Any] = [None, 0, "x", [], {}, [[]], {"": None}, float("nan"), 10**400, True]
VALUES = [*BODIES, "\0", "\udcff", "x" * 3000, -1, 1e400, [1.5], [None], {"x": {}}, "data:,", "data:x;base64,="]
FIELDS = ["version", "body", "file", "filename", "state", "values", "study_name", "directions", "user_attrs"]


def compose(routes: list[Any], chance: random.Random) -> tuple[str, str, str, bytes, dict[str, str]]:
    """A request for a route, or nearly; trial 2 is told no end."""
    route = chance.choice(routes)
    method = chance.choice([route.method] * 6 + ["HEAD", "OPTIONS"])
    parts = [chance.choice(["1", "2", *ODD]) if part.startswith("<") else part for part in split(route.rule)]
    path = "".join(parts) + (chance.choice(ODD) if chance.random() < 0.2 else "")
    query = chance.choice(
        ["", "after=", "after=1", "after=x", "trial_ids=", "trial_ids=a", "trial_ids=0,1", "&&=%zz;=", "after=%ff"]
    )
    body = chance.choice(BODIES)
    if chance.random() < 0.7:
        body = {field: chance.choice(VALUES) for field in chance.sample(FIELDS, chance.randrange(1, 7))}
    content = json.dumps(body).encode() if chance.random() < 0.9 else chance.randbytes(40)
    headers = chance.choice([{}, {}, JSON, {"CONTENT_TYPE": "multipart/form-data; boundary=x"}, {"CONTENT_TYPE": ""}])
    headers = {**headers, **chance.choice([{}, {"HTTP_RANGE": "bytes=9-1,x"}, {"HTTP_IF_MODIFIED_SINCE": "x"}])}
    return method, path, query, content, headers


def split(rule: str) -> list[str]:
    """The parts of a rule, each placeholder one."""
    parts, rest = [], rule
    while "<" in rest:
        fixed, _, rest = rest.partition("<")
        name, _, rest = rest.partition(">")
        parts += [fixed, f"<{name}"]
    return [*parts, rest]
