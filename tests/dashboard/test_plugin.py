"""What is added to a study when the dashboard serves it, over our rows."""

import base64
import json
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from sqlalchemy import text

from hpsearch.analysis.answer import Answer
from hpsearch.dashboard import answers, notes, plugin
from hpsearch.evaluation import answers as study_answers
from hpsearch.evaluation import evaluation
from hpsearch.evaluation.answers import AnswerSource
from hpsearch.metrics import Direction, EpochMetrics
from hpsearch.outcomes import TrialOutcome
from hpsearch.sampling.readonly_storage import ReadOnlyStorage
from hpsearch.storage import optuna_tables
from hpsearch.storage.attempts import Attempt
from hpsearch.storage.database import Connection, Database, parse_url
from hpsearch.storage.studies import Study
from hpsearch.storage.trials import CONFUSION
from tests.support import simulation
from tests.support.dashboard_client import DashboardClient
from tests.support.evaluated_study import train_trial
from tests.support.small_study import finish_trial

Started = Callable[..., Study]
Begin = Callable[..., Attempt]
NAN = float("nan")
POINTS = [
    {"optimizer": "sgd", "learning_rate": 0.001},
    {"optimizer": "momentum", "learning_rate": 0.01, "momentum": 0.75},
    {"optimizer": "sgd", "learning_rate": 0.1},
    {"optimizer": "adam", "learning_rate": 0.002},
]


def computed(note: dict[str, Any]) -> str:
    """The computed part of a note, with nothing escaped."""
    head, line, _ = note["body"].partition(notes.SEPARATOR)
    assert line
    return re.sub(r"\\(.)", r"\1", head)


def figures(detail: dict[str, Any]) -> dict[str, Any]:
    """The figures of a study's page, as plotly.js gets them."""
    return {each["id"]: json.loads(each["graph_object"]) for each in detail["plotly_graph_objects"]}


def traces(figure: dict[str, Any]) -> list[tuple[str, str, list[float], list[float]]]:
    """The lines of a figure that is not empty: colour, dash, x and y."""
    return [
        (trace["line"]["color"], trace["line"]["dash"], numbers(trace["x"]), numbers(trace["y"]))
        for trace in figure["data"]
        if numbers(trace["x"])
    ]


def numbers(packed: dict[str, str]) -> list[float]:
    """An array as plotly packs it."""
    values: list[float] = np.frombuffer(base64.b64decode(packed["bdata"]), packed["dtype"]).tolist()
    return values


def labels(figure: dict[str, Any]) -> list[str]:
    """A figure's legend."""
    return [trace["name"] for trace in figure["data"] if trace.get("showlegend")]


@pytest.fixture
def four(database: Database, started: Started, begin: Begin) -> Study:
    """A study with four complete trials, of which trial 1 is the best."""
    study = started(
        study={"name": '<b>"x"</b>', "description": "Is *adam* <i>best</i>?"},
        budget={"trials": 6, "epochs": 3},
        baseline=POINTS,
    )
    for values in ((0.1, 0.2), (0.5, 0.7, 0.6), (0.3, 0.4), (0.2, 0.1, 0.3)):
        finish_trial(database, begin(study, *values), TrialOutcome.COMPLETED)
    return study


def test_study_note_has_the_question_and_the_answer_so_far(four: Study, client: DashboardClient) -> None:
    """The description as it was typed, how far the search is, and what was found."""
    question, state, answer, *_ = computed(client.study(four)["note"]).split("\n\n")
    assert question == "Is *adam* <i>best</i>?"
    assert state == "**running**, 4 of 6 trials ended (4 complete)"
    assert "* Trial 1 is best: val_accuracy 70.0% at epoch 2" in answer
    assert "with learning_rate 0.01, optimizer momentum, momentum 0.75" in answer


def test_study_note_follows_the_study(
    database: Database, four: Study, begin: Begin, client: DashboardClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each end of a trial and each change of status is in the next note; nothing new is computed for nothing new."""
    monkeypatch.setattr(answers, "MAX_COMPUTING_SHARE", float("inf"))
    calls: list[int] = []
    compute = plugin.compute_additions

    def count(connection: Connection, study_id: int) -> plugin.PageAdditions:
        calls.append(study_id)
        return compute(connection, study_id)

    monkeypatch.setattr(plugin, "compute_additions", count)

    def look() -> str:
        return computed(client.look(four)["note"])

    look()
    look()
    assert len(calls) == 1
    attempt = begin(four, 0.9)
    assert "4 of 6 trials ended (4 complete, 1 running)" in look()
    finish_trial(database, attempt, TrialOutcome.COMPLETED)
    assert "Trial 4 is best: val_accuracy 90.0%" in look()
    database.transact(
        lambda c: c.execute(text("update hpsearch.studies set status = 'paused', reason = 'a <b> reason'"))
    )
    assert "**paused** (a <b> reason), 5 of 6 trials ended" in look()
    before = len(calls)
    look()
    assert len(calls) == before


def hold_answers(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Let no answer be computed until the event that is returned is set."""
    may_go_on, compute = threading.Event(), study_answers.answer

    def wait_first(source: AnswerSource) -> Answer:
        may_go_on.wait()
        return compute(source)

    monkeypatch.setattr(study_answers, "answer", wait_first)
    return may_go_on


def test_last_answer_is_shown_while_the_next_is_computed(
    database: Database, four: Study, begin: Begin, client: DashboardClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page waits for no answer but the first, and says how many trials are not yet in the one that it shows."""
    monkeypatch.setattr(answers, "MAX_COMPUTING_SHARE", float("inf"))
    client.look(four)
    may_go_on = hold_answers(monkeypatch)
    finish_trial(database, begin(four, 0.9), TrialOutcome.COMPLETED)
    note = computed(client.reload(four)["note"])
    assert "5 of 6 trials ended" in note
    assert "Trial 1 is best" in note
    assert "*Not yet in it: 1 trial.*" in note
    may_go_on.set()
    assert "Trial 4 is best" in computed(client.look(four)["note"])


def test_page_says_that_its_first_answer_is_computed(
    four: Study, client: DashboardClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the first answer takes longer than a page waits, the rest of the page is served without."""
    monkeypatch.setattr(plugin, "PAGE_PATIENCE", 0.0)
    may_go_on = hold_answers(monkeypatch)
    detail = client.reload(four)
    assert notes.PENDING in detail["note"]["body"]
    assert "curves-optimizer" in figures(detail)
    may_go_on.set()
    assert "Trial 1 is best" in computed(client.look(four)["note"])


def test_news_wait_where_computing_takes_long(
    four: Study, begin: Begin, client: DashboardClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What took long to compute is served a while longer, though a trial began since."""
    monkeypatch.setattr(answers, "MAX_COMPUTING_SHARE", 1e-9)
    before = computed(client.study(four)["note"])
    begin(four, 0.9)
    assert computed(client.reload(four)["note"]) == before
    assert computed(client.study(four)["note"]) != before


def test_fault_in_the_answer_costs_no_page(
    four: Study, client: DashboardClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Where the analysis fails, the study is served with its plots, and one line says why."""

    def fail(*_: object) -> Answer:
        raise ValueError("no such thing\nat all")

    monkeypatch.setattr(study_answers, "answer", fail)
    assert len(client.trials(four)) == 4
    assert caplog.messages == ["a study is shown without its answer: no such thing"]


def test_best_trials_have_a_note_with_their_rank(
    database: Database, started: Started, begin: Begin, client: DashboardClient
) -> None:
    """The best 20, and no others: rank, value, parameters and the classes that are confused most."""
    study = started(
        space={"learning_rate": {"low": 1e-4, "high": 1e-1, "log": True}}, budget={"trials": 23, "epochs": 3}
    )
    values = np.random.default_rng(1).permutation(22) / 100 + 0.1
    matrix = np.full((10, 10), 1) + np.eye(10, dtype=int) * 90
    matrix[3, 5], matrix[3, 3] = 41, 50
    for value in values:
        attempt = begin(study, float(value))
        attributes = {CONFUSION: matrix.tolist()}
        database.transact(lambda c: optuna_tables.set_attributes(c, "system", attempt.trial_id, attributes))
        finish_trial(database, attempt, TrialOutcome.COMPLETED)
    finish_trial(database, begin(study), TrialOutcome.ERROR, traceback="ValueError: no")
    detail = client.study(study)
    order = np.argsort(-values)
    for rank, number in enumerate(order[:20], start=1):
        note = computed(detail["trials"][number]["note"])
        assert note.startswith(
            f"**Number {rank} of 22 complete trials**: val_accuracy {values[number]:.4f} at epoch 1 of 1"
        )
        assert "learning_rate " in note
        assert "Confused most: 3 as 5 41%" in note
    assert [detail["trials"][number]["note"]["body"] for number in order[20:]] == ["", ""]
    assert detail["trials"][22]["note"]["body"].startswith("**Failed: error**")
    assert computed(detail["best_trials"][0]["note"]).startswith("**Number 1 of 22")


def test_curves_are_the_means_of_each_choice(database: Database, four: Study, client: DashboardClient) -> None:
    """Mean validation and training accuracy of the trials of each choice by epoch, in the order of the study file."""
    query = "select number, epoch, val_accuracy, train_accuracy from hpsearch.epochs join trials using (trial_id)"
    rows = database.transact(lambda c: c.execute(text(query)).all())
    table = np.array([tuple(map(float, row)) for row in rows])
    drawn = figures(client.study(four))
    assert list(drawn) == ["curves-learning_rate", "curves-optimizer", "time-optimizer", "curves-momentum"]
    assert labels(drawn["curves-optimizer"]) == ["sgd (2)", "momentum (1)", "adam (1)"]
    expected = [(of, column) for of in ((0, 2), (1,), (3,)) for column in (2, 3)]
    for (_, dash, x, y), (numbers_, column) in zip(traces(drawn["curves-optimizer"]), expected, strict=True):
        of = table[np.isin(table[:, 0], numbers_)]
        assert dash == {2: "solid", 3: "dot"}[column]
        assert x == sorted(set(of[:, 1]))
        assert y == pytest.approx([of[of[:, 1] == epoch, column].mean() for epoch in x])
    assert all(figure["layout"][axis]["title"]["text"] for figure in drawn.values() for axis in ("xaxis", "yaxis"))
    assert not any("height" in figure["layout"] for figure in drawn.values()), "the page's card has a height"


def test_accuracy_is_drawn_against_training_time(four: Study, client: DashboardClient) -> None:
    """A line a choice: after each epoch, of two seconds here, the mean accuracy of its trials."""
    figure = figures(client.study(four))["time-optimizer"]
    assert labels(figure) == ["sgd", "momentum", "adam"]
    lines = [(x, y) for *_, x, y in traces(figure)][-3:]
    assert lines == [
        ([2.0, 4.0], pytest.approx([0.2, 0.3])),
        ([2.0, 4.0, 6.0], [0.5, 0.7, 0.6]),
        ([2.0, 4.0, 6.0], [0.2, 0.1, 0.3]),
    ]


@pytest.mark.parametrize("endings", [(), (TrialOutcome.ERROR, TrialOutcome.ERROR), (None,)])
def test_study_with_next_to_nothing_is_served(
    endings: tuple[TrialOutcome | None, ...],
    database: Database,
    started: Started,
    begin: Begin,
    client: DashboardClient,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """No trial, only failed ones, only a running one without an epoch: a note, no plots, and no complaint."""
    study = started()
    for ending in endings:
        attempt = begin(study)
        if ending is not None:
            finish_trial(database, attempt, ending)
    detail = client.study(study)
    assert f"{len(endings) - endings.count(None)} of 4 trials ended" in computed(detail["note"])
    assert "is best" not in detail["note"]["body"]
    assert figures(detail) == {}
    assert caplog.messages == []


def test_study_without_a_complete_trial_is_served(
    database: Database, started: Started, begin: Begin, client: DashboardClient, caplog: pytest.LogCaptureFixture
) -> None:
    """Where all that ended has diverged, its curves are shown as such, and no trial is called the best."""
    study = started(baseline=[{"optimizer": "sgd", "learning_rate": 0.1}])
    attempt = begin(study)
    lost = EpochMetrics(1, NAN, 0.1, NAN, 0.1, 0.01, 2.0)
    database.transact(
        lambda c: simulation.record(c, attempt, lost, ReadOnlyStorage(study.study_id, Direction.MAXIMIZE))
    )
    finish_trial(database, attempt, TrialOutcome.DIVERGED)
    detail = client.study(study)
    assert "1 of 4 trials ended (1 pruned)" in computed(detail["note"])
    assert "is best" not in detail["note"]["body"]
    assert labels(figures(detail)["curves-optimizer"]) == ["sgd (1, none complete)"]
    assert [each["constraints"] for each in detail["trials"]] == [[1.0]]
    assert caplog.messages == []


def test_page_of_a_long_search_is_given_the_curves_that_it_can_draw(
    database: Database, started: Started, begin: Begin, client: DashboardClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some spread over the search, the best, the newest and those that run; the note says so. A small one has all."""
    study = started(budget={"trials": 10, "epochs": 3})
    for number in range(8):
        finish_trial(database, begin(study, 0.9 if number == 4 else 0.5), TrialOutcome.COMPLETED)
    begin(study, 0.1)
    assert all(each["intermediate_values"] for each in client.trials(study))
    assert plugin.CURVES_REMARK not in client.study(study)["note"]["body"]
    for where, name, value in ((plugin, "MAX_CURVES", 3), (plugin, "NEWEST", 2), (notes, "MAX_TRIAL_NOTES", 1)):
        monkeypatch.setattr(where, name, value)
    detail = client.study(study)
    assert [each["number"] for each in detail["trials"] if each["intermediate_values"]] == [0, 3, 4, 6, 7, 8]
    assert plugin.CURVES_REMARK in detail["note"]["body"]


def test_note_is_stored_without_what_is_computed(database: Database, four: Study, client: DashboardClient) -> None:
    """A page hands in all that it was served; only what somebody wrote is stored, of studies and of trials."""
    best = client.trials(four)[1]
    for path in (f"/api/studies/{four.study_id}/note", f"/api/studies/{four.study_id}/{best['trial_id']}/note"):
        detail = client.study(four)
        note = detail["note"] if path.count("/") == 4 else detail["trials"][1]["note"]
        edited = note["body"].replace("val", "VAL") + "mine & <b>only</b>"
        assert client.put(path, {"version": note["version"] + 1, "body": edited}) == 200
    query = "select value_json from study_system_attributes where key like 'dashboard:%note_str:%'"
    assert database.transact(lambda c: c.scalars(text(query)).all()) == [json.dumps("mine & <b>only</b>")] * 2
    detail = client.study(four)
    for note in (detail["note"], detail["trials"][1]["note"]):
        assert note["version"] == 1
        assert note["body"].endswith(f"{notes.SEPARATOR}\n\nmine & <b>only</b>")
        assert "val" in computed(note)


def test_study_of_another_program_is_served_as_it_is(storage: str, started: Started, client: DashboardClient) -> None:
    """A study that Optuna alone knows gets no note and no plots."""
    started()
    url = parse_url(storage, "").render_as_string(hide_password=False)
    other = optuna.create_study(study_name="other", storage=url)
    other.optimize(lambda each: each.suggest_float("x", 0, 1), n_trials=2)
    detail = client.get(f"/api/studies/{other._study_id}")[1]
    assert detail["note"] == {"version": 0, "body": ""}
    assert detail["plotly_graph_objects"] == []
    assert len(detail["trials"]) == 2


def test_fault_in_an_addition_costs_no_page(
    four: Study, client: DashboardClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Where something cannot be computed, the study is served without, and one line says why."""

    def fail(*_: object) -> None:
        raise ValueError("no such thing\nat all")

    monkeypatch.setattr(plugin, "compute_additions", fail)
    assert len(client.trials(four)) == 4
    assert caplog.messages == ["a study is shown without its computed notes and plots: no such thing"]


def test_evaluation_ranks_nothing(
    database: Database, four: Study, begin: Begin, client: DashboardClient, tmp_path: Path
) -> None:
    """What was tested is not told as if it were to be chosen from: no rank, no best, no plots."""
    for value in (0.6, 0.6):
        finish_trial(database, begin(four, value), TrialOutcome.COMPLETED)
    requested, _ = evaluation.request_evaluation(database, four.name, top=1, seeds=2)
    assert requested.study is not None
    train_trial(database, requested, tmp_path / "predictions.npz")
    detail = client.study(requested.study)
    note = computed(detail["note"])
    assert "1 of 2 trials ended (1 complete, 1 waiting)" in note
    assert "hpsearch evaluate" in note
    assert "best:" not in note
    assert figures(detail) == {}
    assert detail["trials"][0]["note"]["body"] == ""
