"""The dashboard as a browser asks it, and the end of a trial that it shows."""

import io
import json
import sys
from concurrent.futures import wait
from typing import Any

from hpsearch.storage.studies import Study


class DashboardClient:
    """Calls a WSGI application as a browser would, without a socket."""

    def __init__(self, application: Any) -> None:
        self.application = application

    def get(self, path: str, query: str = "") -> tuple[int, Any]:
        """Status and JSON of a GET."""
        status, body = self.ask("GET", path, query)
        return status, json.loads(body)

    def put(self, path: str, body: Any) -> int:
        """Status of a PUT."""
        return self.ask("PUT", path, "", json.dumps(body).encode())[0]

    def ask(self, method: str, path: str, query: str = "", content: bytes = b"") -> tuple[int, bytes]:
        """Status and content of an answer."""
        status, _, body = self.exchange(method, path, query, content)
        return status, body

    def exchange(
        self, method: str, path: str, query: str = "", content: bytes = b"", **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and content of an answer; headers of the request as WSGI names them."""
        started: list[Any] = []
        environ = {
            "REQUEST_METHOD": method,
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "CONTENT_TYPE": "application/json",
            "CONTENT_LENGTH": str(len(content)),
            "wsgi.input": io.BytesIO(content),
            "SERVER_NAME": "test",
            "SERVER_PORT": "80",
            "wsgi.url_scheme": "http",
            "wsgi.errors": sys.stderr,
            **headers,
        }
        body = b"".join(self.application(environ, lambda status, headers, *_: started.extend((status, headers))))
        return int(started[0].split()[0]), dict(started[1]), body

    def study(self, study: Study) -> dict[str, Any]:
        """What the study's page is made from, as it is now."""
        self.forget()
        status, answer = self.get(f"/api/studies/{study.study_id}")
        assert status == 200, answer
        return dict(answer)

    def trials(self, study: Study) -> list[dict[str, Any]]:
        """The trials of the study's page, as they are now."""
        return list(self.study(study)["trials"])

    def importance(self, study: Study) -> list[dict[str, Any]]:
        """The importance plot's bars."""
        self.forget()
        status, answer = self.get(f"/api/studies/{study.study_id}/param_importances")
        assert status == 200, answer
        return list(answer["param_importances"][0])

    def forget(self) -> None:
        """As if the seconds had passed for which the dashboard answers from memory; Optuna's cache stays."""
        self.application._inmemory_cache._trials_last_fetched_at.clear()
        (plugin,) = (plugin for plugin in self.application.plugins if plugin.name == "hpsearch")
        plugin._cache.clear()
        plugin._answers._last.clear()

    def look(self, study: Study) -> dict[str, Any]:
        """What the study's page is made from once the answers that it had computed are there."""
        self.reload(study)
        (plugin,) = (plugin for plugin in self.application.plugins if plugin.name == "hpsearch")
        wait(list(plugin._answers._running.values()))
        return self.reload(study)

    def reload(self, study: Study) -> dict[str, Any]:
        """What the study's page is made from, with what was computed before."""
        self.application._inmemory_cache._trials_last_fetched_at.clear()
        return dict(self.get(f"/api/studies/{study.study_id}")[1])
