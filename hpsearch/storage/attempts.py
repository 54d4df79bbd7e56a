"""Attempts: renew the lease on a trial, store its epochs, release it, end it; every write about it is fenced.

An attempt is one worker's hold on one trial. Its row in `hpsearch.attempts` is the lease while `ended_at` is null, and
its number is the fencing token: it grows with each attempt at the trial, and no row becomes another worker's. A lease
that expired lets another worker adopt the trial and nothing more, so a worker writes on until it was replaced; then the
fence of its next write finds its row closed, and it writes nothing (`LostError`).

The fence locks the attempt's row and the trial's, after the study's locks where a function takes those: see `claims`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from sqlalchemy import Connection, TextClause, text

from hpsearch.metrics import EpochMetrics, find_best_epoch
from hpsearch.outcomes import AttemptEnd, Confusion, StudyStatus, TrialOutcome
from hpsearch.storage import optuna_tables, trials
from hpsearch.storage.artifacts import table
from hpsearch.storage.studies import Study
from hpsearch.storage.tables import trial_values

MADE_BY = "hpsearch:made_by"
"""The system attribute with a trial's seed, data, backend and versions."""

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
    """A worker's hold on a trial. `epochs` are the ones stored, 1..n; `checkpoint` the key of the latest one."""

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
        """Return the arguments that identify it in SQL."""
        return {"trial_id": self.trial_id, "number": self.number}


FENCE = """
fence as materialized (
    select t.trial_id from hpsearch.attempts a join trials t using (trial_id)
     where a.trial_id = :trial_id and a.number = :number and a.ended_at is null and t.state = 'RUNNING'
       for no key update of a, t
)
"""
"""Locks the open attempt and its running trial, by number and never by time; empty where the attempt was closed.

A statement that waited for the locks sees the rows as they are then."""

STORE_EPOCH = """
epoch as (
    insert into hpsearch.epochs (trial_id, epoch, attempt, train_loss, train_accuracy, val_loss, val_accuracy,
                                 learning_rate, seconds, val_metric)
    select fence.trial_id, :epoch, :number, :train_loss, :train_accuracy, :val_loss, :val_accuracy, :learning_rate,
           :seconds, :val_metric
      from fence
    on conflict do nothing returning 1
), counted as (
    update hpsearch.attempts a set epochs = a.epochs + (select count(*) from epoch) from fence
     where a.trial_id = fence.trial_id and a.number = :number
)
"""


def fence(connection: Connection, attempt: Attempt) -> None:
    """Lock the attempt, until the transaction ends, for what is written after this in the same transaction.

    Raises:
        LostError: the attempt was closed, or the trial ended or deleted from outside.
    """
    write_fenced(connection, attempt, (), {})


def write_fenced(
    connection: Connection, attempt: Attempt, parts: tuple[str, ...], arguments: Mapping[str, object]
) -> None:
    """Run `parts`, which select from FENCE, in one statement: all of them or, where the attempt was closed, none.

    Raises:
        LostError: see `fence`.
    """
    if not connection.scalar(_fence_statement(parts), {**attempt.key, **arguments}):
        raise _lost(attempt)


def _lost(attempt: Attempt) -> LostError:
    return LostError(f"trial {attempt.trial_number} of {attempt.study.name} is no longer ours")


@lru_cache
def _fence_statement(parts: tuple[str, ...]) -> TextClause:
    return text(f"with {', '.join((FENCE, *parts))} select count(*) from fence")


def store_parameters(connection: Connection, attempt: Attempt, writes: optuna_tables.TrialWrites) -> None:
    """Store what the sampler suggested, in a single statement.

    Raises:
        LostError: see `fence`.
    """
    write_fenced(
        connection,
        attempt,
        (optuna_tables.PARAMETERS, optuna_tables.SYSTEM),
        {
            **optuna_tables.bind_parameters(writes.parameters),
            **optuna_tables.bind_attributes("system", writes.attributes),
        },
    )


def discard_epochs(connection: Connection, attempt: Attempt, last: int) -> None:
    """Delete the stored epochs after `last`, which no readable checkpoint reaches: they are trained again.

    Raises:
        LostError: see `fence`.
    """
    fence(connection, attempt)
    optuna_tables.discard_epochs(connection, attempt.trial_id, last)


def describe(connection: Connection, attempt: Attempt, weights: int, made_by: Mapping[str, object]) -> None:
    """Store the model's parameter count and, as `made_by`, the seed, data, backend and versions, in a single statement.

    Raises:
        LostError: see `fence`.
    """
    # A user attribute is a column of the dashboard's table, and `made_by` would be a screen high there.
    write_fenced(
        connection,
        attempt,
        (optuna_tables.USER, optuna_tables.SYSTEM),
        {
            **optuna_tables.bind_attributes("user", {"weights": weights}),
            **optuna_tables.bind_attributes("system", {MADE_BY: made_by}),
        },
    )


@dataclass(frozen=True)
class PrunerVerdict:
    """What the pruner decided: whether the trial ends, and the attributes it wants kept with it."""

    pruned: bool = False
    attributes: Mapping[str, object] = field(default_factory=dict)


def store_epoch(
    connection: Connection,
    attempt: Attempt,
    metrics: EpochMetrics,
    verdict: PrunerVerdict,
    confusion: Confusion | None = None,
) -> None:
    """Store an epoch: our row, Optuna's intermediate value, the pruner's verdict, whose attributes go with them.

    `confusion` is the epoch's confusion matrix where no earlier epoch is better. A retrained epoch keeps its first row,
    in both tables. A single statement, but where the trial was pruned: there the transaction ends it too.

    Raises:
        LostError: see `fence`.
    """
    _store(connection, attempt, metrics, {**verdict.attributes, **_confusion(confusion)})
    if verdict.pruned:
        detail = f"by the {attempt.study.spec.pruner.name} pruner at epoch {metrics.epoch}"
        _end(connection, attempt, TrialOutcome.PRUNED, {"detail": detail})


def restore_epochs(
    connection: Connection, attempt: Attempt, epochs: tuple[EpochMetrics, ...], confusion: Confusion | None = None
) -> None:
    """Store epochs that a checkpoint brought along and the tables lack (an outage swallowed them).

    `confusion` is the best one's confusion matrix: that of a later epoch, which was discarded, is no longer true.

    Raises:
        LostError: see `fence`.
    """
    for metrics in epochs:
        _store(connection, attempt, metrics, _confusion(confusion))


def _confusion(confusion: Confusion | None) -> Mapping[str, object]:
    return {} if confusion is None else {trials.CONFUSION: confusion}


def _store(connection: Connection, attempt: Attempt, metrics: EpochMetrics, attributes: Mapping[str, object]) -> None:
    value = metrics.value(attempt.study.spec.study.metric)
    write_fenced(
        connection,
        attempt,
        (STORE_EPOCH, optuna_tables.INTERMEDIATE, optuna_tables.SYSTEM),
        {
            **vars(metrics),
            **optuna_tables.bind_intermediate(metrics.epoch, value),
            **optuna_tables.bind_attributes("system", attributes),
        },
    )


def set_checkpoint(connection: Connection, attempt: Attempt, key: str) -> None:
    """Make the stored checkpoint `key` the one to go on from, and remove the earlier ones. The caller has fenced."""
    connection.execute(
        text("update hpsearch.attempts set checkpoint = :key where trial_id = :trial_id and number = :number"),
        {**attempt.key, "key": key},
    )
    table.remove_checkpoints(connection, attempt.trial_id, keep=key)


def finish(connection: Connection, attempt: Attempt, outcome: TrialOutcome, attributes: Mapping[str, object]) -> None:
    """End the trial, and with it the attempt.

    Raises:
        LostError: see `fence`.
    """
    fence(connection, attempt)
    _end(connection, attempt, outcome, attributes)


def is_among_best(connection: Connection, attempt: Attempt) -> bool:
    """Return whether the trial, were it to complete with its stored epochs, is one of those whose models are kept.

    Raises:
        LostError: see `fence`.
    """
    fence(connection, attempt)
    spec = attempt.study.spec
    best = find_best_epoch(list(trials.read_epochs(connection, attempt.trial_id)), spec.study.metric)
    if best is None:
        return False
    ahead = trial_values.count_better_models(connection, attempt.study.study_id, spec, best.value(spec.study.metric))
    return ahead < spec.study.keep_models


def drop_models(connection: Connection, attempt: Attempt, key: str) -> None:
    """Delete the models that are not among the study's best, and any but `key` of the trial.

    The caller holds the study's lock.
    """
    spec = attempt.study.spec
    connection.execute(
        text(f"""
            delete from hpsearch.files
             where key like 'model/%' and trial_id in (select trial_id from trials where study_id = :study_id)
               and (trial_id = :trial_id and key <> :key
                    or trial_id not in (
                        select trial_id from ({trial_values.WITH_MODEL}) kept
                         order by value {spec.direction.sql_order} nulls last, trial_id limit :keep))
        """),
        {
            "study_id": attempt.study.study_id,
            "trial_id": attempt.trial_id,
            "key": key,
            "keep": spec.study.keep_models,
        },
    )


def release(connection: Connection, attempt: Attempt, why: AttemptEnd) -> bool:
    """Let go of the trial, which stays RUNNING: any worker may go on with it at once.

    The trial of a stopped study ends; return whether this one did.

    Raises:
        LostError: see `fence`.
    """
    # The study's row before the attempt's, as in `hpsearch stop`: either that finds the trial orphaned, or this finds
    # the study stopped.
    status = connection.scalar(
        text("select status from hpsearch.studies where study_id = :study_id for share"),
        {"study_id": attempt.study.study_id},
    )
    fence(connection, attempt)
    stopped: bool = status == StudyStatus.STOPPED
    if stopped:
        _end(connection, attempt, TrialOutcome.PRUNED, {"detail": STOPPED})
    else:
        _close(connection, attempt, why)
    return stopped


def _end(connection: Connection, attempt: Attempt, outcome: TrialOutcome, attributes: Mapping[str, object]) -> None:
    trials.end(connection, attempt.study, attempt.trial_id, outcome, attributes)
    _close(connection, attempt, AttemptEnd(outcome))


def _close(connection: Connection, attempt: Attempt, why: AttemptEnd) -> None:
    connection.execute(
        text(
            "update hpsearch.attempts set ended_at = clock_timestamp(), why = :why "
            "where trial_id = :trial_id and number = :number and ended_at is null"
        ),
        {**attempt.key, "why": why},
    )


def read_end(connection: Connection, attempt: Attempt) -> AttemptEnd | None:
    """Return why the attempt ended; None where it is open, or was deleted with its study.

    A way that only a newer hpsearch has is none of this worker's: the attempt was lost.
    """
    query = "select why from hpsearch.attempts where trial_id = :trial_id and number = :number"
    why = connection.scalar(text(query), attempt.key)
    return None if why is None else AttemptEnd(why) if why in set(AttemptEnd) else AttemptEnd.LOST


def renew(connection: Connection, attempt: Attempt, lease: float = LEASE_SECONDS) -> StudyStatus:
    """Hold the trial for another `lease` seconds, and return the study's status.

    One that only a newer hpsearch has counts as paused: the trial is left, with its checkpoint, to a worker that knows.

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
        {**attempt.key, "lease": lease},
    )
    if status is None:
        raise _lost(attempt)
    return StudyStatus(status) if status in set(StudyStatus) else StudyStatus.PAUSED
