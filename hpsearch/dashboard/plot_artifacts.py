"""The pictures of a trial, as artifacts that the Optuna dashboard shows beside it.

An ended trial names its pictures; each is drawn when somebody looks at it, from the tables, which say the same ever
after. To draw them all at the end of each trial costs a worker more than all else that it does for one.
"""

import io
from dataclasses import dataclass
from typing import BinaryIO

from sqlalchemy import Connection, text

from hpsearch.errors import NotFoundError
from hpsearch.metrics import EpochMetrics
from hpsearch.outcomes import Confusion
from hpsearch.spec.sections import DATASETS
from hpsearch.storage import studies, trials
from hpsearch.storage.artifacts import plots
from hpsearch.storage.artifacts.table import PostgresStore


@dataclass(frozen=True)
class PlotData:
    """What the pictures of a trial show."""

    images: str
    """Which ones it was validated on: `validation` or `test`."""
    classes: tuple[str, ...]
    epochs: tuple[EpochMetrics, ...]
    matrix: Confusion | None


def read_plot_data(connection: Connection, trial_id: int) -> PlotData:
    """What there is to draw of a trial.

    Raises:
        NotFoundError: its study is none of ours.
    """
    study_id = connection.scalar(text("select study_id from trials where trial_id = :id"), {"id": trial_id})
    spec = studies.read(connection, study_id).spec
    return PlotData(
        "test" if spec.evaluation else "validation",
        tuple(DATASETS[spec.data.name].classes),
        trials.read_epochs(connection, trial_id),
        trials.read_confusion(connection, trial_id),
    )


def draw_plot(subject: PlotData, name: str) -> bytes | None:
    """A picture as PNG: of the best epoch's confusion matrix, or the learning curves; None: there is no such one."""
    from hpsearch.plotting import trial_plots

    if name == plots.MATRIX and subject.matrix:
        return trial_plots.draw_confusion_matrix(subject.matrix, subject.classes, subject.images)
    if name == plots.CURVES and subject.epochs:
        return trial_plots.draw_learning_curves(subject.epochs, subject.images)
    return None


class PlotArtifactStore(PostgresStore):
    """Optuna's artifact protocol: what is stored in Postgres, and the pictures that are drawn when they are asked for.

    Those of trials that ended under an earlier hpsearch are stored.
    """

    def open_reader(self, artifact_id: str) -> BinaryIO:
        """The content of an artifact.

        Raises:
            ArtifactNotFound: there is none of that id.
        """
        from optuna.artifacts.exceptions import ArtifactNotFound

        try:
            return super().open_reader(artifact_id)
        except ArtifactNotFound:
            drawn = self._drawn(artifact_id)
            if drawn is None:
                raise
            return io.BytesIO(drawn)

    def _drawn(self, artifact_id: str) -> bytes | None:
        def look(connection: Connection) -> tuple[PlotData, str] | None:
            named = plots.find_plot(connection, artifact_id)
            return (read_plot_data(connection, named[0]), named[1]) if named else None

        try:
            found = self.database.transact(look)
        except NotFoundError:  # a study of another program's
            return None
        # Not in the transaction: one picture is drawn at a time, and the server throws out who waits in one for long.
        return draw_plot(*found) if found else None
