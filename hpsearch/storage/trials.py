"""End a trial in the tables: state, value, what the sampler learns, and why it failed."""

import json
from collections.abc import Mapping

from sqlalchemy import Connection, text

from hpsearch import outcomes
from hpsearch.markdown import fence_code
from hpsearch.metrics import EpochMetrics, find_best_epoch
from hpsearch.outcomes import Confusion, TrialOutcome, TrialState
from hpsearch.storage import optuna_tables, studies
from hpsearch.storage.artifacts import table
from hpsearch.storage.studies import Study

TRACEBACK = "hpsearch:traceback"
"""The system attribute with the whole traceback of a failed trial."""

CONFUSION = "hpsearch:confusion"
"""The system attribute with the confusion matrix of the best epoch on the validation images: a list of rows, one a true
class, of counts, one a predicted class."""

EPOCH_COLUMNS = ", ".join(EpochMetrics.__dataclass_fields__)
"""Of `hpsearch.epochs`, in the order of the fields."""

NOTE_LENGTH = 8_000
"""Characters of a traceback, its last ones, that the dashboard shows; see `TRACEBACK` for the whole."""


def read_epochs(connection: Connection, trial_id: int) -> tuple[EpochMetrics, ...]:
    """Return the stored epochs of a trial, in order."""
    rows = connection.execute(
        text(f"select {EPOCH_COLUMNS} from hpsearch.epochs where trial_id = :trial_id order by epoch"),
        {"trial_id": trial_id},
    )
    return tuple(EpochMetrics(*row) for row in rows)


def read_confusion(connection: Connection, trial_id: int) -> Confusion | None:
    """Return the confusion matrix of a trial's best epoch so far; None where there is none."""
    matrix = connection.scalar(
        text("select value_json from trial_system_attributes where trial_id = :trial_id and key = :key"),
        {"trial_id": trial_id, "key": CONFUSION},
    )
    try:
        return parse_confusion(json.loads(matrix)) if matrix else None
    except ValueError:
        return None


def parse_confusion(rows: object) -> Confusion | None:
    """Return a stored confusion matrix; None where it is none."""
    if not isinstance(rows, list) or not rows or not all(isinstance(row, list) for row in rows):
        return None
    whole = all(isinstance(count, int) for row in rows for count in row)
    return tuple(map(tuple, rows)) if whole and {len(row) for row in rows} == {len(rows)} else None


def parse_outcome(outcome: object) -> TrialOutcome | None:
    """Return a stored outcome; None where there is none, or only a newer hpsearch knows it."""
    return next((known for known in TrialOutcome if known.value == outcome), None)


def end(
    connection: Connection, study: Study, trial_id: int, outcome: TrialOutcome, attributes: Mapping[str, object]
) -> None:
    """End a trial, which the caller's fence or the study's lock guards; `attributes` are stored with it."""
    epochs, matrix = read_epochs(connection, trial_id), read_confusion(connection, trial_id)
    state = outcome.state
    described = {
        "outcome": str(outcome),
        **_summary(epochs),
        **_describe_confusion(connection, matrix, study),
        **_device(connection, trial_id),
        **attributes,
    }
    # A user attribute is a column of the dashboard's table, and a traceback would be a screen high there.
    system = {TRACEBACK: described["traceback"]} if "traceback" in described else {}
    user = {key: value for key, value in described.items() if key != "traceback"}
    if state is TrialState.FAILED:
        optuna_tables.write_note(connection, study.study_id, trial_id, _note(described))
    else:
        # Infeasible trials carry a positive constraint, which Optuna's samplers rank last; the others a zero, because
        # the Gaussian process wants every trial to have the same constraints.
        system["constraints:trains"] = 1.0 if outcome.is_infeasible else 0.0
    optuna_tables.end(connection, trial_id, state, _value(epochs, outcome, study.spec.study.metric), user, system)
    table.remove_checkpoints(connection, trial_id)


def _value(epochs: tuple[EpochMetrics, ...], outcome: TrialOutcome, metric: str) -> float | None:
    """Return the best epoch's value of a complete trial, the last one's of a pruned one."""
    if outcome is TrialOutcome.COMPLETED:
        best = find_best_epoch(list(epochs), metric)
        return best.value(metric) if best else None
    return epochs[-1].value(metric) if epochs and outcome.state is TrialState.PRUNED else None


def _summary(epochs: tuple[EpochMetrics, ...]) -> dict[str, object]:
    if not epochs:
        return {}
    return {"seconds_per_epoch": round(sum(epoch.seconds for epoch in epochs) / len(epochs), 3)}


def _describe_confusion(connection: Connection, matrix: Confusion | None, study: Study) -> dict[str, object]:
    if not matrix:
        return {}
    # Read anew: when the first trial was claimed, nobody had recorded the classes of a user's own images.
    classes = studies.refresh(connection, study).spec.classes
    pairs = outcomes.find_confused_pairs(matrix, classes)
    return {"worst_confused": ", ".join(str(pair) for pair in pairs)} if pairs else {}


def _device(connection: Connection, trial_id: int) -> dict[str, object]:
    device = connection.scalar(
        text("select device from hpsearch.attempts where trial_id = :trial_id order by number desc limit 1"),
        {"trial_id": trial_id},
    )
    return {"device": device} if device else {}


def _note(described: Mapping[str, object]) -> str:
    """Say in Markdown why a trial failed: as code, because a traceback may hold any character."""
    parts = [str(described[key])[-NOTE_LENGTH:].strip() for key in ("detail", "traceback") if described.get(key)]
    code = "\n\n".join(parts)
    return f"**Failed: {described['outcome']}**" + (f"\n\n{fence_code(code)}" if code else "")
