"""Studies in a real database whose trials were never trained: curves that saturate, written as workers write them."""

import math
import os
import uuid
from collections.abc import Mapping, Sequence
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


def curve(params: Mapping[str, Any], epochs: int, rng: np.random.Generator) -> list[EpochMetrics]:
    """A training's epochs; with a learning rate above 0.05 its loss is soon not a number."""
    rate = float(params.get("learning_rate", 0.001))
    best = FINAL[str(params.get("optimizer", "nesterov"))] + BONUS[str(params.get("activation", "relu"))]
    best += (0.04 if params.get("batch_norm") else 0.0) - 0.05 * abs(math.log10(rate) + 3) + rng.normal(0, 0.012)
    best = max(0.1, best)
    dropped = float(params.get("dropout", 0.25))
    found = []
    for epoch in range(1, epochs + 1):
        share = 1 - math.exp(-epoch / 3.5)
        val = 0.1 + (best - 0.1) * share + rng.normal(0, 0.006)
        train = 0.1 + (best + 0.25 * (0.5 - dropped) - 0.1) * share
        loss = math.nan if rate > 0.05 and epoch > 2 else -math.log(max(0.02, train))
        seconds = 4.0 * SLOW.get(str(params.get("activation")), 1.0) * rng.uniform(0.95, 1.1)
        found.append(EpochMetrics(epoch, loss, train, -math.log(max(0.02, val)), val, rate, seconds))
        if math.isnan(loss):
            break
    return found


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
    held: attempts.Attempt,
    metrics: EpochMetrics,
    history: ReadOnlyStorage,
    confusion: Confusion | None = None,
) -> bool:
    """Judge an epoch and store it, where a worker does so in two transactions. True where that ended the trial."""
    verdict = attempts.PrunerVerdict()
    if pruning.is_compared(held, metrics):
        verdict = pruning.decide(connection, held, metrics, history)
    attempts.store_epoch(connection, held, metrics, verdict, confusion)
    return verdict.pruned


class Simulation:
    """Workers that claim, sample, record and finish as real ones do, in a time of their own; they take turns."""

    def __init__(self, database: Database, described: Mapping[str, Any], hosts: Sequence[str] = ("a",)) -> None:
        self.database = database
        self.found: Study = study_creation.start(database, loader.from_dict(described)).study
        self.history = ReadOnlyStorage(self.found.study_id, self.found.spec.direction)
        self.rng = np.random.default_rng(1)
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
        held, params = self.begin(place)
        metrics = curve(params, self.found.spec.budget.epochs, self.rng)
        pruned = self._record(held, metrics)
        last = metrics[-1]
        if pruned is None:
            ending = forced or (TrialOutcome.COMPLETED if last.finite else TrialOutcome.DIVERGED)
            described: dict[str, Any] = {"weights": 1_250_858}
            if ending in {TrialOutcome.ERROR, TrialOutcome.CRASHED}:
                described["detail"] = "ValueError: <b>no</b> & no"
            self.database.transact(lambda c: attempts.finish(c, held, ending, described))
        seconds = sum(each.seconds for each in metrics[: pruned or len(metrics)]) + self.rng.uniform(1, 3)
        self._clock(held, place, seconds)
        return held

    def begin(self, place: int = 0) -> tuple[attempts.Attempt, dict[str, Any]]:
        """Claim and sample a trial."""
        held = self.database.transact(lambda c: claims.claim_trial(c, self.found.study_id, self.holders[place]))
        assert held is not None
        self.database.transact(self.history.refresh)
        params, writes = suggest.suggest(self.found.spec, self.history, held.trial_id, held.trial_number)
        self.database.transact(lambda c: attempts.store_parameters(c, held, writes))
        made_by = {"seed": held.trial_number, "backend": "tensorflow", "data": "d" * 64, "versions": VERSIONS}
        self.database.transact(lambda c: attempts.describe(c, held, 1_250_858, made_by))
        return held, params

    def _record(self, held: attempts.Attempt, metrics: Sequence[EpochMetrics]) -> int | None:
        """Store the epochs; the one at which the trial was pruned."""
        top = 0.0
        for each in metrics:
            confusion = matrix(each.val_accuracy, self.rng) if each.val_accuracy > top else None
            top = max(top, each.val_accuracy)
            judged = partial(record, held=held, metrics=each, history=self.history, confusion=confusion)
            if self.database.transact(judged):
                return each.epoch
        return None

    def _clock(self, held: attempts.Attempt, place: int, seconds: float) -> None:
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
                {"trial_id": held.trial_id, "began": began, "ended": ended},
            )
        )


def store_matrix(database: Database, trial_id: int, rows: Sequence[Sequence[int]]) -> None:
    """Replace a trial's confusion matrix."""
    from hpsearch.storage import optuna_tables

    database.transact(lambda c: optuna_tables.set_attributes(c, "system", trial_id, {CONFUSION: rows}))
