"""Studies of many trials: how many statements they take, since a statement a trial is minutes."""

from collections.abc import Iterator
from contextlib import contextmanager

import optuna
from optuna.trial import TrialState
from sqlalchemy import event

from hpsearch.spec import loader
from hpsearch.storage import study_creation, study_deletion
from hpsearch.storage.database import Database

STATEMENTS = 50
"""At most; a hundredth of the trials."""

GRID = {
    "study": {"name": "grid"},
    "sampler": {"name": "grid"},
    "space": {
        "learning_rate": {"low": 0.001, "high": 0.5, "step": 0.001},
        "batch_size": [32, 64],
        "optimizer": ["sgd", "momentum", "adam"],
        "momentum": {"choices": [0.8, 0.9, 0.95], "when": {"optimizer": ["momentum"]}},
    },
}
POINTS = 500 * 2 * 5


@contextmanager
def count_statements(database: Database) -> Iterator[list[str]]:
    statements: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        statements.append(statement)

    event.listen(database.engine, "before_cursor_execute", note)
    yield statements
    event.remove(database.engine, "before_cursor_execute", note)


def test_grid_is_stored_and_deleted_in_few_statements(database: Database) -> None:
    """A grid of 5,000 points waits in its order, as Optuna would have enqueued it, and goes as quickly as it came."""
    spec = loader.from_dict(GRID)
    with count_statements(database) as statements:
        study = study_creation.start(database, spec).study
    assert study.spec.budget.trials == POINTS
    assert len(statements) < STATEMENTS
    stored = optuna.load_study(study_name="grid", storage=database.url.render_as_string(hide_password=False))
    trials = stored.get_trials(deepcopy=False)
    assert [trial.number for trial in trials] == list(range(POINTS))
    assert {trial.state for trial in trials} == {TrialState.WAITING}
    assert [trial.system_attrs for trial in trials] == [{"fixed_params": point} for point in spec.list_grid()]
    with count_statements(database) as statements:
        database.transact(lambda connection: study_deletion.delete(connection, study.study_id))
    assert len(statements) < STATEMENTS


def test_larger_grid_continues_the_numbers(database: Database) -> None:
    """Points that a larger budget brings come after those that are there."""
    small = {**GRID, "budget": {"trials": 7}}
    study_creation.start(database, loader.from_dict(small))
    study = study_creation.start(database, loader.from_dict({**GRID, "budget": {"trials": 12}})).study
    stored = optuna.load_study(study_name="grid", storage=database.url.render_as_string(hide_password=False))
    expected = study.spec.list_grid()[:12]
    assert [trial.system_attrs["fixed_params"] for trial in stored.get_trials(deepcopy=False)] == expected
    assert [trial.number for trial in stored.get_trials(deepcopy=False)] == list(range(12))
