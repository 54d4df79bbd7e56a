"""The pictures of a trial: with it from the moment it has ended, however it ended."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.artifacts import get_all_artifact_meta
from optuna.artifacts.exceptions import ArtifactNotFound
from PIL import Image
from sqlalchemy import Connection, text

from hpsearch.dashboard.plot_artifacts import PlotArtifactStore
from hpsearch.metrics import Direction
from hpsearch.outcomes import AttemptEnd, Confusion, TrialOutcome
from hpsearch.plotting import trial_plots as drawings
from hpsearch.sampling.readonly_storage import ReadOnlyStorage
from hpsearch.storage import attempts, study_control, study_deletion, trials
from hpsearch.storage.artifacts import output, plots
from hpsearch.storage.artifacts.output import Output
from hpsearch.storage.artifacts.study_artifacts import StudyArtifacts
from hpsearch.storage.database import Database
from hpsearch.storage.studies import Study
from hpsearch.storage.workers import WorkerIdentity
from hpsearch.training.protocol import EpochReport
from hpsearch.worker.epoch_queue import EpochQueue
from tests.support.small_study import claim, metrics

Started = Callable[..., Study]
Enrol = Callable[[str], WorkerIdentity]

MATRIX: Confusion = tuple(tuple(20 if i == j else i for j in range(10)) for i in range(10))
BOTH = {"confusion-matrix.png", "learning-curves.png"}


def pictures(database: Database, number: int = 0) -> dict[str, tuple[int, int]]:
    """Width and height of each picture of a trial, as Optuna's own API finds them."""
    url = database.url.render_as_string(hide_password=False)
    study = optuna.load_study(study_name="small", storage=url)
    metas = get_all_artifact_meta(study.trials[number], storage=study._storage)
    assert {meta.mimetype for meta in metas} <= {"image/png"}
    opened = {meta.filename: PlotArtifactStore(database).open_reader(meta.artifact_id) for meta in metas}
    return {name: Image.open(io.BytesIO(file.read())).size for name, file in opened.items()}


def attributes(database: Database) -> dict[str, object]:
    url = database.url.render_as_string(hide_password=False)
    return dict(optuna.load_study(study_name="small", storage=url).trials[0].user_attrs)


def report(database: Database, study: Study, attempt: attempts.Attempt, values: list[float]) -> bool:
    """Store epochs as a worker does; True where the pruner ended the trial."""
    backlog = EpochQueue(
        database,
        attempt,
        ReadOnlyStorage(study.study_id, Direction.MAXIMIZE),
        StudyArtifacts(database, None),
        print,
        lambda: None,
    )
    for epoch, value in enumerate(values, start=1):
        backlog.add(EpochReport(metrics(epoch, value), None, MATRIX if value == max(values[:epoch]) else None))
    return backlog.store() is not None


def test_complete_trial_has_its_pictures(database: Database, started: Started, holder: Enrol, tmp_path: Path) -> None:
    """A trial that completes carries its confusion matrix and learning curves, and says what it confuses most."""
    study = started()
    attempt = claim(database, study, holder("w"))
    assert attempt is not None
    report(database, study, attempt, [0.3, 0.5, 0.4])
    model = tmp_path / "model.keras"
    model.write_bytes(b"model")
    StudyArtifacts(database, None).finish(attempt, {}, model)
    sizes = pictures(database)
    assert set(sizes) == BOTH
    assert min(min(size) for size in sizes.values()) > 300
    user_attributes = attributes(database)
    assert user_attributes["worst_confused"] == "9 as 0 9%, 9 as 1 9%, 9 as 2 9%"  # 9 of 20 + 81
    assert user_attributes["device"] == "CPU"
    assert (
        database.transact(lambda c: c.scalar(text("select count(*) from hpsearch.files where trial_id is null"))) == 0
    )


def test_pruned_trial_has_its_pictures(database: Database, started: Started, holder: Enrol) -> None:
    """A trial that the pruner ends has them in the same moment."""
    study = started(pruner={"name": "median", "n_startup_trials": 1})
    good, bad = claim(database, study, holder("w")), claim(database, study, holder("v"))
    assert good is not None
    assert bad is not None
    report(database, study, good, [0.8, 0.8])
    database.transact(lambda c: attempts.finish(c, good, TrialOutcome.COMPLETED, {}))
    assert report(database, study, bad, [0.1])
    assert set(pictures(database, 1)) == BOTH


def test_trial_of_a_stopped_study_has_its_pictures(database: Database, started: Started, holder: Enrol) -> None:
    """A trial that nobody holds when its study is stopped ends with pictures too."""
    study = started()
    attempt = claim(database, study, holder("w"))
    assert attempt is not None
    report(database, study, attempt, [0.3])
    database.transact(lambda c: attempts.release(c, attempt, AttemptEnd.PREEMPTED))
    database.transact(lambda c: study_control.stop(c, "small"))
    assert set(pictures(database)) == BOTH


@pytest.mark.usefixtures("server_long_up")
def test_trial_without_an_epoch_has_none(database: Database, started: Started, holder: Enrol) -> None:
    """Where nothing was trained there is nothing to draw."""
    study = started(budget={"trials": 1, "epochs": 3, "attempts": 1})
    assert claim(database, study, holder("w")) is not None
    database.transact(lambda c: c.execute(text("update hpsearch.attempts set held_until = '-infinity'")))
    assert claim(database, study, holder("v")) is None
    assert pictures(database) == {}


def test_pictures_go_with_their_study(database: Database, started: Started, holder: Enrol) -> None:
    """Nobody can look at them any more when the study is deleted by whatever tool."""
    study = started()
    attempt = claim(database, study, holder("w"))
    assert attempt is not None
    report(database, study, attempt, [0.3])
    database.transact(lambda c: plots.attach_plots(c, attempt.trial_id))
    url = database.url.render_as_string(hide_password=False)
    loaded = optuna.load_study(study_name="small", storage=url)
    metas = get_all_artifact_meta(loaded.trials[0], storage=loaded._storage)
    assert len(metas) == 2
    optuna.delete_study(study_name="small", storage=url)
    for meta in metas:
        with pytest.raises(ArtifactNotFound):
            PlotArtifactStore(database).open_reader(meta.artifact_id)


def test_confusion_of_a_cut_epoch_is_forgotten(database: Database, started: Started, holder: Enrol) -> None:
    """After a loss, the matrix is that of the best epoch the checkpoint brought along."""
    study = started()
    attempt = claim(database, study, holder("w"))
    assert attempt is not None
    report(database, study, attempt, [0.3, 0.5])
    older: Confusion = tuple(tuple(7 if i == j else 0 for j in range(10)) for i in range(10))

    def adopt(connection: Connection) -> Confusion | None:
        attempts.discard_epochs(connection, attempt, 1)
        attempts.restore_epochs(connection, attempt, (metrics(1, 0.3),), older)
        return trials.read_confusion(connection, attempt.trial_id)

    assert database.transact(adopt) == older


def test_output_is_one_artifact_over_all_attempts(database: Database, started: Started, holder: Enrol) -> None:
    """From its first line on a trial carries its output, as it is when it is opened; it goes with the trial."""
    study = started()
    for number, printed in ((1, b"one\n"), (2, b"two\n")):
        attempt = claim(database, study, holder(f"w{number}"))
        assert attempt is not None
        earlier = database.transact(lambda c: output.read_earlier(c, attempt))
        whole = earlier.append(Output(printed, len(printed)))
        database.transact(lambda c: output.store(c, attempt, whole, attach=True))
        database.transact(lambda c: attempts.release(c, attempt, AttemptEnd.PREEMPTED))
    url = database.url.render_as_string(hide_password=False)
    loaded = optuna.load_study(study_name="small", storage=url)
    (meta,) = get_all_artifact_meta(loaded.trials[0], storage=loaded._storage)
    assert (meta.filename, meta.mimetype) == ("output.txt", "text/plain; charset=utf-8")
    read = PlotArtifactStore(database).open_reader(meta.artifact_id).read()
    assert read == b"one\n--- attempt 2, on host-w2 ---\ntwo\n"
    database.transact(lambda c: study_deletion.delete(c, study.study_id))
    with pytest.raises(ArtifactNotFound):
        PlotArtifactStore(database).open_reader(meta.artifact_id)
    assert database.transact(lambda c: c.scalar(text("select count(*) from hpsearch.output"))) == 0


def test_no_connection_waits_for_a_picture(
    database: Database, started: Started, holder: Enrol, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While one is drawn none is taken: the server throws out who idles in a transaction."""
    study = started()
    attempt = claim(database, study, holder("w"))
    assert attempt is not None
    report(database, study, attempt, [0.3, 0.5])
    database.transact(lambda c: plots.attach_plots(c, attempt.trial_id))
    taken, drawn = [], drawings.draw_learning_curves

    def draw(*arguments: Any) -> bytes:
        taken.append(database.engine.pool.checkedout())  # type: ignore[attr-defined]
        return drawn(*arguments)

    monkeypatch.setattr(drawings, "draw_learning_curves", draw)
    assert set(pictures(database)) == BOTH
    assert taken == [0]
