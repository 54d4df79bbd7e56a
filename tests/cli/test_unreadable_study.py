"""A study of a newer hpsearch, as a user meets it on the command line."""

import json
from collections.abc import Callable

import pytest
from sqlalchemy import text

from hpsearch.errors import ExitCode
from hpsearch.storage.database import Database
from hpsearch.storage.studies import Study
from tests.support.commands import hpsearch, one_line

LINE = "made by a newer hpsearch: upgrade this one"


@pytest.mark.tensorflow
def test_others_are_served_and_it_can_be_removed(
    database: Database, storage: str, started: Callable[..., Study], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is listed with a line, a worker says so once and trains the other study, and it is controlled by its name."""
    monkeypatch.setenv("HPSEARCH_STORAGE", storage)
    started(study={"name": "good"}, budget={"trials": 2, "epochs": 1}, fixed={"filters": 8, "dense_units": 16})
    newer = started(study={"name": "newer", "priority": 9})
    change = "update hpsearch.studies set spec = :spec where study_id = :study_id"
    spec = json.dumps({**newer.spec.to_json(), "sampler": {"name": "nsga", "options": {}}})
    database.transact(lambda c: c.execute(text(change), {"spec": spec, "study_id": newer.study_id}))

    worker = hpsearch("worker", "--cpu", "--drain")
    assert worker.returncode == ExitCode.NOT_FOUND, worker.stderr
    assert worker.stderr.count(LINE) == 1
    assert "Traceback" not in worker.stderr
    shown = hpsearch("status")
    assert shown.returncode == 0, shown.stderr
    assert f"running, {LINE}" in shown.stdout
    listed = json.loads(hpsearch("status", "--json").stdout)["studies"]
    assert [(study["name"], study["status"], study["unreadable"]) for study in listed] == [
        ("good", "finished", None),
        ("newer", "running", LINE),
    ]
    assert one_line(hpsearch("results", "newer"), ExitCode.DATABASE) == f"hpsearch: newer was {LINE}"
    assert hpsearch("pause", "newer").stderr.startswith("newer is paused\n")
    assert hpsearch("stop", "newer").stderr.startswith("newer is stopped\n")
    assert hpsearch("delete", "newer", "--yes").stderr == "newer is deleted\n"
    assert [study["name"] for study in json.loads(hpsearch("status", "--json").stdout)["studies"]] == ["good"]
