"""The pictures of a trial, as artifacts that the Optuna dashboard shows beside it.

An ended trial names its pictures; each is drawn when somebody looks at it, from the tables, which say the same ever
after. To draw them all at the end of each trial costs a worker more than all else that it does for one.
"""

import io
from typing import BinaryIO

from sqlalchemy import Connection, text

from hpsearch import conclusion, files, study
from hpsearch.errors import NotFoundError
from hpsearch.files import PostgresStore
from hpsearch.sections import DATASETS

MATRIX, CURVES = "confusion-matrix.png", "learning-curves.png"


def add(connection: Connection, trial_id: int) -> None:
    """Name a trial's pictures, in the transaction that ends it: as far as it came, there is something to see."""
    seen = connection.execute(
        text("""
            select exists (select 1 from trial_system_attributes where trial_id = :trial_id and key = :key) as matrix,
                   exists (select 1 from hpsearch.epochs where trial_id = :trial_id) as curves
        """),
        {"trial_id": trial_id, "key": conclusion.CONFUSION},
    ).one()
    names = [name for name, there in ((MATRIX, seen.matrix), (CURVES, seen.curves)) if there]
    files.announce_pictures(connection, trial_id, names)


def draw(connection: Connection, trial_id: int, name: str) -> bytes | None:
    """A picture of a trial as PNG: of its best epoch's confusion matrix, or its learning curves; None: no such one."""
    from hpsearch import pictures

    study_id = connection.scalar(text("select study_id from trials where trial_id = :id"), {"id": trial_id})
    stored = study.read(connection, study_id)
    images = "test" if stored.spec.evaluation else "validation"
    epochs, matrix = conclusion.read_epochs(connection, trial_id), conclusion.read_confusion(connection, trial_id)
    if name == MATRIX and matrix:
        return pictures.confusion_matrix(matrix, DATASETS[stored.spec.data.name].classes, images)
    return pictures.learning_curves(epochs, images) if name == CURVES and epochs else None


class Album(PostgresStore):
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
        def look(connection: Connection) -> bytes | None:
            named = files.picture(connection, artifact_id)
            return draw(connection, *named) if named else None

        try:
            return self.database.transact(look)
        except NotFoundError:  # a study of another program's
            return None
