"""docker-compose.yml and Dockerfile: what can be held to without a Docker engine.

`compose-spec.json` is the JSON schema of the Compose Specification (Apache License 2.0), unchanged.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tests.support.deployments import list_variables_read, parse

ROOT = Path(__file__).parents[2]
SCHEMA = json.loads(Path(__file__).with_name("compose-spec.json").read_text())
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
DOCKERFILE = (ROOT / "Dockerfile").read_text()
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = sorted(name for name in SERVICES if name != "postgres")


def faults(compose: dict[str, Any]) -> list[str]:
    errors = jsonschema.Draft201909Validator(SCHEMA).iter_errors(compose)
    return [f"{error.json_path}: {error.message}" for error in errors]


def variables_set() -> Iterator[str]:
    for service in SERVICES.values():
        yield from service.get("environment", {})
    yield from re.findall(r"^(?:ENV +| +)(\w+)=", DOCKERFILE, flags=re.MULTILINE)


def test_the_file_follows_the_compose_specification() -> None:
    """docker-compose.yml has no fault by the specification's own schema."""
    assert faults(COMPOSE) == []


def test_the_schema_finds_a_misspelt_key() -> None:
    """The schema that passes our file is one that refuses a wrong one."""
    assert faults({"services": {"worker": {"imagee": "hpsearch"}}})


def test_the_services_are_those_of_the_readme() -> None:
    """A database, a dashboard, a worker, and a study to start."""
    assert sorted(SERVICES) == ["dashboard", "postgres", "start-study", "worker"]


@pytest.mark.parametrize("service", OURS)
def test_each_command_line_is_one_the_command_takes(service: str) -> None:
    """A service's command parses, and is the command that the service is named after."""
    assert parse(SERVICES[service]["command"]) == service


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("hpsearch wrker --gpu 0", "no command 'wrker'"),
        ("hpsearch worker --gpuu 0", "No such option"),
        ("hpsearch worker --gpu none", "valid integer"),
    ],
)
def test_a_wrong_command_line_is_refused(line: str, reason: str) -> None:
    """The check above fails where a command, an option or a value is not one the command line takes."""
    with pytest.raises(Exception, match=reason):
        parse(line.split())


def test_each_variable_is_one_that_settings_reads() -> None:
    """No HPSEARCH_ variable in docker-compose.yml or the Dockerfile is misspelt or out of use."""
    ours = {name.removesuffix("_FILE") for name in variables_set() if name.startswith("HPSEARCH_")}
    assert ours == {"HPSEARCH_STORAGE", "HPSEARCH_DATA_DIR", "HPSEARCH_DASHBOARD_PASSWORD"}
    assert ours <= list_variables_read()


def test_only_the_dashboard_is_published_and_on_loopback() -> None:
    """Nothing can be reached from another host, the database included; the dashboard asks for its password."""
    assert {name: service["ports"] for name, service in SERVICES.items() if "ports" in service} == {
        "dashboard": ["127.0.0.1:8080:8080"]
    }
    password = SERVICES["dashboard"]["environment"]["HPSEARCH_DASHBOARD_PASSWORD_FILE"]
    assert password == "/run/secrets/dashboard_password"
    assert "--edit" not in SERVICES["dashboard"]["command"]


def test_every_secret_comes_from_a_file_that_git_ignores() -> None:
    """The passwords and the URL that holds one are in files that no commit carries."""
    assert SERVICES["postgres"]["environment"]["POSTGRES_PASSWORD_FILE"] == "/run/secrets/postgres_password"
    for name in OURS:
        assert SERVICES[name]["environment"]["HPSEARCH_STORAGE_FILE"] == "/run/secrets/storage_url"
    for service in SERVICES.values():
        named = {Path(value).name for key, value in service["environment"].items() if key.endswith("_FILE")}
        assert named == set(service["secrets"])
    for secret in COMPOSE["secrets"].values():
        assert Path(secret["file"]).parts[0] == "secrets"
    assert "secrets/" in (ROOT / ".gitignore").read_text().splitlines()
    secret_names = {name for name in variables_set() if re.search("PASSWORD|STORAGE", name)}
    assert {name for name in secret_names if not name.endswith("_FILE")} == set()
    assert "://" not in json.dumps(COMPOSE)


def test_a_worker_has_a_gpu_and_the_time_to_hand_its_trial_back() -> None:
    """The worker reserves an NVIDIA device and is not killed while it writes its checkpoint."""
    worker = SERVICES["worker"]
    (device,) = worker["deploy"]["resources"]["reservations"]["devices"]
    assert device["driver"] == "nvidia"
    assert "gpu" in device["capabilities"]
    assert worker["stop_grace_period"] == "60s"
    assert worker["init"] is True


def test_everything_waits_for_a_healthy_database() -> None:
    """Postgres 18 has a health check and keeps its data in a volume; nothing starts before it answers."""
    postgres = SERVICES["postgres"]
    assert postgres["image"] == "postgres:18"
    assert postgres["volumes"] == ["postgres:/var/lib/postgresql"]
    assert postgres["healthcheck"]["test"][1] == "pg_isready"
    for name in OURS:
        assert SERVICES[name]["depends_on"] == {"postgres": {"condition": "service_healthy"}}


def test_a_study_is_started_only_when_asked_for() -> None:
    """`docker compose up` starts no study, and a finished start-study is not run again."""
    assert SERVICES["start-study"]["profiles"] == ["start-study"]
    assert SERVICES["start-study"]["restart"] == "no"


def test_the_image_copies_only_what_its_build_context_has() -> None:
    """Each path the Dockerfile copies exists, and .dockerignore lets these through and nothing else."""
    copies = re.findall(r"^COPY (.+)$", DOCKERFILE, flags=re.MULTILINE)
    copied = {source for line in copies for source in line.split()[:-1]}
    let_through = set(re.findall(r"^!(.+)$", (ROOT / ".dockerignore").read_text(), flags=re.MULTILINE))
    assert copied == let_through
    assert [path for path in sorted(copied) if not (ROOT / path).exists()] == []


def test_the_image_runs_as_a_user_without_rights() -> None:
    """The last USER of the Dockerfile is not root, and a number, of which Kubernetes can tell that."""
    users = re.findall(r"^USER (\w+)$", DOCKERFILE, flags=re.MULTILINE)
    assert users
    assert int(users[-1]) > 0
