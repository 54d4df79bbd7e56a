"""The metrics of an epoch, and the direction in which a study optimizes each."""

import math
from dataclasses import dataclass
from enum import StrEnum


class Direction(StrEnum):
    """Whether a higher or a lower value of a metric is better."""

    MAXIMIZE = "maximize"
    MINIMIZE = "minimize"

    @property
    def sign(self) -> int:
        """Return 1 or -1: a value times this is the better, the larger it is."""
        return 1 if self is Direction.MAXIMIZE else -1

    @property
    def sql_order(self) -> str:
        """Return the SQL order that puts the best value first."""
        return "desc" if self is Direction.MAXIMIZE else "asc"

    @property
    def sql_better(self) -> str:
        """Return the SQL operator of "strictly better than"."""
        return ">" if self is Direction.MAXIMIZE else "<"


METRICS = {"val_accuracy": Direction.MAXIMIZE, "val_loss": Direction.MINIMIZE}
"""What a study can optimize, and in which direction."""


@dataclass(frozen=True)
class EpochMetrics:
    """One finished epoch. Losses are means of the cross-entropy in nats, accuracies fractions of 1.

    The epochs of an evaluation have neither `val_loss` nor `val_accuracy` (NaN), but for the last, where both are of
    the test images.
    """

    epoch: int
    """Counted from 1."""
    train_loss: float
    train_accuracy: float
    val_loss: float
    val_accuracy: float
    learning_rate: float
    """In force at the end of the epoch."""
    seconds: float
    """Wall clock of training and validating this epoch."""

    @property
    def validated(self) -> bool:
        """Whether the model was validated; the accuracy of a diverged one is a number too."""
        return not math.isnan(self.val_accuracy)

    @property
    def finite(self) -> bool:
        """Whether both losses are numbers."""
        return math.isfinite(self.train_loss) and math.isfinite(self.val_loss)

    @property
    def diverged(self) -> bool:
        """Whether a loss that was measured is not finite: training cannot recover from that."""
        return not (math.isfinite(self.train_loss) and (math.isfinite(self.val_loss) or not self.validated))

    def value(self, metric: str) -> float:
        """Return the figure that a study with this metric optimizes."""
        return self.val_accuracy if metric == "val_accuracy" else self.val_loss


def compute_chance_accuracy(classes: int, images: int) -> float:
    """Return the highest accuracy over `images` that one may have by guessing among `classes`.

    It is 1 / classes and three standard errors of a proportion, sqrt(p (1 - p) / images).
    """
    chance = 1 / classes
    return chance + 3 * math.sqrt(chance * (1 - chance) / images)


def compute_chance_loss(classes: int) -> float:
    """Return the lowest cross-entropy (nats) of a model that guesses among `classes`: ln(classes), less 1%."""
    return 0.99 * math.log(classes)


def compute_guess_value(metric: str, classes: int) -> float:
    """Return the value that a model which guesses among `classes` has on average: 1 / classes, or ln(classes) nats."""
    return 1 / classes if metric == "val_accuracy" else math.log(classes)


def find_best_epoch(epochs: list[EpochMetrics], metric: str) -> EpochMetrics | None:
    """Return the epoch with the best finite value of `metric`, the earliest of equals; None where no epoch has one."""
    finite = [epoch for epoch in epochs if math.isfinite(epoch.value(metric))]
    if not finite:
        return None
    sign = METRICS[metric].sign
    return max(finite, key=lambda epoch: (sign * epoch.value(metric), -epoch.epoch))
