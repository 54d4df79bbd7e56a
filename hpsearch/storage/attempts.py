"""A held trial: renew it, release it, end it; every write about it is fenced.

An attempt is one worker's hold on one trial. Its row is never rewritten into another's: the open row is the lease, and
a worker whose row was closed by an adopter finds that out at its next write and writes nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from sqlalchemy import Connection, TextClause, text

from hpsearch.metrics import EpochMetrics, find_best_epoch
from hpsearch.outcomes import Confusion, TrialOutcome
from hpsearch.storage import optuna_tables, trials
from hpsearch.storage.artifacts import table
from hpsearch.storage.studies import Study

MADE_BY = "hpsearch:made_by"
"""The system attribute with what made a trial."""

LEASE_SECONDS = 90.0
"""How long a trial is held after its last renewal, which workers repeat every 15 s."""

LEASE = "make_interval(secs => :lease)"
"""The same in SQL, for a statement that is given it as `lease`."""

STOPPED = "the study was stopped"
"""Why a trial of a stopped study ended."""


class LostError(Exception):
    """The attempt is no longer open: another worker adopted the trial, or it was ended or deleted from outside."""


@dataclass(frozen=True)
class Attempt:
    """A held trial. `epochs` are the ones stored, 1..n; `checkpoint` the key of the latest one."""

    study: Study
    trial_id: int
    trial_number: int
    number: int
    checkpoint: str | None
    epochs: tuple[EpochMetrics, ...]
    short_of_memory: bool
    """An earlier attempt ran out of memory: this one gets the device to itself."""

    @property
    def key(self) -> dict[str, int]:
        """What identifies it in SQL."""
        return {"trial_id": self.trial_id, "number": self.number}


HELD = """
held as materialized (
    select t.trial_id from hpsearch.attempts a join trials t using (trial_id)
     where a.trial_id = :trial_id and a.number = :number and a.ended_at is null and t.state = 'RUNNING'
       for no key update of a, t
)
"""
"""The fence: locks the open attempt and its running trial, by number and never by time; empty where it is not ours.

A statement that waited for the locks sees the rows as they are then."""

EPOCH = """
epoch as (
    insert into hpsearch.epochs (trial_id, epoch, attempt, train_loss, train_accuracy, val_loss, val_accuracy,
                                 learning_rate, seconds)
    select held.trial_id, :epoch, :number, :train_loss, :train_accuracy, :val_loss, :val_accuracy, :learning_rate,
           :seconds
      from held
    on conflict do nothing returning 1
), counted as (
    update hpsearch.attempts a set epochs = a.epochs + (select count(*) from epoch) from held
     where a.trial_id = held.trial_id and a.number = :number
)
"""


def fence(connection: Connection, held: Attempt) -> None:
    """Lock the attempt, until the transaction ends, for what is written after this.

    Raises:
        LostError: the attempt was closed, or the trial ended or deleted from outside.
    """
    _write(connection, held, (), {})


def _write(connection: Connection, held: Attempt, parts: tuple[str, ...], arguments: Mapping[str, object]) -> None:
    """Write `parts` behind the fence: one statement, which says all or nothing.

    Raises:
        LostError: see `fence`.
    """
    if not connection.scalar(_fenced(parts), {**held.key, **arguments}):
        raise LostError(f"trial {held.trial_number} of {held.study.name} is no longer ours")


@lru_cache
def _fenced(parts: tuple[str, ...]) -> TextClause:
    return text(f"with {', '.join((HELD, *parts))} select count(*) from held")


def sample(connection: Connection, held: Attempt, writes: optuna_tables.TrialWrites) -> None:
    """Store what the sampler suggested; a single statement."""
    _write(
        connection,
        held,
        (optuna_tables.PARAMETERS, optuna_tables.SYSTEM),
        {
            **optuna_tables.bind_parameters(writes.parameters),
            **optuna_tables.bind_attributes("system", writes.attributes),
        },
    )


def cut_back(connection: Connection, held: Attempt, last: int) -> None:
    """Forget the stored epochs after `last`, which no readable checkpoint reaches: they are trained again."""
    fence(connection, held)
    optuna_tables.cut(connection, held.trial_id, last)


def describe(connection: Connection, held: Attempt, weights: int, made_by: Mapping[str, object]) -> None:
    """Keep the model's parameter count, and what makes the trial: seed, data, backend, versions; a single statement."""
    # A user attribute is a column of the dashboard's table, and what made the trial would be a screen high there.
    _write(
        connection,
        held,
        (optuna_tables.USER, optuna_tables.SYSTEM),
        {
            **optuna_tables.bind_attributes("user", {"weights": weights}),
            **optuna_tables.bind_attributes("system", {MADE_BY: made_by}),
        },
    )


@dataclass(frozen=True)
class PrunerVerdict:
    """The pruner's: whether the trial ends, and the attributes it wants kept with it."""

    pruned: bool = False
    attributes: Mapping[str, object] = field(default_factory=dict)


def store(
    connection: Connection,
    held: Attempt,
    metrics: EpochMetrics,
    verdict: PrunerVerdict,
    confusion: Confusion | None = None,
) -> None:
    """Store an epoch: our row, Optuna's intermediate value, the pruner's verdict, whose attributes go with them.

    `confusion` is the epoch's confusion matrix where no earlier epoch is better. A retrained epoch keeps its first row,
    in both tables. A single statement, but where the trial was pruned: there the transaction ends it too.
    """
    _store(connection, held, metrics, {**verdict.attributes, **_confusion(confusion)})
    if verdict.pruned:
        detail = f"by the {held.study.spec.pruner.name} pruner at epoch {metrics.epoch}"
        _end(connection, held, TrialOutcome.PRUNED, {"detail": detail})


def restore(
    connection: Connection, held: Attempt, epochs: tuple[EpochMetrics, ...], confusion: Confusion | None = None
) -> None:
    """Store epochs that a checkpoint brought along and the tables lack (an outage swallowed them).

    `confusion` is the best one's confusion matrix: that of a later epoch, which was cut back, is no longer true.
    """
    for metrics in epochs:
        _store(connection, held, metrics, _confusion(confusion))


def _confusion(confusion: Confusion | None) -> Mapping[str, object]:
    return {} if confusion is None else {trials.CONFUSION: confusion}


def _store(connection: Connection, held: Attempt, metrics: EpochMetrics, attributes: Mapping[str, object]) -> None:
    value = metrics.value(held.study.spec.study.metric)
    _write(
        connection,
        held,
        (EPOCH, optuna_tables.INTERMEDIATE, optuna_tables.SYSTEM),
        {
            **vars(metrics),
            **optuna_tables.bind_intermediate(metrics.epoch, value),
            **optuna_tables.bind_attributes("system", attributes),
        },
    )


def point_at(connection: Connection, held: Attempt, key: str) -> None:
    """The stored checkpoint `key` is the one to go on from; the earlier ones go."""
    connection.execute(
        text("update hpsearch.attempts set checkpoint = :key where trial_id = :trial_id and number = :number"),
        {**held.key, "key": key},
    )
    table.remove_checkpoints(connection, held.trial_id, keep=key)


def finish(connection: Connection, held: Attempt, ending: TrialOutcome, attributes: Mapping[str, object]) -> None:
    """End the trial, and with it the attempt."""
    fence(connection, held)
    _end(connection, held, ending, attributes)


def is_among_best(connection: Connection, held: Attempt) -> bool:
    """Whether the trial, were it to complete with its stored epochs, is one of those whose models are kept."""
    fence(connection, held)
    spec = held.study.spec
    top = find_best_epoch(list(trials.read_epochs(connection, held.trial_id)), spec.study.metric)
    if top is None:
        return False
    better = ">" if spec.direction == "maximize" else "<"
    ahead = connection.execute(
        text(
            "select count(*) from trials t join trial_values v using (trial_id) "
            f"where t.study_id = :study_id and t.state = 'COMPLETE' and v.value {better} :value"
        ),
        {"study_id": held.study.study_id, "value": top.value(spec.study.metric)},
    ).scalar_one()
    return int(ahead) < spec.study.keep_models


def drop_models(connection: Connection, held: Attempt, key: str) -> None:
    """Drop the models that are not among the study's best, and any but `key` of the trial. Under the study's lock."""
    spec = held.study.spec
    order = "desc" if spec.direction == "maximize" else "asc"
    connection.execute(
        text(f"""
            delete from hpsearch.files
             where key like 'model/%' and trial_id in (select trial_id from trials where study_id = :study_id)
               and (trial_id = :trial_id and key <> :key
                    or trial_id not in (
                        select t.trial_id from trials t join trial_values v using (trial_id)
                         where t.study_id = :study_id and t.state = 'COMPLETE'
                         order by v.value {order}, t.trial_id limit :keep))
        """),
        {
            "study_id": held.study.study_id,
            "trial_id": held.trial_id,
            "key": key,
            "keep": spec.study.keep_models,
        },
    )


def release(connection: Connection, held: Attempt, why: str) -> bool:
    """Let go of the trial; it stays RUNNING, and any worker may go on with it at once.

    That of a stopped study ends: True then.
    """
    # Locked before the attempt, and until the end, as `hpsearch stop` does: either it finds the trial unheld, or this
    # finds the study stopped.
    status: str | None = connection.scalar(
        text("select status from hpsearch.studies where study_id = :study_id for share"),
        {"study_id": held.study.study_id},
    )
    fence(connection, held)
    if status == "stopped":
        _end(connection, held, TrialOutcome.PRUNED, {"detail": STOPPED})
    else:
        _close(connection, held, why)
    return status == "stopped"


def _end(connection: Connection, held: Attempt, ending: TrialOutcome, attributes: Mapping[str, object]) -> None:
    trials.write(connection, held.study, held.trial_id, ending, attributes)
    _close(connection, held, str(ending))


def _close(connection: Connection, held: Attempt, why: str) -> None:
    connection.execute(
        text(
            "update hpsearch.attempts set ended_at = clock_timestamp(), why = :why "
            "where trial_id = :trial_id and number = :number and ended_at is null"
        ),
        {**held.key, "why": why},
    )


def read_end(connection: Connection, held: Attempt) -> str | None:
    """Why the attempt ended; None where it is open, or was deleted with its study."""
    query = "select why from hpsearch.attempts where trial_id = :trial_id and number = :number"
    ended: str | None = connection.scalar(text(query), held.key)
    return ended


def renew(connection: Connection, held: Attempt, lease: float = LEASE_SECONDS) -> str:
    """Hold the trial for another lease of so many seconds; returns the study's status.

    Raises:
        LostError: the attempt was closed.
    """
    status = connection.scalar(
        text(f"""
            update hpsearch.attempts a set held_until = clock_timestamp() + {LEASE}
              from hpsearch.studies s, trials t
             where a.trial_id = :trial_id and a.number = :number and a.ended_at is null
               and s.study_id = a.study_id and t.trial_id = a.trial_id and t.state = 'RUNNING'
            returning s.status
        """),
        {**held.key, "lease": lease},
    )
    if status is None:
        raise LostError(f"trial {held.trial_number} of {held.study.name} is no longer ours")
    return str(status)
