"""A study in MLflow, read back with MLflow's own client from an SQLite store."""

import math
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hpsearch.errors import TrackerError
from hpsearch.metrics import EpochMetrics
from hpsearch.mirror import mlflow_tracker
from hpsearch.mirror.mlflow_tracker import MAX_PARAM_NAME, MlflowTracker, mask, name_param
from hpsearch.outcomes import TrialOutcome
from hpsearch.spec.own_rows import MAX_NAME_LENGTH
from hpsearch.storage import attempts
from hpsearch.storage.attempts import Attempt
from hpsearch.storage.database import Database
from hpsearch.storage.studies import Study
from tests.support.small_study import finish_trial
from tests.support.tracked_study import Killed, KillSwitch, expire, forget_mirrors, run_pass

CALLS = (
    *("create_experiment", "create_run", "get_run", "search_runs", "get_metric_history", "log_batch", "update_run"),
    *("set_terminated", "log_artifact", "log_artifacts", "set_tag", "log_text"),
)


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite file with MLflow's tables, whose creation takes seconds."""
    for name, value in mlflow_tracker.DEFAULTS.items():
        os.environ.setdefault(name, value)
    import mlflow

    path = tmp_path_factory.mktemp("mlflow") / "empty.db"
    mlflow.MlflowClient(tracking_uri=f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def uri(empty_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The tracking URI of a store of the test's own; its artifacts are in the working directory."""
    monkeypatch.chdir(tmp_path)
    return make_store(empty_store, tmp_path, "mlflow")


def make_store(empty_store: Path, directory: Path, name: str) -> str:
    path = directory / f"{name}.db"
    shutil.copy(empty_store, path)
    return f"sqlite:///{path}"


class Store:
    """What is in an MLflow, by its own client."""

    def __init__(self, uri: str, experiment: str = "small") -> None:
        import mlflow

        self.client: Any = mlflow.MlflowClient(tracking_uri=uri)
        found = self.client.get_experiment_by_name(experiment)
        runs = self.client.search_runs([found.experiment_id], max_results=1000) if found else []
        self.runs = {run.info.run_name: run for run in runs}
        assert len(self.runs) == len(runs), "two runs of a name"

    def read(self, run: str, metric: str = "val_accuracy") -> list[tuple[int, float]]:
        """The steps of a metric with its values."""
        history = self.client.get_metric_history(self.runs[run].info.run_id, metric)
        return sorted((point.step, point.value) for point in history)

    def list_files(self, run: str, place: str) -> list[str]:
        """The files of a run below `place`."""
        return [file.path for file in self.client.list_artifacts(self.runs[run].info.run_id, place)]


def test_a_finished_study_is_shown_whole(database: Database, finished: Study, uri: str) -> None:
    """A run for each trial below the study's: parameters, epochs, ending, seeds and versions, plots, answer, report."""
    run_pass(database, finished, MlflowTracker(uri))

    store = Store(uri)
    assert store.read("trial 0") == [(1, 0.5), (2, 0.7)]
    assert store.read("trial 0", "train_loss") == [(1, 1.0), (2, 1.0)]
    assert store.read("trial 0", "best_val_accuracy") == [(2, 0.7)]
    first, second, parent = store.runs["trial 0"], store.runs["trial 1"], store.runs["small"]
    assert [run.info.status for run in (first, second, parent)] == ["FINISHED", "FAILED", "FINISHED"]
    assert {run.data.tags["mlflow.parentRunId"] for run in (first, second)} == {parent.info.run_id}
    assert set(first.data.params) >= {"learning_rate", "optimizer"}
    tags = {name.removeprefix("hpsearch."): value for name, value in first.data.tags.items()}
    shown = {"outcome": "completed", "seed": "7", "version_keras": "3.15", "worker": "w", "device": "CPU"}
    assert {name: tags[name] for name in shown} == shown
    assert second.data.tags["hpsearch.detail"] == "it broke"
    assert store.list_files("trial 0", "plots") == ["plots/learning-curves.png"]
    assert store.list_files("trial 0", "model") == ["model/model.keras"]
    assert store.list_files("small", "report") == ["report/pictures", "report/report.html", "report/report.md"]
    assert "Which rate?" in parent.data.tags["mlflow.note.content"]
    assert parent.data.metrics == {"best_val_accuracy": 0.7}


@pytest.mark.usefixtures("plain")
def test_a_trial_goes_on_in_its_run(
    database: Database, started: Callable[..., Study], begin: Callable[..., Attempt], uri: str
) -> None:
    """Whatever process mirrors it next, it has one run, and each epoch once; also where a diverged one is no number."""
    study = started()
    attempt = begin(study, 0.5, 0.6)
    assert not run_pass(database, study, MlflowTracker(uri)).is_over
    assert Store(uri).runs["trial 0"].info.status == "RUNNING"
    for _ in range(2):
        assert run_pass(database, study, MlflowTracker(uri)).epochs == 0
    diverged = EpochMetrics(3, math.nan, 0.1, math.inf, 0.1, 0.01, 2.0)
    database.transact(lambda c: attempts.store_epoch(c, attempt, diverged, attempts.PrunerVerdict()))
    finish_trial(database, attempt, TrialOutcome.DIVERGED)
    forget_mirrors(database)  # as another host's mirror of a shared MLflow, which knows nothing of the first
    run_pass(database, study, MlflowTracker(uri))
    store = Store(uri)
    assert store.read("trial 0") == [(1, 0.5), (2, 0.6), (3, 0.1)]
    assert math.isnan(store.read("trial 0", "val_loss")[2][1])
    assert store.runs["trial 0"].info.status == "KILLED"
    assert set(store.runs) == {"small", "trial 0"}


@pytest.mark.usefixtures("plain")
def test_a_mirror_killed_anywhere_goes_on_exactly(
    database: Database,
    started: Callable[..., Study],
    begin: Callable[..., Attempt],
    empty_store: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Killed before any call of the tracker or the database, it leaves no double or missing step or run."""
    monkeypatch.chdir(tmp_path)
    import mlflow

    study = started(budget={"trials": 1, "epochs": 2})
    finish_trial(database, begin(study, 0.5, 0.7))
    switch = KillSwitch()
    switch.wrap(monkeypatch, mlflow.MlflowClient, *CALLS)
    switch.wrap(monkeypatch, Database, "transact")
    for due in range(1000):
        forget_mirrors(database)
        uri = make_store(empty_store, tmp_path, str(due))
        switch.calls, switch.due = [], due
        try:
            run_pass(database, study, MlflowTracker(uri))
        except Killed:
            switch.due = None
            expire(database)
            run_pass(database, study, MlflowTracker(uri))
            store = Store(uri)
            assert store.read("trial 0") == [(1, 0.5), (2, 0.7)], due
            assert store.read("small", "best_val_accuracy") == [(1, 0.7)], due
            assert set(store.runs) == {"small", "trial 0"}
            assert {run.info.status for run in store.runs.values()} == {"FINISHED"}
            continue
        break
    assert due > 20


@pytest.mark.usefixtures("plain")
def test_an_emptied_store_is_filled_again(
    database: Database, started: Callable[..., Study], begin: Callable[..., Attempt], empty_store: Path, uri: str
) -> None:
    """Where the runs are gone, the marks of them are, too."""
    study = started()
    finish_trial(database, begin(study, 0.5))
    run_pass(database, study, MlflowTracker(uri))
    shutil.copy(empty_store, uri.removeprefix("sqlite:///"))
    assert run_pass(database, study, MlflowTracker(uri)).epochs == 1
    assert Store(uri).read("trial 0") == [(1, 0.5)]


@pytest.mark.usefixtures("plain")
def test_a_removed_run_stays_removed(
    database: Database, started: Callable[..., Study], begin: Callable[..., Attempt], uri: str
) -> None:
    """A trial that somebody deleted in MLflow is passed over; the others are mirrored."""
    study = started()
    attempt, _ = begin(study, 0.5), begin(study, 0.6)
    run_pass(database, study, MlflowTracker(uri))
    store = Store(uri)
    store.client.delete_run(store.runs["trial 0"].info.run_id)
    finish_trial(database, attempt)
    assert run_pass(database, study, MlflowTracker(uri)).runs == 0
    assert set(Store(uri).runs) == {"small", "trial 1"}


def test_any_name_of_a_hyperparameter_is_taken(uri: str) -> None:
    """A model of one's own may call them anything that is printable; none takes another's place."""
    import mlflow
    from mlflow.entities import Param

    plain = ["filters", "lr é", "model/dense 1", "a.b:c-d", "a..", "a" * MAX_PARAM_NAME]
    odd = ["lr (base)", "lr [base]", "a=b", "a,b", "..", ".", "..a", "../a", "a//b", "/a", "a/", "a/../b"]
    odd += ["a" * (MAX_PARAM_NAME + 1), "a" * MAX_NAME_LENGTH]
    client = mlflow.MlflowClient(tracking_uri=uri)
    run = client.create_run(client.create_experiment("names"))
    client.log_batch(run.info.run_id, params=[Param(name_param(name), name) for name in [*plain, *odd]])
    params = client.get_run(run.info.run_id).data.params
    assert sorted(params.values()) == sorted([*plain, *odd])
    assert [params.get(name) for name in plain] == plain


def test_secrets_are_not_stored(uri: str) -> None:
    """A destination has neither user nor password nor query."""
    assert mask("https://me:secret@host/mlflow?token=x") == "https://host/mlflow"
    assert MlflowTracker(uri).destination.startswith(uri)


@pytest.mark.parametrize(
    "uri",
    [
        *(
            "http://me:sec/ret@host",
            "https://me:sec?ret@host",
            "http://me:sec#ret@host",
            "http://me@home:secret@host/x",
        ),
        *("postgresql://me:sec/ret@host/db", "me:secret@host:5000", "http://[::1"),
    ],
)
def test_a_uri_whose_secret_cannot_be_told_from_the_rest_is_refused(uri: str) -> None:
    """In a line without it; nothing was stored by then."""
    with pytest.raises(TrackerError, match="--mlflow is no tracking URI") as raised:
        MlflowTracker(uri)
    assert "sec" not in str(raised.value)
    assert "ret" not in str(raised.value)


def test_a_missing_driver_of_a_database_is_a_line(
    database: Database, started: Callable[..., Study], monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLflow imports it when it is first asked."""
    monkeypatch.setitem(sys.modules, "pymysql", None)
    with pytest.raises(TrackerError, match=r"needs a package that is missing.*pymysql") as raised:
        run_pass(database, started(), MlflowTracker("mysql+pymysql://me:secret@127.0.0.1:1/db"))
    assert "secret" not in str(raised.value)


def test_what_mlflow_refuses_is_a_line(database: Database, started: Callable[..., Study], tmp_path: Path) -> None:
    """A URI that is none of MLflow's, or no database, is refused in a line."""
    study = started()
    (tmp_path / "no.db").write_text("no database" * 100)
    for uri in ("nonsense://host", f"sqlite:///{tmp_path}/no.db"):
        with pytest.raises(TrackerError) as raised:
            run_pass(database, study, MlflowTracker(uri))
        assert len(str(raised.value).splitlines()) == 1
