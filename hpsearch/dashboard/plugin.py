"""The Bottle plugin that adds to a study's page what is computed when it is served: notes and plots."""

import logging
import threading
import time
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import bottle

from hpsearch.analysis import effects
from hpsearch.analysis.importance import Importance
from hpsearch.dashboard import figures, notes
from hpsearch.dashboard.answers import BackgroundAnswers, Computed, Version
from hpsearch.errors import NotFoundError, UnreadableStudyError, first_line
from hpsearch.storage import dashboard_queries, results, studies
from hpsearch.storage.database import Connection, Database
from hpsearch.storage.results import Summary

log = logging.getLogger(__name__)

PAGE_PATIENCE: float | None = 1.0
"""Seconds that a page waits for the first answer to its study; it asks again after ten."""

PLOT_PATIENCE: float | None = 60.0
"""Seconds that the importance plot waits for it: a page asks for that once."""

MAX_CURVES, NEWEST = 300, 50
"""How many ended trials, spread over the search, come with their intermediate values, and how many of the newest.

A page draws the curves of all the trials that come with them: Chromium needs ten seconds for a thousand, and does not
draw ten thousand in minutes. In a small study all have them.
"""

CURVES_REMARK = (
    f"Intermediate values are shown of about {MAX_CURVES} trials, the best and the newest among them: "
    "every trial has its curves in a plot of its own, and `hpsearch results --json` has them all."
)

FAULT = "a study is shown without its computed notes and plots: %s"

STUDY_ROUTE = ("GET", "/api/studies/<study_id:int>")
IMPORTANCE_ROUTE = ("GET", "/api/studies/<study_id:int>/param_importances")
NOTE_ROUTES = {("PUT", "/api/studies/<study_id:int>/note"), ("PUT", "/api/studies/<study_id:int>/<trial_id:int>/note")}


@dataclass(frozen=True)
class PageAdditions:
    """What is added to a study's page beside its answer: notes of trials by number, and plotly figures as JSON by id.

    `summary` is for the study's note, and `remark` stands below that.
    """

    summary: Summary
    remark: str
    trial_notes: Mapping[int, str]
    figures: Mapping[str, str]


class DashboardPlugin:
    """A plugin of the dashboard's Bottle: adds notes and plots to a study, and removes them from a note handed back.

    The additions to each study are cached until it changes, and a little longer where computing takes long.
    """

    name, api = "hpsearch", 2

    def __init__(self, database: Database) -> None:
        self.database = database
        self._answers = BackgroundAnswers(database)
        self._cache: dict[int, Computed[PageAdditions]] = {}
        self._computing = threading.Lock()

    def apply(self, callback: Callable[..., Any], route: bottle.Route) -> Callable[..., Any]:
        """Wrap the callback of a route; Bottle calls this for each."""
        if (route.method, route.rule) == STUDY_ROUTE:
            return lambda study_id: self._serve_study(study_id, callback(study_id=study_id))
        if (route.method, route.rule) == IMPORTANCE_ROUTE:
            return lambda study_id: self._serve_importance(study_id, callback)
        if (route.method, route.rule) in NOTE_ROUTES:
            return lambda **arguments: _store_note(callback, arguments)
        return callback if route.method == "GET" else lambda **arguments: _change(callback, arguments)

    def _serve_study(self, study_id: int, answer: Any) -> Any:
        began = time.monotonic()
        additions = self._find_additions(study_id) if isinstance(answer, dict) and "trials" in answer else None
        if isinstance(additions, UnreadableStudyError):
            answer["note"] = _join_note(answer["note"], notes.UNREADABLE_NOTE)
        if not isinstance(additions, PageAdditions):
            return answer
        answer["note"] = _join_note(answer["note"], self._write_note(study_id, additions, began))
        _thin_curves(answer["trials"], additions.trial_notes)
        for trial in (*answer["trials"], *answer["best_trials"]):
            if trial["number"] in additions.trial_notes:
                trial["note"] = _join_note(trial["note"], additions.trial_notes[trial["number"]])
        plots = [{"id": name, "graph_object": figure} for name, figure in additions.figures.items()]
        answer["plotly_graph_objects"] = [*answer["plotly_graph_objects"], *plots]
        return answer

    def _serve_importance(self, study_id: int, callback: Callable[..., Any]) -> Any:
        """Answer with our importance; with the dashboard's own for a study of another program."""
        version = self._read_version(study_id)
        if version is None:
            return callback(study_id=study_id)
        answer = self._answers.find(study_id, version, PLOT_PATIENCE)
        return {"param_importances": [_make_bars(answer.importance) if answer else []]}

    def _read_version(self, study_id: int) -> Version | None:
        """Return the study's version; None where it is another program's, or the database does not answer."""
        try:
            return self.database.transact(lambda connection: dashboard_queries.read_study_version(connection, study_id))
        except Exception as error:  # noqa: BLE001 - see `_find_additions`
            log.error(FAULT, first_line(error))
            return None

    def _find_additions(self, study_id: int) -> PageAdditions | UnreadableStudyError | None:
        """Return what is to be added, or why a study of a newer hpsearch cannot be read.

        None where the study is another program's, or the database does not answer.
        """
        version = self._read_version(study_id)
        if version is None:
            return None
        self._answers.find(study_id, version, 0.0)  # is computed beside what follows
        try:
            cached = self._cache.get(study_id)
            if cached is None or not cached.is_fresh(version):
                with self._computing:  # a request that waited for it finds what the other one computed
                    cached = self._cache.get(study_id)
                    if cached is None or not cached.is_fresh(version):
                        cached = self._cache[study_id] = self._compute(study_id, version)
            return cached.result
        except NotFoundError:
            return None
        except UnreadableStudyError as error:
            return error
        except Exception as error:  # noqa: BLE001 - no note and no plot is worth a study's page
            log.error(FAULT, first_line(error))
            return None

    def _write_note(self, study_id: int, additions: PageAdditions, began: float) -> str:
        """Write the study's note with the last answer; a first one is waited for until the page's patience ends."""
        if additions.summary.study.spec.evaluation:
            return notes.write_evaluation_note(additions.summary)
        left = None if PAGE_PATIENCE is None else max(0.0, began + PAGE_PATIENCE - time.monotonic())
        answer = self._answers.wait(study_id, left)
        return notes.write_study_note(additions.summary, answer) + additions.remark

    def _compute(self, study_id: int, version: Version) -> Computed[PageAdditions]:
        began = time.monotonic()
        additions = self.database.transact(lambda connection: compute_additions(connection, study_id))
        return Computed(version, additions, time.monotonic(), time.monotonic() - began)


def compute_additions(connection: Connection, study_id: int) -> PageAdditions:
    """Compute what is to be added to a study.

    Raises:
        NotFoundError: it was deleted.
        UnreadableStudyError: a newer hpsearch made it.
    """
    summary, trials = results.read(connection, studies.read(connection, study_id).name)
    spec = summary.study.spec
    if spec.evaluation:  # its values are of the test images, by which nothing is to be chosen
        return PageAdditions(summary, "", {}, {})
    remark = f"\n\n{CURVES_REMARK}" if len(trials) > MAX_CURVES else ""
    measured = effects.measure_effects(spec, effects.collect_facts(spec, trials, ()), ())
    plots = figures.make_figures(spec, measured, trials)
    return PageAdditions(summary, remark, notes.write_trial_notes(summary, trials), plots)


def _make_bars(importance: Importance) -> list[dict[str, Any]]:
    """Return the shares as the dashboard's plot takes them; it shows the name, so the interval stands in it."""
    return [
        {
            "name": f"{share.name} at epoch {importance.epoch}: {share.low:.2f} to {share.high:.2f}",
            "importance": share.share,
            "distribution": "",
        }
        for share in importance.shares
    ]


def _thin_curves(trials: Sequence[dict[str, Any]], best: Container[int]) -> None:
    """Leave out the intermediate values of most ended trials where there are too many for a page to draw."""
    last = trials[-1]["number"] if trials else 0
    step = last // MAX_CURVES + 1
    for trial in trials:
        number = trial["number"]
        ended = trial["state"] not in {"Running", "Waiting"}
        if ended and number % step and number not in best and number <= last - NEWEST:
            trial["intermediate_values"] = []


def _join_note(note: dict[str, Any], computed: str) -> dict[str, Any]:
    return {**note, "body": notes.join_note(computed, note["body"])}


def _store_note(callback: Callable[..., Any], arguments: Mapping[str, Any]) -> Any:
    """Store a note without its computed part: the page sends all that it was served."""
    sent = bottle.request.json
    if isinstance(sent, dict) and isinstance(sent.get("body"), str):
        sent["body"] = notes.extract_written(sent["body"])
    return _change(callback, arguments)


def _change(callback: Callable[..., Any], arguments: Mapping[str, Any]) -> Any:
    """Call a route that changes something, and answer with content: the pages take an empty answer for a failure."""
    answer = callback(**arguments)
    if bottle.response.status_code == 204:
        bottle.response.status = 200
    return answer
