"""artifact_files.py and headers.py: what is stored never acts in a browser as the dashboard's own pages do."""

import io
import json
import uuid
from collections.abc import Callable
from typing import Any

import optuna
import pytest

from hpsearch.dashboard.artifact_files import make_headers
from hpsearch.dashboard.headers import SAFE, secure_headers
from hpsearch.dashboard.plot_artifacts import PlotArtifactStore
from hpsearch.storage.attempts import Attempt
from hpsearch.storage.database import Database
from hpsearch.storage.studies import Study
from tests.support.dashboard_client import DashboardClient

PNG, JPEG, WEBP = b"\x89PNG\r\n\x1a\nx", b"\xff\xd8\xff\xe0x", b"RIFF\x04\0\0\0WEBPVP8 "
SCRIPT = b"<script>alert(1)</script>"
SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'

SHOWN = [
    ("a.png", PNG, "image/png"),
    ("a.html", PNG, "image/png"),
    ("a.jpg", JPEG, "image/jpeg"),
    ("a", WEBP, "image/webp"),
    ("a.gif", b"GIF89a" + SCRIPT, "image/gif"),
    ("a.txt", SCRIPT, "text/plain; charset=utf-8"),
]
SAVED = [
    ("a.html", SCRIPT),
    ("a.HTM", SCRIPT),
    ("a.svg", SVG),
    ("a.xhtml", SVG),
    ("a.xml", SVG),
    ("a.js", b"alert(1)"),
    ("a.mjs", b"alert(1)"),
    ("a.css", b"*{}"),
    ("a.pdf", b"%PDF-1.7"),
    ("a.csv", b"1,2"),
    ("a.txt.gz", b"\x1f\x8b"),
    ("a.png", SCRIPT),
    ("a.jpg", b" " + JPEG),
    ("a.webp", b"RIFF" + SCRIPT),
    ("", SCRIPT),
    ("..", b""),
    ('x"; filename=y.html\r\nSet-Cookie: a=b\0\udcff' * 9, SCRIPT),
]


@pytest.mark.parametrize(("name", "content", "kind"), SHOWN)
def test_images_and_plain_text_are_shown(name: str, content: bytes, kind: str) -> None:
    """An image is told by how it begins, plain text by its name; neither holds anything that runs."""
    assert make_headers(name, content) == [("Content-Type", kind)]


@pytest.mark.parametrize(("name", "content"), SAVED)
def test_everything_else_is_saved(name: str, content: bytes) -> None:
    """No document of any kind is shown as a page, under whatever name; a name brings no header of its own."""
    headers = dict(make_headers(name, content))
    assert headers["Content-Disposition"].startswith("attachment; filename*=UTF-8''")
    assert headers["Content-Type"].split("/")[0] in {"application", "image", "audio", "video"}
    assert not {"xml", "html", "script", "pdf"} & set(headers["Content-Type"].partition("/")[2].split("+")[:1])
    assert all(value.isascii() and value.isprintable() and len(value) < 1300 for value in headers.values())


def test_answers_get_what_they_lack() -> None:
    """Every answer has the protecting headers; a policy of its own stays, leave for other sites' pages does not."""
    assert dict(secure_headers([])) == SAFE
    own = [("content-security-policy", "x"), ("Access-Control-Allow-Origin", "*"), ("access-control-max-age", "1")]
    secured = [name.lower() for name, _ in secure_headers(own)]
    assert sorted(secured) == ["content-security-policy", "x-content-type-options", "x-frame-options"]


def test_stored_type_is_not_believed(
    database: Database, started: Callable[..., Study], begin: Callable[..., Attempt], client: DashboardClient
) -> None:
    """Files of studies and trials are served under our types, whatever their metadata claims or lacks."""
    study = started()
    trial_id = begin(study).trial_id
    storage = optuna.storages.get_storage(database.url.render_as_string(hide_password=False))

    def add(trial_id: int | None, metadata: Any, content: bytes | None = None) -> str:
        """Attach a file as a program would that stores any metadata; its path."""
        artifact_id = str(uuid.uuid4())
        if content is not None:
            PlotArtifactStore(database).write(artifact_id, io.BytesIO(content))
        if trial_id is None:
            storage.set_study_system_attr(study.study_id, f"artifacts:{artifact_id}", json.dumps(metadata))
            return f"/artifacts/{study.study_id}/{artifact_id}"
        storage.set_trial_system_attr(trial_id, f"artifacts:{artifact_id}", json.dumps(metadata))
        return f"/artifacts/{study.study_id}/{trial_id}/{artifact_id}"

    for attached_to in (None, trial_id):
        for number, claimed in enumerate(("text/html", "image/svg+xml", "text/html\r\nX-A: b", 7, None)):
            metadata = {"artifact_id": "x", "filename": f"{number}.html", "mimetype": claimed, "encoding": claimed}
            path = add(attached_to, metadata, SCRIPT)
            status, headers, body = client.exchange("GET", path)
            assert (status, body) == (200, SCRIPT)
            assert headers["Content-Type"] == "application/octet-stream"
            assert headers["Content-Disposition"].startswith("attachment")
            assert not [name for name in headers if name.lower().startswith(("access-control", "content-encoding"))]
        odd: Any
        for odd in ([], "x", 5, None, {}):
            assert client.exchange("GET", add(attached_to, odd))[0] == 404
    assert client.exchange("GET", add(None, {"mimetype": "text/html"}, SCRIPT))[0] == 200
