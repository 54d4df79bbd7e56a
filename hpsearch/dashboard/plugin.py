"""What the dashboard adds to a study when it is served: notes and plots that are computed, and so not stored."""

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import bottle
from sqlalchemy import Connection, text

from hpsearch.analysis import findings
from hpsearch.dashboard import figures, notes
from hpsearch.errors import NotFoundError, first_line
from hpsearch.storage import results, studies
from hpsearch.storage.database import Database

log = logging.getLogger(__name__)

SHARE = 0.05
"""Of the time, at most, that goes into computing for a study that changes with every look."""

OLDEST = 300.0
"""Seconds after which what was computed is computed again, though nothing is known to have changed."""

CURVES, NEWEST = 300, 50
"""How many ended trials, spread over the search, come with their intermediate values, and how many of the newest.

A page draws the curves of all the trials that come with them: Chromium needs ten seconds for a thousand, and does not
draw ten thousand in minutes. A small study's all have them.
"""

SOME = (
    f"Intermediate values are shown of about {CURVES} trials, the best and the newest among them: "
    "every trial has its curves in a picture of its own, and `hpsearch results --json` has them all."
)

DETAIL = ("GET", "/api/studies/<study_id:int>")
NOTES = {("PUT", "/api/studies/<study_id:int>/note"), ("PUT", "/api/studies/<study_id:int>/<trial_id:int>/note")}

VERSION = text("""
    select h.status, h.reason, h.spec #>> '{budget,trials}' as budget,
           (select json_object_agg(state, counted order by state)::text
              from (select state::text, count(*) as counted from trials where study_id = :study_id group by state) s),
           (select sum(epochs) from hpsearch.attempts where study_id = :study_id)
      from hpsearch.studies h where h.study_id = :study_id
""")
"""What is added changes with this."""


@dataclass(frozen=True)
class PageAdditions:
    """What is added to a study's page: its note, those of trials by number, and plotly figures as JSON by id."""

    note: str
    trials: Mapping[int, str]
    figures: Mapping[str, str]


@dataclass(frozen=True)
class _CachedAdditions:
    version: tuple[Any, ...]
    additions: PageAdditions
    at: float
    took: float

    def good(self, version: tuple[Any, ...]) -> bool:
        age = time.monotonic() - self.at
        return age < self.took / SHARE or (version == self.version and age < OLDEST)


class DashboardPlugin:
    """A plugin of the dashboard's Bottle: adds to the answers about a study, and takes off what is handed back.

    What was computed is kept for each study until it changed, and a little longer where computing takes long.
    """

    name, api = "hpsearch", 2

    def __init__(self, database: Database) -> None:
        self.database = database
        self._kept: dict[int, _CachedAdditions] = {}
        self._computing = threading.Lock()

    def apply(self, callback: Callable[..., Any], route: bottle.Route) -> Callable[..., Any]:
        """Bottle asks this for each route."""
        if (route.method, route.rule) == DETAIL:
            return lambda study_id: self._detail(study_id, callback(study_id=study_id))
        if (route.method, route.rule) in NOTES:
            return lambda **of: _hand_in(callback, of)
        return callback if route.method == "GET" else lambda **of: _change(callback, of)

    def _detail(self, study_id: int, answer: Any) -> Any:
        additions = self._additions(study_id) if isinstance(answer, dict) and "trials" in answer else None
        if additions is None:
            return answer
        answer["note"] = _with(answer["note"], additions.note)
        _thin(answer["trials"], additions.trials)
        for trial in (*answer["trials"], *answer["best_trials"]):
            if trial["number"] in additions.trials:
                trial["note"] = _with(trial["note"], additions.trials[trial["number"]])
        plots = [{"id": name, "graph_object": figure} for name, figure in additions.figures.items()]
        answer["plotly_graph_objects"] = [*answer["plotly_graph_objects"], *plots]
        return answer

    def _additions(self, study_id: int) -> PageAdditions | None:
        """What is to be added; None where the study is none of ours, or the database does not answer."""
        try:
            version = self.database.transact(lambda connection: _version(connection, study_id))
            kept = self._kept.get(study_id)
            if version is None or (kept is not None and kept.good(version)):
                return kept.additions if kept is not None and version is not None else None
            with self._computing:  # whoever waited for it finds what the other computed
                kept = self._kept.get(study_id)
                if kept is None or not kept.good(version):
                    kept = self._kept[study_id] = self._compute(study_id, version)
            return kept.additions
        except NotFoundError:
            return None
        except Exception as error:  # noqa: BLE001 - no note and no plot is worth a study's page
            log.error("a study is shown without its computed notes and plots: %s", first_line(error))
            return None

    def _compute(self, study_id: int, version: tuple[Any, ...]) -> _CachedAdditions:
        began = time.monotonic()
        additions = self.database.transact(lambda connection: compute(connection, study_id))
        return _CachedAdditions(version, additions, time.monotonic(), time.monotonic() - began)


def compute(connection: Connection, study_id: int) -> PageAdditions:
    """What is to be added to a study.

    Raises:
        NotFoundError: it was deleted.
    """
    summary, trials = results.read(connection, studies.read(connection, study_id).name)
    if summary.study.spec.evaluation:  # its values are of the test images, by which nothing is to be chosen
        return PageAdditions(notes.write_study_note(summary, None), {}, {})
    found = findings.analyze_study(summary, trials)
    plots = figures.make_figures(summary.study.spec, found.effects, trials)
    note = notes.write_study_note(summary, found.sentences)
    if len(trials) > CURVES:
        note += f"\n\n{SOME}"
    return PageAdditions(note, notes.write_trial_notes(summary, trials), plots)


def _version(connection: Connection, study_id: int) -> tuple[Any, ...] | None:
    row = connection.execute(VERSION, {"study_id": study_id}).one_or_none()
    return None if row is None else tuple(row)


def _thin(trials: Sequence[dict[str, Any]], best: Mapping[int, str]) -> None:
    """Leave out the intermediate values of most ended trials where there are too many for a page to draw."""
    last = trials[-1]["number"] if trials else 0
    step = last // CURVES + 1
    for trial in trials:
        number = trial["number"]
        ended = trial["state"] not in {"Running", "Waiting"}
        if ended and number % step and number not in best and number <= last - NEWEST:
            trial["intermediate_values"] = []


def _with(note: dict[str, Any], computed: str) -> dict[str, Any]:
    return {**note, "body": notes.join_note(computed, note["body"])}


def _hand_in(callback: Callable[..., Any], of: Mapping[str, Any]) -> Any:
    """Store a note without what is computed anyway: the page hands in all that it was served."""
    sent = bottle.request.json
    if isinstance(sent, dict) and isinstance(sent.get("body"), str):
        sent["body"] = notes.extract_written(sent["body"])
    return _change(callback, of)


def _change(callback: Callable[..., Any], of: Mapping[str, Any]) -> Any:
    """Do what was asked, and answer with content: optuna-dashboard 0.21's pages take one without for a failure."""
    answer = callback(**of)
    if bottle.response.status_code == 204:
        bottle.response.status = 200
    return answer
