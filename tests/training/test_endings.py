"""When a training is over."""

import math
from dataclasses import replace
from typing import Any

from hpsearch.metrics import EpochMetrics
from hpsearch.outcomes import TrialOutcome
from hpsearch.training import endings
from tests.support.training_jobs import DIGITS, MakeJob

BALANCED = [500] * 10


def metrics(epoch: int, accuracy: float = 0.5, loss: float = 1.0, train_loss: float = 1.0) -> EpochMetrics:
    return EpochMetrics(epoch, train_loss, 0.5, loss, accuracy, 0.1, 1.0)


def test_chance_is_judged_by_accuracy_and_loss() -> None:
    """Three standard errors of accuracy, or a hundredth of either loss, are enough to have learned something."""
    guess = math.log(10)
    assert endings.is_at_chance(metrics(1, 0.10, guess, guess), "val_accuracy", 0.10, BALANCED)
    # 0.1 + 3 * sqrt(0.09 / 5000) = 0.1127
    assert endings.is_at_chance(metrics(1, 0.112, guess * 1.5, guess), "val_loss", 0.112, BALANCED)
    assert not endings.is_at_chance(metrics(1, 0.114, guess, guess), "val_accuracy", 0.114, BALANCED)
    assert not endings.is_at_chance(metrics(1, 0.10, guess * 0.98, guess), "val_accuracy", 0.10, BALANCED)
    lagging = metrics(1, 0.10, guess, guess * 0.98)  # batch norm: validation follows late
    assert not endings.is_at_chance(lagging, "val_accuracy", 0.10, BALANCED)
    assert endings.is_at_chance(metrics(1, 0.18, guess, guess), "val_accuracy", 0.18, [10] * 10)  # few prove little


def test_chance_is_that_of_unbalanced_classes() -> None:
    """Always guessing the commonest of them is chance, whatever its accuracy; telling a rare one is not."""
    counts, entropy = [950, 50], -0.95 * math.log(0.95) - 0.05 * math.log(0.05)
    guess = metrics(1, 0.95, entropy, entropy)
    assert endings.is_at_chance(guess, "val_accuracy", 0.5, counts)
    assert endings.is_at_chance(replace(guess, val_metric=0.5), "val_auroc", 0.5, counts)
    assert not endings.is_at_chance(replace(guess, val_metric=0.8), "val_auroc", 0.5, counts)
    assert not endings.is_at_chance(guess, "val_accuracy", 0.7, counts)
    # With weighted classes accuracy and loss are worse than a guess's, and the loss that is trained is another.
    weighted = metrics(1, 0.85, 0.45, 0.5)
    assert not endings.is_at_chance(weighted, "val_accuracy", 0.86, counts)
    assert endings.is_at_chance(metrics(1, 0.05, math.log(2), math.log(2)), "val_accuracy", 0.5, counts)


def test_every_ending_follows_from_the_metrics(job: MakeJob) -> None:
    """A resumed training ends where the first would have."""

    def ends(*epochs: EpochMetrics, **fields: object) -> TrialOutcome | None:
        guesses = [endings.is_at_chance(epoch, "val_accuracy", epoch.val_accuracy, BALANCED) for epoch in epochs]
        guessing = next((n for n, guess in enumerate(reversed(guesses)) if not guess), len(guesses))
        end = endings.judge_epochs(job(**{"epochs": 9, "patience": 2, **fields}), epochs, guessing)
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
        guessing = sum(endings.is_at_chance(epoch, "val_accuracy", epoch.val_accuracy, [36] * 10) for epoch in epochs)
        end = endings.judge_epochs(test, epochs, guessing)
        return end.outcome if end else None

    def tested(epoch: int, train: float, loss: float = math.nan, accuracy: float = math.nan) -> EpochMetrics:
        return EpochMetrics(epoch, train, 0.1, loss, accuracy, 0.1, 1.0)

    assert ends(tested(1, 2.3)) is None
    assert ends(tested(1, math.nan)) is TrialOutcome.DIVERGED
    assert ends(tested(1, 2.3), tested(2, 2.3, 2.4, 0.1)) is TrialOutcome.COMPLETED
    assert ends(tested(1, 2.3), tested(2, 2.3, math.nan, 0.1)) is TrialOutcome.DIVERGED
    assert ends(tested(1, 2.3), tested(2, math.inf, 2.4, 0.1)) is TrialOutcome.DIVERGED
