"""The pictures of a trial, as artifacts that the Optuna dashboard shows beside it."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from hpsearch import conclusion, files, pictures
from hpsearch.errors import reason
from hpsearch.sections import DATASETS
from hpsearch.study import Study

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Picture:
    """A PNG by name."""

    name: str
    content: bytes


def draw(connection: Connection, stored: Study, trial_id: int) -> Sequence[Picture]:
    """The confusion matrix of a trial's best epoch and its learning curves, as far as it came."""
    epochs = conclusion.read_epochs(connection, trial_id)
    matrix = conclusion.read_confusion(connection, trial_id)
    images = "test" if stored.spec.evaluation else "validation"
    drawn = []
    try:
        if matrix:
            classes = DATASETS[stored.spec.data.name].classes
            drawn.append(Picture("confusion-matrix.png", pictures.confusion_matrix(matrix, classes, images)))
        if epochs:
            drawn.append(Picture("learning-curves.png", pictures.learning_curves(epochs, images)))
    except Exception as error:  # noqa: BLE001 - no picture is worth a trial
        log.warning("a trial's pictures cannot be drawn: %s", error)
    return drawn


def attach(connection: Connection, trial_id: int, drawn: Sequence[Picture]) -> None:
    """Store pictures with their trial, in the transaction that ends it, whose fate they do not share."""
    if not drawn:
        return
    try:
        with connection.begin_nested():
            for picture in drawn:
                files.attach(connection, trial_id, picture.name, "image/png", picture.content)
    except DBAPIError as error:
        if error.connection_invalidated:
            raise
        log.warning("a trial's pictures cannot be stored: %s", reason(error))


def add(connection: Connection, stored: Study, trial_id: int) -> None:
    """Draw and store a trial's pictures, in the transaction that ends it."""
    attach(connection, trial_id, draw(connection, stored, trial_id))
