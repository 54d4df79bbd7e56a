"""The dashboard's API over our rows, and the command that serves it."""

import base64
import json
import re
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import optuna
import pytest
from sqlalchemy import text

from hpsearch.dashboard import server
from hpsearch.errors import DatabaseError, UsageError
from hpsearch.metrics import Direction
from hpsearch.outcomes import TrialOutcome
from hpsearch.sampling.readonly_storage import ReadOnlyStorage
from hpsearch.storage import attempts
from hpsearch.storage.attempts import Attempt
from hpsearch.storage.database import Database, parse_url
from hpsearch.storage.studies import Study
from tests.support import simulation
from tests.support.commands import run_dashboard
from tests.support.dashboard_client import DashboardClient
from tests.support.small_study import finish_trial, metrics

Started = Callable[..., Study]
ODD = '<b>"x"</b> / ünï 日本 %s'
NAN = float("nan")
SECRET = "pä55 wörd:日本"


def shown(trial: dict[str, Any]) -> dict[str, str]:
    """A trial's parameters as the dashboard writes them."""
    return {param["name"]: param["param_external_value"] for param in trial["params"]}


def test_every_kind_of_trial_is_served_as_it_is(
    database: Database, started: Started, begin: Callable[..., Attempt], client: DashboardClient
) -> None:
    """Complete, diverged, failed, running and waiting trials, with parameters, epochs, values and attributes."""
    points = [{"optimizer": "momentum", "learning_rate": 0.1, "momentum": 0.75}]
    points += [{"optimizer": "sgd", "learning_rate": value} for value in (0.01, 0.001, 0.002, 0.003)]
    study = started(budget={"trials": 6, "epochs": 3}, baseline=points)
    finish_trial(database, begin(study, 0.1234567890123456, 0.3, 0.2), TrialOutcome.COMPLETED, weights=7)
    finish_trial(database, begin(study, 0.25, NAN), TrialOutcome.DIVERGED, detail="the loss is not finite")
    finish_trial(database, begin(study), TrialOutcome.ERROR, traceback="ValueError: no")
    begin(study, 0.5)
    answer = client.study(study)
    trials = answer["trials"]
    assert [trial["state"] for trial in trials] == ["Complete", "Pruned", "Fail", "Running", "Waiting"]
    assert shown(trials[0]) == {"learning_rate": "0.1", "optimizer": "momentum", "momentum": "0.75"}
    assert shown(trials[1]) == {"learning_rate": "0.01", "optimizer": "sgd"}
    assert trials[0]["intermediate_values"] == [
        {"step": 1, "value": 0.1234567890123456},
        {"step": 2, "value": 0.3},
        {"step": 3, "value": 0.2},
    ]
    assert trials[1]["intermediate_values"][1] == {"step": 2, "value": "nan"}
    assert trials[0]["values"] == [0.3]
    assert {"key": "weights", "value": "7"} in trials[0]["user_attrs"]
    assert {"key": "outcome", "value": "diverged"} in trials[1]["user_attrs"]
    assert [trial["number"] for trial in answer["best_trials"]] == [0]
    assert answer["directions"] == ["maximize"]
    assert answer["objective_names"] == ["val_accuracy"]
    assert answer["has_intermediate_values"] is True
    assert all(trials[number]["datetime_complete"] for number in (0, 1, 2)), "the timeline draws from these"
    assert all(trial["datetime_start"] for trial in trials[:4])


def test_studies_are_listed_under_the_names_they_have(started: Started, client: DashboardClient) -> None:
    """Markup, slashes and any script survive in a name; a study started later is listed too."""
    started(study={"name": ODD})
    assert [each["study_name"] for each in client.get("/api/studies")[1]["study_summaries"]] == [ODD]
    later = started(study={"name": "later"})
    assert [each["study_name"] for each in client.get("/api/studies")[1]["study_summaries"]] == [ODD, "later"]
    assert client.study(later)["name"] == "later"


def test_importance_names_every_unconditional_hyperparameter(
    database: Database, started: Started, begin: Callable[..., Attempt], client: DashboardClient
) -> None:
    """The one that decides the value comes first, its interval and the epoch in its label."""
    rates = [10 ** (-4 + 0.3 * step) for step in range(10)]
    points = [{"optimizer": ("sgd", "adam")[n % 2], "learning_rate": rate} for n, rate in enumerate(rates)]
    space = {"learning_rate": {"low": 1e-4, "high": 1e-1, "log": True}, "optimizer": ["sgd", "adam"]}
    study = started(budget={"trials": 11, "epochs": 3}, space=space, baseline=points)
    assert client.importance(study) == []
    for step in range(len(rates)):
        finish_trial(database, begin(study, 0.2 + 0.06 * step), TrialOutcome.COMPLETED)
    answer = client.importance(study)
    assert [bar["name"].split(" at epoch 3: ")[0] for bar in answer] == ["learning_rate", "optimizer"]
    assert answer[0]["importance"] > answer[1]["importance"] >= 0
    assert re.search(r"at epoch 3: [01]\.\d\d to [01]\.\d\d$", answer[0]["name"])


def test_running_trial_is_followed_to_its_end(
    database: Database, started: Started, begin: Callable[..., Attempt], client: DashboardClient
) -> None:
    """Each epoch, the end and the value of a trial that was seen running are there on the next look."""
    study = started()
    first = begin(study, 0.1)
    second = begin(study, 0.2)
    assert [trial["state"] for trial in client.trials(study)] == ["Running", "Running"]
    finish_trial(database, second, TrialOutcome.COMPLETED)
    assert [trial["state"] for trial in client.trials(study)] == ["Running", "Complete"]
    history = ReadOnlyStorage(study.study_id, Direction.MAXIMIZE)
    database.transact(lambda c: simulation.record(c, first, metrics(2, 0.4), history))
    assert [value["step"] for value in client.trials(study)[0]["intermediate_values"]] == [1, 2]
    finish_trial(database, first, TrialOutcome.COMPLETED, weights=7)
    ended = client.trials(study)[0]
    assert (ended["state"], ended["values"]) == ("Complete", [0.4])
    assert {"key": "weights", "value": "7"} in ended["user_attrs"]
    begin(study, 0.3)
    assert [trial["state"] for trial in client.trials(study)] == ["Complete", "Complete", "Running"]


def test_trials_that_all_end_alike_have_no_importance(
    database: Database, started: Started, begin: Callable[..., Attempt], client: DashboardClient
) -> None:
    """A search that stayed at chance throughout is answered, without an error and without a bar."""
    study = started()
    for _ in range(3):
        finish_trial(database, begin(study, 0.1), TrialOutcome.COMPLETED)
    assert client.importance(study) == []


def test_study_deleted_elsewhere_is_not_found(storage: str, started: Started, client: DashboardClient) -> None:
    """A study that another program deleted is answered with 404, and the others go on being served."""
    gone, stays = started(), started(study={"name": "stays"})
    client.study(gone)
    optuna.delete_study(study_name=gone.name, storage=parse_url(storage, "").render_as_string(hide_password=False))
    assert client.get(f"/api/studies/{gone.study_id}")[0] == 404
    assert client.study(stays)["name"] == "stays"


def test_lost_connections_are_replaced(database: Database, started: Started, client: DashboardClient) -> None:
    """After Postgres threw out every connection, as in a restart, the next request is answered."""
    study = started()
    client.study(study)
    query = "select pg_terminate_backend(pid, 10000) from pg_stat_activity where application_name = :name"
    ended = database.transact(lambda c: c.scalars(text(query), {"name": "hpsearch dashboard"}).all())
    assert ended
    assert all(ended)
    assert client.study(study)["name"] == "small"


def test_all_threads_are_answered_at_once(started: Started, database: Database, client: DashboardClient) -> None:
    """As many requests as there are threads find a connection each, and no more are opened."""
    study = started()
    ready = threading.Barrier(server.THREADS, timeout=30)
    statuses: list[int] = []

    def ask() -> None:
        ready.wait()
        statuses.extend(client.get(f"/api/studies/{study.study_id}")[0] for _ in range(5))

    threads = [threading.Thread(target=ask) for _ in range(server.THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert statuses == [200] * (5 * server.THREADS)
    query = "select count(*) from pg_stat_activity where application_name = :name"
    opened = database.transact(lambda c: c.scalar(text(query), {"name": "hpsearch dashboard"}))
    assert opened <= server.THREADS


def test_tables_of_another_optuna_are_refused(database: Database) -> None:
    """Where Optuna's tables have another version, one line says so before anything is served."""
    database.transact(lambda c: c.execute(text("update public.alembic_version set version_num = 'v2.6.0.a'")))
    with pytest.raises(DatabaseError, match=r"Optuna's tables in .* cannot be used") as refused:
        server.build_application(database)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("host", ["no.such.host.invalid", "192.0.2.1", "", "a b"])
def test_address_that_is_not_ours_is_a_usage_error(database: Database, host: str) -> None:
    """A host that cannot be listened on is named in one line with what to do."""
    with pytest.raises(UsageError, match=r"cannot listen on .*: choose another --host or --port") as refused:
        server.listen(database, host, 0, password=SECRET)
    assert "\n" not in str(refused.value)
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize("host", ["", "0.0.0.0", "::", "*", "192.0.2.1", "no.such.host.invalid", "a\nb"])
def test_address_that_others_reach_wants_a_password(database: Database, host: str) -> None:
    """Without a password nothing but this machine's own address is listened on; one line says what to set."""
    wanted = r"others can reach .*: set HPSEARCH_DASHBOARD_PASSWORD or HPSEARCH_DASHBOARD_PASSWORD_FILE"
    with pytest.raises(UsageError, match=wanted) as refused:
        server.listen(database, host, 0)
    assert "\n" not in str(refused.value)


def test_taken_port_is_a_usage_error(database: Database) -> None:
    """A port in use is named, with the system's reason."""
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=rf"cannot listen on 127.0.0.1:{port} \(Address already in use\)"):
            server.listen(database, "127.0.0.1", port)


def test_name_of_two_addresses_is_listened_on(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name such as localhost, which may stand for two addresses, is shown with the first."""
    two = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0)) for address in ("127.0.0.1", "127.0.0.2")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: two)
    assert re.fullmatch(r"http://127\.0\.0\.1:[1-9]\d*/dashboard", server.listen(database, "both", 0).url)


def fetch(url: str) -> str:
    """The page at `url`."""
    return ask("GET", url)[1]


def ask(method: str, url: str, body: Any = None, **headers: str) -> tuple[int, str]:
    """Status and content of what is answered."""
    data = None if body is None else json.dumps(body).encode()
    sent = {"Content-Type": "application/json", **headers}
    request = urllib.request.Request(url, data, sent, method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return int(answer.status), str(answer.read().decode())
    except urllib.error.HTTPError as refused:
        return refused.code, refused.read().decode()


@pytest.mark.slow
@pytest.mark.parametrize("ender", [signal.SIGTERM, signal.SIGINT])
def test_command_ends_in_order_when_told_to(scratch: Path, ender: signal.Signals) -> None:
    """SIGTERM and Ctrl-C end it with 0 and without a word more, and its embedded server is put down."""
    with run_dashboard(XDG_DATA_HOME=str(scratch)) as (running, url):
        assert "<title>Optuna Dashboard</title>" in fetch(url)
        assert list(scratch.rglob("postmaster.pid"))
        running.send_signal(ender)
        output = running.communicate(timeout=60)
    assert (running.returncode, *output) == (0, "", "")
    assert not list(scratch.rglob("postmaster.pid"))


@pytest.mark.slow
@pytest.mark.parametrize("ender", [signal.SIGHUP, signal.SIGUSR1])
def test_command_outlives_whoever_read_its_lines(storage: str, ender: signal.Signals) -> None:
    """It serves on where nobody reads its stderr, and ends in order when its terminal or a batch system ends it."""
    with run_dashboard("--storage", storage) as (running, url):
        assert running.stderr is not None
        running.stderr.close()
        assert "<title>Optuna Dashboard</title>" in fetch(url)
        running.send_signal(ender)
        running.send_signal(ender)
        assert running.wait(60) == 0


@pytest.mark.slow
def test_command_serves_the_storage_it_was_given(storage: str, started: Started) -> None:
    """`--storage URL` is what the address it prints shows, and the line holds no password."""
    started(study={"name": ODD})
    with run_dashboard("--storage", storage) as (_, url):
        answer = json.loads(fetch(url.replace("/dashboard", "/api/studies")))
        assert [each["study_name"] for each in answer["study_summaries"]] == [ODD]


def paths(study: Study, trial_id: int) -> list[tuple[str, str, Any]]:
    """What the dashboard's pages can ask for that changes something."""
    study_id, file = study.study_id, {"file": "data:text/plain;base64,eA==", "filename": "x.txt"}
    return [
        ("DELETE", f"/api/studies/{study_id}", {"remove_associated_artifacts": True}),
        ("POST", f"/api/studies/{study_id}/rename", {"study_name": "other"}),
        ("POST", "/api/studies", {"study_name": "other", "directions": ["maximize"]}),
        ("PUT", f"/api/studies/{study_id}/note", {"version": 1, "body": "noted"}),
        ("PUT", f"/api/studies/{study_id}/{trial_id}/note", {"version": 1, "body": "noted"}),
        ("POST", f"/api/trials/{trial_id}/tell", {"state": "Fail"}),
        ("POST", f"/api/trials/{trial_id}/user-attrs", {"user_attrs": {"a": 1}}),
        ("POST", f"/api/artifacts/{study_id}", file),
        ("POST", f"/api/artifacts/{study_id}/{trial_id}", file),
    ]


def content(database: Database) -> list[Any]:
    """Every row of Optuna's that the dashboard could change, and the files."""
    queries = [
        "select study_id, study_name from studies",
        "select trial_id, study_id, state::text from trials",
        "select study_id, key, value_json from study_system_attributes",
        "select trial_id, key, value_json from trial_user_attributes",
        "select trial_id, key, value_json from trial_system_attributes",
        "select key from hpsearch.files",
    ]
    return [sorted(map(tuple, database.transact(lambda c: c.execute(text(query)).all()))) for query in queries]


@pytest.mark.slow
def test_command_is_read_only(
    storage: str, database: Database, started: Started, begin: Callable[..., Attempt]
) -> None:
    """Nothing that a page or a program asks for changes a row, and the reason says how to have it."""
    study = started()
    attempt = begin(study, 0.5)
    before = content(database)
    with run_dashboard("--storage", storage) as (_, url):
        address = url.removesuffix("/dashboard")
        for method, path, body in paths(study, attempt.trial_id):
            status, answer = ask(method, address + path, body)
            assert (method, path, status) == (method, path, 403)
            assert "--edit" in json.loads(answer)["reason"]
        assert ask("GET", address + "/api/studies", Host="rebound.example:80")[0] == 403
        assert ask("GET", address + "/api/studies")[0] == 200
    assert content(database) == before


@pytest.mark.slow
def test_command_edits_what_breaks_nothing(
    storage: str, database: Database, started: Started, begin: Callable[..., Attempt]
) -> None:
    """With --edit notes, files and the end of a trial are stored; the study stays, under its name."""
    study = started()
    attempt = begin(study, 0.5)
    with run_dashboard("--storage", storage, "--edit") as (_, url):
        address = url.removesuffix("/dashboard")
        elsewhere = ask("PUT", f"{address}/api/studies/{study.study_id}/note", {}, Origin="http://evil.example")
        assert elsewhere[0] == 403
        *requests, upload_study, upload_trial = paths(study, attempt.trial_id)
        answers = [ask(*each) for each in [(m, address + path, body) for m, path, body in (upload_trial, *requests)]]
        assert [status for status, _ in answers] == [201, 403, 403, 403, 200, 200, 200, 403]
        assert "hpsearch delete NAME" in json.loads(answers[1][1])["reason"]
        status, answer = ask("POST", address + upload_study[1], upload_study[2])
        assert status == 201
        uploaded = f"/artifacts/{study.study_id}/{json.loads(answer)['artifact_id']}"
        assert fetch(address + uploaded) == "x"
        assert ask("DELETE", address + "/api" + uploaded) == (200, "{}")
        (listed,) = json.loads(fetch(address + "/api/studies"))["study_summaries"]
        assert listed["study_name"] == study.name
        shown = json.loads(fetch(f"{address}/api/studies/{study.study_id}"))
        assert shown["note"]["body"].endswith("noted")
        assert shown["trials"][0]["note"]["body"] == "noted"
        assert shown["trials"][0]["state"] == "Fail"
    with pytest.raises(attempts.LostError):
        database.transact(lambda c: attempts.fence(c, attempt))


@pytest.mark.slow
def test_command_asks_for_its_password_everywhere(storage: str, started: Started, tmp_path: Path) -> None:
    """On every address, with a password from a file: pages, data and changes want it; no output holds it."""
    study = started()
    (tmp_path / "password").write_text(SECRET + "\n")
    options = {"HPSEARCH_DASHBOARD_PASSWORD_FILE": str(tmp_path / "password")}
    known = {"Authorization": "Basic " + base64.b64encode(f"me:{SECRET}".encode()).decode()}
    with run_dashboard("--storage", storage, "--host", "0.0.0.0", "--edit", **options) as (running, url):
        address = url.replace("0.0.0.0", "127.0.0.1").removesuffix("/dashboard")
        asked = [("GET", "/", None), ("GET", "/dashboard", None), *paths(study, 1)]
        for method, path, body in asked:
            assert ask(method, address + path, body)[0] == 401
        for method, path, body in asked[:9]:  # after ten an address has to wait
            assert ask(method, address + path, body, Authorization="Basic bWU6d3Jvbmc=")[0] == 401
        assert ask("GET", address + "/api/studies", **known, Host="any.example")[0] == 200
        assert ask("DELETE", f"{address}/api/studies/{study.study_id}", **known)[0] == 403
        running.send_signal(signal.SIGTERM)
        output = running.communicate(timeout=60)
    assert output == ("", "")


@pytest.mark.slow
@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_command_without_password_refuses_to_be_reached(storage: str, host: str) -> None:
    """One line that says what to set, and the exit code of bad usage."""
    done = subprocess.run(
        [sys.executable, "-m", "hpsearch.cli.main", "dashboard", "--storage", storage, "--port", "0", "--host", host],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert "set HPSEARCH_DASHBOARD_PASSWORD or HPSEARCH_DASHBOARD_PASSWORD_FILE" in line
