"""When a training is over."""

import math
from dataclasses import replace
from typing import Any

from hpsearch.metrics import EpochMetrics
from hpsearch.outcomes import TrialOutcome
from hpsearch.training import endings
from tests.support.training_jobs import DIGITS, MakeJob


def metrics(epoch: int, accuracy: float = 0.5, loss: float = 1.0, train_loss: float = 1.0) -> EpochMetrics:
    return EpochMetrics(epoch, train_loss, 0.5, loss, accuracy, 0.1, 1.0)


def test_chance_is_judged_by_accuracy_and_loss() -> None:
    """Three standard errors of accuracy, or a hundredth of either loss, are enough to have learned something."""
    guess = math.log(10)
    assert endings.is_at_chance(metrics(1, 0.10, guess, guess), 10, 5000)
    assert endings.is_at_chance(metrics(1, 0.112, guess * 1.5, guess), 10, 5000)  # 0.1 + 3 * sqrt(0.09 / 5000) = 0.1127
    assert not endings.is_at_chance(metrics(1, 0.114, guess, guess), 10, 5000)
    assert not endings.is_at_chance(metrics(1, 0.10, guess * 0.98, guess), 10, 5000)
    lagging = metrics(1, 0.10, guess, guess * 0.98)  # batch norm: validation follows late
    assert not endings.is_at_chance(lagging, 10, 5000)
    assert endings.is_at_chance(metrics(1, 0.18, guess, guess), 10, 100)  # few images prove little


def test_every_ending_follows_from_the_metrics(job: MakeJob) -> None:
    """A resumed training ends where the first would have."""

    def ends(*epochs: EpochMetrics, **fields: object) -> TrialOutcome | None:
        end = endings.judge_epochs(job(**{"epochs": 9, "patience": 2, **fields}), epochs, 10, 5000)
        return end.outcome if end else None

    lost = {"accuracy": 0.1, "loss": 2.31, "train_loss": 2.31}
    assert ends() is None
    assert ends(metrics(1)) is None
    assert ends(metrics(1), epochs=1) is TrialOutcome.COMPLETED
    assert ends(metrics(1, loss=math.nan)) is TrialOutcome.DIVERGED
    assert ends(metrics(1, train_loss=math.inf), epochs=1) is TrialOutcome.DIVERGED
    assert ends(metrics(1, **lost)) is None
    assert ends(metrics(1, **lost), metrics(2, **lost)) is TrialOutcome.AT_CHANCE
    assert ends(metrics(1, **lost), metrics(2, **lost), epochs=3) is TrialOutcome.AT_CHANCE
    assert ends(metrics(1, **lost), metrics(2, **lost), epochs=2) is TrialOutcome.COMPLETED  # a result like any other
    assert ends(metrics(1), metrics(2, **lost)) is None
    stale = metrics(1, 0.6), metrics(2, 0.5), metrics(3, 0.6)
    assert ends(*stale, early_stopping=3) is None
    assert ends(*stale, early_stopping=2) is TrialOutcome.COMPLETED  # as good is not better
    assert ends(*stale) is None


def test_chance_is_a_result_of_a_test_and_infinity_is_not(job: MakeJob) -> None:
    """A test at chance stands; a loss that is no number is a divergence, before the last epoch as after it."""

    def ends(*epochs: EpochMetrics, **fields: Any) -> TrialOutcome | None:
        test = job(data=replace(DIGITS, test=True), **{"epochs": 2, "patience": 1, **fields})
        end = endings.judge_epochs(test, epochs, 10, 360)
        return end.outcome if end else None

    def tested(epoch: int, train: float, loss: float = math.nan, accuracy: float = math.nan) -> EpochMetrics:
        return EpochMetrics(epoch, train, 0.1, loss, accuracy, 0.1, 1.0)

    assert ends(tested(1, 2.3)) is None
    assert ends(tested(1, math.nan)) is TrialOutcome.DIVERGED
    assert ends(tested(1, 2.3), tested(2, 2.3, 2.4, 0.1)) is TrialOutcome.COMPLETED
    assert ends(tested(1, 2.3), tested(2, 2.3, math.nan, 0.1)) is TrialOutcome.DIVERGED
    assert ends(tested(1, 2.3), tested(2, math.inf, 2.4, 0.1)) is TrialOutcome.DIVERGED
