"""Databases with long histories, for benchmarks: some trials as workers write them, and copies of those.

The first trials of a study are claimed, sampled, recorded and ended by the service's own functions, pictures and all
(`tests/support/simulation.py`); their rows are then copied by SQL, each copy with figures of its own.
"""

import sys
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, text

from hpsearch.storage.artifacts import plots
from hpsearch.storage.database import Database

sys.path.append(str(Path(__file__).parents[1]))

from tests.support.simulation import Simulation

ORIGINALS = 40
EPOCHS = 10
SPACE: dict[str, Any] = {
    "learning_rate": {"low": 1e-4, "high": 1e-2, "log": True},
    "optimizer": ["sgd", "momentum", "nesterov", "adam", "rmsprop"],
    "activation": ["relu", "elu", "leaky_relu", "tanh", "prelu"],
    "dropout": {"low": 0.0, "high": 0.6},
    "batch_norm": [True, False],
}

COPIES = """
create temporary table copies on commit drop as
    select o.trial_id as original, nextval('trials_trial_id_seq')::int as trial_id, :originals + n as number
      from generate_series(0, :copies - 1) n
      join trials o on o.study_id = :study_id and o.number = n % :originals;

insert into trials (trial_id, number, study_id, state, datetime_start, datetime_complete)
    select c.trial_id, c.number, :study_id, o.state,
           o.datetime_start + make_interval(secs => 20 * c.number),
           o.datetime_complete + make_interval(secs => 20 * c.number)
      from copies c join trials o on o.trial_id = c.original;

insert into trial_params (trial_id, param_name, param_value, distribution_json)
    select c.trial_id, p.param_name,
           case when p.param_name in ('learning_rate', 'dropout')
                then p.param_value * (0.7 + 0.3 * random()) else p.param_value end,
           p.distribution_json
      from copies c join trial_params p on p.trial_id = c.original order by c.number, p.param_id;

insert into trial_values (trial_id, objective, value, value_type)
    select c.trial_id, v.objective, v.value + 0.01 * (random() - 0.5), v.value_type
      from copies c join trial_values v on v.trial_id = c.original;

insert into trial_intermediate_values (trial_id, step, intermediate_value, intermediate_value_type)
    select c.trial_id, i.step, i.intermediate_value + 0.01 * (random() - 0.5), i.intermediate_value_type
      from copies c join trial_intermediate_values i on i.trial_id = c.original;

insert into trial_user_attributes (trial_id, key, value_json)
    select c.trial_id, a.key, a.value_json from copies c join trial_user_attributes a on a.trial_id = c.original;

insert into trial_system_attributes (trial_id, key, value_json)
    select c.trial_id, a.key, a.value_json from copies c join trial_system_attributes a on a.trial_id = c.original;

insert into hpsearch.epochs (trial_id, epoch, attempt, train_loss, train_accuracy, val_loss, val_accuracy,
                             learning_rate, seconds)
    select c.trial_id, e.epoch, e.attempt, e.train_loss, e.train_accuracy, e.val_loss,
           e.val_accuracy + 0.01 * (random() - 0.5), e.learning_rate, e.seconds
      from copies c join hpsearch.epochs e on e.trial_id = c.original;

insert into hpsearch.attempts (trial_id, number, study_id, worker_id, host, device, opened_at, held_until, epochs,
                               ended_at, why)
    select c.trial_id, a.number, a.study_id, a.worker_id, a.host, a.device,
           a.opened_at + make_interval(secs => 20 * c.number), a.held_until, a.epochs,
           a.ended_at + make_interval(secs => 20 * c.number), a.why
      from copies c join hpsearch.attempts a on a.trial_id = c.original
"""
"""A picture stays its original's row in `hpsearch.files`, which the copies name too: nothing measured here reads it."""


def fill(database: Database, name: str, trials: int, *, room: int = 1_000_000) -> int:
    """Start a study of that name with so many complete trials of ten epochs; return its id."""
    described = {
        "study": {"name": name},
        "budget": {"trials": room, "epochs": EPOCHS},
        "sampler": {"name": "random"},
        "pruner": {"name": "none"},
        "space": SPACE,
    }
    simulation = Simulation(database, described, ("a", "b"))
    study = simulation.study
    for _ in range(min(ORIGINALS, trials)):
        attempt = simulation.trial()
        database.transact(partial(plots.attach_plots, trial_id=attempt.trial_id))
    copies = {"study_id": study.study_id, "originals": ORIGINALS, "copies": trials - ORIGINALS}
    if trials > ORIGINALS:
        database.transact(lambda c: _copy(c, copies))
    return study.study_id


def _copy(connection: Connection, of: dict[str, int]) -> None:
    connection.execute(text("set local statement_timeout = '10min'"))
    for statement in COPIES.split(";\n"):
        connection.execute(text(statement), of if ":" in statement.replace("::", "") else {})
    connection.execute(text("analyze"))
