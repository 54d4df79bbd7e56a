"""The plots and the output of a trial, as artifacts that the Optuna dashboard shows beside it.

An ended trial names its plots; each is drawn when somebody opens it, from rows that no longer change. Drawing them all
at the end of each trial would cost a worker more than all else that it does for a trial.
"""

import io
from dataclasses import dataclass
from typing import BinaryIO

from optuna.artifacts.exceptions import ArtifactNotFound

from hpsearch.errors import NotFoundError, UnreadableStudyError
from hpsearch.metrics import EpochMetrics
from hpsearch.outcomes import Confusion
from hpsearch.plotting import trial_plots
from hpsearch.storage import studies, trials
from hpsearch.storage.artifacts import output, plots
from hpsearch.storage.artifacts.plots import PlotReference
from hpsearch.storage.artifacts.table import PostgresStore
from hpsearch.storage.database import Connection


@dataclass(frozen=True)
class PlotData:
    """What the plots of a trial show; `images` says which it was validated on, `validation` or `test`."""

    images: str
    classes: tuple[str, ...]
    epochs: tuple[EpochMetrics, ...]
    confusion: Confusion | None
    metric: str


def read_plot_data(connection: Connection, plot: PlotReference) -> PlotData:
    """Read what there is to draw of a trial.

    Raises:
        NotFoundError: its study belongs to another program.
        UnreadableStudyError: a newer hpsearch made its study.
    """
    spec = studies.read(connection, plot.study_id).spec
    return PlotData(
        "test" if spec.evaluation else "validation",
        tuple(spec.classes),
        trials.read_epochs(connection, plot.trial_id),
        trials.read_confusion(connection, plot.trial_id),
        spec.study.metric,
    )


def draw_plot(data: PlotData, name: str) -> bytes | None:
    """Return the plot of that file name as PNG; None where there is none.

    That is the confusion matrix of the best epoch, or the learning curves.
    """
    if name == plots.MATRIX and data.confusion:
        return trial_plots.draw_confusion_matrix(data.confusion, data.classes, data.images)
    if name == plots.CURVES and data.epochs:
        return trial_plots.draw_learning_curves(data.epochs, data.images, data.metric)
    return None


class PlotArtifactStore(PostgresStore):
    """Optuna's artifact protocol: what is stored in Postgres, plots that are drawn when they are read, and output.

    The plots of trials that ended under an earlier hpsearch are stored.
    """

    def open_reader(self, artifact_id: str) -> BinaryIO:
        """Return the content of an artifact.

        Raises:
            ArtifactNotFound: there is none of that id.
        """
        try:
            return super().open_reader(artifact_id)
        except ArtifactNotFound:
            content = self._make(artifact_id)
            if content is None:
                raise
            return io.BytesIO(content)

    def _make(self, artifact_id: str) -> bytes | None:
        def read(connection: Connection) -> tuple[PlotData, str] | str | None:
            reference = plots.find_plot(connection, artifact_id)
            if reference is None:
                return None
            if reference.name == output.FILE:
                return output.read(connection, reference.trial_id).format()
            return read_plot_data(connection, reference), reference.name

        try:
            source = self.database.transact(read)
        except (NotFoundError, UnreadableStudyError):  # the study belongs to another program, or to a newer hpsearch
            return None
        if isinstance(source, str):
            return source.encode()
        # After the transaction: one plot is drawn at a time, and the server ends a session that idles in one for long.
        return draw_plot(*source) if source else None
