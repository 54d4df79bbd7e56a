"""Studies in a real database whose trials were never trained: curves that saturate, written as workers write them."""

import math
import os
import uuid
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from sqlalchemy import Connection, text

from hpsearch.metrics import EpochMetrics
from hpsearch.outcomes import Confusion, TrialOutcome
from hpsearch.sampling import suggest
from hpsearch.sampling.readonly_storage import ReadOnlyStorage
from hpsearch.spec import loader
from hpsearch.storage import attempts, claims, study_creation, workers
from hpsearch.storage.database import Database
from hpsearch.storage.studies import Study
from hpsearch.storage.trials import CONFUSION
from hpsearch.storage.workers import WorkerIdentity
from hpsearch.worker import pruning

FINAL = {"sgd": 0.42, "momentum": 0.58, "nesterov": 0.6, "adam": 0.68, "adagrad": 0.4, "rmsprop": 0.66}
BONUS = {"relu": 0.0, "prelu": 0.02, "tanh": -0.05, "sigmoid": -0.3, "elu": 0.01, "leaky_relu": 0.01, "maxout": 0.01}
SLOW = {"prelu": 1.6, "maxout": 1.9}
VERSIONS = {"hpsearch": "0.1.0", "keras": "3.15.0", "tensorflow": "2.21.0"}

Curve = Callable[[Mapping[str, Any], int, np.random.Generator], list[EpochMetrics]]
"""Makes the epochs of a training from its hyperparameters and the study's epochs: fewer where they diverge or stay at
chance."""


def curve(params: Mapping[str, Any], epochs: int, rng: np.random.Generator) -> list[EpochMetrics]:
    """A training's epochs; with a learning rate above 0.05 its loss is soon not a number."""
    rate = float(params.get("learning_rate", 0.001))
    best = FINAL[str(params.get("optimizer", "nesterov"))] + BONUS[str(params.get("activation", "relu"))]
    best += (0.04 if params.get("batch_norm") else 0.0) - 0.05 * abs(math.log10(rate) + 3) + rng.normal(0, 0.012)
    best = max(0.1, best)
    dropped = float(params.get("dropout", 0.25))
    trained = []
    for epoch in range(1, epochs + 1):
        share = 1 - math.exp(-epoch / 3.5)
        val = 0.1 + (best - 0.1) * share + rng.normal(0, 0.006)
        train = 0.1 + (best + 0.25 * (0.5 - dropped) - 0.1) * share
        loss = math.nan if rate > 0.05 and epoch > 2 else -math.log(max(0.02, train))
        seconds = 4.0 * SLOW.get(str(params.get("activation")), 1.0) * rng.uniform(0.95, 1.1)
        trained.append(EpochMetrics(epoch, loss, train, -math.log(max(0.02, val)), val, rate, seconds))
        if math.isnan(loss):
            break
    return trained


def matrix(accuracy: float, rng: np.random.Generator, images: int = 100) -> Confusion:
    """A confusion matrix of ten classes of that many images, cats and dogs (3 and 5) confused most."""
    rows = []
    for true in range(10):
        shares = np.full(10, (1 - accuracy) / 14)
        shares[{3: 5, 5: 3}.get(true, (true + 1) % 10)] *= 6
        shares[true] = accuracy
        rows.append(tuple(int(count) for count in rng.multinomial(images, shares / shares.sum())))
    return tuple(rows)


def record(
    connection: Connection,
    attempt: attempts.Attempt,
    metrics: EpochMetrics,
    storage: ReadOnlyStorage,
    confusion: Confusion | None = None,
) -> bool:
    """Store an epoch with the pruner's verdict, as a worker does in two transactions; True where it ended the trial."""
    verdict = attempts.PrunerVerdict()
    if pruning.is_compared(attempt, metrics):
        verdict = pruning.decide(connection, attempt, metrics, storage)
    attempts.store_epoch(connection, attempt, metrics, verdict, confusion)
    return verdict.pruned


class Simulation:
    """Workers that claim, sample, record and finish as real ones do, in a time of their own; they take turns."""

    def __init__(
        self,
        database: Database,
        described: Mapping[str, Any],
        hosts: Sequence[str] = ("a",),
        curve: Curve = curve,
        seed: int = 1,
    ) -> None:
        self.database = database
        self.study: Study = study_creation.start(database, loader.from_dict(described)).study
        self.storage = ReadOnlyStorage(self.study.study_id, self.study.spec.direction)
        self.rng = np.random.default_rng(seed)
        self.curve = curve
        ids = [f"{name}-7-{uuid.uuid4().hex[:8]}" for name in hosts]
        self.holders = [
            WorkerIdentity(id_, name, f"GPU {n}") for n, (id_, name) in enumerate(zip(ids, hosts, strict=True))
        ]
        self.clocks = [0.0 for _ in hosts]
        for holder in self.holders:
            database.transact(partial(workers.register, worker=holder, pid=os.getpid()))

    def run(self, trials: int, endings: Sequence[TrialOutcome] = ()) -> None:
        """So many trials; those of `endings` end so whatever their curve, the last of them for all that follow."""
        for number in range(trials):
            forced = endings[min(number, len(endings) - 1)] if endings else None
            self.trial(forced)

    def trial(self, forced: TrialOutcome | None = None) -> attempts.Attempt:
        """One trial, by the worker that is free first."""
        place = self.clocks.index(min(self.clocks))
        attempt, params = self.begin(place)
        epochs = self.study.spec.budget.epochs
        metrics = self.curve(params, epochs, self.rng)
        pruned = self._record(attempt, metrics)
        last = metrics[-1]
        if pruned is None:
            finished = TrialOutcome.COMPLETED if len(metrics) == epochs else TrialOutcome.AT_CHANCE
            ending = forced or (finished if last.finite else TrialOutcome.DIVERGED)
            described: dict[str, Any] = {"weights": 1_250_858}
            if ending in {TrialOutcome.ERROR, TrialOutcome.CRASHED}:
                described["detail"] = "ValueError: <b>no</b> & no"
            self.database.transact(lambda c: attempts.finish(c, attempt, ending, described))
        seconds = sum(each.seconds for each in metrics[: pruned or len(metrics)]) + self.rng.uniform(1, 3)
        self._clock(attempt, place, seconds)
        return attempt

    def begin(self, place: int = 0) -> tuple[attempts.Attempt, dict[str, Any]]:
        """Claim and sample a trial."""
        attempt = self.database.transact(lambda c: claims.claim_trial(c, self.study.study_id, self.holders[place]))
        assert attempt is not None
        self.database.transact(self.storage.refresh)
        params, writes = suggest.suggest(self.study.spec, self.storage, attempt.trial_id, attempt.trial_number)
        self.database.transact(lambda c: attempts.store_parameters(c, attempt, writes))
        made_by = {"seed": attempt.trial_number, "backend": "tensorflow", "data": "d" * 64, "versions": VERSIONS}
        self.database.transact(lambda c: attempts.describe(c, attempt, 1_250_858, made_by))
        return attempt, params

    def _record(self, attempt: attempts.Attempt, metrics: Sequence[EpochMetrics]) -> int | None:
        """Store the epochs; the one at which the trial was pruned."""
        top = 0.0
        for each in metrics:
            confusion = matrix(each.val_accuracy, self.rng) if each.val_accuracy > top else None
            top = max(top, each.val_accuracy)
            store = partial(record, attempt=attempt, metrics=each, storage=self.storage, confusion=confusion)
            if self.database.transact(store):
                return each.epoch
        return None

    def _clock(self, attempt: attempts.Attempt, place: int, seconds: float) -> None:
        began = self.clocks[place]
        self.clocks[place] = ended = began + seconds
        self.database.transact(
            lambda c: c.execute(
                text("""
                    with moved as (
                        update hpsearch.attempts
                           set opened_at = timestamptz '2026-01-01 00:00Z' + make_interval(secs => :began),
                               ended_at = timestamptz '2026-01-01 00:00Z' + make_interval(secs => :ended)
                         where trial_id = :trial_id
                    )
                    update trials set datetime_start = timestamp '2026-01-01' + make_interval(secs => :began),
                           datetime_complete = timestamp '2026-01-01' + make_interval(secs => :ended)
                     where trial_id = :trial_id
                """),
                {"trial_id": attempt.trial_id, "began": began, "ended": ended},
            )
        )


def store_matrix(database: Database, trial_id: int, rows: Sequence[Sequence[int]]) -> None:
    """Replace a trial's confusion matrix."""
    from hpsearch.storage import optuna_tables

    database.transact(lambda c: optuna_tables.set_attributes(c, "system", trial_id, {CONFUSION: rows}))
