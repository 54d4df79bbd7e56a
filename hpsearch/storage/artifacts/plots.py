"""The rows of a trial's plots: an ended trial names them as artifacts; the dashboard draws each when it is opened."""

import json
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from sqlalchemy import Connection, text

from hpsearch.storage import optuna_tables, trials

MATRIX, CURVES = "confusion-matrix.png", "learning-curves.png"


def attach_plots(connection: Connection, trial_id: int) -> None:
    """Attach to a trial the plots for which it has data, in the transaction that ends it."""
    row = connection.execute(
        text("""
            select exists (select 1 from trial_system_attributes where trial_id = :trial_id and key = :key) as matrix,
                   exists (select 1 from hpsearch.epochs where trial_id = :trial_id) as curves
        """),
        {"trial_id": trial_id, "key": trials.CONFUSION},
    ).one()
    names = [name for name, present in ((MATRIX, row.matrix), (CURVES, row.curves)) if present]
    _attach(connection, trial_id, names)


def _attach(connection: Connection, trial_id: int, names: Sequence[str]) -> None:
    """Give a trial PNG artifacts of these names; their content is not stored."""
    attributes: dict[str, str] = {}
    for name in names:
        attributes |= make_attachment(str(uuid.uuid4()), name, "image/png")
    optuna_tables.set_attributes(connection, "system", trial_id, attributes)


def make_attachment(key: str, name: str, mimetype: str) -> dict[str, str]:
    """Return the system attribute by which a trial has the artifact of id `key`, as `upload_artifact` makes it."""
    from optuna.artifacts._upload import ARTIFACTS_ATTR_PREFIX, ArtifactMeta

    return {ARTIFACTS_ATTR_PREFIX + key: json.dumps(asdict(ArtifactMeta(key, name, mimetype, None)))}


@dataclass(frozen=True)
class PlotReference:
    """A plot's trial, the trial's study, and the plot's file name: `MATRIX` or `CURVES`, or that of its output."""

    trial_id: int
    study_id: int
    name: str


def find_plot(connection: Connection, key: str) -> PlotReference | None:
    """Find the plot whose artifact id is `key`; None where no trial has it."""
    from optuna.artifacts._upload import ARTIFACTS_ATTR_PREFIX

    row = connection.execute(
        text(
            "select trial_id, study_id, value_json from trial_system_attributes join trials using (trial_id) "
            "where key = :key"
        ),
        {"key": ARTIFACTS_ATTR_PREFIX + key},
    ).first()
    if row is None:
        return None
    try:
        name = json.loads(json.loads(row.value_json))["filename"]
    except (KeyError, TypeError, ValueError):  # another program's
        return None
    return PlotReference(row.trial_id, row.study_id, str(name))
