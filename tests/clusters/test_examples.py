"""The files in docs/clusters.md for engines that hpsearch has no command for."""

import json
import re
import shlex
from configparser import RawConfigParser
from pathlib import Path

import pytest
import yaml
from botocore.session import get_session
from botocore.validate import ParamValidator

from hpsearch.clusters import worker_commands
from tests.support.deployments import list_variables_read, parse

PAGE = (Path(__file__).parents[2] / "docs" / "clusters.md").read_text()
UNFINISHED = ["--unfinished-code", str(worker_commands.UNFINISHED)]


def find_block(language: str) -> str:
    """Return the page's one block of code in that language."""
    (block,) = re.findall(rf"^```{language}\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
    return str(block)


def find_command(text: str) -> list[str]:
    """Return the worker's command line in a script."""
    (command,) = re.findall(r"hpsearch worker[^\"\n]*", text)
    return shlex.split(command)


def test_skypilot_task() -> None:
    """Its worker's command parses, and is started again with the code by which it says that it was told to leave."""
    task = yaml.safe_load(find_block("yaml"))
    command = find_command(task["run"])
    assert parse(command) == "worker"
    assert task["resources"]["job_recovery"]["recover_on_exit_codes"] == [worker_commands.UNFINISHED]
    assert " ".join(UNFINISHED) in task["run"]
    assert set(task["secrets"]) <= list_variables_read()


def test_batch_job_definition() -> None:
    """AWS's own description of the call takes it; its worker is started again by the same code."""
    definition = json.loads(find_block("json"))
    shape = get_session().get_service_model("batch").operation_model("RegisterJobDefinition").input_shape
    assert not ParamValidator().validate(definition, shape).has_errors()
    assert ParamValidator().validate(definition | {"misspelt": 1}, shape).has_errors()
    container = definition["containerProperties"]
    assert parse(find_command(container["command"][-1])) == "worker"
    assert {secret["name"] for secret in container["secrets"]} <= list_variables_read()
    codes = [rule.get("onExitCode") for rule in definition["retryStrategy"]["evaluateOnExit"]]
    assert str(worker_commands.UNFINISHED) in codes


def test_systemd_unit() -> None:
    """Its command parses, its variables are known, and it has the grace that a pod has."""
    unit = RawConfigParser(strict=False)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string(find_block("ini"))
    program, *arguments = shlex.split(unit["Service"]["ExecStart"].replace("%i", "0"))
    assert Path(program).name == parse(["hpsearch", *arguments]).replace("worker", "hpsearch")
    named = re.findall(r'^Environment="?(HPSEARCH_\w+?)(?:_FILE)?=', find_block("ini"), flags=re.MULTILINE)
    assert set(named) == {"HPSEARCH_STORAGE", "HPSEARCH_JOB"}
    assert set(named) <= list_variables_read()


@pytest.mark.parametrize("key", ["storage", "dashboard-password", "password", "userName", "host", "port", "dbName"])
def test_secret_of_the_page_has_what_the_manifests_read(key: str) -> None:
    """Each key that a manifest names is in the command that makes the secret."""
    prefix = "" if key in ("storage", "dashboard-password") else "backlog-"
    assert re.search(rf"--from-(file|literal)={prefix}{key}\b", PAGE)
