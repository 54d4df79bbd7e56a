"""Histories of finished trials, made fast: the first by a side's own workers, the others as their copies in SQL."""

import optuna
from coordination_workers import ACTIVATIONS, EPOCHS, OPTIMIZERS, STUDY, Side, work
from sqlalchemy import Connection, text

from hpsearch.spec import loader
from hpsearch.storage import study_creation
from hpsearch.storage.database import Database

ORIGINALS = 20
OF_A_TRIAL = (
    "trial_params",
    "trial_values",
    "trial_intermediate_values",
    "trial_user_attributes",
    "trial_system_attributes",
    "hpsearch.attempts",
    "hpsearch.epochs",
)
"""What belongs to a trial, but for its pictures in `hpsearch.files`, which no worker reads again."""

VARIED = {
    "trial_params.param_value": "case when {0} = floor({0}) then {0} else {0} * (0.7 + 0.3 * random()) end",
    "trial_values.value": "{0} - 0.1 * random()",
    "trial_intermediate_values.intermediate_value": "{0} - 0.1 * random()",
    "hpsearch.epochs.val_accuracy": "{0} - 0.1 * random()",
}
"""Figures of a copy's own, below the original's: no trial of the benchmark is under the median of its history."""


def start_ours(database: Database, sampler: str | None, pruner: str) -> None:
    """Start our study, the default space with room for every trial; `sampler` None: the service's default."""
    described = {
        "study": {"name": STUDY},
        "budget": {"trials": 1_000_000, "epochs": EPOCHS},
        "space": {
            "learning_rate": {"low": 1e-5, "high": 1e-1, "log": True},
            "optimizer": OPTIMIZERS,
            "activation": ACTIVATIONS,
            "dropout": {"low": 0.0, "high": 0.5},
            "batch_norm": [True, False],
        },
        "sampler": {"name": sampler} if sampler else {},
        "pruner": {"name": pruner},
    }
    study_creation.start(database, loader.from_dict(described))


def start_optuna(database: Database) -> None:
    """Start the study of plain Optuna."""
    url = database.url.render_as_string(hide_password=False)
    storage = optuna.storages.RDBStorage(url)
    optuna.create_study(study_name=STUDY, storage=storage, direction="maximize")
    storage.engine.dispose()


def fill(database: Database, side: Side, trials: int) -> None:
    """Give the study so many finished trials."""
    if not trials:
        return
    url = database.url.render_as_string(hide_password=False)
    work(side, url, 1, min(trials, ORIGINALS) - 1, 600.0, lambda: None)
    database.transact(lambda connection: _copy(connection, trials - ORIGINALS))


def _copy(connection: Connection, copies: int) -> None:
    connection.execute(text("set local statement_timeout = '10min'"))
    connection.execute(
        text("""
            create temporary table copies on commit drop as
            select o.trial_id as original, nextval('trials_trial_id_seq')::int as trial_id, :originals + n as number
              from generate_series(0, :copies - 1) n join trials o on o.number = n % :originals
             order by n
        """),
        {"originals": ORIGINALS, "copies": copies},
    )
    connection.execute(
        text(
            "insert into trials (trial_id, number, study_id, state, datetime_start, datetime_complete) "
            "select c.trial_id, c.number, o.study_id, o.state, o.datetime_start, o.datetime_complete "
            "from copies c join trials o on o.trial_id = c.original"
        )
    )
    for table in OF_A_TRIAL:
        _copy_rows(connection, table)


def _copy_rows(connection: Connection, table: str) -> None:
    # Optuna's own keys count on by themselves.
    columns = connection.scalars(
        text(
            "select attname from pg_attribute where attrelid = to_regclass(:table) and attnum > 0 and not attisdropped "
            "and attname <> 'trial_id' and pg_get_serial_sequence(:table, attname) is null order by attnum"
        ),
        {"table": table},
    ).all()
    named = ", ".join(columns)
    values = ", ".join(VARIED.get(f"{table}.{column}", "{0}").format(f"o.{column}") for column in columns)
    connection.execute(
        text(
            f"insert into {table} (trial_id, {named}) "
            f"select c.trial_id, {values} from copies c join {table} o on o.trial_id = c.original order by c.number"
        )
    )
