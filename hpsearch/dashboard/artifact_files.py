"""The files attached to studies and trials as browsers get them: none runs as a page of the dashboard.

Whoever may attach a file chooses its content, its name and its stored type, so the type that is sent is decided here.
"""

import mimetypes
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import bottle
from optuna.artifacts.exceptions import ArtifactNotFound
from optuna.storages import BaseStorage
from optuna_dashboard.artifact import _backend

from hpsearch.dashboard.headers import Headers
from hpsearch.dashboard.plot_artifacts import PlotArtifactStore

ROUTE = re.compile(r"(/api)?/artifacts/<study_id:int>(/<trial_id:int>)?/<artifact_id:.*>")
"""The rules by which a file is fetched and deleted."""

SIGNATURES = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
)
"""How the images begin that a browser may show as a page; WebP is told by two places."""

MAX_NAME = 100
"""Characters of a file's name in the header."""


class ArtifactFiles:
    """A plugin of the dashboard's Bottle: it answers the routes of attached files."""

    name, api = "hpsearch-artifacts", 2

    def __init__(self, storage: BaseStorage, store: PlotArtifactStore) -> None:
        self._storage, self._store = storage, store

    def apply(self, callback: Callable[..., Any], route: bottle.Route) -> Callable[..., Any]:
        """Wrap the callback of a file's route: there has to be that file, and it is served as decided here."""
        if not ROUTE.fullmatch(route.rule):
            return callback

        def answer(study_id: int, artifact_id: str, trial_id: int | None = None) -> Any:
            metadata = self._find(study_id, trial_id, artifact_id)
            if route.method == "GET":
                return self._serve(str(metadata.get("filename", "")), artifact_id)
            ids = {"study_id": study_id} if trial_id is None else {"study_id": study_id, "trial_id": trial_id}
            return callback(**ids, artifact_id=artifact_id)

        return answer

    def _find(self, study_id: int, trial_id: int | None, artifact_id: str) -> dict[str, Any]:
        metadata: Any = None
        try:
            if trial_id is None:
                metadata = _backend.get_study_artifact_meta(self._storage, study_id, artifact_id)
            else:
                metadata = _backend.get_trial_artifact_meta(self._storage, study_id, trial_id, artifact_id)
        except (TypeError, ValueError):  # another program's attribute, which is not that of a file
            pass
        if not isinstance(metadata, dict):
            raise bottle.HTTPError(404, "there is no such file")
        return metadata

    def _serve(self, name: str, artifact_id: str) -> bottle.HTTPResponse:
        try:
            with self._store.open_reader(artifact_id) as file:
                content = file.read()
        except ArtifactNotFound:
            raise bottle.HTTPError(404, "the content of this file is not in the database") from None
        return bottle.HTTPResponse(content, headers=dict(make_headers(name, content)))


def make_headers(name: str, content: bytes) -> Headers:
    """Return the headers of a file: shown as a page where that can only be an image or plain text, else saved.

    A page of the dashboard shows what is saved too, in an element for images, sound or films: those keep the type that
    their name says.
    """
    image = _recognise_image(content)
    guess, encoding = mimetypes.guess_type(name, strict=False)
    kind = guess if guess is not None and encoding is None else ""
    if image is not None:
        return [("Content-Type", image)]
    if kind == "text/plain":
        return [("Content-Type", "text/plain; charset=utf-8")]
    media = kind.split("/")[0] in {"image", "audio", "video"}
    quoted = quote(name[:MAX_NAME], safe="", errors="replace")
    return [
        ("Content-Type", kind if media else "application/octet-stream"),
        ("Content-Disposition", f"attachment; filename*=UTF-8''{quoted}"),
    ]


def _recognise_image(content: bytes) -> str | None:
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "image/webp"
    return next((kind for signature, kind in SIGNATURES if content.startswith(signature)), None)
